"""Vigil, the live system: camera frames and alarm texts in, alerts out.

Private: other programs import `vigil`. Importing this package keeps the libraries it uses from calling their makers,
in this process and in its children.
"""

import os

__version__ = "0.1.0"

# Here, since ONNX Runtime reads its variable when it is imported, and nothing of the package is imported before this.
# Whatever they were set to: what Vigil promises does not hang on the environment (docs/security.md).
os.environ["ORT_DISABLE_TELEMETRY"] = (
    "1"  # 1.31 calls its vendor 9 s after a session opens, and leaves files in ~/.cache
)
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # for when the hub is asked for weights
