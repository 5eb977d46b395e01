"""Digests: whatever differs in a record or a message shows, and a step's are of exactly what lies up to its cut."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.digest import OutputDigest, digest_of_all, record_digest
from stream_app.core.settings import Semantic
from stream_app.core.types import Side, Unreadable
from tests.core.drive import T0, Raw, Scores, Shell, raw_frame, raw_text

if TYPE_CHECKING:
    from stream_app.core.types import RawRecord

TEXT, FRAME = Side.TEXT, Side.FRAME
RAW = Raw(7, T0, b"x", b"value", [("ce_id", b"1"), ("camera", b"c1")])

_BYTES = st.none() | st.binary(max_size=3)
_HEADERS = st.lists(st.tuples(st.text("ab", max_size=2), _BYTES), max_size=3)
_RECORDS = st.tuples(st.sampled_from(Side), st.integers(0, 2), st.integers(-1, 2), _BYTES, _BYTES, _HEADERS.map(tuple))


def _of(side: Side, *parts: Any) -> bytes:  # noqa: ANN401 - whatever a record may have
    return record_digest(side, Raw(*parts))


@given(_RECORDS, _RECORDS)
def test_two_records_have_one_digest_only_if_they_are_equal_in_every_part(one: Any, other: Any) -> None:  # noqa: ANN401
    assert (_of(*one) == _of(*other)) == (one == other)


@pytest.mark.parametrize(
    "other",
    [
        Raw(8, T0, b"x", b"value", RAW.headers),
        Raw(7, T0 + 1, b"x", b"value", RAW.headers),
        Raw(7, T0, b"xv", b"alue", RAW.headers),
        Raw(7, T0, b"x", b"valuf", RAW.headers),
        Raw(7, T0, None, b"value", RAW.headers),
        Raw(7, T0, b"", b"value", RAW.headers),
        Raw(7, T0, b"x", None, RAW.headers),
        Raw(7, T0, b"x", b"value", [*RAW.headers[::-1]]),
        Raw(7, T0, b"x", b"value", [("ce_id", b"1c"), ("amera", b"c1")]),
        Raw(7, T0, b"x", b"value", RAW.headers[:1]),
    ],
    ids=lambda raw: f"{raw.offset} {raw.key} {raw.value} {raw.headers}",
)
def test_a_record_that_differs_anywhere_has_another_digest(other: Raw) -> None:
    assert record_digest(FRAME, other) != record_digest(FRAME, RAW)
    assert record_digest(TEXT, RAW) != record_digest(FRAME, RAW)


def test_headers_in_a_list_or_in_a_tuple_are_the_same_headers() -> None:
    assert record_digest(FRAME, Raw(7, T0, b"x", b"v", tuple(RAW.headers))) == record_digest(
        FRAME, Raw(7, T0, b"x", b"v", list(RAW.headers))
    )


def test_what_cannot_be_read_is_told_by_what_is_lost_and_why() -> None:
    lost = [
        Unreadable(offset=9, first_offset=first, timestamp=T0, reason=reason, detail=detail)
        for first, reason, detail in ((9, "record", ""), (8, "record", ""), (9, "batch-crc", ""), (9, "record", "x"))
    ]
    digests = {record_digest(TEXT, one) for one in lost} | {record_digest(TEXT, Raw(9, T0, None, None, ()))}
    assert len(digests) == len(lost) + 1


def test_the_form_of_a_digest_is_the_one_that_the_documents_state() -> None:
    # MessagePack by hand: an array of six, two small integers, a 64-bit integer, binary strings, nil, an array.
    found = _of(FRAME, 3, T0, b"k", None, [("n", b""), ("m", None)])
    framed = b"\x96\x01\x03\xcf" + T0.to_bytes(8, "big") + b"\xc4\x01k" + b"\xc0"
    framed += b"\x92" + b"\x92\xa1n\xc4\x00" + b"\x92\xa1m\xc0"
    assert found == blake2b(framed, digest_size=16).digest()
    output = OutputDigest()
    output.add("t", b"k", None, (("n", b"v"),))
    output.add("t", None, b"", ())
    framed = b"\x94\xa1t\xc4\x01k\xc0\x91\x92\xa1n\xc4\x01v" + b"\x94\xa1t\xc0\xc4\x00\x90"
    assert output.hex == blake2b(framed, digest_size=16).hexdigest()


# -- of a step --------------------------------------------------------------------------------------------------------


def _expected(*taken: tuple[Side, RawRecord]) -> str:
    return digest_of_all(b"".join(record_digest(side, raw) for side, raw in taken))


def _step_inputs(shell: Shell) -> str:
    step = shell.begin_commit()
    assert step is not None
    shell.confirm()
    return step.inputs


def test_the_inputs_of_a_step_are_all_records_in_merge_order_refused_ones_and_duplicates_too() -> None:
    shell = Shell(Semantic(), Scores())
    lost = Unreadable(offset=2, first_offset=1, timestamp=T0 + 4, reason="batch-crc", detail="")
    taken: list[tuple[Side, Any]] = [
        (FRAME, raw_frame(5, T0)),
        (TEXT, raw_text(0, T0 + 1, identity="a")),
        (FRAME, Raw(6, T0 + 2, None, b"no key")),
        (TEXT, raw_text(1, T0 + 3, identity="a")),
        (TEXT, lost),
    ]
    for side, raw in taken:
        shell.live(side, raw)
    shell.score_all()
    assert _step_inputs(shell) == _expected(*taken)
    shell.task.set_thinning(1)
    assert _step_inputs(shell) == _expected(), "a step that took nothing in"


def test_what_waits_for_a_score_and_all_behind_it_is_in_a_later_step() -> None:
    shell = Shell(Semantic(), Scores())
    before = [(FRAME, raw_frame(0, T0)), (FRAME, raw_frame(1, T0 + 1, zone="y"))]
    behind = [(TEXT, raw_text(0, T0 + 2)), (FRAME, Raw(2, T0 + 3, None, b""))]
    for side, raw in [*before, *behind]:
        shell.live(side, raw)
    assert _step_inputs(shell) == _expected(*before)
    shell.score_all()
    assert _step_inputs(shell) == _expected(*behind)


def test_records_that_come_again_below_the_position_are_no_input_of_the_step() -> None:
    shell = Shell(Semantic(), Scores())
    shell.live(FRAME, raw_frame(0, T0))
    shell.commit()
    shell.give(FRAME, raw_frame(0, T0))
    shell.live(FRAME, raw_frame(1, T0 + 1))
    assert _step_inputs(shell) == _expected((FRAME, raw_frame(1, T0 + 1)))
