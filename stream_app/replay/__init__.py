"""Recorded streams driven through the core again: verified against what was recorded, or judged anew and compared.

Pure drivers of ``core`` and ``wire``: no Kafka, no files, no inference, no clock. What a recording is read from, and
what scores, comes in through the ports of :mod:`stream_app.replay.recording` and of ``runtime``.
"""
