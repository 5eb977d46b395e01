"""Measurements of Vigil on one machine, side by side with what it is built on. Run `python -m benchmarks`."""

import stream_app  # noqa: F401 - before ONNX Runtime: it keeps the libraries from calling their makers
