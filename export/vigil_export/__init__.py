"""Vigil's training side: draws or reads data, trains image-text models in PyTorch, exports and packs bundles.

May import `bundle`, `core`, `wire`, `drawn_site`, `terminal` and `files` of `stream_app`; the live system never imports
this.
"""

import stream_app  # noqa: F401 - before ONNX Runtime: it keeps the libraries from calling their makers
