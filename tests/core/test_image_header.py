"""Image headers: what is read, what is refused, and that nothing else ever happens."""

import contextlib
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.image_header import ImageHeaderError, read_image_header

_PIXELS = np.random.default_rng(0).integers(0, 255, (37, 53, 3)).astype(np.uint8)


def _encoded(extension: str, *options: int) -> bytes:
    return cv2.imencode(extension, _PIXELS, list(options))[1].tobytes()


def _jpeg(*segments: bytes, width: int = 53, height: int = 37, frame_marker: int = 0xC0) -> bytes:
    frame = bytes([0xFF, frame_marker]) + b"\x00\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return b"\xff\xd8" + b"".join(segments) + frame + b"\x03\x01\x11\x00" + b"\xff\xda"


def _segment(code: int, size: int) -> bytes:
    return bytes([0xFF, code]) + (size + 2).to_bytes(2, "big") + b"\xff\xc0" * (size // 2) + b"x" * (size % 2)


_LOSSY = _encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 80)
_LOSSLESS = _encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
_EXTENDED = b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x34\x00\x00\x24\x00\x00"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("jpeg", _encoded(".jpg")),
        ("jpeg", _encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        ("png", _encoded(".png")),
        ("webp", _LOSSY),
        ("webp", _LOSSLESS),
        ("webp", _EXTENDED),
        ("webp", _EXTENDED + b"VP8 "),
    ],
)
def test_format_and_dimensions_are_read(kind: str, data: bytes) -> None:
    assert read_image_header(data) == (kind, 53, 37)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_dimensions_that_are_even_are_read(extension: str) -> None:
    even = cv2.imencode(extension, np.ascontiguousarray(_PIXELS[:36, :52]), [cv2.IMWRITE_WEBP_QUALITY, 101])[
        1
    ].tobytes()
    assert read_image_header(even)[1:] == (52, 36)


def test_an_extended_webp_says_one_less_than_its_canvas_has() -> None:
    assert read_image_header(_EXTENDED[:24] + b"\x33\0\0\x23\0\0")[1:] == (52, 36)


@pytest.mark.parametrize("data", [_encoded(".png")[:24], _LOSSY[:30], _LOSSLESS[:25]], ids=["png", "lossy", "lossless"])
def test_a_header_without_anything_behind_it_is_read(data: bytes) -> None:
    assert read_image_header(data)[1:] == (53, 37)


@pytest.mark.parametrize("code", sorted(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}))
def test_every_start_of_frame_marker_is_known(code: int) -> None:
    assert read_image_header(_jpeg(frame_marker=code)) == ("jpeg", 53, 37)


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param((_segment(0xE1, 65_533),), id="the largest EXIF segment, full of false frame markers"),
        pytest.param(tuple(_segment(0xE2, 60_000) for _ in range(20)), id="a colour profile over 20 segments"),
        pytest.param((b"\xff" * 50, _segment(0xDB, 64)), id="fill bytes before a marker"),
        pytest.param((_segment(0xDB, 64), b"stray"), id="stray bytes between segments"),
        pytest.param((_segment(0xC4, 30), _segment(0xCC, 4), b"\xff\x01", b"\xff\xd0"), id="tables and bare markers"),
    ],
)
def test_what_lies_before_the_frame_is_skipped(segments: tuple[bytes, ...]) -> None:
    assert read_image_header(_jpeg(*segments)) == ("jpeg", 53, 37)


@pytest.mark.parametrize("segment", [b"\xff\xe0\x00\x02", b"\xff\x01", b"\xff\x00"], ids=["empty", "bare", "stuffed"])
def test_so_many_segments_may_lie_before_the_frame_and_no_more(segment: bytes) -> None:
    assert read_image_header(_jpeg(*[segment] * 999)) == ("jpeg", 53, 37)
    with pytest.raises(ImageHeaderError, match="more than 1000 segments"):
        read_image_header(_jpeg(*[segment] * 1_000))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"GIF89a", "neither"),
        (b"\xff\xd8", "ends before"),
        (b"\xff\xd9" + _jpeg()[2:], "neither"),
        (b"\xff\xd8\xff\xda\x00\x04", "before its scan"),
        (_jpeg()[:8], "ends within"),
        # At an odd place.
        (_jpeg(_segment(0xDB, 3))[:17], "ends within"),
        (_jpeg(width=0), "0x37"),
        (b"\xff\xd8\xff\xe0\x00\x01" + b"x" * 20, "length 1"),
        (b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2000, "segments"),
        (_encoded(".png")[:23], "ends within"),
        (_LOSSY[:29], "ends within"),
        (_LOSSLESS[:24], "ends within"),
        (_EXTENDED[:29], "ends within"),
        (b"RIFF\x16\x00\x00\x00WEBPJUNK" + bytes(30), "without a VP8"),
        (b"XIFF\x16\x00\x00\x00WEBPVP8X" + bytes(30), "neither JPEG nor PNG nor WebP"),
        (b"RIFF\x16\x00\x00\x00WEBQVP8X" + bytes(30), "neither JPEG nor PNG nor WebP"),
    ],
)
def test_a_header_that_does_not_tell_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageHeaderError, match=reason):
        read_image_header(data)


@pytest.mark.parametrize(
    "data",
    [
        _jpeg(width=16_000, height=16_000),
        b"\xff\xd8" + b"\xff" * 8_000_000,
        b"\xff\xd8" + b"x" * 8_000_000,
        b"\xff\xd8" + b"\xff\xff\x01" * 2_700_000,
        b"\xff\xd8" + b"x\xff\x01" * 2_700_000,
    ],
    ids=["16000x16000", "fill bytes", "stray bytes", "fill bytes again and again", "stray bytes again and again"],
)
def test_no_header_costs_more_than_some_milliseconds(data: bytes) -> None:
    before = time.process_time()
    with contextlib.suppress(ImageHeaderError):
        read_image_header(data)
    # Two orders above what it takes, two orders below what a decoder or a quadratic search would take.
    assert time.process_time() - before < 0.5


_START = st.sampled_from(
    [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF    WEBPVP8 ", b"RIFF    WEBPVP8L"]
)
_MARKERS = st.lists(
    st.sampled_from([b"\xff", b"\xc0", b"\xe1", b"\x00", b"\x02", b"\x08", b"\xd8", b"\xc4"]), max_size=60
)


@settings(max_examples=500, deadline=None)
@given(_START, st.one_of(st.binary(max_size=80), _MARKERS.map(b"".join)))
def test_random_bytes_raise_nothing_but_the_header_error(start: bytes, rest: bytes) -> None:
    with contextlib.suppress(ImageHeaderError):
        header = read_image_header(start + rest)
        assert header.width > 0
        assert header.height > 0


@given(st.sampled_from([".jpg", ".png", ".webp"]).map(_encoded), st.integers(0, 3000))
def test_a_cut_header_is_refused_or_read_as_the_whole_one(data: bytes, size: int) -> None:
    with contextlib.suppress(ImageHeaderError):
        assert read_image_header(data[:size])[1:] == (53, 37)
