"""A bundle without the live system, as proofs compare with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stream_app.bundle.calibration import micro_logits
from stream_app.bundle.graphs import Graphs
from stream_app.bundle.image import decode_image

if TYPE_CHECKING:
    from stream_app.bundle.load import Bundle
    from stream_app.bundle.manifest import Presence


class Offline:
    """The bundle without the live system: one row at a time, no pool, no batches, no Kafka."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._graphs = Graphs(bundle, intra_op_threads=1)

    def score(self, image: bytes | None, text: str | None) -> dict[str, int]:
        """Score one pair, or one side alone; return micro-logits by label."""
        manifest = self._bundle.manifest
        images = np.zeros((1, *manifest.features.image), dtype=np.float32)
        texts = np.zeros((1, *manifest.features.text), dtype=np.float32)
        if image is not None:
            images = self._graphs.encode_images(decode_image(image, manifest.image)[None])
        if text is not None:
            texts = self._graphs.encode_texts(*self._bundle.tokenizer.encode_batch([text]))
        present = [np.array([side is not None], dtype=np.float32) for side in (image, text)]
        logits = self._graphs.fuse(images, texts, *present)
        presence: Presence = "both" if image is not None and text is not None else "text" if image is None else "image"
        rows = micro_logits(logits, task=manifest.task, calibration=manifest.calibration, presence=presence)
        return dict(zip((label.name for label in manifest.labels), rows[0], strict=True))
