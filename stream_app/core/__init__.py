"""The pure core: stages, types and settings. Values in, values out; the same inputs give the same outputs.

No Kafka, no ONNX Runtime, no clock, no asyncio, no files, no logging.
"""
