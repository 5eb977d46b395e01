"""Scores with ONNX Runtime, behind the scoring port. It knows records by key only: no Kafka, no incidents."""
