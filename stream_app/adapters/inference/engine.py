"""The engine: a checked bundle on a checked provider, warmed; rows of prepared inputs in, rows of results out.

Synchronous and thread-safe; called from executor threads. It knows shapes and buckets, never records, queues or time.
On accelerators batches are padded with copies to the shapes that were warmed (a new shape costs a search or a build);
on the CPU they run as they are, since padding changes no bit there and only costs work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stream_app.adapters.inference import providers
from stream_app.adapters.inference.providers import ProviderChoice
from stream_app.bundle.errors import BundleError
from stream_app.bundle.graphs import CPU_PROVIDER, GraphError, Graphs
from stream_app.bundle.image import self_check_image
from stream_app.bundle.load import Bundle
from stream_app.bundle.text import pad_tokens, token_bucket, token_buckets
from stream_app.bundle.verify import Measurement, measure, remark, require

#: Features of both sides; None where the side is absent.
FusionRow = tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]

_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Operational settings of the engine; none of them changes a result on a given provider.

    Attributes:
        provider: a name requires that provider; ``auto`` takes the best that is here.
        intra_op_threads: threads inside one operator on the CPU; 0 is ONNX Runtime's own choice.
        batch_images: most images in one run.
        batch_texts: most texts in one run.
        batch_rows: most rows in one run of the fusion head.
        engine_cache: where TensorRT keeps the engines that it compiled; empty: it compiles at every start.
        pads_to_buckets: None pads on accelerators only.
    """

    provider: ProviderChoice
    intra_op_threads: int
    batch_images: int
    batch_texts: int
    batch_rows: int
    engine_cache: str
    pads_to_buckets: bool | None = None


class Engine:
    """Three warmed sessions. Results of a row are bit-equal in every batch where the self-check measured so."""

    def __init__(self, bundle: Bundle, *, settings: EngineSettings, graphs: Graphs, measurement: Measurement) -> None:
        """Wrap sessions; ``Engine.open`` is the way that also checks and warms them."""
        self._bundle = bundle
        self._settings = settings
        self._graphs = graphs
        self.measurement = measurement
        padding = settings.pads_to_buckets
        self._pads = graphs.provider != CPU_PROVIDER if padding is None else padding
        self._no_image = np.zeros(bundle.manifest.features.image, dtype=np.float32)
        self._no_text = np.zeros(bundle.manifest.features.text, dtype=np.float32)

    @classmethod
    def open(cls, bundle: Bundle, *, on_notice: Callable[[str], None], settings: EngineSettings) -> Engine:
        """Create sessions, check the provider, run the self-check, warm every shape. Takes seconds.

        Args:
            bundle: a loaded bundle.
            on_notice: gets a sentence, to be said loudly, when ``auto`` fell back, and when a row's result depends on
                its batch.
            settings: see ``EngineSettings``.

        Raises:
            ProviderError: if a required provider does not run, or ONNX Runtime is installed twice.
            BundleError: if a graph does not fit the manifest, cannot be run at all, or the self-check is outside its
                tolerance.
        """
        providers.refuse_double_install(providers.installed_runtimes())
        has_device = providers.has_nvidia_device()
        wanted = providers.candidates(
            settings.provider,
            available=onnxruntime.get_available_providers(),
            has_device=has_device,
            engine_cache=settings.engine_cache,
        )
        if wanted[0] != CPU_PROVIDER:
            providers.load_cuda_libraries()
        graphs = Graphs(bundle, providers=wanted, intra_op_threads=settings.intra_op_threads)
        notice = providers.judge(settings.provider, graphs.provider, has_device=has_device)
        if notice:
            on_notice(notice)
        try:
            measurement = measure(bundle, graphs)
            require(measurement)
            engine = cls(bundle, settings=settings, graphs=graphs, measurement=measurement)
            engine.warm()
        except GraphError as error:
            expected = "graphs that run on known inputs and give finite numbers"
            raise BundleError("self-check", expected=expected, found=error) from error
        if words := remark(measurement):
            on_notice(words)
        return engine

    @property
    def provider(self) -> str:
        """The execution provider in use, such as ``CPUExecutionProvider``, asked from the sessions themselves."""
        return self._graphs.provider

    @property
    def graphs(self) -> Graphs:
        """The sessions, for further measurements."""
        return self._graphs

    @property
    def settings(self) -> EngineSettings:
        """The settings in force."""
        return self._settings

    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Encode at most ``batch_images`` images uint8 [H, W, 3].

        Returns:
            A float32 array of shape features.image per image, in order.

        Raises:
            GraphError: if the run fails or a feature is not finite.
        """
        batch = np.stack(images)
        features = self._graphs.encode_images(self._padded(batch, self._settings.batch_images))
        # Copies: a view of one row would keep the whole batch in memory as long as its features are wanted.
        return [row.copy() for row in features[: len(images)]]

    def encode_texts(self, rows: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Encode at most ``batch_texts`` rows of token ids.

        Returns:
            A float32 array of shape features.text per row, in order.

        Raises:
            GraphError: if the run fails or a feature is not finite.
        """
        text = self._bundle.manifest.text
        features: dict[int, NDArray[np.float32]] = {}
        by_bucket: dict[int, list[int]] = {}
        for index, row in enumerate(rows):
            by_bucket.setdefault(token_bucket(len(row), text.max_tokens), []).append(index)
        # A run per padded length: a row's padding must not depend on who else is in the batch.
        for bucket, indexes in by_bucket.items():
            found = self._encode_bucket([rows[index] for index in indexes], bucket)
            features.update(zip(indexes, found, strict=True))
        return [features[index].copy() for index in range(len(rows))]

    def _encode_bucket(self, rows: Sequence[Sequence[int]], bucket: int) -> NDArray[np.float32]:
        tokens, length = pad_tokens(rows, pad_id=self._bundle.manifest.text.pad_id, padded_length=bucket)
        most = self._settings.batch_texts
        return self._graphs.encode_texts(self._padded(tokens, most), self._padded(length, most))[: len(rows)]

    def fuse(self, rows: Sequence[FusionRow]) -> NDArray[np.float32]:
        """Fuse at most ``batch_rows`` rows; None stands for an absent side.

        Returns:
            float32 [len(rows), L] raw logits, finite.

        Raises:
            GraphError: if the run fails or a logit is not finite.
        """
        most = self._settings.batch_rows
        image = np.stack([self._no_image if row[0] is None else row[0] for row in rows])
        text = np.stack([self._no_text if row[1] is None else row[1] for row in rows])
        image_present = np.array([row[0] is not None for row in rows], dtype=np.float32)
        text_present = np.array([row[1] is not None for row in rows], dtype=np.float32)
        logits = self._graphs.fuse(*(self._padded(side, most) for side in (image, text, image_present, text_present)))
        return logits[: len(rows)]

    def probe(self) -> None:
        """Run every graph once on a drawn input: an engine that fails here is broken, whatever the input was.

        Raises:
            GraphError: if it fails.
        """
        spec = self._bundle.manifest.image
        image = self.encode_images([self_check_image(1, spec.height, spec.width)])[0]
        text = self.encode_texts([(self._bundle.manifest.text.pad_id,)])[0]
        self.fuse([(image, text)])

    def warm(self) -> None:
        """Run every shape that will be asked for: on accelerators all of them, on the CPU the edges."""
        spec = self._bundle.manifest.image
        image = self_check_image(1, spec.height, spec.width)
        for size in batch_buckets(self._settings.batch_images):
            self.encode_images([image] * size)
        sizes = batch_buckets(self._settings.batch_texts)
        lengths = token_buckets(self._bundle.manifest.text.max_tokens)
        for size in sizes:
            for length in lengths:
                if self._pads or size == sizes[0] or length == lengths[0]:
                    self.encode_texts([(self._bundle.manifest.text.pad_id,) * length] * size)
        for size in batch_buckets(self._settings.batch_rows):
            self.fuse([(self._no_image, self._no_text)] * size)

    def _padded(self, batch: NDArray[_T], most: int) -> NDArray[_T]:
        """Repeat the last row until the batch has a warmed size, at least two."""
        if not self._pads:
            return batch
        missing = bucket_of(len(batch), batch_buckets(most)) - len(batch)
        return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing > 0 else batch


def batch_buckets(most: int) -> tuple[int, ...]:
    """Return the batch sizes that are warmed: 2, 4, 8 ... ``most``; a graph never runs with one row."""
    largest = max(2, most)
    doubles = (2 << shift for shift in range(largest.bit_length()))
    return (*(size for size in doubles if size < largest), largest)


def bucket_of(size: int, sizes: Sequence[int]) -> int:
    """Return the smallest of ``sizes`` (rising) that is not below ``size``; ``size`` itself beyond them."""
    return next((bucket for bucket in sizes if bucket >= size), size)
