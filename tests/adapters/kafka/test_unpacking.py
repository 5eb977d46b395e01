"""Whatever the bytes of a batch are, its readable records come out, and the others are named, each in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from stream_app.adapters.kafka.batches import split
from stream_app.adapters.kafka.unpacking import HEADER_BYTES, RECORD_BYTES, UnreadableRecord, unpack
from stream_app.config import Operational
from stream_app.core.types import NO_TIME_MS
from tests.adapters.batches import APPENDED_MS, COMPRESS, batch, bomb, field, record, varint

if TYPE_CHECKING:
    from collections.abc import Sequence

_TP = TopicPartition("vigil.texts", 3)
_MIB = 1 << 20

BATCH_BYTES = Operational().batch_bytes


def _unpacked(data: bytes, bound: int = BATCH_BYTES) -> list[ConsumerRecord[bytes, bytes] | UnreadableRecord]:
    return [record for head in split(data) for record in unpack(data, head, _TP, bound)]


def _outcome(data: bytes, bound: int = BATCH_BYTES) -> list[tuple[int, str]]:
    """Return each offset with the reason of its refusal, empty for a sound record."""
    return [
        (one.offset, one.reason if isinstance(one, UnreadableRecord) else "") for one in _unpacked(data, bound=bound)
    ]


@pytest.mark.parametrize("codec", COMPRESS)
@pytest.mark.parametrize("bound", [BATCH_BYTES, 100_000], ids=["read whole", "read one by one"])
def test_sound_batches_of_every_codec_come_out_as_they_went_in(codec: str, bound: int) -> None:
    headers = [(b"ce_id", b"7"), (b"empty", b""), ("\u00fc".encode(), None)]
    told = [record(0, b"a fire", headers=headers), record(1, None, key=None), record(2, b"x" * 4_000)]
    first, second, third = _unpacked(batch(told, codec=codec, base=40), bound)
    assert isinstance(first, ConsumerRecord)
    assert (first.topic, first.partition, first.offset, first.timestamp) == ("vigil.texts", 3, 40, APPENDED_MS)
    assert (first.key, first.value) == (b"zone", b"a fire")
    assert first.headers == (("ce_id", b"7"), ("empty", b""), ("\u00fc", None))
    assert (first.serialized_key_size, first.serialized_value_size, first.timestamp_type) == (4, 6, 1)
    assert (second.key, second.value, second.offset) == (None, None, 41)
    assert (third.value, third.offset) == (b"x" * 4_000, 42)


def test_a_producers_own_times_are_kept() -> None:
    data = batch([record(0, delta_ms=5), record(1, delta_ms=-5)], attributes=0)
    assert [one.timestamp for one in _unpacked(data)] == [APPENDED_MS + 5, APPENDED_MS - 5]


@pytest.mark.parametrize("bound", [BATCH_BYTES, 10_000], ids=["read whole", "read one by one"])
def test_holes_that_compaction_left_are_no_flaw(bound: int) -> None:
    data = batch([record(2), record(5), record(9)], base=100, last_delta=12)
    assert _outcome(data, bound) == [(102, ""), (105, ""), (109, "")]


def test_a_header_name_that_is_not_utf8_costs_only_its_own_record() -> None:
    bad = record(1, headers=[(b"camera", b"c1"), (b"\xff\x1b[2Jname", b"x"), (b"ce_id", b"7")])
    data = batch([record(0), bad, record(2)], base=7)
    assert _outcome(data) == [(7, ""), (8, "headers"), (9, "")]
    found = _unpacked(data)[1]
    assert isinstance(found, UnreadableRecord)
    assert (found.key, found.value, found.timestamp) == (b"zone", b"a fire", APPENDED_MS)
    assert found.headers == (("camera", b"c1"), ("ce_id", b"7"))
    assert found.detail == r"expected a name in UTF-8, found b'\xff\x1b[2Jname'"
    assert found.first_offset == found.offset
    assert found.place == "vigil.texts/3/8"


#: From the key on, what a record may say that is not so.
_LIES = {
    "a key longer than the record": field(b"zone", size=4_000),
    "a key of negative length": field(b"zone", size=-5),
    "a value longer than the record": field(b"zone") + field(b"fire", size=1 << 40),
    "a value of negative length": field(b"zone") + field(b"fire", size=-(1 << 62)),
    "headers without end": field(b"zone") + field(b"fire") + varint(1 << 50),
    "a negative number of headers": field(b"zone") + field(b"fire") + varint(-1),
    "a header without a name": field(b"zone") + field(b"fire") + varint(1) + field(None) + field(b"x"),
    "a header name longer than the record": field(b"zone") + field(b"fire") + varint(1) + field(b"n", size=99) + b"\1",
    "a header value longer than the record": field(b"zone")
    + field(b"fire")
    + varint(1)
    + field(b"n")
    + field(b"", size=9),
    "bytes left over": field(b"zone") + field(b"fire") + varint(0) + b"xyz",
    "cut off": field(b"zone"),
    "a number without end": b"\xff" * 20,
}


@pytest.mark.parametrize("lie", _LIES)
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_record_whose_lengths_lie_costs_only_itself(lie: str, codec: str) -> None:
    data = batch([record(0), record(1, rest=_LIES[lie]), record(2)], codec=codec, base=7)
    assert _outcome(data) == [(7, ""), (8, "record"), (9, "")]
    found = _unpacked(data)[1]
    assert found.timestamp == APPENDED_MS
    assert found.value in {None, b"fire"}


@pytest.mark.parametrize("bound", [BATCH_BYTES, 2_000], ids=["read whole", "read one by one"])
def test_a_header_value_of_any_negative_length_is_none(bound: int) -> None:
    rest = field(b"zone") + field(b"fire") + varint(1) + field(b"n") + field(b"", size=-2)
    (found,) = _unpacked(batch([record(0, rest=rest)]), bound)
    assert found.headers == (("n", None),)


@pytest.mark.parametrize("length", [varint(-3), varint(0), varint(9_999), b"\xff" * 11], ids=["<0", "0", "long", "oo"])
def test_where_the_next_record_begins_cannot_be_known_the_rest_of_the_batch_is_lost(length: bytes) -> None:
    data = batch([record(0), length + record(1), record(2)], base=7) + batch([record(0)], base=10)
    assert _outcome(data) == [(7, ""), (9, "batch-format"), (10, "")]
    found = _unpacked(data)[1]
    assert isinstance(found, UnreadableRecord)
    assert (found.first_offset, found.timestamp, found.place) == (8, APPENDED_MS, "vigil.texts/3/8-9")


@pytest.mark.parametrize(
    ("deltas", "reasons"),
    [
        ((0, 0, 0), ("", "record", "record")),
        ((2, 1, 0), ("record", "", "record")),
        ((0, 1_000_000, 2), ("", "record", "")),
        ((-4, 1, 2), ("record", "", "")),
        ((0, 1, 1 << 62), ("", "", "record")),
    ],
)
def test_offsets_that_lie_move_no_position(deltas: Sequence[int], reasons: Sequence[str]) -> None:
    data = batch([record(delta) for delta in deltas], base=7)
    assert _outcome(data) == list(zip((7, 8, 9), reasons, strict=True))


@pytest.mark.parametrize("delta_ms", [1 << 60, -(1 << 60)])
def test_a_time_that_nobody_can_write_is_a_flaw(delta_ms: int) -> None:
    data = batch([record(0), record(1, delta_ms=delta_ms)], attributes=0)
    assert _outcome(data) == [(0, ""), (1, "record")]
    assert _unpacked(data)[1].timestamp == NO_TIME_MS


@pytest.mark.parametrize(
    ("head", "reason", "why"),
    [
        ({"count": 9, "last_delta": 2}, "batch-format", "claims 9 records for 3 offsets"),
        ({"count": -1, "last_delta": 2}, "batch-format", "claims -1 records"),
        ({"count": 2, "last_delta": -7}, "batch-format", "claims 2 records for 1 offsets"),
        ({"attributes": 0x0D}, "batch-codec", "found number 5"),
        ({"codec": "gzip", "packed": b"no gzip at all"}, "batch-codec", "gzip: "),
        ({"codec": "snappy", "packed": b""}, "batch-codec", "snappy: "),
        ({"codec": "lz4", "packed": b"\x04\x22\x4d\x18"}, "batch-codec", "lz4: "),
        ({"codec": "zstd", "packed": b"\x28\xb5\x2f\xfd"}, "batch-codec", "zstd: "),
        ({"count": 2_000_000_000, "last_delta": 2_000_000_000}, "batch-size", "2000000000 records take more"),
    ],
)
def test_a_batch_that_cannot_be_read_is_one_loss_with_its_coordinates(head: Any, reason: str, why: str) -> None:  # noqa: ANN401
    data = batch([record(0), record(1), record(2)], base=7, **head)
    data += batch([record(0)], base=3_000_000_000)
    (lost, sound) = _unpacked(data)
    assert isinstance(lost, UnreadableRecord)
    assert lost.reason == reason
    assert why in lost.detail
    last = 7 + max(head.get("last_delta", 2), 0)
    assert (lost.first_offset, lost.offset, lost.timestamp) == (7, last, APPENDED_MS)
    assert lost.detail.startswith(f"offsets 7-{last}: ")
    assert sound.offset == 3_000_000_000


@pytest.mark.parametrize("magic", [0, 1, 3, 127])
def test_other_message_formats_are_a_loss_that_names_them(magic: int) -> None:
    data = batch([record(0)], base=7, magic=magic) + batch([record(0)], base=8)
    assert _outcome(data) == [(7, "batch-format"), (8, "")]


@pytest.mark.parametrize("length", [-1, 0, 4, 20])
def test_a_batch_that_lies_about_its_length_ends_what_can_be_read_of_a_response(length: int) -> None:
    whole = batch([record(0)], base=7)
    data = whole + whole[:8] + length.to_bytes(4, "big", signed=True) + whole[12:]
    assert [reason for _, reason in _outcome(data)] == ["", "batch-format"]


def test_a_batch_that_is_cut_off_is_left_to_the_next_fetch() -> None:
    whole = batch([record(0)], base=7)
    for cut in range(len(whole)):
        assert _outcome(whole + whole[:cut]) == [(7, "")]


@pytest.mark.parametrize("codec", [name for name in COMPRESS if name != "none"])
def test_a_bomb_is_a_loss_and_what_follows_it_is_read(codec: str) -> None:
    data = batch([], codec=codec, packed=bomb(codec, 200 * _MIB), count=5) + batch([record(0)], base=5)
    assert _outcome(data) == [(4, "batch-size"), (5, "")]


def test_a_hundred_thousand_compressed_texts_in_one_batch_pass() -> None:
    value = b'{"text": "motion at the north gate", "severity": 3}'
    data = batch([record(number, value) for number in range(100_000)], codec="zstd")
    assert len(data) < _MIB
    assert [one.value for one in _unpacked(data)] == [value] * 100_000


def test_records_and_headers_count_by_what_they_take_in_memory() -> None:
    # Two million empty records are 16 MB unpacked, and a gigabyte as objects.
    empty = record(0, b"", key=b"")
    assert _outcome(batch([empty], count=2_000_000)) == [(1_999_999, "batch-size")]
    size, headers = 100_000, 500
    full = [record(number, headers=[(b"", b"")] * headers) for number in range(3)]
    room = size - len(b"".join(full)) - 3 * RECORD_BYTES
    assert room // (headers * HEADER_BYTES) == 1
    assert _outcome(batch(full), size) == [(0, ""), (1, "headers"), (2, "headers")]


@given(st.data())
def test_however_bytes_are_mangled_every_offset_is_told_of_at_most_once_and_in_order(data: st.DataObject) -> None:
    made = [record(number, headers=[(b"camera", b"c1")]) for number in range(3)]
    good = bytearray(batch(made, base=7, codec=data.draw(st.sampled_from(list(COMPRESS)))))
    for at in data.draw(st.lists(st.integers(16, len(good) - 1), min_size=1, max_size=6)):
        good[at] = data.draw(st.integers(0, 255))
    found = _outcome(bytes(good), data.draw(st.sampled_from([BATCH_BYTES, 5_000])))
    offsets = [offset for offset, _ in found]
    assert offsets == sorted(set(offsets))
    assert all(offset >= 7 for offset in offsets)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.binary(max_size=9)),
            st.one_of(st.none(), st.binary(max_size=300)),
            st.lists(st.tuples(st.text(max_size=5), st.one_of(st.none(), st.binary(max_size=9))), max_size=3),
            st.integers(0, 100_000),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_both_ways_to_read_agree_with_what_aiokafka_wrote(records: list[Any]) -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for offset, (key, value, headers, later_ms) in enumerate(records):
        builder.append(offset, APPENDED_MS + later_ms, key, value, headers)
    data = bytes(builder.build())
    whole = _unpacked(data)
    # With so little room it is read record by record, and what headers there are still fits.
    room = len(data) + len(records) * (RECORD_BYTES + 3 * HEADER_BYTES)
    assert _unpacked(data, room) == whole
    assert [(one.key, one.value, list(one.headers)) for one in whole] == [one[:3] for one in records]
