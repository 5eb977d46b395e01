"""Lines of the command lines: to standard output or standard error, made visible on the way.

In: a line, several lines, or a value for JSON. Out: written and flushed. It must not know who calls.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import msgspec
import typer

from stream_app.terminal.sanitise import visible, visible_json, visible_lines


def echo(line: str, *, err: bool = False, is_ended: bool = True) -> None:
    """Write one line; a line break within it is shown, not made.

    Args:
        line: without its end.
        err: to standard error.
        is_ended: with a line feed.
    """
    typer.echo(visible(line), err=err, nl=is_ended)


def echo_lines(text: str, *, err: bool = False) -> None:
    """Write text that has lines of its own, without the last line feed."""
    typer.echo(visible_lines(text), err=err)


def echo_json(content: Any, *, is_pretty: bool = False) -> None:  # noqa: ANN401 - whatever msgspec encodes
    """Write a value as JSON to standard output: on one line, or pretty, in any case without raw control characters.

    Args:
        content: what msgspec encodes; bytes and `msgspec.Raw` are taken for JSON.
        is_pretty: on several lines, indented.
    """
    document = bytes(content) if isinstance(content, bytes | msgspec.Raw) else _encode(content)
    typer.echo(visible_json(msgspec.json.format(document, indent=2 if is_pretty else -1).decode()))


def echo_at_the_end(line: str) -> None:
    """Write a line to standard error from whatever thread, just before the process ends; whatever comes of it."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{visible(line)}\n")
        sys.stderr.flush()


def _encode(content: Any) -> bytes:  # noqa: ANN401 - likewise
    try:
        return msgspec.json.encode(content)
    except UnicodeEncodeError:
        # Bytes of a command line or file name that are no UTF-8: JSON has no word for them.
        return msgspec.json.encode(_without_surrogates(msgspec.to_builtins(content)))


def _without_surrogates(value: Any) -> Any:  # noqa: ANN401 - likewise
    if isinstance(value, str):
        return "".join(visible(c) if "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(inner) for name, inner in value.items()}
    return [_without_surrogates(inner) for inner in value] if isinstance(value, list | tuple) else value
