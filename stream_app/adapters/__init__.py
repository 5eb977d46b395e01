"""Adapters: what touches the world outside (Kafka, files, ONNX Runtime, processes), each behind a port of the core."""
