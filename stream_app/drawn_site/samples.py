"""Site, samples: labelled rows for training and measuring. In: a seed and a number. Out: pictures and texts.

Shares of the kinds of picture and of text are written down here, because every figure of a model depends on them.
It must not know any model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stream_app.drawn_site.camera import Camera, build_camera, build_zone
from stream_app.drawn_site.schedule import Kind
from stream_app.drawn_site.story import LABELS, LOOKALIKES, QUIET, VAGUE, Act, label_vector
from stream_app.drawn_site.wording import LANGUAGES, compose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.drawn_site.wording.compose import Wording

EVENT_SHARE = 0.55
"""Share of rows in which an event happens."""

SECOND_EVENT_SHARE = 0.05
"""Share of the rows with an event in which another one happens too."""

LOOKALIKE_SHARE = 0.6
"""Share of the rows without an event in which something resembles one."""

KIND_SHARES: tuple[tuple[Kind, float], ...] = (("truthful", 0.65), ("vague", 0.2), ("wrong", 0.15))
FOUL_SHARE = 0.35
"""Share of the pictures that something spoils; far more than in a schedule, or texts would hardly be needed."""
ROWS_PER_CAMERA = 24
_ACT_MS = 12_000


@dataclass(frozen=True, slots=True)
class Row:
    """One picture with one text and the truth.

    Attributes:
        jpeg: The picture as a JPEG file, 320 x 240.
        text: The text.
        truth: 0 or 1 per label of `LABELS`: what really happens before the camera.
        scene: Name of what is drawn: a label, a look-alike or `quiet`.
        claims: What the text says.
        kind: Truthful, vague or wrong.
        language: Language of the text.
        parts: Parts of the text.
        foul: What spoils the picture, None where nothing does.
        is_night: Drawn in the dark.
    """

    jpeg: bytes
    text: str
    truth: tuple[int, ...]
    scene: str
    claims: str
    kind: Kind
    language: str
    parts: tuple[str, ...]
    foul: str | None
    is_night: bool


def sample(seed: int, n: int, *, wording: Wording = "train") -> Iterator[Row]:
    """Draw labelled rows; equal arguments give equal bytes.

    Args:
        seed: Decides cameras, scenes and texts. Rows of two seeds share no camera and no scene.
        n: How many rows.
        wording: Which parts the texts may use.

    Yields:
        n rows. Each group of 24 has a camera of its own.
    """
    camera: Camera | None = None
    for number in range(n):
        rng = np.random.default_rng([seed, 61, number])
        if camera is None or number % ROWS_PER_CAMERA == 0:
            place = int(np.random.default_rng([seed, 62, number]).integers(0, 1 << 40))
            camera = build_camera("c1", build_zone("zone-1", place), place, foul_share=FOUL_SHARE)
        yield _row(rng, camera, wording)


def _row(rng: np.random.Generator, camera: Camera, wording: Wording) -> Row:
    acts = _acts(rng)
    t_ms = int(rng.integers(0, 1 << 24)) * 100
    started = tuple(
        Act(act.name, t_ms - int(rng.integers(300, _ACT_MS)), t_ms + _ACT_MS, act.x_m, act.z_m, act.seed)
        for act in acts
    )
    scene = acts[0].name if acts else QUIET
    seen = Camera(camera.name, camera.zone, camera.view, camera.look, started, camera.seed)
    for shared in ("_bare", "_fence", "_light"):  # drawn once per camera, not once per row
        seen.__dict__[shared] = getattr(camera, shared)
    kind = _pick_kind(rng)
    claims = _claim(rng, scene, kind)
    sentence = compose(rng, claims, language=LANGUAGES[int(rng.integers(0, len(LANGUAGES)))], wording=wording)
    return Row(
        seen.jpeg(t_ms),
        sentence.text,
        label_vector(started),
        scene,
        claims,
        kind,
        sentence.language,
        sentence.parts,
        seen.foul(t_ms),
        camera.zone.darkness > 0.5,
    )


def _acts(rng: np.random.Generator) -> tuple[Act, ...]:
    def act(name: str) -> Act:
        x_m, z_m = float(rng.uniform(-2, 2)), float(rng.uniform(5.8, 8))
        return Act(name, 0, 0, x_m, z_m, int(rng.integers(0, 1 << 31)))

    if rng.random() < EVENT_SHARE:
        order = rng.permutation(len(LABELS))
        count = 2 if rng.random() < SECOND_EVENT_SHARE else 1
        return tuple(act(LABELS[int(place)]) for place in order[:count])
    if rng.random() < LOOKALIKE_SHARE:
        return (act(tuple(LOOKALIKES)[int(rng.integers(0, len(LOOKALIKES)))]),)
    return ()


def _pick_kind(rng: np.random.Generator) -> Kind:
    draw = rng.random()
    for kind, share in KIND_SHARES:
        draw -= share
        if draw < 0:
            return kind
    return KIND_SHARES[-1][0]


def _claim(rng: np.random.Generator, scene: str, kind: Kind) -> str:
    """Choose what the text says; a wrong one mostly claims an event that does not happen."""
    if kind == "vague":
        return VAGUE
    if kind == "truthful":
        return scene
    if scene in LOOKALIKES and rng.random() < 0.5:
        return LOOKALIKES[scene]  # taken for what it resembles: the likeliest mistake
    if scene in LABELS and rng.random() < 0.35:
        return QUIET
    others = tuple(label for label in LABELS if label != scene)
    return others[int(rng.integers(0, len(others)))]
