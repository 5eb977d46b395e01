"""Decompression within a bound: what fits comes out whole, what does not is refused before it takes memory."""

import resource
import subprocess
import sys

import pytest

from stream_app.adapters.kafka.inflate import InflateError, TooLargeError, inflate
from tests.adapters.batches import COMPRESS, GZIP, LZ4, SNAPPY, ZSTD, bomb

_PACKED = [name for name in COMPRESS if name != "none"]
_MIB = 1 << 20

#: Reads a bomb from its input; the address space is bounded, so that whoever allocates what it claims is killed by it.
_CHILD = """
import resource, sys
from stream_app.adapters.kafka.inflate import TooLargeError, inflate
packed = sys.stdin.buffer.read()
room = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    inflate(int(sys.argv[1]), packed, int(sys.argv[2]))
except TooLargeError as error:
    print(error)
"""


@pytest.mark.parametrize("codec", _PACKED)
@pytest.mark.parametrize("size", [1, 100, 70_000, 3 * _MIB])
def test_what_fits_comes_out_to_the_byte_and_one_byte_less_of_room_refuses_it(codec: str, size: int) -> None:
    data = (b"a fire at the gate %d, " * 9 + bytes(range(256)))[:size].ljust(size, b"z")
    number, compress = COMPRESS[codec]
    assert inflate(number, compress(data), size) == data
    if size > 1:
        with pytest.raises(TooLargeError, match=f"unpacks to more than {size - 1} bytes"):
            inflate(number, compress(data), size - 1)


@pytest.mark.parametrize("codec", _PACKED)
def test_a_bomb_takes_no_more_memory_than_the_bound_allows(codec: str) -> None:
    number, _ = COMPRESS[codec]
    packed, bound = bomb(codec, 512 * _MIB), 32 * _MIB
    arguments = [str(number), str(bound), str(4 * bound)]
    done = subprocess.run([sys.executable, "-c", _CHILD, *arguments], input=packed, capture_output=True, check=False)
    assert done.stdout.decode().strip() == f"unpacks to more than {bound} bytes", done.stderr.decode()


def test_a_lie_about_the_size_takes_no_memory_either() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLargeError):
        inflate(SNAPPY, b"\xff\xff\xff\xff\x0f" + b"\0" * 100, 64 * _MIB)
    # 8 bytes of content size: a terabyte.
    with pytest.raises(InflateError):
        inflate(ZSTD, b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\1\0\0", 64 * _MIB)
    with pytest.raises(InflateError):
        inflate(LZ4, b"\x04\x22\x4d\x18\x68\x40" + (1 << 40).to_bytes(8, "little") + b"\0" * 9, 64 * _MIB)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


@pytest.mark.parametrize("codec", _PACKED)
@pytest.mark.parametrize("flaw", ["empty", "cut off", "another codec's", "noise"])
def test_broken_input_is_an_error_of_ours(codec: str, flaw: str) -> None:
    number, compress = COMPRESS[codec]
    other = COMPRESS["zstd" if number == GZIP else "gzip"][1]
    whole = compress(b"a fire at the gate, " * 50)
    packed = {"empty": b"", "cut off": whole[:-9], "another codec's": other(b"a fire" * 50), "noise": b"\xff\x07" * 40}
    with pytest.raises(InflateError):
        inflate(number, packed[flaw], _MIB)


def test_an_unknown_codec_is_an_error_that_names_it() -> None:
    with pytest.raises(InflateError, match="found number 6"):
        inflate(6, b"", _MIB)


def test_a_second_member_of_a_gzip_stream_is_read_and_a_million_are_not() -> None:
    _, compress = COMPRESS["gzip"]
    assert inflate(GZIP, compress(b"a ") + compress(b"fire"), _MIB) == b"a fire"
    with pytest.raises(InflateError, match="expected at most 16 members"):
        inflate(GZIP, compress(b"") * 1_000, _MIB)
    with pytest.raises(TooLargeError):
        inflate(GZIP, compress(b"fire") * 3, 11)


@pytest.mark.parametrize("claims", [-1, -(1 << 31), 1 << 30])
def test_a_snappy_block_that_lies_about_its_length_is_an_error(claims: int) -> None:
    packed = b"\x82SNAPPY\0\0\0\0\1\0\0\0\1" + claims.to_bytes(4, "big", signed=True) + b"\0" * 8
    with pytest.raises(InflateError, match=f"claims {claims} bytes of 8"):
        inflate(SNAPPY, packed, _MIB)
