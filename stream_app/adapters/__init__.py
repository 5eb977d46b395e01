"""Adapters: everything that touches the world outside (Kafka, ONNX Runtime, processes, files, HTTP).

They implement the ports of `stream_app.runtime.ports`. Among each other only `reading` and `feed` use `kafka`, and
`observing` uses `inference`, which uses `decoding`.
"""
