"""The list of all settings: name, type, default, help, and whether a setting changes results.

In: the two settings types, whose fields are the only declarations. Out: one table that the loader, `vigil config` and
the settings page are driven by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from stream_app.config.operational import Operational
from stream_app.core.settings import Semantic, in_words

Kind = Literal["semantic", "operational"]


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
        return in_words(self.annotation)

    def shown(self, value: object) -> str:
        """Return the value as it may be printed: secrets are masked."""
        if self.is_secret:
            return "***" if value else ""
        return str(value)


def _declared(struct: type[msgspec.Struct], kind: Kind) -> Iterator[Setting]:
    for field in msgspec.structs.fields(struct):
        metas = getattr(field.type, "__metadata__", ())
        described = next((meta.description for meta in metas if meta.description), "")
        is_secret = any((meta.extra or {}).get("secret", False) for meta in metas)
        yield Setting(field.name, kind, field.type, field.default, described, is_secret)


#: Every setting, semantic ones first, each in the order of its declaration.
SETTINGS: tuple[Setting, ...] = (*_declared(Semantic, "semantic"), *_declared(Operational, "operational"))

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
