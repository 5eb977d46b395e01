r"""The sanitiser: text of strangers becomes text that a terminal only shows. In and out: a string.

Names of zones, cameras and labels, file names and error messages come from topics, recordings, data sets and bundles.
Written as they are, an escape sequence in them retitles or clears the terminal, and a bidirectional override makes a
line read as what it is not. What is escaped is shown as Python writes it: `\x1b`, `\u202e`, `\U000e0041`.

A backslash stays as it is, so the result cannot be turned back; whoever needs the exact value reads JSON.
"""

from __future__ import annotations

import unicodedata

# Control, format, surrogate, private and unassigned characters, and separators of lines and paragraphs. Among the
# format characters are bidirectional controls, zero-width ones, tags and the joiner of emoji: two names that differ by
# one of these must not look alike, and an emoji's parts can be told without it.
_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that show nothing: the grapheme joiner, Hangul and Khmer fillers.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Selectors of variants show nothing either; only those that choose an emoji's looks (U+FE0E, U+FE0F) are in common use.
_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE0E), range(0xE0100, 0xE01F0))


def visible(text: str) -> str:
    """Return text on one line in which every character shows and none steers a terminal, line breaks included."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def visible_lines(text: str) -> str:
    """Return text with its line feeds, each line as :func:`visible` returns it."""
    return "\n".join(map(visible, text.split("\n")))


def visible_json(document: str) -> str:
    r"""Return the same JSON value with what a terminal could take for more than text written as `\uXXXX`.

    Args:
        document: valid JSON: there, such characters stand within strings only. Line feeds between values stay.
    """
    if document.isascii() and document.replace("\n", "").isprintable():
        return document
    return "".join(c if c == "\n" or not _is_hidden(c) else _json_escape(c) for c in document)


def _shown(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode() if _is_hidden(character) else character


def _is_hidden(character: str) -> bool:
    return (
        unicodedata.category(character) in _CATEGORIES
        or character in _UNSEEN
        or any(ord(character) in block for block in _SELECTORS)
    )


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
