"""Finds and opens the bundles that score a recording again.

In: a recording, bundles on disk, settings. Out: an onlooker for its verification, ready to score.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from stream_app.bundle.errors import BundleError
from stream_app.bundle.load import load_bundle
from stream_app.replay.in_force import recorded_in_force
from stream_app.replay.rescoring import Judge, Rescoring
from stream_app.wiring.model import bundle_directory, inference, with_bundle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from stream_app.bundle.load import Bundle
    from stream_app.config import LoadedSettings
    from stream_app.core.types import InForce, Model
    from stream_app.replay.recording import Recording
    from stream_app.wiring.verifying import Rescore


class Again(msgspec.Struct, frozen=True):
    """What scores again, and what has to be known of it."""

    onlooker: Rescoring
    notes: tuple[str, ...]


@asynccontextmanager
async def rescoring(recording: Recording, rescore: Rescore, loaded: LoadedSettings) -> AsyncIterator[Again]:
    """Open the bundles, and close them after.

    Every recorded model is scored by the bundle of its hash among those that are given, or by the one that is given
    alone, or, where none is given, by the one of the settings if that is it.

    Raises:
        BundleError: if the model that the recording names first cannot be scored so, or a bundle is refused.
    """
    in_force = recorded_in_force(recording)
    bundles = [load_bundle(path) for path in rescore.bundles or (bundle_directory(loaded.operational),)]
    alone = bundles[0] if len(rescore.bundles) == 1 else None
    if in_force is not None:
        _require_at_hand(in_force.model, bundles, alone)
    largest = max(loaded.semantic.max_image_pixels, 0 if in_force is None else in_force.settings.max_image_pixels)
    async with AsyncExitStack() as stack:
        judges: dict[str, Judge] = {}
        for bundle in bundles:
            if bundle.sha256 not in judges:
                ready = await stack.enter_async_context(inference(with_bundle(loaded, bundle.path, largest)))
                labels = tuple(label.name for label in ready.bundle.manifest.labels)
                judges[bundle.sha256] = Judge(ready.scorer, labels)
        in_place = None if alone is None else judges[alone.sha256]
        onlooker = Rescoring(
            lambda model: judges.get(model.sha256, in_place), band=rescore.band, tolerance=rescore.tolerance
        )
        stack.callback(onlooker.close)
        yield Again(onlooker, () if in_force is None or alone is None else _notes(in_force, alone))


def _require_at_hand(model: Model, bundles: Sequence[Bundle], alone: Bundle | None) -> None:
    expected = f"{model.name}/{model.version}, sha256 {model.sha256}"
    if alone is not None:
        labels = [label.name for label in alone.manifest.labels]
        if not {label.name for label in model.labels} & set(labels):
            names = ", ".join(label.name for label in model.labels)
            raise BundleError(
                f"bundle {alone.path}", expected=f"a label that was scored ({names})", found=", ".join(labels)
            )
    elif all(bundle.sha256 != model.sha256 for bundle in bundles):
        found = ", ".join(f"sha256 {bundle.sha256} at {bundle.path}" for bundle in bundles)
        raise BundleError(
            "the bundle that judged when this was recorded",
            expected=expected,
            found=f"{found}; --bundle says where the right one is, or alone which other is to score",
        )


def _notes(in_force: InForce, alone: Bundle) -> tuple[str, ...]:
    model = in_force.model
    if alone.sha256 == model.sha256:
        return ()
    manifest = alone.manifest
    left = [label.name for label in model.labels if label.name not in {one.name for one in manifest.labels}]
    notes = [f"by {manifest.name}/{manifest.version}, sha256 {alone.sha256}, in place of {model.name}/{model.version}"]
    if left:
        notes.append(f"labels that it does not have are not compared: {', '.join(left)}")
    return tuple(notes)
