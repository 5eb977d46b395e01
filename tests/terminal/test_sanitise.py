"""Whatever text goes in, nothing that steers a terminal comes out, and ordinary text stays as it is."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.terminal.sanitise import visible, visible_json, visible_lines

#: Surrogates included; Hypothesis leaves them out unless asked.
ANY = st.text(st.characters(codec=None, categories=None))
STEERING = st.sampled_from(["\x1b]0;owned\x07", "\x1b[2J", "\x9b31m", "\u202e", "\r\n", "\x7f", "\u2028", "\udc9b"])
HOSTILE = st.lists(ANY | STEERING).map("".join)


def is_harmless(text: str) -> bool:
    return not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text)


@given(HOSTILE)
def test_a_value_comes_out_on_one_line_without_any_control_character(text: str) -> None:
    shown = visible(text)
    assert is_harmless(shown)
    assert len(shown.splitlines()) <= 1
    assert visible(shown) == shown
    shown.encode()


@given(HOSTILE)
def test_lines_come_out_as_many_lines_without_any_control_character_but_the_line_feed(text: str) -> None:
    shown = visible_lines(text)
    assert is_harmless(shown.replace("\n", ""))
    assert shown.count("\n") == text.count("\n")


@given(st.recursive(HOSTILE, lambda inner: st.lists(inner) | st.dictionaries(HOSTILE, inner), max_leaves=5))
def test_json_stays_the_same_value(value: object) -> None:
    document = json.dumps(value, ensure_ascii=False)
    shown = visible_json(document)
    assert json.loads(shown) == value
    assert is_harmless(shown.replace("\n", ""))
    shown.encode()


@pytest.mark.parametrize(
    "text",
    ["dock-3", "北门 入口", "Tür, Größe", "カメラ\u3000一", "🔥 ❤\ufe0f", "C:\\cameras\\1", "[red]x[/]", "a\u00a0b"],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
        ("gate\u202egnp.exe", r"gate\u202egnp.exe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("a\u200bb\ufeff\u2028\u2029", r"a\u200bb\ufeff\u2028\u2029"),
        ("👨\u200d👩", r"👨\u200d👩"),
        ("caf\udce9", r"caf\udce9"),
        ("x\U000e0041\u3164\u034f", r"x\U000e0041\u3164\u034f"),
    ],
)
def test_what_steers_or_does_not_show_is_written_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown
