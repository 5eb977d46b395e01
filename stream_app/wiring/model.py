"""From a bundle on disk to a warmed scorer, and to what the core needs to know of the model."""

from __future__ import annotations

import dataclasses
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from stream_app.adapters.decoding.pool import DecodePool, DecodeSettings
from stream_app.adapters.inference.engine import Engine, EngineSettings
from stream_app.adapters.inference.scorer import BatchingScorer, ScorerSettings
from stream_app.bundle.demo import demo_bundle_path
from stream_app.bundle.load import Bundle, load_bundle
from stream_app.bundle.signature import fingerprint, read_public_key, require_trusted
from stream_app.config.thresholds import override_labels
from stream_app.core.score import micro_logit
from stream_app.core.types import LabelRule, Model
from stream_app.terminal.lines import echo_at_the_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream_app.config import LoadedSettings, Operational, Semantic

_log = structlog.get_logger("vigil.model")
#: The exit status of a worker whose inference hangs; the supervisor starts it again.
HUNG_STATUS = 70


class Inference(msgspec.Struct, frozen=True):
    """A scorer that is ready, and what it is made of."""

    scorer: BatchingScorer
    decoder: DecodePool
    engine: Engine
    bundle: Bundle
    model: Model


def bundle_directory(operational: Operational) -> Path:
    """Return the bundle's directory: the setting, else the demo bundle that comes with the package."""
    return Path(operational.bundle) if operational.bundle else demo_bundle_path()


def with_bundle(loaded: LoadedSettings, directory: Path, max_image_pixels: int) -> LoadedSettings:
    """Return settings for another bundle, by whose own thresholds it judges, and for pictures up to this size."""
    operational = msgspec.structs.replace(loaded.operational, bundle=str(directory))
    semantic = msgspec.structs.replace(loaded.semantic, max_image_pixels=max_image_pixels)
    return dataclasses.replace(loaded, operational=operational, semantic=semantic, thresholds=())


def trusted_bundle(operational: Operational) -> Bundle:
    """Load the bundle and refuse an untrusted one.

    Raises:
        BundleError: if the bundle is damaged, its signature wrong, or missing where it is asked for.
    """
    key = read_public_key(Path(operational.bundle_key)) if operational.bundle_key else None
    bundle = load_bundle(bundle_directory(operational))
    trust = require_trusted(bundle, key=key, allows_unsigned=operational.allow_unsigned)
    about = {"path": str(bundle.path), "sha256": bundle.sha256, "trust": trust}
    if trust == "allowed":
        _log.warning("bundle", **about, notice="no signature was checked: allow_unsigned is set")
    else:
        _log.info("bundle", **about, key=fingerprint(key) if key is not None and trust == "signed" else None)
    return bundle


def model_of(bundle: Bundle, loaded: LoadedSettings) -> Model:
    """Return what the core needs to know of a bundle, thresholds overridden where the settings say so.

    Raises:
        SettingsError: if an override names no label of the bundle.
    """
    manifest = bundle.manifest
    labels = tuple(
        LabelRule(label.name, label.alerts, micro_logit(label.open_at), micro_logit(label.close_at))
        for label in manifest.labels
    )
    return Model(manifest.name, manifest.version, bundle.sha256, override_labels(labels, loaded.thresholds))


def engine_settings(operational: Operational) -> EngineSettings:
    """Return what the engine is told."""
    return EngineSettings(
        provider=operational.provider,
        intra_op_threads=operational.ort_threads,
        batch_images=operational.batch_images,
        batch_texts=operational.batch_texts,
        batch_rows=operational.batch_pairs,
        engine_cache=operational.tensorrt_cache,
    )


def decode_settings(operational: Operational, semantic: Semantic) -> DecodeSettings:
    """Return what the decode pool is told."""
    return DecodeSettings(
        children=operational.decode_children,
        time_limit_s=operational.decode_timeout_ms / 1_000,
        memory_bytes=operational.decode_memory_mb * 1024 * 1024,
        max_pixels=semantic.max_image_pixels,
    )


def scorer_settings(operational: Operational) -> ScorerSettings:
    """Return what the scorer is told."""
    return ScorerSettings(
        max_in_flight=operational.scorer_in_flight,
        cache_bytes=operational.feature_bytes,
        watchdog_s=operational.watchdog_s,
    )


@asynccontextmanager
async def inference(loaded: LoadedSettings) -> AsyncIterator[Inference]:
    """Load, verify and warm a model, and close everything after.

    Raises:
        BundleError: if the bundle is refused, or not trusted.
        ProviderError: if a required execution provider does not run.
        DecodePoolError: if decoding processes cannot be started.
    """
    operational = loaded.operational
    bundle = trusted_bundle(operational)
    engine = Engine.open(
        bundle,
        on_notice=lambda sentence: _log.warning("inference", notice=sentence),
        settings=engine_settings(operational),
    )
    decoder = DecodePool(bundle.manifest.image, settings=decode_settings(operational, loaded.semantic))
    scorer = BatchingScorer(
        bundle, engine=engine, decoder=decoder, on_hang=_end_hung, settings=scorer_settings(operational)
    )
    await decoder.start()
    try:
        scorer.start()
        yield Inference(scorer, decoder, engine, bundle, model_of(bundle, loaded))
    finally:
        await scorer.close()
        await decoder.close()


def _end_hung(sentence: str) -> None:
    """End the process from the watchdog's thread: what hangs cannot be asked to stop, and silence would be worse."""
    echo_at_the_end(f"vigil: {sentence}; this process ends so that another can take its tasks over")
    os._exit(HUNG_STATUS)
