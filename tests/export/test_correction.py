"""A variant's calibration: what rounding did to its logits is taken back, and nothing else is done."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from stream_app.bundle.manifest import Calibration, Presence, Scaling
from vigil_export.evaluation.predictions import Predictions
from vigil_export.packing.correction import corrected

_PLAIN = Scaling(scale=(2.0, 0.5), offset=(0.25, -1.0))
_KNOTS = (((-1.0, -2.0), (1.0, 0.5)), ((-1.0, -1.0), (1.0, 1.0)))
_CALIBRATION = Calibration(both=_PLAIN, image=_PLAIN, text=Scaling(scale=(1.0, 1.0), offset=(0.0, 0.0), knots=_KNOTS))


def _predictions(logits: dict[Presence, npt.NDArray[np.float32]]) -> Predictions:
    n = len(logits["both"])
    return Predictions(
        name="a",
        task="multilabel",
        labels=("fire", "fight"),
        logits=logits,
        truth=np.zeros((n, 2), np.float32),
        has_image=np.ones(n, np.bool_),
        has_text=np.ones(n, np.bool_),
        decisions=np.arange(n),
        groups=np.arange(n),
        ids=tuple(map(str, range(n))),
        facets={},
    )


def test_a_stretch_and_a_shift_of_each_label_are_taken_back() -> None:
    rng = np.random.default_rng(1)
    exact = {name: rng.normal(0, 3, (400, 2)).astype(np.float32) for name in ("both", "image", "text")}
    exact["image"][::3] = np.nan  # rows without a picture
    stretch, shift = np.array([1.1, 0.9], np.float32), np.array([0.3, -0.7], np.float32)
    rounded = {name: logits * stretch + shift for name, logits in exact.items()}
    found = corrected(_CALIBRATION, _predictions(rounded), _predictions(exact))  # type: ignore[arg-type]
    for presence in ("both", "image", "text"):
        its, whole = found.of(presence), _CALIBRATION.of(presence)
        np.testing.assert_allclose(
            rounded[presence] * its.scale + its.offset, exact[presence] * whole.scale + whole.offset, atol=1e-4
        )
    assert found.text.knots == _KNOTS


def test_logits_that_are_not_rounded_keep_their_calibration() -> None:
    logits = np.random.default_rng(2).normal(0, 3, (50, 2)).astype(np.float32)
    same = _predictions({"both": logits, "image": np.full_like(logits, np.nan), "text": logits})
    found = corrected(_CALIBRATION, same, same)
    assert found.image == _PLAIN
    assert found.both.scale == pytest.approx(_PLAIN.scale)
    assert found.both.offset == pytest.approx(_PLAIN.offset)


def test_what_is_no_rounding_is_only_shifted() -> None:
    exact = np.random.default_rng(3).normal(0, 3, (300, 2)).astype(np.float32)
    wild = np.stack((exact[:, 0] * -1 + 2, np.full(300, 4.0)), 1).astype(np.float32)  # turned round; always the same
    one, other = (_predictions({"both": logits, "image": logits, "text": logits}) for logits in (wild, exact))
    found = corrected(_CALIBRATION, one, other)
    assert found.both.scale == _PLAIN.scale
    shift = exact.mean(0) - wild.mean(0)
    assert found.both.offset == pytest.approx((0.25 + 2 * shift[0], -1 + 0.5 * shift[1]), abs=1e-3)
