"""Images, texts and calibration: the same for training and serving, bounded, and exact where that is promised."""

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_app.bundle import BundleError
from stream_app.bundle.calibration import micro_logits, through
from stream_app.bundle.image import ImageError, decode_image, prepare_image, self_check_image
from stream_app.bundle.manifest import Calibration, ImageSpec, Scaling, TextSpec
from stream_app.bundle.text import Tokenizer, normalize_text, pad_tokens
from tests.bundle.tiny_bundle import write_tiny_bundle

_SPEC = ImageSpec(height=48, width=64)
_COARSE = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
_SMOOTH = np.asarray(cv2.resize(_COARSE, (320, 240), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _encoded(extension: str, rgb: np.ndarray = _SMOOTH) -> bytes:
    return cv2.imencode(extension, rgb[:, :, ::-1])[1].tobytes()


@pytest.mark.parametrize(("extension", "tolerance"), [(".jpg", 6), (".png", 0), (".webp", 8)])
def test_every_format_gives_the_same_picture(extension: str, tolerance: int) -> None:
    decoded = decode_image(_encoded(extension), _SPEC)
    assert decoded.shape == (48, 64, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - prepare_image(_SMOOTH, _SPEC)).mean() <= tolerance


def test_a_jpeg_is_decoded_at_the_smallest_scale_that_is_large_enough() -> None:
    data = _encoded(".jpg")
    quarter = simplejpeg.decode_jpeg(data, min_height=48, min_width=64)
    assert quarter.shape[0] < 240
    np.testing.assert_array_equal(decode_image(data, _SPEC), prepare_image(quarter, _SPEC))


def test_grey_cmyk_alpha_and_sixteen_bits_become_three_bytes_per_pixel() -> None:
    grey = np.full((60, 80, 1), 130, dtype=np.uint8)
    cases = [
        simplejpeg.encode_jpeg(grey, colorspace="GRAY"),
        simplejpeg.encode_jpeg(np.full((60, 80, 4), 130, dtype=np.uint8), colorspace="CMYK"),
        cv2.imencode(".png", grey)[1].tobytes(),
        cv2.imencode(".png", np.full((60, 80, 4), 130, dtype=np.uint8))[1].tobytes(),
        cv2.imencode(".png", np.full((60, 80, 3), 130 * 257, dtype=np.uint16))[1].tobytes(),
    ]
    decoded = [decode_image(data, _SPEC) for data in cases]
    assert [image.shape for image in decoded] == [(48, 64, 3)] * 5
    for index in (0, 2, 3, 4):
        assert np.abs(decoded[index].astype(int) - 130).max() <= 2


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_never_half_accepted(extension: str, kept: float) -> None:
    data = _encoded(extension)
    with pytest.raises(ImageError):
        decode_image(data[: int(len(data) * kept)], _SPEC)


@pytest.mark.parametrize("kept", range(20, 700, 40))
def test_a_jpeg_that_is_cut_in_its_headers_is_refused_in_words(kept: int) -> None:
    with pytest.raises(ImageError) as refused:
        decode_image(_encoded(".jpg")[:kept], _SPEC)
    assert len(str(refused.value).split()) > 3, refused.value


def _with_stray_bytes(data: bytes) -> bytes:
    at = data.index(b"\xff\xc0")
    return data[:at] + b"\x00\x00" + data[at:]


def _with_an_empty_spectrum(data: bytes) -> bytes:
    """Say in the header of the only scan that it ends with coefficient 0, as some cameras do, not 63."""
    at = data.index(b"\xff\xda")
    end_of_spectrum = at + int.from_bytes(data[at + 2 : at + 4], "big")
    assert data[end_of_spectrum] == 63
    return data[:end_of_spectrum] + b"\x00" + data[end_of_spectrum + 1 :]


def _with_a_broken_colour_profile(data: bytes) -> bytes:
    return data[:2] + b"\xff\xe2\x00\x12ICC_PROFILE\x00\x05\x01xx" + data[2:]


def _of_an_unknown_revision(data: bytes) -> bytes:
    return data.replace(b"JFIF\x00\x01", b"JFIF\x00\x09", 1)


@pytest.mark.parametrize(
    "spoil", [_with_stray_bytes, _with_an_empty_spectrum, _with_a_broken_colour_profile, _of_an_unknown_revision]
)
def test_what_harms_no_pixel_is_tolerated_but_not_a_truncation_behind_it(spoil: Callable[[bytes], bytes]) -> None:
    data = _encoded(".jpg")
    odd = spoil(data)
    assert odd != data
    assert np.abs(decode_image(odd, _SPEC).astype(int) - decode_image(data, _SPEC)).max() <= 8
    with pytest.raises(ImageError):
        decode_image(odd[: len(odd) // 2], _SPEC)


@settings(max_examples=150, deadline=None)
@example(".jpg", 171, bytes(7))
@given(st.sampled_from([".jpg", ".png", ".webp"]), st.integers(20, 4000), st.binary(min_size=1, max_size=40))
def test_damaged_images_give_a_picture_or_an_image_error(extension: str, at: int, damage: bytes) -> None:
    data = _encoded(extension, prepare_image(_SMOOTH, _SPEC))
    at %= len(data)
    try:
        decoded = decode_image(data[:at] + damage + data[at + len(damage) :], _SPEC)
    except ImageError:
        return
    assert decoded.shape == (48, 64, 3)


def test_the_self_check_image_follows_its_formula() -> None:
    image = self_check_image(7, 20, 30)
    assert image[19, 29, 2] == (7 * 97 + 19 * 31 + 29 * 17 + 2 * 59 + (29 * 19) % 251) % 256
    assert image.shape == (20, 30, 3)


@pytest.fixture(scope="module")
def tokenizer_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path: Path = write_tiny_bundle(tmp_path_factory.mktemp("bundles")) / "tokenizer.json"
    return path.read_bytes()


_TEXT = TextSpec(max_tokens=5, pad_id=0, max_chars=30)


def test_tokens_are_bounded_and_never_none(tokenizer_bytes: bytes) -> None:
    tokenizer = Tokenizer(tokenizer_bytes, _TEXT)
    assert tokenizer.encode("") == (0,)
    assert tokenizer.encode("   ") == (0,)
    assert len(tokenizer.encode("a " * 1_000_000)) == 5
    tokens, length = tokenizer.encode_batch(["a fight", "", "two men at the gate"])
    assert tokens.shape == (3, 5)
    assert tokens.dtype == length.dtype == np.int64
    assert length.tolist() == [2, 1, 5]


def test_a_text_that_spells_a_special_token_is_only_text(tokenizer_bytes: bytes) -> None:
    assert 0 not in Tokenizer(tokenizer_bytes, _TEXT).encode("[PAD] fight")


def test_normalisation_is_nfkc_and_bounded_before_and_after() -> None:
    assert normalize_text("ﬁght \uff21", _TEXT) == "fight A"
    assert len(normalize_text("\ufdfa" * 100, _TEXT)) == 30
    assert normalize_text("a\ud800b", _TEXT) == "a?b"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_every_text_gives_one_to_max_tokens_known_ids(tokenizer_bytes: bytes, text: str) -> None:
    tokenizer = Tokenizer(tokenizer_bytes, _TEXT)
    ids = tokenizer.encode(text)
    assert 1 <= len(ids) <= 5
    assert all(0 <= token < tokenizer.vocabulary_size for token in ids)


def test_a_tokenizer_without_the_padding_token_is_refused(tokenizer_bytes: bytes) -> None:
    with pytest.raises(BundleError, match="pad_id"):
        Tokenizer(tokenizer_bytes, TextSpec(max_tokens=5, pad_id=999))
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Tokenizer(b"{}", _TEXT)


def test_a_tokenizer_that_fails_on_unknown_words_is_refused() -> None:
    words = b'{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"fight": 0}, "unk_token": "[UNK]"}}'
    with pytest.raises(BundleError, match="expected token ids for any text"):
        Tokenizer(words, _TEXT)


def test_padding_keeps_rows_and_lengths() -> None:
    tokens, length = pad_tokens([(1, 2, 3), (4,)], pad_id=9, padded_length=5)
    assert tokens.tolist() == [[1, 2, 3, 9, 9], [4, 9, 9, 9, 9]]
    assert length.tolist() == [3, 1]


def _calibration(labels: int) -> Calibration:
    plain = Scaling(scale=(1.0,) * labels, offset=(0.0,) * labels)
    return Calibration(both=plain, image=plain, text=Scaling(scale=(2.0,) * labels, offset=(-0.5,) * labels))


def test_each_presence_has_its_own_scaling_and_scores_are_clipped() -> None:
    logits = np.array([[1.25, -100.0]], dtype=np.float32)
    calibration = _calibration(2)
    assert micro_logits(logits, task="multilabel", calibration=calibration, presence="both") == [
        (1_250_000, -20_000_000)
    ]
    assert micro_logits(logits, task="multilabel", calibration=calibration, presence="text") == [
        (2_000_000, -20_000_000)
    ]


def test_multiclass_gives_log_odds_of_the_softmax() -> None:
    logits = np.array([[2.0, 1.0, -1.0], [90.0, 1.0, 0.0]], dtype=np.float32)
    rows = micro_logits(logits, task="multiclass", calibration=_calibration(3), presence="both")
    total = sum(math.exp(value) for value in (2.0, 1.0, -1.0))
    for score, value in zip(rows[0], (2.0, 1.0, -1.0), strict=True):
        p = math.exp(value) / total
        assert abs(score - 1e6 * math.log(p / (1 - p))) <= 1
    assert rows[1] == (20_000_000, -20_000_000, -20_000_000)


@given(st.lists(st.tuples(*[st.floats(-30, 30, width=32)] * 3), min_size=1, max_size=20))
def test_a_rows_scores_do_not_depend_on_its_neighbours(rows: list[tuple[float, float, float]]) -> None:
    logits = np.array(rows, dtype=np.float32)
    for task in ("multilabel", "multiclass"):
        together = micro_logits(logits, task=task, calibration=_calibration(3), presence="text")
        alone = [
            micro_logits(logits[i : i + 1], task=task, calibration=_calibration(3), presence="text")[0]
            for i in range(len(rows))
        ]
        assert together == alone


def test_a_logit_that_is_not_finite_never_becomes_a_score() -> None:
    with pytest.raises(ValueError, match="finite"):
        micro_logits(
            np.array([[np.nan]], dtype=np.float32), task="binary", calibration=_calibration(1), presence="both"
        )


_KNOTS = ((-2.0, -1.0), (0.0, -1.0), (1.0, 0.5), (4.0, 6.5))


@pytest.mark.parametrize(
    ("value", "mapped"), [(-99, -1), (-2, -1), (-1, -1), (0, -1), (0.5, -0.25), (1, 0.5), (2, 2.5), (4, 6.5), (99, 6.5)]
)
def test_knots_are_joined_by_straight_lines_and_hold_beyond_their_ends(value: float, mapped: float) -> None:
    assert through(value, _KNOTS) == mapped
    assert through(value, ()) == value


_corners = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-30, 30)), min_size=1, max_size=12)


@given(_corners, st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=2, max_size=40))
def test_a_map_never_falls_and_its_values_lie_between_its_corners(
    corners: list[tuple[float, float]], values: list[float]
) -> None:
    xs, ys = sorted({x for x, _ in corners}), sorted(y for _, y in corners)
    knots = tuple(zip(xs, ys[: len(xs)], strict=True))
    mapped = [through(value, knots) for value in sorted([*values, *xs])]
    assert mapped == sorted(mapped)
    assert knots[0][1] <= mapped[0]
    assert mapped[-1] <= knots[-1][1]


@given(st.lists(st.tuples(*[st.floats(-30, 30, width=32)] * 3), min_size=1, max_size=20))
def test_a_row_with_knots_does_not_depend_on_its_neighbours(rows: list[tuple[float, float, float]]) -> None:
    logits = np.array(rows, dtype=np.float32)
    scaling = Scaling(scale=(0.7, 1.0, 1.3), offset=(0.1, 0.0, -0.1), knots=(_KNOTS, (), _KNOTS))
    calibration = Calibration(both=scaling, image=scaling, text=scaling)
    for task in ("multilabel", "multiclass"):
        together = micro_logits(logits, task=task, calibration=calibration, presence="both")
        for place, row in enumerate(together):
            one = logits[place : place + 1]
            assert [row] == micro_logits(one, task=task, calibration=calibration, presence="both")
            assert -1_000_000 <= row[0] <= 6_500_000
