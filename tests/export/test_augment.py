"""Augmentation: reproducible, of the size and type that came in, and each effect does what it is named after."""

from __future__ import annotations

import numpy as np
import pytest

from stream_app.bundle.image import decode_image
from stream_app.bundle.manifest import ImageSpec
from stream_app.drawn_site import sample
from vigil_export.data.preparing import augment as effects
from vigil_export.data.preparing.augment import AugmentSpec, Picture, augment, names_side

NONE = dict.fromkeys(AugmentSpec.__struct_fields__, 0.0)
ALL = dict.fromkeys(AugmentSpec.__struct_fields__, 1.0)
YES = np.ones(6, np.bool_)
Levels = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@pytest.fixture(scope="module")
def images() -> Picture:
    spec = ImageSpec(height=72, width=96)
    return np.stack([decode_image(row.jpeg, spec) for row in sample(5, 6, wording="train")])


def test_equal_seeds_give_equal_pictures_and_leave_the_given_ones_alone(images: Picture) -> None:
    before = images.copy()
    one, again, other = (
        augment(images, spec=AugmentSpec(**ALL), rng=np.random.default_rng(seed), may_flip=YES) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.array_equal(images, before)
    assert one.shape == images.shape
    assert one.dtype == np.uint8
    assert one.flags.c_contiguous


def test_nothing_asked_for_changes_nothing(images: Picture) -> None:
    assert np.array_equal(augment(images, spec=AugmentSpec(**NONE), rng=np.random.default_rng(1), may_flip=YES), images)


def test_only_pictures_that_may_be_are_mirrored(images: Picture) -> None:
    may_flip = np.array([True, False] * 3)
    found = augment(images, spec=AugmentSpec(**{**NONE, "flip": 1.0}), rng=np.random.default_rng(1), may_flip=may_flip)
    assert np.array_equal(found[may_flip], images[may_flip][:, :, ::-1])
    assert np.array_equal(found[~may_flip], images[~may_flip])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a man at the left gate", True),
        ("Turn RIGHT at the dock.", True),
        ("左边有人", True),
        ("he came from the right-hand door", True),
        ("a bag was left behind", True),  # rather too careful
        ("two men fight at the gate", False),
        ("a bright light, alright", False),
        ("大门口有人", False),
        ("", False),
    ],
)
def test_a_text_that_may_name_a_side_is_known(text: str, names: bool) -> None:  # noqa: FBT001 - a table of data
    assert names_side(text) is names


@pytest.mark.parametrize("seed", range(8))
def test_each_effect_does_what_it_is_named_after(images: Picture, seed: int) -> None:
    picture = images[seed % 6]

    def apply(name: str) -> Levels:
        result: Levels = getattr(effects, name)(picture, np.random.default_rng(seed)).astype(np.float64)
        assert result.shape == picture.shape
        return result

    plain = picture.astype(np.float64)
    assert apply("darken").mean() < 0.85 * plain.mean()
    assert _edges(apply("blur")) < _edges(plain)
    assert _edges(apply("add_noise")) > _edges(plain)
    assert abs(apply("add_noise").mean() - plain.mean()) < 4
    assert 0 < np.abs(apply("compress") - plain).mean() < 12
    assert abs(apply("expose").mean() - plain.mean()) < 0.4 * plain.mean() + 3
    is_hidden = (apply("occlude") != plain).any(2)
    rows, columns = np.nonzero(is_hidden)
    assert 0 < len(rows) <= 0.21 * is_hidden.size
    patch = apply("occlude")[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (patch == patch[0, 0]).all()


def _edges(picture: Levels) -> float:
    return float(np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean())
