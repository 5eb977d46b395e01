"""What both command lines put on a terminal: one sanitiser, one way to write a line, one console for tables and bars.

In: words, tables, JSON. Out: lines in which nothing but our own styles can steer the terminal. It must not know what is
written.
"""
