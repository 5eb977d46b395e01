"""Join cases of other projects as data: a file or folder in, cases out, recognised by their structure alone.

Three formats are known, each the transcription of a project's own tests:

- Kafka Streams: ``join``, ``window``, ``steps`` (a list of records and ``expect`` lists, exact and ordered);
- Quix Streams: ``how``, ``backward_ms``, ``forward_ms``, ``grace_ms``, ``on_merge``,
  ``messages``, each with ``expected``;
- Flink: ``lower``, ``upper`` and either ``left``/``right`` lists of times, or ``steps`` (``L1 R1 W3``: records and
  watermarks) with ``late``; ``expected`` is a set of pairs.

In all of them left is our frame and right our text.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class UnknownFormatError(ValueError):
    """The file, or one of its cases, is of no known format; the message says what was expected and found."""


@dataclass(frozen=True, slots=True)
class JoinCase:
    """One case. ``digest`` is of its content, so that a case of the same name with other content is another case."""

    kind: str
    name: str
    digest: str
    data: dict[str, Any]

    @property
    def id(self) -> str:
        """Kind, name and digest: the name of the test item."""
        return f"{self.kind}:{self.name}:{self.digest}"


_HOWS = ("inner", "left", "right", "outer")
_FORMATS: tuple[tuple[str, dict[str, type | tuple[type, ...]]], ...] = (
    ("kafka", {"join": str, "window": dict, "steps": list}),
    ("quix", {"how": str, "messages": list, "backward_ms": int, "forward_ms": int}),
    ("flink-pairs", {"lower": int, "upper": int, "left": list, "right": list, "expected": list}),
    ("flink-late", {"lower": int, "upper": int, "steps": (str, list), "expected": list}),
)


def case_files(path: Path) -> list[Path]:
    """Return the file itself, or the folder's *.json in order of name."""
    return sorted(path.glob("*.json")) if path.is_dir() else [path]


def load_cases(path: Path) -> list[JoinCase | UnknownFormatError]:
    """Read the cases of one file; in the place of one that is of no known format stands an error that says so.

    Raises:
        UnknownFormatError: if it is not JSON, or holds no case.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        message = f"{path}: expected JSON, found {error}"
        raise UnknownFormatError(message) from error
    cases = [_recognise(path, place, data) for place, data in _candidates(content)]
    if not cases:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        message = f"{path}: expected lists of join cases (cases, pair_cases, late_cases), found {found}"
        raise UnknownFormatError(message)
    return cases


def _candidates(content: object) -> Iterator[tuple[str, object]]:
    if isinstance(content, list):
        yield from ((str(index), data) for index, data in enumerate(content))
    elif isinstance(content, dict):
        for name, value in content.items():
            # A list without objects is a word about the file, such as its sources.
            if isinstance(value, list) and any(isinstance(data, dict) for data in value):
                yield from ((f"{name}[{index}]", data) for index, data in enumerate(value))


def _recognise(path: Path, place: str, data: object) -> JoinCase | UnknownFormatError:
    how = data.get("join", data.get("how", "inner")) if isinstance(data, dict) else ""
    if isinstance(data, dict) and how in _HOWS:
        for kind, needed in _FORMATS:
            if all(isinstance(data.get(name), expected) for name, expected in needed.items()):
                name = data.get("test") or data.get("name") or f"{place}-{data.get('how', 'inner')}"
                digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8]
                return JoinCase(kind, str(name), digest, data)
    found = sorted(data) if isinstance(data, dict) else repr(data)[:80]
    known = "; ".join(f"{kind}: {', '.join(needed)}" for kind, needed in _FORMATS)
    message = f"{path}: {place} is of no known format: expected one of ({known}), {_HOWS}, found {found}, {how!r}"
    return UnknownFormatError(message)
