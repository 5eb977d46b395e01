"""What both command lines share: lazy commands, exit statuses, one sanitiser, one way to write a line, tables, bars.

In: words, tables, JSON. Out: lines in which nothing but our own styles can steer the terminal. It must not know what is
written.
"""
