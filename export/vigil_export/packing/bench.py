"""How fast the graphs of a bundle run. In: a loaded bundle. Out: rates and latencies by batch and provider.

Serving's own sessions are timed, so a batch of one costs what it costs there (two rows). Times are medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import onnxruntime

from stream_app.bundle.errors import BundleError
from stream_app.bundle.graphs import Graphs
from stream_app.bundle.image import self_check_image
from stream_app.bundle.load import Bundle
from stream_app.bundle.text import pad_tokens, token_bucket

BATCHES = (1, 2, 4, 8, 16, 32)
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
What = Literal["image", "text", "fuse", "pair"]
#: An ordinary alarm text has about this many tokens.
TEXT_TOKENS = 16


class ProviderMissingError(RuntimeError):
    """A provider that was asked for does not work on this machine."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One batch size of one part: median time of a run, ms, and the rate per second that follows."""

    provider: str
    what: What
    batch: int
    latency_ms: float
    per_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, and on what."""

    bundle: str
    sha256: str
    onnxruntime: str
    threads: int
    text_tokens: int
    figures: tuple[Figure, ...]

    def table(self) -> str:
        """Return it as a Markdown table."""
        lines = [
            f"{self.bundle}; ONNX Runtime {self.onnxruntime}, threads {self.threads}, {self.text_tokens} tokens each",
            "",
            "| provider | part | batch | latency, ms | per second |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {f.provider} | {f.what} | {f.batch} | {f.latency_ms:.3f} | {f.per_s:,.0f} |" for f in self.figures
        ]
        return "\n".join(lines)


def measure_bundle(
    bundle: Bundle,
    *,
    providers: Sequence[str],
    batches: Sequence[int],
    threads: int,
    repeats: int,
    say: Callable[[str], None],
) -> Report:
    """Measure a bundle.

    Args:
        bundle: A loaded bundle.
        providers: Names in `PROVIDERS`; none: all that work here.
        batches: Rows of a run, at least 1 each.
        threads: Intra-operator threads on the CPU.
        repeats: Runs of each batch.
        say: Told which provider does not work here, where all are tried.

    Raises:
        ProviderMissingError: One that was asked for does not work here.
        GraphError: A run fails.
    """
    figures: list[Figure] = []
    tokens = min(token_bucket(TEXT_TOKENS, bundle.manifest.text.max_tokens), bundle.manifest.text.max_tokens)
    for name in providers or tuple(PROVIDERS):
        graphs = _opened(bundle, name, threads)
        if graphs is None:
            if providers:
                raise ProviderMissingError(f"--provider {name}: expected one that works on this machine, found none")
            say(f"{name}: does not work on this machine, left out")
            continue
        for batch in batches:
            figures += _figures(bundle, graphs, name, batch=batch, tokens=tokens, repeats=repeats)
    manifest = bundle.manifest
    return Report(
        bundle=f"{manifest.name} {manifest.version}",
        sha256=bundle.sha256,
        onnxruntime=str(onnxruntime.__version__),
        threads=threads,
        text_tokens=tokens,
        figures=tuple(figures),
    )


def _opened(bundle: Bundle, name: str, threads: int) -> Graphs | None:
    provider = PROVIDERS[name]
    if provider not in onnxruntime.get_available_providers() or (name != "cpu" and not _has_device()):
        return None
    if name != "cpu" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    try:
        graphs = Graphs(bundle, providers=[provider], intra_op_threads=threads)
    except BundleError:
        if name == "cpu":
            raise
        return None
    # The runtime falls back to the CPU silently.
    return graphs if graphs.provider == provider else None


def _has_device() -> bool:
    """Return whether an NVIDIA device is here; without one the runtime floods the terminal with load errors."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def _figures(bundle: Bundle, graphs: Graphs, provider: str, *, batch: int, tokens: int, repeats: int) -> list[Figure]:
    spec, text = bundle.manifest.image, bundle.manifest.text
    images = np.stack([self_check_image(seed % 16, spec.height, spec.width) for seed in range(batch)])
    most = bundle.tokenizer.vocabulary_size
    rng = np.random.default_rng(5)
    rows = [tuple(int(token) for token in rng.integers(0, most, tokens)) for _ in range(batch)]
    words, length = pad_tokens(rows, pad_id=text.pad_id)
    seen, read = graphs.encode_images(images), graphs.encode_texts(words, length)
    yes = np.ones(batch, np.float32)
    runs: dict[What, Callable[[], object]] = {
        "image": lambda: graphs.encode_images(images),
        "text": lambda: graphs.encode_texts(words, length),
        "fuse": lambda: graphs.fuse(seen, read, yes, yes),
        "pair": lambda: graphs.fuse(graphs.encode_images(images), graphs.encode_texts(words, length), yes, yes),
    }
    found = []
    for what, run in runs.items():
        seconds = median_s(run, repeats)
        found.append(
            Figure(
                provider=provider,
                what=what,
                batch=batch,
                latency_ms=round(1000 * seconds, 4),
                per_s=round(batch / seconds, 2),
            )
        )
    return found


def median_s(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of `repeats` runs after two warm-up runs, seconds, above 0."""
    for _ in range(2):
        run()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return max(statistics.median(times), 1e-9)
