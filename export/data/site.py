"""The drawn site as a data set. Goes in: seeds and numbers. Goes out: splits, made by serving's own preparation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.data.split import Split
from stream_app.bundle.image import decode_image
from stream_app.bundle.manifest import ImageSpec
from stream_app.drawn_site import Row, sample
from stream_app.drawn_site.samples import ROWS_PER_CAMERA
from stream_app.drawn_site.wording import compose
from stream_app.drawn_site.wording.compose import Wording


def draw_split(seed: int, rows: int, *, image: ImageSpec, wording: Wording) -> Split:
    """Draw rows of the site and prepare them.

    Args:
        seed: Splits of different seeds share no camera and no scene.
        rows: How many.
        image: Size of the pictures.
        wording: Which parts the texts may use.

    Returns:
        A split whose pictures went through JPEG, serving's decoder and its resize; equal arguments, equal bytes. Its
        facets are `kind`, `language`, `picture` (clear or fouled), `hour` (day or night), `scene` and `claims`.
    """
    images = np.empty((rows, image.height, image.width, 3), np.uint8)
    drawn: list[Row] = []
    for place, row in enumerate(sample(seed, rows, wording=wording)):
        images[place] = decode_image(row.jpeg, image)
        drawn.append(row)
    return Split(
        images=images,
        image_of=np.arange(rows, dtype=np.int64),
        texts=tuple(row.text for row in drawn),
        truth=np.array([row.truth for row in drawn], np.float32),
        groups=np.arange(rows, dtype=np.int64) // ROWS_PER_CAMERA,
        sequences=np.full(rows, -1, np.int64),
        ids=tuple(f"site:{seed}:{number}" for number in range(rows)),
        facets={
            "kind": np.array([row.kind for row in drawn]),
            "language": np.array([row.language for row in drawn]),
            "picture": np.array(["fouled" if row.foul else "clear" for row in drawn]),
            "hour": np.array(["night" if row.is_night else "day" for row in drawn]),
            "scene": np.array([row.scene for row in drawn]),
            "claims": np.array([row.claims for row in drawn]),
        },
    )


def reword(split: Split, *, seed: int) -> tuple[str, ...]:
    """Say the same of every row in other words of training: n new texts with the claims and languages of the split.

    Args:
        split: Rows of `draw_split`.
        seed: Decides the words.
    """
    rng = np.random.default_rng([seed, 71])
    claims: npt.NDArray[np.str_] = split.facets["claims"]
    return tuple(
        compose(rng, str(claim), language=str(language), wording="train").text
        for claim, language in zip(claims, split.facets["language"], strict=True)
    )
