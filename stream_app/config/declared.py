"""The list of all settings: name, type, default, help, and whether a setting changes results.

In: the two settings types. Out: one table that the loader, `vigil config` and the settings page are driven by. The
core's own semantic settings carry no help text (it has no business with command lines), so theirs is written here; a
test fails when one is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from stream_app.config.operational import Operational
from stream_app.core.settings import Semantic

Kind = Literal["semantic", "operational"]

_SEMANTIC_HELP: dict[str, str] = {
    "before_ms": "A text may be this much older than a frame of its zone to be paired with it. May be negative.",
    "after_ms": "A text may be this much younger than a frame of its zone to be paired with it. May be negative.",
    "grace_ms": "How far out of order records may arrive and still be joined as if in order.",
    "how": "What gives a result: `right` every text, `inner` pairs only, `left` also sampled frames without a text "
    "(but no texts without a frame), `outer` both.",
    "sample_ms": "Per text and camera, one frame in each interval of this length is scored.",
    "unmatched_every_ms": "With `left` and `outer`: per camera, one frame without a text in each interval is scored.",
    "quiet_ms": "An incident closes once stream time is past its last support by more than this. "
    "At least before_ms + after_ms + grace_ms.",
    "update_every_ms": "Least time between two updates of one incident.",
    "open_texts": "How many texts must reach a label's threshold before an incident opens.",
    "open_within_ms": "Within what event time of one another those texts must be.",
    "max_ahead_ms": "An event time further ahead of its append time is refused.",
    "rate_per_s": "Texts per second and zone that are treated in the long run; more go to the dead letters.",
    "rate_burst": "Texts per zone that may come at once.",
    "window_bytes": "Bytes of frames held per task; beyond it images are dropped by the thinning rule.",
    "max_image_bytes": "Larger images are refused.",
    "max_image_pixels": "Images with more pixels are refused before they are decoded.",
    "max_image_side": "Images that are wider or higher are refused before they are decoded.",
    "max_text_bytes": "Larger texts are refused.",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is declared; ``annotation`` is its type as msgspec understands it."""

    name: str
    kind: Kind
    annotation: Any
    default: Any
    help: str
    is_secret: bool = False

    @property
    def environment(self) -> str:
        """The environment variable that sets it."""
        return f"VIGIL_{self.name.upper()}"

    @property
    def expected(self) -> str:
        """The type in words, for messages and the settings page: ``integer >= 1``, ``auto | cuda | cpu``."""
        return _in_words(self.annotation)

    def shown(self, value: object) -> str:
        """Return the value as it may be printed: secrets are masked."""
        if self.is_secret:
            return "***" if value else ""
        return str(value)


def _in_words(annotation: Any) -> str:  # noqa: ANN401 - a type is whatever typing made of it
    constraints: list[str] = []
    while hasattr(annotation, "__metadata__"):
        for meta in annotation.__metadata__:
            if meta.ge is not None:
                constraints.append(f">= {meta.ge}")
            if meta.le is not None:
                constraints.append(f"<= {meta.le}")
        annotation = annotation.__origin__
    if get_origin(annotation) is Literal:
        return " | ".join(get_args(annotation))
    name = {int: "integer", str: "text", float: "number", bool: "true or false"}[annotation]
    return " ".join([name, *constraints])


def _declared(struct: type[msgspec.Struct], kind: Kind, helps: dict[str, str]) -> list[Setting]:
    hints = get_type_hints(struct, include_extras=True)
    settings = []
    for field in msgspec.structs.fields(struct):
        annotation = hints[field.name]
        metas = getattr(annotation, "__metadata__", ())
        described = next((meta.description for meta in metas if meta.description), helps.get(field.name, ""))
        is_secret = any((meta.extra or {}).get("secret", False) for meta in metas)
        settings.append(Setting(field.name, kind, annotation, field.default, described, is_secret))
    return settings


#: Every setting, semantic ones first, each in the order of its declaration.
SETTINGS: tuple[Setting, ...] = (
    *_declared(Semantic, "semantic", _SEMANTIC_HELP),
    *_declared(Operational, "operational", {}),
)

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
