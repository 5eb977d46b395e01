"""The self-check of a bundle: loaded graphs in, measured differences out, on the machine and provider in use.

Three measurements. Parity: the logits of the manifest's cases against what the training framework gave. Batches: every
row in batches of several sizes against the same row alone (doubled); 0 means that a result does not depend on its
neighbours, to the last bit. Padding: a text padded to every length against one without padding; serving pads each
text to a length of its own (``token_bucket``), so this need not be 0, but a text encoder that looks at padding shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from stream_app.bundle.errors import BundleError
from stream_app.bundle.image import self_check_image
from stream_app.bundle.text import pad_tokens, token_buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from stream_app.bundle.graphs import Graphs
    from stream_app.bundle.load import Bundle
    from stream_app.bundle.manifest import SelfCheckCase

#: What a worker measures when it starts, and what ``vigil bundle check`` measures.
QUICK_BATCHES = (2, 3, 4, 8)
THOROUGH_BATCHES = (2, 3, 4, 5, 7, 8, 16, 32)


class Measurement(msgspec.Struct, frozen=True):
    """What the self-check found. Differences are the largest absolute ones, of logits or features.

    ``batch_differences`` has an entry per graph: ``image_encoder``, ``text_encoder``, ``fusion_head``.
    """

    provider: str
    tolerance: float
    parity_difference: float
    parity_case: int
    case_count: int
    batch_sizes: tuple[int, ...]
    batch_differences: dict[str, float]
    padding_difference: float

    @property
    def is_within_tolerance(self) -> bool:
        """No logit, no row in any batch and no padded text differs by more than the manifest allows."""
        differences = (self.parity_difference, self.padding_difference, *self.batch_differences.values())
        return max(differences) <= self.tolerance

    @property
    def is_batch_exact(self) -> bool:
        """No row changed a bit in any batch."""
        return not any(self.batch_differences.values())


def measure(bundle: Bundle, graphs: Graphs, *, batch_sizes: Sequence[int] = QUICK_BATCHES) -> Measurement:
    """Run the self-check without judging.

    Args:
        bundle: the loaded bundle.
        graphs: its graphs on the provider that will be used.
        batch_sizes: at least 2 each.

    Raises:
        GraphError: if a run fails.
    """
    differences = [_case_difference(bundle, graphs, case) for case in bundle.manifest.self_check.cases]
    worst = int(np.argmax(differences))
    return Measurement(
        provider=graphs.provider,
        tolerance=bundle.manifest.self_check.tolerance,
        parity_difference=differences[worst],
        parity_case=worst,
        case_count=len(differences),
        batch_sizes=tuple(batch_sizes),
        batch_differences=_batch_differences(bundle, graphs, batch_sizes),
        padding_difference=_padding_difference(bundle, graphs),
    )


def require(measurement: Measurement) -> None:
    """Refuse a bundle whose self-check is outside its tolerance.

    Raises:
        BundleError: with the tolerance and the largest difference.
    """
    expected = f"differences <= {measurement.tolerance:g}"
    if measurement.parity_difference > measurement.tolerance:
        what = f"self-check case {measurement.parity_case} on {measurement.provider}"
        raise BundleError(what, expected=expected, found=f"{measurement.parity_difference:g}")
    if measurement.padding_difference > measurement.tolerance:
        what = f"text_encoder: padded texts against texts without padding on {measurement.provider}"
        raise BundleError(what, expected=expected, found=f"{measurement.padding_difference:g}")
    for graph, difference in measurement.batch_differences.items():
        if difference > measurement.tolerance:
            what = f"{graph}: rows in batches against rows alone on {measurement.provider}"
            raise BundleError(what, expected=expected, found=f"{difference:g}")


def remark(measurement: Measurement) -> str:
    """Return a sentence for the log where a row's result depends on its batch, within the tolerance; else ""."""
    if measurement.is_batch_exact:
        return ""
    graph, largest = max(measurement.batch_differences.items(), key=lambda item: item[1])
    return (
        f"on {measurement.provider} the result of a row depends on its batch: expected equal bits, found differences "
        f"up to {largest:g} in {graph}; scores computed again may differ in their last digits"
    )


def case_logits(bundle: Bundle, graphs: Graphs, case: SelfCheckCase) -> NDArray[np.float32]:
    """Return the raw logits float32 [L] of a self-check case, through the whole path of preparation and graphs."""
    manifest = bundle.manifest
    image = np.zeros((1, *manifest.features.image), dtype=np.float32)
    text = np.zeros((1, *manifest.features.text), dtype=np.float32)
    if case.image_seed is not None:
        drawn = self_check_image(case.image_seed, manifest.image.height, manifest.image.width)
        image = graphs.encode_images(drawn[None])
    if case.text is not None:
        text = graphs.encode_texts(*bundle.tokenizer.encode_batch([case.text]))
    image_present = np.array([case.image_seed is not None], dtype=np.float32)
    text_present = np.array([case.text is not None], dtype=np.float32)
    logits: NDArray[np.float32] = graphs.fuse(image, text, image_present, text_present)[0]
    return logits


def _case_difference(bundle: Bundle, graphs: Graphs, case: SelfCheckCase) -> float:
    expected = np.array(case.logits, dtype=np.float64)
    return float(np.abs(case_logits(bundle, graphs, case) - expected).max())


def _batch_differences(bundle: Bundle, graphs: Graphs, batch_sizes: Sequence[int]) -> dict[str, float]:
    manifest = bundle.manifest
    count = max(batch_sizes)
    images = np.stack([self_check_image(s, manifest.image.height, manifest.image.width) for s in range(count)])
    tokens, length = pad_tokens(_token_rows(bundle, count), pad_id=manifest.text.pad_id)
    image_present = (np.arange(count) % 3 != 1).astype(np.float32)
    text_present = (np.arange(count) % 3 != 2).astype(np.float32)

    def imaged(at: slice) -> NDArray[np.float32]:
        return graphs.encode_images(images[at])

    def texted(at: slice) -> NDArray[np.float32]:
        return graphs.encode_texts(tokens[at], length[at])

    image_features, text_features = _alone(imaged, count), _alone(texted, count)

    def fused(at: slice) -> NDArray[np.float32]:
        return graphs.fuse(image_features[at], text_features[at], image_present[at], text_present[at])

    return {
        "image_encoder": _largest(imaged, image_features, batch_sizes),
        "text_encoder": _largest(texted, text_features, batch_sizes),
        "fusion_head": _largest(fused, _alone(fused, count), batch_sizes),
    }


def _padding_difference(bundle: Bundle, graphs: Graphs) -> float:
    spec = bundle.manifest.text
    largest = 0.0
    for row in _token_rows(bundle, 8):
        bare = graphs.encode_texts(*pad_tokens([row], pad_id=spec.pad_id))
        for bucket in {len(row) + 1, *token_buckets(spec.max_tokens)}:
            if len(row) < bucket <= spec.max_tokens:
                padded = graphs.encode_texts(*pad_tokens([row], pad_id=spec.pad_id, padded_length=bucket))
                largest = max(largest, float(np.abs(padded - bare).max()))
    return largest


def _alone(run: Callable[[slice], NDArray[np.float32]], count: int) -> NDArray[np.float32]:
    return np.concatenate([run(slice(index, index + 1)) for index in range(count)])


def _largest(
    run: Callable[[slice], NDArray[np.float32]], alone: NDArray[np.float32], batch_sizes: Sequence[int]
) -> float:
    """Return the largest difference of any row in batches of these sizes, at changing places, from the row alone."""
    largest = 0.0
    for size in batch_sizes:
        for start in {0, len(alone) - size}:
            at = slice(start, start + size)
            largest = max(largest, float(np.abs(run(at) - alone[at]).max()))
    return largest


def _token_rows(bundle: Bundle, count: int) -> list[tuple[int, ...]]:
    """Return token rows of different lengths, from one token to the bound, made of the self-check's texts."""
    words = " ".join(case.text or "" for case in bundle.manifest.self_check.cases).split() or ["a", "b", "c"]
    rows = []
    for index in range(count):
        start = index % len(words)
        rows.append(bundle.tokenizer.encode(" ".join((words * 2)[start : start + 1 + index % 9])))
    rows[-1] = bundle.tokenizer.encode(" ".join(words * bundle.manifest.text.max_tokens))
    return rows
