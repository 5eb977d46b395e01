"""The pure core: stages, types and settings. No Kafka, no ONNX Runtime, no clock, no asyncio, no logging."""
