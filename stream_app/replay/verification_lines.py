"""What verifying found, in lines for people.

In: a verification, and what came of scoring again. Out: lines; names in them come from strangers, and whoever shows
them makes them harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.wire.message import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stream_app.replay.rescored import Flip, Rescored
    from stream_app.replay.verification import Gap, TaskVerification, Verification

_ORDER = ("steps", "keyframes", "texts", "frames", "alerts", "decisions", "dead_letters")


def verification_lines(verification: Verification, rescored: Rescored | None = None) -> list[str]:
    """Return all lines but the last, which says what it comes to."""
    lines = [line for task in verification.tasks for line in _task(task)]
    if verification.unread:
        lines.append(f"{verification.unread:,} records of output topics are of none of these tasks, or cannot be read")
    if verification.torn:
        lines.append(f"NOT read to its end: {verification.torn}")
    return lines if rescored is None else [*lines, *_rescored(rescored)]


def _task(task: TaskVerification) -> Iterator[str]:
    is_unverified = task.begun is None and task.status == "equal"
    yield f"task {task.partition}: {'not verified' if is_unverified else task.status}"
    if task.begun is None:
        yield "  verified    nothing: no keyframe, reset or beginning in it whose inputs are there"
    else:
        end = "" if task.reached_ms is None else f" to {format_time(task.reached_ms)}"
        begin = "its first record" if task.begun_ms is None else format_time(task.begun_ms)
        yield f"  verified    {_counts(task.verified)}; from sequence {task.begun:,}, {begin}{end}"
    if task.before:
        yield f"  in front    {_counts(task.before)}: of the time before that{' or of a gap' if task.gaps else ''}"
    if task.after:
        yield f"  behind      {_counts(task.after)}: no step in the recording is of them, or its end cuts it off"
    for gap in task.gaps:
        yield f"  GAP         {_extent(gap)}: {gap.why}"
    if task.without_digests:
        yield f"  no digests  in {task.without_digests:,} steps: not every byte of their inputs is compared"
    if task.difference is not None:
        yield from (f"  {line}" for line in task.difference.words().splitlines())


def _extent(gap: Gap) -> str:
    end = "its end" if gap.until_ms is None else format_time(gap.until_ms)
    unusable = f", over {gap.unusable:,} more keyframes that cannot be used" if gap.unusable else ""
    begin = f"from sequence {gap.sequence:,}, {format_time(gap.stream_ms)}" if gap.sequence else "from its beginning"
    return f"{begin} to {end}{unusable}"


def _counts(counts: Mapping[str, int]) -> str:
    named = [f"{counts[name]:,} {name.replace('_', ' ')}" for name in _ORDER if counts.get(name)]
    return ", ".join(named) or "no steps"


def _rescored(found: Rescored) -> Iterator[str]:
    yield f"scored again: {found.decisions:,} decisions, tolerance {found.tolerance:g}, band {found.band:g}"
    yield from (f"  {note}" for note in found.notes)
    for one in found.labels:
        yield (
            f"  {one.label}: greatest |dp| {one.greatest:.6f}, typical {one.typical:.6f}, {one.scores:,} scores; "
            f"flips {one.flips_inside:,} inside the band, {one.flips_outside:,} outside"
        )
    yield from map(_flip, found.flips)
    if found.failed_otherwise:
        yield f"  {found.failed_otherwise:,} decisions in which a side could be scored only once, then or now"
    for model, count in found.without_bundle.items():
        yield f"  NOT scored again: {count:,} decisions by {model}, which is not at hand; --bundle says where it is"


def _flip(flip: Flip) -> str:
    of = flip.of
    where = f"task {of.partition}, sequence {of.sequence}, {format_time(of.event_ms)}, {' and '.join(of.inputs)}"
    side = "inside" if flip.is_inside else "OUTSIDE"
    scores = f"{flip.recorded:.4f} recorded, {flip.again:.4f} again"
    return f"  flip {side} the band: {flip.label}, {flip.threshold} {flip.at:.4f}, {scores}: {where}"
