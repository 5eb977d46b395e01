"""Model bundles: the contract between training and serving, and the preparation of inputs that both share. No Kafka.

Modules are imported one by one (``stream_app.bundle.image``, ``.text``, ``.load`` ...): decode children need the
pixels and must stay without tokenizers and ONNX Runtime.
"""

from stream_app.bundle.errors import BundleError

__all__ = ["BundleError"]
