"""Runs tasks live: shell, runner, epoch, pacing, and the ports they speak through.

It knows no client library and no clock but its port, so tests run it without a broker and move its time by hand.
"""
