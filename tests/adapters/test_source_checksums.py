"""Corrupt batches are found: the same ones that aiokafka's own check finds, before anybody reads them."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v4
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from stream_app.adapters.source import CorruptRecordsError
from stream_app.adapters.source.checksums import IS_FAST, check_records, check_what_comes

_TP = TopicPartition("vigil.frames", 3)
_NEW, _OLD = 2, 1
#: Where the bytes begin that the CRC of a new batch covers.
_COVERED_FROM = 21


def _batch(values: list[bytes], magic: int = _NEW) -> bytes:
    if magic == _OLD:
        old = LegacyRecordBatchBuilder(1, 0, 1 << 20)
        for offset, value in enumerate(values):
            old.append(offset, 1_700_000_000_000, b"zone", value)
        return bytes(old.build())
    new = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for offset, value in enumerate(values):
        new.append(offset, 1_700_000_000_000, b"zone", value, [("camera", b"c")])
    return bytes(new.build())


def _with_bit_flipped(records: bytes, at: int, bit: int = 0) -> bytes:
    return records[:at] + bytes((records[at] ^ 1 << bit,)) + records[at + 1 :]


@pytest.mark.parametrize("magic", [_NEW, _OLD])
def test_whole_batches_pass_and_a_cut_off_one_is_left_to_the_next_fetch(magic: int) -> None:
    batch = _batch([b"\xff\xd8 an image" * 50], magic)
    check_records(batch + batch, _TP)
    check_records(batch + _with_bit_flipped(batch, len(batch) - 2)[:-1], _TP)
    check_records(batch + batch[:5], _TP)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.data())
def test_every_flipped_bit_that_aiokafka_finds_is_found(values: list[bytes], data: st.DataObject) -> None:
    good = _batch(values)
    bad = _with_bit_flipped(good, data.draw(st.integers(_COVERED_FROM, len(good) - 1)), data.draw(st.integers(0, 7)))
    assert not DefaultRecordBatch(bad).validate_crc()
    with pytest.raises(CorruptRecordsError, match=r"vigil\.frames-3 sent a corrupt batch at offset 0: expected CRC"):
        check_records(good * 2 + bad, _TP)


def test_a_corrupt_batch_of_the_old_formats_is_found() -> None:
    good = _batch([b"image"], _OLD)
    with pytest.raises(CorruptRecordsError, match="corrupt batch"):
        check_records(good + _with_bit_flipped(good, len(good) - 1), _TP)


class Client:
    """A client that answers everything with one response."""

    def __init__(self, response: Any) -> None:  # noqa: ANN401
        self.response = response

    async def send(self, _node_id: int, _request: Any, *, group: str = "") -> Any:  # noqa: ANN401
        assert group in {"", "coordination"}
        return self.response


def _response(records: bytes) -> FetchResponse_v4:
    partitions: list[tuple[Any, ...]] = [(3, 0, 9, 9, [], records), (4, 0, 0, 0, [], b"")]
    return FetchResponse_v4(throttle_time_ms=0, topics=[("vigil.frames", partitions)])


def test_a_client_hands_no_corrupt_response_to_its_caller() -> None:
    good = _response(_batch([b"image"]))
    bad = _response(_with_bit_flipped(_batch([b"image"]), 70))
    fetch = FetchRequest(100, 1, 1_000_000, 1, [("vigil.frames", [(3, 0, 1_000_000)])])
    client = Client(good)
    check_what_comes(client)
    assert asyncio.run(client.send(0, fetch, group="coordination")) is good
    client.response = bad
    assert asyncio.run(client.send(0, MetadataRequest([]))) is bad, "what is no fetch has no batches"
    with pytest.raises(CorruptRecordsError):
        asyncio.run(client.send(0, fetch))


def test_the_check_uses_the_processor() -> None:
    assert IS_FAST, "google-crc32c has no C extension here: the source falls back to aiokafka's slow check"
