"""Scoring with ONNX Runtime: batching, engine, features, providers, watchdog."""
