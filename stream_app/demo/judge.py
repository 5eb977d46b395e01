"""The judge: did every published record get what it was owed, exactly once? Imports nothing of the core.

In: what was published, and what a read_committed consumer found. Out: a list of faults, empty when all is right. The
rules are written down here a second time, from the promises in the documentation, not from the code that keeps them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_app.demo.truth import Outputs, Published, PublishedRecord, Window

#: (partition, offset) of a text and of a frame; None where the decision has no such side.
Coordinates = tuple[int, int]
_MAX_NAMED = 5


def judge(published: Published, outputs: Outputs, window: Window) -> list[str]:
    """Compare outputs with what was published.

    Args:
        published: every record that the broker confirmed.
        outputs: what is on the output topics once everything has settled.
        window: bounds of the join and the sampling distance.

    Returns:
        Faults in words; empty when every text was decided, every pair that was due was scored once, no pair is wrong,
        and every incident opened once, with its alerts numbered without a gap.
    """
    texts = {(text.partition, text.offset): text for text in published.texts}
    frames = {(frame.partition, frame.offset): frame for frame in published.frames}
    decided = [(_coordinates(decision, "text"), _coordinates(decision, "frame")) for decision in outputs.decisions]
    dead = {(letter["side"], int(letter["partition"]), int(letter["offset"])) for letter in outputs.dead_letters}
    late = {
        text
        for decision, (text, _) in zip(outputs.decisions, decided, strict=True)
        if text is not None and decision["late"]
    }
    return [
        *_twice("decision", Counter(decided)),
        *_undecided(texts, decided, dead),
        *_unknown(texts, frames, decided),
        *_wrong_pairs(texts, frames, decided, window),
        *_pairs_due(texts, frames, decided, dead, late, window),
        *_twice("alert", Counter(str(alert["id"]) for alert in outputs.alerts)),
        *_broken_incidents(outputs.alerts),
    ]


def _twice(what: str, counted: Counter[Any]) -> list[str]:
    found = [str(item) for item, number in counted.items() if number > 1]
    return _fault(f"{what}s more than once", found)


def _undecided(
    texts: dict[Coordinates, PublishedRecord],
    decided: list[tuple[Coordinates | None, Coordinates | None]],
    dead: set[tuple[str, int, int]],
) -> list[str]:
    known = {text for text, _ in decided}
    lost = [str(text) for text in texts if text not in known and ("text", *text) not in dead]
    return _fault("texts lost: neither decided nor a dead letter", lost)


def _unknown(
    texts: dict[Coordinates, PublishedRecord],
    frames: dict[Coordinates, PublishedRecord],
    decided: list[tuple[Coordinates | None, Coordinates | None]],
) -> list[str]:
    invented = [
        f"text {text_at}, frame {frame_at}"
        for text_at, frame_at in decided
        if (text_at is not None and text_at not in texts) or (frame_at is not None and frame_at not in frames)
    ]
    return _fault("decisions of records that nobody published", invented)


def _wrong_pairs(
    texts: dict[Coordinates, PublishedRecord],
    frames: dict[Coordinates, PublishedRecord],
    decided: list[tuple[Coordinates | None, Coordinates | None]],
    window: Window,
) -> list[str]:
    wrong: list[str] = []
    for text_at, frame_at in decided:
        if text_at is None or frame_at is None:
            continue
        text, frame = texts.get(text_at), frames.get(frame_at)
        if text is None or frame is None or not _fits(text, frame, window):
            wrong.append(f"text {text_at} with frame {frame_at}")
    return _fault("wrong pairs", wrong)


def _pairs_due(
    texts: dict[Coordinates, PublishedRecord],
    frames: dict[Coordinates, PublishedRecord],
    decided: list[tuple[Coordinates | None, Coordinates | None]],
    dead: set[tuple[str, int, int]],
    late: set[Coordinates],
    window: Window,
) -> list[str]:
    """For a text that was in time: per camera and sampling bucket the frame with the lowest offset, and no other.

    A frame that came late, as on a machine that is too busy to play in time, pairs with what is still held. Nobody
    outside knows what that was, so such a frame may have its bucket and need not.
    """
    by_zone: dict[tuple[int, str], list[PublishedRecord]] = defaultdict(list)
    for frame in sorted(frames.values(), key=lambda frame: frame.offset):
        if ("frame", frame.partition, frame.offset) not in dead or any(
            at == (frame.partition, frame.offset) for _, at in decided
        ):
            by_zone[frame.partition, frame.zone].append(frame)
    scored: dict[Coordinates, set[Coordinates | None]] = defaultdict(set)
    for text_at, frame_at in decided:
        if text_at is not None:
            scored[text_at].add(frame_at)
    faults: list[str] = []
    for text_at, text in texts.items():
        if text_at in late or text_at not in scored:
            continue
        slots: dict[tuple[str, int], list[PublishedRecord]] = defaultdict(list)
        for frame in by_zone[text.partition, text.zone]:
            if _fits(text, frame, window):
                slots[frame.camera, frame.event_ms // window.sample_ms].append(frame)
        if not _is_right(scored[text_at], slots.values(), window):
            due = [str((frame.partition, frame.offset)) for slot in slots.values() for frame in slot]
            faults.append(f"text {text_at}: one of each bucket of {due}, scored {sorted(map(str, scored[text_at]))}")
    return _fault("texts with other pairs than were due", faults)


def _is_right(found: set[Coordinates | None], slots: Iterable[Sequence[PublishedRecord]], window: Window) -> bool:
    """Return whether a text met one frame of each bucket: the first that came in time, or a late one before it."""
    left = set(found)
    for slot in slots:
        in_time = next((place for place, frame in enumerate(slot) if not _may_be_late(frame, window)), None)
        allowed = {(frame.partition, frame.offset) for frame in slot[: len(slot) if in_time is None else in_time + 1]}
        met = left & allowed
        if len(met) > 1 or (not met and in_time is not None):
            return False
        left -= met
    return left == ({None} if found == {None} else set())


def _may_be_late(frame: PublishedRecord, window: Window) -> bool:
    """Return whether stream time, which never runs ahead of append time, may have passed the frame's close."""
    return frame.append_ms > frame.event_ms + window.after_ms + window.grace_ms


def _broken_incidents(alerts: Iterable[dict[str, Any]]) -> list[str]:
    by_incident: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for alert in alerts:
        if "incident" in alert:
            by_incident[str(alert["incident"])].append(alert)
    broken: list[str] = []
    for incident, phases in by_incident.items():
        numbers = [alert["number"] for alert in phases]
        opened = [alert for alert in phases if alert["phase"] == "opened"]
        is_right = numbers == list(range(1, len(numbers) + 1)) and len(opened) == 1 and phases[0] is opened[0]
        closings = [alert for alert in phases if alert["phase"] == "closed"]
        if not is_right or len(closings) > 1 or (closings and phases[-1] is not closings[0]):
            broken.append(f"{incident}: {[(alert['phase'], alert['number']) for alert in phases]}")
    return _fault("incidents whose alerts do not follow each other", broken)


def _fits(text: PublishedRecord, frame: PublishedRecord, window: Window) -> bool:
    is_same_place = text.zone == frame.zone and text.partition == frame.partition
    return is_same_place and frame.event_ms - window.before_ms <= text.event_ms <= frame.event_ms + window.after_ms


def _coordinates(decision: dict[str, Any], kind: str) -> Coordinates | None:
    for evidence in decision["evidence"]:
        if evidence["kind"] == kind:
            return (evidence["partition"], evidence["offset"])
    return None


def _fault(what: str, found: list[str]) -> list[str]:
    if not found:
        return []
    more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
    return [f"{len(found)} {what}: {'; '.join(found[:_MAX_NAMED])}{more}"]


def to_ms(moment: str) -> int:
    """Return an RFC 3339 time in ms since the epoch."""
    return round(datetime.fromisoformat(moment).timestamp() * 1_000)
