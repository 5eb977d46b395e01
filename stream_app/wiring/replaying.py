"""Composes replays and comparisons: recordings on disk, bundles and settings in; a report out."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stream_app.bundle.errors import BundleError
from stream_app.config import change_settings, is_semantic, load_settings, override_labels, settings_sha256
from stream_app.core.types import InForce
from stream_app.replay.evidence import Shown, evidence_in
from stream_app.replay.in_force import recorded_in_force
from stream_app.replay.recording import RecordingError
from stream_app.replay.screen import screen_of
from stream_app.replay.session import Asked, Entrant, Named, compare_recorded, judge_recordings
from stream_app.replay.track import Pace
from stream_app.wiring.garbage import seldom_collected
from stream_app.wiring.model import Inference, bundle_directory, inference, model_of, with_bundle
from stream_app.wiring.recordings import Beside, open_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream_app.config import LoadedSettings, Operational, Semantic
    from stream_app.replay.canonical import Reached
    from stream_app.replay.incidents import Incident
    from stream_app.replay.report import Report
    from stream_app.replay.rewriting import Rewriter
    from stream_app.wiring.writing import Written


class Choice(msgspec.Struct, frozen=True):
    """One side as it is asked for: a bundle in place of the recorded one, and settings changed by ``name=value``."""

    bundle: Path | None = None
    assignments: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """How it differs from what was recorded, for people."""
        parts = [] if self.bundle is None else [f"bundle {self.bundle}"]
        return ", ".join([*parts, *self.assignments]) or "as recorded"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be judged, by whom, and what is to be said of it. The first choice is the base.

    ``out`` is where the replay is written to, of one recording and one choice; None: nowhere.
    ``beside`` is what is to be known of MCAP files of other tools.
    """

    paths: tuple[Path, ...]
    choices: tuple[Choice, ...]
    asked: Asked
    has_page: bool = False
    out: Path | None = None
    beside: Beside = Beside()


async def run_plan(
    plan: Plan,
    loaded: LoadedSettings,
    *,
    drawn: Named | None = None,
    tell: Callable[[str, Reached], None] = lambda _, __: None,
    tell_written: Callable[[Written], None] = lambda _: None,
) -> tuple[Report, Shown | None]:
    """Judge recordings, and look up what is shown of them.

    Args:
        plan: what is asked for.
        loaded: operational settings, and what is in force where a recording does not say it.
        drawn: a recording that is no file, judged before those of the plan.
        tell: is told about the progress.
        tell_written: is told what was written, however it ended.

    Returns:
        The report, and frames and sentences where a page is wanted.

    Raises:
        RecordingError: if a recording cannot be read.
        BundleError: if a bundle is refused, or is not the recorded one where that is asked for.
        SettingsError: if a setting does not fit.
        OutError: if the replay cannot be written.
    """
    async with AsyncExitStack() as stack:
        recordings = [_named(path, plan.beside, stack) for path in plan.paths]
        if drawn is not None:
            recordings.insert(0, drawn)
        largest = _largest_pixels(recordings, plan.choices, loaded)
        ready: dict[Path, Inference] = {}
        entrants = []
        for choice in plan.choices:
            directory = (choice.bundle or plan.choices[0].bundle or bundle_directory(loaded.operational)).resolve()
            if directory not in ready:
                prepared = with_bundle(loaded, directory, largest)
                ready[directory] = await stack.enter_async_context(inference(prepared))
            is_given = (choice.bundle or plan.choices[0].bundle) is not None
            judge = _Judge(choice, loaded, ready[directory], is_given=is_given)
            entrants.append(Entrant(choice.words, judge.in_force, ready[directory].scorer))
        notes = tuple(
            f"{named.name} does not say what was in force: judged by the settings and bundle in force here"
            for named in recordings
            if named.in_force is None
        )
        asked = msgspec.structs.replace(plan.asked, notes=(*plan.asked.notes, *notes))
        operational = loaded.operational
        pace = Pace(idle_ms=operational.idle_ms, limits=operational.limits)
        rewriter = None
        if plan.out is not None:
            (named,), (entrant,), (model,) = recordings, entrants, ready.values()
            rewriter = stack.enter_context(
                _rewriter(plan.out, named, entrant.in_force(named), model, operational, tell_written)
            )
        stack.enter_context(seldom_collected())
        report = await judge_recordings(recordings, entrants, asked, pace=pace, rewriter=rewriter, tell=tell)
        return report, _shown(recordings, report) if plan.has_page else None


def compare_files(
    paths: Sequence[Path],
    asked: Asked,
    *,
    has_page: bool,
) -> tuple[Report, Shown | None]:
    """Compare the alerts that recordings hold; see :func:`stream_app.replay.session.compare_recorded`.

    Raises:
        RecordingError: if a recording cannot be read.
    """
    with ExitStack() as stack:
        recordings = [_named(path, Beside(), stack) for path in paths]
        report = compare_recorded(recordings, asked)
        return report, _shown(recordings, report) if has_page else None


def judge_for_a_test(
    paths: Sequence[Path], bundle: Path | None, assignments: Sequence[str]
) -> tuple[tuple[Incident, ...], list[str]]:
    """Judge recordings for a test, whether or not an event loop runs around it.

    Args:
        paths: recordings.
        bundle: None for the recorded one.
        assignments: ``name=value``, of settings of both kinds.

    Returns:
        The incidents, and the lines that `vigil replay` would show.

    Raises:
        RecordingError: if a recording cannot be read, to its end.
        BundleError: if a bundle is refused, or is not the recorded one where that is asked for.
        SettingsError: if a setting does not fit.
    """
    loaded = load_settings(assignments=[one for one in assignments if not is_semantic(one)])
    choice = Choice(bundle, tuple(one for one in assignments if is_semantic(one)))
    plan = Plan(paths=tuple(paths), choices=(choice,), asked=Asked())
    with ThreadPoolExecutor(1) as thread:
        report, _ = thread.submit(lambda: asyncio.run(run_plan(plan, loaded))).result()
    if report.is_damaged:
        raise RecordingError("; ".join(report.notes))
    return report.base.incidents, screen_of(report)


class _Judge:
    """What one side puts in force for a recording."""

    def __init__(self, choice: Choice, loaded: LoadedSettings, ready: Inference, *, is_given: bool) -> None:
        self._choice = choice
        self._loaded = loaded
        self._bundle = ready.bundle
        self._is_given = is_given

    def in_force(self, named: Named) -> InForce:
        """Return it.

        Raises:
            BundleError: if the bundle at hand is not the recorded one, and was not asked for.
            SettingsError: if a change does not fit.
        """
        recorded = named.in_force
        if recorded is None:
            model, settings, name = model_of(self._bundle, self._loaded), self._loaded.semantic, self._loaded.sha256
        else:
            model, settings, name = recorded.model, recorded.settings, recorded.settings_sha256
        if model.sha256 != self._bundle.sha256:
            if not self._is_given:
                raise BundleError(
                    f"the bundle that judged when {named.name} was recorded",
                    expected=f"{model.name}/{model.version}, sha256 {model.sha256}",
                    found=f"sha256 {self._bundle.sha256} at {self._bundle.path}; --bundle says where the right one "
                    "is (of a comparison's base: --against --bundle), or which other is to judge",
                )
            # Thresholds that somebody set in place of the recorded bundle's are not for another.
            model = model_of(self._bundle, dataclasses.replace(self._loaded, thresholds=()))
        if not self._choice.assignments:
            return InForce(model, settings, name)
        settings, overrides = change_settings(settings, self._choice.assignments)
        model = msgspec.structs.replace(model, labels=override_labels(model.labels, overrides))
        return InForce(model, settings, settings_sha256(settings, overrides))


def _largest_pixels(recordings: Sequence[Named], choices: Sequence[Choice], loaded: LoadedSettings) -> int:
    """Return how large a picture some side admits, so that decoding, which they share, refuses none of them."""
    return max(
        change_settings(_settings_of(named, loaded), choice.assignments)[0].max_image_pixels
        for named in recordings
        for choice in choices
    )


def _settings_of(named: Named, loaded: LoadedSettings) -> Semantic:
    return loaded.semantic if named.in_force is None else named.in_force.settings


def _named(path: Path, beside: Beside, stack: ExitStack | AsyncExitStack) -> Named:
    recording = open_recording(path, beside=beside)
    if isinstance(recording, AbstractContextManager):
        # One of files; others have nothing to close.
        stack.enter_context(recording)
    return Named(os.fspath(path), recording, recorded_in_force(recording))


def _rewriter(
    out: Path, named: Named, in_force: InForce, model: Inference, operational: Operational,
    tell: Callable[[Written], None],
) -> AbstractContextManager[Rewriter]:  # fmt: skip
    # Here and not at the top: a replay of a recording in memory needs no library of files.
    from stream_app.wiring.writing import rewriter_to  # noqa: PLC0415

    return rewriter_to(out, named.recording, in_force, model, operational, tell)


def _shown(recordings: Sequence[Named], report: Report) -> Shown:
    return evidence_in((named.recording for named in recordings), report.shown)
