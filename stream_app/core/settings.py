"""Settings that change results, and limits that do not. Both come in from outside; the core only reads them.

Semantic settings are part of every alert (as a hash): change one and the same recording may give other alerts.
Limits bound memory and work; whatever they are, the results are the same.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

How = Literal["right", "inner", "left", "outer"]
AtLeastZero = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]


class SettingsError(ValueError):
    """A setting has a value that the system cannot keep its promises with."""


def in_words(annotation: Any) -> str:  # noqa: ANN401 - a type is whatever typing made of it
    """Return a setting's type as people read it: ``integer >= 1``, ``auto | cuda | cpu``."""
    bounds: list[str] = []
    while hasattr(annotation, "__metadata__"):
        for meta in annotation.__metadata__:
            bounds += [f"{sign} {bound}" for sign, bound in ((">=", meta.ge), ("<=", meta.le)) if bound is not None]
        annotation = annotation.__origin__
    if get_origin(annotation) is Literal:
        return " | ".join(get_args(annotation))
    name = {int: "integer", str: "text", float: "number", bool: "true or false"}[annotation]
    return " ".join([name, *bounds])


class Semantic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings that are part of the settings hash. All times in milliseconds.

    A pair is a frame and a text of one zone with ``frame - before_ms <= text <= frame + after_ms``.
    """

    before_ms: Annotated[
        int,
        Meta(
            description="A text may be this much older than a frame of its zone to be paired with it. May be negative."
        ),
    ] = 2_000
    after_ms: Annotated[
        int,
        Meta(
            description="A text may be this much younger than a frame of its zone to be paired with it. May be "
            "negative."
        ),
    ] = 2_000
    grace_ms: Annotated[
        AtLeastZero, Meta(description="How far out of order records may arrive and still be joined as if in order.")
    ] = 1_000
    how: Annotated[
        How,
        Meta(
            description="What gives a result: `right` every text, `inner` pairs only, `left` also sampled frames "
            "without a text (but no texts without a frame), `outer` both."
        ),
    ] = "right"
    sample_ms: Annotated[
        AtLeastOne, Meta(description="Per text and camera, one frame in each interval of this length is scored.")
    ] = 1_000
    unmatched_every_ms: Annotated[
        AtLeastOne,
        Meta(description="With `left` and `outer`: per camera, one frame without a text in each interval is scored."),
    ] = 10_000
    quiet_ms: Annotated[
        AtLeastOne,
        Meta(
            description="An incident closes once stream time is past its last support by more than this. At least "
            "before_ms + after_ms + grace_ms."
        ),
    ] = 10_000
    update_every_ms: Annotated[AtLeastZero, Meta(description="Least time between two updates of one incident.")] = 2_000
    open_texts: Annotated[
        AtLeastOne, Meta(description="How many texts must reach a label's threshold before an incident opens.")
    ] = 1
    open_within_ms: Annotated[AtLeastZero, Meta(description="How far apart in event time those texts may be.")] = 10_000
    max_ahead_ms: Annotated[
        AtLeastZero, Meta(description="An event time further ahead of its append time is refused.")
    ] = 2_000
    rate_per_s: Annotated[
        AtLeastOne,
        Meta(description="Texts per second and zone that are judged in the long run; more go to the dead letters."),
    ] = 50
    rate_burst: Annotated[AtLeastOne, Meta(description="Texts per zone that may arrive at once.")] = 1_000
    window_bytes: Annotated[
        AtLeastOne,
        Meta(description="Bytes of frames held per task; beyond it images are dropped by the thinning rule."),
    ] = 256 * 1024 * 1024
    max_cameras: Annotated[
        AtLeastOne,
        Meta(description="Cameras of one zone in the window; frames of more of them go to the dead letters."),
    ] = 256
    max_held: Annotated[
        AtLeastOne,
        Meta(
            description="Records held per task, and CloudEvents ids remembered; beyond it frames leave by the thinning "
            "rule, then texts are judged early."
        ),
    ] = 50_000
    max_slots: Annotated[
        AtLeastOne,
        Meta(description="Frames scored with one text while it is held; further pairs are thinned out."),
    ] = 1_024
    held_texts_bytes: Annotated[
        AtLeastOne,
        Meta(
            description="Bytes that held texts take in a checkpoint, per task; beyond it the oldest are judged early."
        ),
    ] = 2 * 1024 * 1024
    incidents_bytes: Annotated[
        AtLeastOne,
        Meta(
            description="Bytes that open incidents take in a checkpoint, per task; beyond it those without support "
            "for longest close."
        ),
    ] = 768 * 1024
    max_image_bytes: Annotated[AtLeastOne, Meta(description="Larger images are refused.")] = 4 * 1024 * 1024
    max_image_pixels: Annotated[
        AtLeastOne, Meta(description="Images with more pixels are refused before they are decoded.")
    ] = 33_177_600
    max_image_side: Annotated[
        AtLeastOne, Meta(description="Images that are wider or higher are refused before they are decoded.")
    ] = 8_192
    max_text_bytes: Annotated[AtLeastOne, Meta(description="Larger texts are refused.")] = 64 * 1024

    @property
    def horizon_ms(self) -> int:
        """H: how far behind stream time a record may lie and still be held for partners."""
        return max(self.before_ms, 0) + max(self.after_ms, 0) + self.grace_ms

    @property
    def sha256(self) -> str:
        """The settings hash: SHA-256 over the canonical JSON of all semantic settings, hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def check(self) -> Semantic:
        """Return the settings unchanged.

        Raises:
            SettingsError: if a value breaks a guarantee; the message names the setting, the expected and the found.
        """
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            self._require(_is_within(value, field.type), field.name, in_words(field.type), value)
        width = self.before_ms + self.after_ms
        self._require(width >= 0, "before_ms + after_ms", ">= 0", width)
        # Else an incident could close while its opening text still gathers frames.
        needed = width + self.grace_ms
        self._require(
            self.quiet_ms >= needed, "quiet_ms", f">= before_ms + after_ms + grace_ms = {needed}", self.quiet_ms
        )
        return self

    @staticmethod
    def _require(holds: bool, name: str, expected: str, found: object) -> None:  # noqa: FBT001 - a private assertion
        if not holds:
            message = f"setting {name}: expected {expected}, found {found}"
            raise SettingsError(message)


def _is_within(value: object, annotation: Any) -> bool:  # noqa: ANN401 - a type is whatever typing made of it
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return False
    return True


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on memory and work per task; they change when results come, never which.

    ``queue_bytes`` bounds each side's merge queue (a full queue pauses its own partition only);
    ``in_flight`` bounds the observations that wait for their scores; ``outputs`` bounds what was decided and waits to
    be committed, ``dead_letter_bytes`` what of it are bytes of refused records: a step must fit into one transaction.
    At any bound admission stops until there is room.
    """

    queue_bytes: int
    queue_records: int
    in_flight: int
    outputs: int = 10_000
    dead_letter_bytes: int = 16 * 1024 * 1024
