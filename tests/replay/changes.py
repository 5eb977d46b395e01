"""Changes to a recording that verification has to find: each one is small, and somewhere in what is verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from stream_app.core.checkpoint import decode_checkpoint, encode_checkpoint
from stream_app.core.journal import JournalSkipped, JournalSwitch, JournalText, JournalThinning, JournalTick
from stream_app.wire.journal import JournalKeyframe, JournalRecord, decode_journal, encode_journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from stream_app.core.types import Model
    from stream_app.replay.recording import Kind, TopicRecord
    from tests.replay.recorded import Recorded

    Change = Callable[[Recorded, Random], bool]


def _journal(recorded: Recorded) -> list[tuple[int, JournalRecord]]:
    """Return the journal's records behind the first keyframe, with their places."""
    found = [(place, decode_journal(one.value or b"")) for place, one in enumerate(recorded.topics[("journal", 0)])]
    begin = next(place for place, record in found if record.keyframe is not None)
    return [(place, record) for place, record in found if place > begin and record.step is not None]


def _write(recorded: Recorded, place: int, record: JournalRecord) -> None:
    records = recorded.topics[("journal", 0)]
    records[place] = replace(records[place], value=encode_journal(record))


def _inputs(recorded: Recorded, kind: Kind, *, is_behind_first: bool = False) -> list[int]:
    """Return the places of inputs that took theirs in no later life; behind the first step if that is to be."""
    journal = _journal(recorded)
    steps = [record.step for _, record in journal if record.step is not None]
    below = [step.next_text if kind == "texts" else step.next_frame for step in steps]
    first = decode_journal(recorded.topics[("journal", 0)][0].value or b"").step
    assert first is not None
    low = (first.next_text if kind == "texts" else first.next_frame) if is_behind_first else 0
    return [place for place, one in enumerate(recorded.topics[(kind, 0)]) if low <= one.offset < max(below)]


def _outputs(recorded: Recorded, kind: Kind) -> list[tuple[tuple[Kind, int], int]]:
    return [
        (topic, place)
        for topic, records in sorted(recorded.topics.items())
        if topic[0] == kind
        for place in range(len(records))
    ]


def _exchange(recorded: Recorded, topic: tuple[Kind, int], place: int, **parts: Any) -> bool:  # noqa: ANN401
    records = recorded.topics[topic]
    records[place] = replace(records[place], **parts)
    return True


def _flipped(data: bytes, random: Random, *, low: int = 0) -> bytes:
    at = random.randrange(low, len(data))
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def flip_in_input(kind: Kind) -> Change:
    """Flip a bit in a value: of a text in its words, of a frame behind the header that admission reads."""

    def change(recorded: Recorded, random: Random) -> bool:
        records = recorded.topics[(kind, 0)]
        low = 10 if kind == "texts" else 36
        places = [place for place in _inputs(recorded, kind) if len(records[place].value or b"") > low]
        place = random.choice(places)
        return _exchange(recorded, (kind, 0), place, value=_flipped(records[place].value or b"", random, low=low))

    return change


def in_input(kind: Kind, **parts: Callable[[TopicRecord], Any]) -> Change:
    """Change another part of an input."""

    def change(recorded: Recorded, random: Random) -> bool:
        place = random.choice(_inputs(recorded, kind))
        one = recorded.topics[(kind, 0)][place]
        return _exchange(recorded, (kind, 0), place, **{name: make(one) for name, make in parts.items()})

    return change


def in_lost(**parts: Any) -> Change:  # noqa: ANN401
    """Change what is said of an input that no client can read; without parts, say nothing of that."""

    def change(recorded: Recorded, random: Random) -> bool:
        kinds: tuple[Kind, ...] = ("texts", "frames")
        places = [
            (kind, place)
            for kind in kinds
            for place in _inputs(recorded, kind)
            if recorded.topics[(kind, 0)][place].lost is not None
        ]
        if not places:
            return False
        kind, place = random.choice(places)
        lost = recorded.topics[(kind, 0)][place].lost
        assert lost is not None
        return _exchange(recorded, (kind, 0), place, lost=replace(lost, **parts) if parts else None)

    return change


def drop_input(kind: Kind) -> Change:
    """Leave an input out. Without one of its first step, a task cannot be told from one that began earlier."""

    def change(recorded: Recorded, random: Random) -> bool:
        del recorded.topics[(kind, 0)][random.choice(_inputs(recorded, kind, is_behind_first=True))]
        return True

    return change


def double_input(kind: Kind) -> Change:
    """Record an input twice, the second time under an offset of its own: offsets leave room for it."""

    def change(recorded: Recorded, random: Random) -> bool:
        records = recorded.topics[(kind, 0)]
        place = random.choice(_inputs(recorded, kind)[:-1])
        records.insert(place + 1, replace(records[place], offset=records[place].offset + 1))
        return True

    return change


def flip_in_output(kind: Kind, part: str = "value") -> Change:
    """Flip a bit in an output."""

    def change(recorded: Recorded, random: Random) -> bool:
        places = [one for one in _outputs(recorded, kind) if getattr(recorded.topics[one[0]][one[1]], part)]
        if not places:
            return False
        topic, place = random.choice(places)
        return _exchange(
            recorded, topic, place, **{part: _flipped(getattr(recorded.topics[topic][place], part), random)}
        )

    return change


def header_of_output(kind: Kind) -> Change:
    """Change a header of an output by which it is not found."""

    def change(recorded: Recorded, random: Random) -> bool:
        places = _outputs(recorded, kind)
        if not places:
            return False
        topic, place = random.choice(places)
        headers = recorded.topics[topic][place].headers
        changed = {"ce_subject", "vigil_detail"}
        return _exchange(
            recorded, topic, place, headers=tuple((name, b"?" if name in changed else one) for name, one in headers)
        )

    return change


def drop_output(kind: Kind) -> Change:
    """Leave an output out."""

    def change(recorded: Recorded, random: Random) -> bool:
        places = _outputs(recorded, kind)
        if not places:
            return False
        topic, place = random.choice(places)
        del recorded.topics[topic][place]
        return True

    return change


def change_score(recorded: Recorded, random: Random) -> bool:
    """Change a score by one millionth of a logit: neither its probability nor its decision is another."""
    places = _outputs(recorded, "decisions")
    random.shuffle(places)
    for topic, place in places:
        value = recorded.topics[topic][place].value or b""
        said = msgspec.json.decode(value)
        assert msgspec.json.encode(said) == value
        if said["logits"]:
            said["logits"][next(iter(said["logits"]))] += 1
            return _exchange(recorded, topic, place, value=msgspec.json.encode(said))
    return False


def double_output(kind: Kind) -> Change:
    """Record an output twice in a row."""

    def change(recorded: Recorded, random: Random) -> bool:
        places = _outputs(recorded, kind)
        if not places:
            return False
        topic, place = random.choice(places)
        records = recorded.topics[topic]
        records[place + 1 :] = [records[place], *records[place + 1 :]]
        records[place + 1 :] = [replace(one, offset=one.offset + 1) for one in records[place + 1 :]]
        return True

    return change


def swap_outputs(kind: Kind) -> Change:
    """Exchange two neighbours on a partition."""

    def change(recorded: Recorded, random: Random) -> bool:
        places = _outputs(recorded, kind)
        pairs = [(topic, place) for topic, place in places if (topic, place + 1) in places]
        if not pairs:
            return False
        topic, place = random.choice(pairs)
        records = recorded.topics[topic]
        one, other = records[place], records[place + 1]
        records[place] = replace(other, offset=one.offset, timestamp=one.timestamp)
        records[place + 1] = replace(one, offset=other.offset, timestamp=other.timestamp)
        return True

    return change


def in_journal(edit: Callable[[JournalRecord, Random], JournalRecord | None]) -> Change:
    """Edit a record of the journal; None where it has nothing to be edited."""

    def change(recorded: Recorded, random: Random) -> bool:
        journal = _journal(recorded)
        random.shuffle(journal)
        for place, record in journal:
            edited = edit(record, random)
            if edited is not None and edited != record:
                _write(recorded, place, edited)
                return True
        return False

    return change


def drop_journal(recorded: Recorded, random: Random) -> bool:
    """Leave a journal record out."""
    # Without the last, the recording ends earlier, and that is all.
    del recorded.topics[("journal", 0)][random.choice(_journal(recorded)[:-1])[0]]
    return True


def double_journal(recorded: Recorded, random: Random) -> bool:
    """Record a journal record twice."""
    records = recorded.topics[("journal", 0)]
    place = random.choice(_journal(recorded))[0]
    records.insert(place, records[place])
    return True


def swap_journal(recorded: Recorded, random: Random) -> bool:
    """Exchange two neighbours of the journal."""
    journal, records = dict(_journal(recorded)), recorded.topics[("journal", 0)]
    place = random.choice([place for place in journal if place + 1 in journal])
    one, other = records[place].value, records[place + 1].value
    return _exchange(recorded, ("journal", 0), place, value=other) and _exchange(
        recorded, ("journal", 0), place + 1, value=one
    )


def move_keyframe(recorded: Recorded, random: Random) -> bool:
    """Put a keyframe beside another cut."""
    journal = _journal(recorded)
    place, record = random.choice([one for one in journal if one[1].keyframe is not None])
    other, onto = random.choice([one for one in journal if one[0] != place and one[1].keyframe is None])
    _write(recorded, other, replace(onto, keyframe=record.keyframe, epoch=record.epoch))
    _write(recorded, place, replace(record, keyframe=None))
    return True


def _edited_entry(kind: type, **parts: Callable[[Any], Any]) -> Callable[[JournalRecord, Random], JournalRecord | None]:
    def edit(record: JournalRecord, random: Random) -> JournalRecord | None:
        places = [place for place, entry in enumerate(record.entries) if isinstance(entry, kind)]
        if not places:
            return None
        place, entries = random.choice(places), list(record.entries)
        entries[place] = replace(entries[place], **{name: make(entries[place]) for name, make in parts.items()})
        return replace(record, entries=tuple(entries))

    return edit


def _swapped_entries(record: JournalRecord, random: Random) -> JournalRecord | None:
    if len(record.entries) < 2:
        return None
    place, entries = random.randrange(len(record.entries) - 1), list(record.entries)
    entries[place : place + 2] = entries[place : place + 2][::-1]
    return replace(record, entries=tuple(entries))


def _dropped_entry(record: JournalRecord, random: Random) -> JournalRecord | None:
    if not record.entries:
        return None
    place = random.randrange(len(record.entries))
    return replace(record, entries=(*record.entries[:place], *record.entries[place + 1 :]))


def _skipped_for_text(record: JournalRecord, random: Random) -> JournalRecord | None:
    del random
    entries = tuple(
        JournalSkipped(entry.offset, entry.next_frame) if isinstance(entry, JournalText) else entry
        for entry in record.entries
    )
    return replace(record, entries=entries)


_later_text = _edited_entry(JournalText, next_frame=lambda one: one.next_frame + 2)


def _other_threshold(model: Model | None) -> Model:
    assert model is not None
    first, *others = model.labels
    return replace(model, labels=(replace(first, open_at=first.open_at + 1), *others))


def _step(**parts: Callable[[Any], Any]) -> Callable[[JournalRecord, Random], JournalRecord | None]:
    def edit(record: JournalRecord, random: Random) -> JournalRecord | None:
        del random
        assert record.step is not None
        return replace(record, step=replace(record.step, **{name: make(record.step) for name, make in parts.items()}))

    return edit


def _keyframe(**parts: Callable[[Any], Any]) -> Callable[[JournalRecord, Random], JournalRecord | None]:
    def edit(record: JournalRecord, random: Random) -> JournalRecord | None:
        del random
        if record.keyframe is None:
            return None
        found = decode_checkpoint(record.keyframe.checkpoint)
        found = replace(found, **{name: make(found) for name, make in parts.items()})
        return replace(record, keyframe=JournalKeyframe(checkpoint=encode_checkpoint(found)))

    return edit


def _flipped_keyframe(record: JournalRecord, random: Random) -> JournalRecord | None:
    if record.keyframe is None:
        return None
    data = record.keyframe.checkpoint
    return replace(record, keyframe=JournalKeyframe(checkpoint=_flipped(data, random, low=len(data) // 2)))


def first_keyframe(**parts: Callable[[Any], Any]) -> Change:
    """Change the state that everything begins with: it shows no later than at the next keyframe."""

    def change(recorded: Recorded, random: Random) -> bool:
        del random
        journal = [decode_journal(one.value or b"") for one in recorded.topics[("journal", 0)]]
        place = next(place for place, record in enumerate(journal) if record.keyframe is not None)
        record, following = journal[place], journal[place + 1 :]
        assert record.keyframe is not None
        if next(one for one in following if one.keyframe is not None or one.step is None).keyframe is None:
            # A reset drops what it would show in.
            return False
        found = decode_checkpoint(record.keyframe.checkpoint)
        found = replace(found, **{name: make(found) for name, make in parts.items()})
        _write(recorded, place, replace(record, keyframe=JournalKeyframe(checkpoint=encode_checkpoint(found))))
        return True

    return change


def _provider(record: JournalRecord, random: Random) -> JournalRecord | None:
    del random
    return None if record.epoch is None else replace(record, epoch=replace(record.epoch, provider="GPU"))


_DIGEST = "0" * 32
INPUTS, JOURNAL = {"inputs"}, {"journal", "inputs", "keyframe", "decisions", "outputs", "alerts", "dead_letters"}
#: What is changed, and as what it may show.
CHANGES: dict[str, tuple[Change, set[str]]] = {
    "a bit of a text": (flip_in_input("texts"), INPUTS),
    "a bit of a picture": (flip_in_input("frames"), INPUTS),
    "the append time of a text": (in_input("texts", timestamp=lambda one: one.timestamp + 1), INPUTS),
    "the append time of a frame": (in_input("frames", timestamp=lambda one: one.timestamp - 1), INPUTS),
    "the key of a text": (in_input("texts", key=lambda one: (one.key or b"") + b"z"), INPUTS),
    "the key of a frame that is empty for one that is missing": (in_input("frames", key=lambda _: None), INPUTS),
    "a header of a text": (in_input("texts", headers=lambda one: (*one.headers, ("trace", b"1"))), INPUTS),
    "a header without content": (in_input("frames", headers=lambda one: (*one.headers, ("a", None))), INPUTS),
    "the reason of what nobody can read": (in_lost(reason="batch-size"), INPUTS),
    "the detail of what nobody can read": (in_lost(detail="?"), INPUTS),
    "the first offset of what nobody can read": (in_lost(first_offset=1), INPUTS),
    "what nobody can read as if it could be read": (in_lost(), INPUTS),
    "a text left out": (drop_input("texts"), {"inputs", "journal"}),
    "a frame left out": (drop_input("frames"), INPUTS),
    "a text twice": (double_input("texts"), {"inputs", "journal"}),
    "a frame twice": (double_input("frames"), INPUTS),
    "a bit of an alert": (flip_in_output("alerts"), {"alerts"}),
    "a bit of a decision": (flip_in_output("decisions"), JOURNAL),
    "a score": (change_score, JOURNAL),
    "a bit of a dead letter": (flip_in_output("dead_letters"), {"dead_letters"}),
    "a bit of an alert's key": (flip_in_output("alerts", "key"), {"alerts"}),
    "a bit of a decision's key": (flip_in_output("decisions", "key"), {"decisions"}),
    "a header of an alert": (header_of_output("alerts"), {"alerts"}),
    "a header of a decision": (header_of_output("decisions"), {"decisions"}),
    "a header of a dead letter": (header_of_output("dead_letters"), {"dead_letters"}),
    "an alert left out": (drop_output("alerts"), {"alerts"}),
    "a decision left out": (drop_output("decisions"), {"decisions"}),
    "a dead letter left out": (drop_output("dead_letters"), {"dead_letters"}),
    "an alert twice": (double_output("alerts"), {"alerts"}),
    "a decision twice": (double_output("decisions"), {"decisions"}),
    "a dead letter twice": (double_output("dead_letters"), {"dead_letters"}),
    "two alerts exchanged": (swap_outputs("alerts"), {"alerts"}),
    "two decisions exchanged": (swap_outputs("decisions"), {"decisions"}),
    "two dead letters exchanged": (swap_outputs("dead_letters"), {"dead_letters"}),
    "a journal record left out": (drop_journal, JOURNAL),
    "a journal record twice": (double_journal, JOURNAL),
    "two journal records exchanged": (swap_journal, JOURNAL),
    "two entries exchanged": (in_journal(_swapped_entries), JOURNAL),
    "an entry left out": (in_journal(_dropped_entry), JOURNAL),
    "a text one frame later": (in_journal(_later_text), JOURNAL),
    "a text as one that was not admitted": (in_journal(_skipped_for_text), {"journal"}),
    "a tick a millisecond later": (in_journal(_edited_entry(JournalTick, to_ms=lambda one: one.to_ms + 1)), JOURNAL),
    "another thinning level": (in_journal(_edited_entry(JournalThinning, level=lambda one: 3 - one.level)), JOURNAL),
    "another threshold": (
        in_journal(_edited_entry(JournalSwitch, full_model=lambda one: _other_threshold(one.full_model))), JOURNAL,
    ),
    "another settings hash": (in_journal(_edited_entry(JournalSwitch, settings=lambda _: "99" * 32)), JOURNAL),
    "another provider": (in_journal(_provider), {"decisions", "alerts", "outputs"}),
    "another cut": (in_journal(_step(sequence=lambda one: one.sequence + 1)), {"journal"}),
    "another stream time at the cut": (in_journal(_step(stream_ms=lambda one: one.stream_ms + 1)), {"journal"}),
    "another digest of inputs": (in_journal(_step(inputs=lambda _: _DIGEST)), INPUTS),
    "another digest of outputs": (in_journal(_step(outputs=lambda _: _DIGEST)), {"outputs"}),
    "a keyframe elsewhere": (move_keyframe, {"keyframe", "outputs"}),
    "a bit of a keyframe": (in_journal(_flipped_keyframe), {"keyframe"}),
    "a keyframe's newest append time": (in_journal(_keyframe(append_ms=lambda one: one.append_ms + 1)), {"keyframe"}),
    "a keyframe's counters": (in_journal(_keyframe(totals=lambda one: {**one.totals, "x": 1})), {"keyframe"}),
    "the first keyframe's counters": (
        first_keyframe(totals=lambda one: {**one.totals, "texts.received": 10**6}), {"keyframe"},
    ),
    "a keyframe's threshold": (in_journal(_keyframe(model=lambda one: _other_threshold(one.model))), {"keyframe"}),
}  # fmt: skip
