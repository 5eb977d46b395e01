"""Vigil's training side: draws or reads data, trains image-text models in PyTorch, exports and packs bundles.

May import `stream_app.bundle`, `stream_app.core` and `stream_app.drawn_site`; the live system never imports this.
"""

import stream_app  # noqa: F401 - before ONNX Runtime: it keeps the libraries from calling their makers
