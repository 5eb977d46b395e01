"""Expectations: read, held against incidents, and told as words and JUnit."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from stream_app.core.event_time import format_event_time
from stream_app.replay.expect import ExpectError, Outcome, hold_against, in_words, junit, read_expectations
from tests.core.drive import T0
from tests.replay.incidents_of import incident

SIDE = (incident(1, 0, 5_000), incident(2, 60_000, 61_000, zone="gate"), incident(3, 90_000, 90_000, label="leak"))


def outcome(toml: str) -> Outcome:
    return hold_against(read_expectations(toml, "e.toml"), SIDE)


def _at(ms: int) -> str:
    return format_event_time(T0 + ms)


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ('label = "smoke"\nexactly = 2', True),
        ('label = "smoke"\nexactly = 1', False),
        ('zone = "dock"\nat_least = 2', True),
        ('zone = "dock"\nat_least = 3', False),
        ('zone = "gate"\nat_most = 0', False),
        ('zone = "roof"\nexactly = 0', True),
        # A range has its beginning and not its end; an incident meets it with any moment of its own.
        (f"from = {_at(5_000)}\nto = {_at(60_000)}\nexactly = 1", True),
        (f"from = {_at(5_001)}\nto = {_at(60_000)}\nexactly = 0", True),
        (f'from = "{_at(5_001)}"\nto = "{_at(60_001)}"\nexactly = 1', True),
    ],
)
def test_a_line_holds_by_label_zone_time_and_number(line: str, holds: bool) -> None:  # noqa: FBT001 - a column
    assert outcome(f'uncovered = "ignore"\n[[expect]]\n{line}').holds is holds


@pytest.mark.parametrize(("policy", "holds"), [("fail", False), ("warn", True), ("ignore", True)])
def test_what_no_line_covers_fails_warns_or_is_ignored(policy: str, holds: bool) -> None:  # noqa: FBT001 - likewise
    found = outcome(f'uncovered = "{policy}"\n[[expect]]\nlabel = "smoke"\nexactly = 2')
    assert found.holds is holds
    assert [one.label for one in found.uncovered] == ["leak"]
    words = "\n".join(in_words(found))
    assert ("no line covers leak in dock" in words) is (policy != "ignore")


def test_a_file_without_a_policy_fails_on_what_it_does_not_cover() -> None:
    assert not outcome('[[expect]]\nlabel = "smoke"\nexactly = 2').holds


def test_words_say_expected_and_found() -> None:
    found = outcome('uncovered = "ignore"\n[[expect]]\nname = "quiet gate"\nzone = "gate"\nexactly = 0')
    assert in_words(found)[0] == f"FAILED  quiet gate: expected exactly 0, found 1: smoke in gate at {_at(60_000)}"
    between = read_expectations("[[expect]]\nat_least = 1\nat_most = 4", "e").lines[0]
    assert (between.name, between.wanted) == ("any label in any zone", "at least 1 and at most 4")


def test_junit_has_a_case_for_each_line_and_escapes_what_is_in_it() -> None:
    toml = '[[expect]]\nname = "<a>\\u0000\\"&"\nlabel = "smoke"\nexactly = 1\n[[expect]]\nlabel = "leak"\nat_least = 1'
    suites = ET.fromstring(junit([("as <recorded>", outcome(toml))]))  # noqa: S314 - our own output
    (suite,) = suites
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("as <recorded>", "3", "1")
    names = [case.get("name") for case in suite]
    assert names == ['<a>\\x00"&', "leak in any zone", "every incident is covered"]
    assert [case.find("failure") is not None for case in suite] == [True, False, False]


def test_what_is_uncovered_is_a_failure_or_an_output_of_junit() -> None:
    for policy, tag in (("fail", "failure"), ("warn", "system-out")):
        text = junit([("x", outcome(f'uncovered = "{policy}"\nexpect = []'))])
        (case,) = ET.fromstring(text)[0]  # noqa: S314 - our own output
        assert [child.tag for child in case] == [tag]


@pytest.mark.parametrize(
    ("toml", "found"),
    [
        ("expect = 3", "found"),
        ("[[expect]]", "expected exactly, at_least or at_most, found none"),
        ("[[expect]]\nexactly = 1\nat_most = 2", "found both"),
        ("[[expect]]\nat_least = 3\nat_most = 2", "0 <= at_least <= at_most"),
        ("[[expect]]\nat_least = -1", "0 <= at_least"),
        ("[[expect]]\nlable = 'x'\nexactly = 1", "lable"),
        ("[[expect]]\nexactly = true", "found"),
        ("uncovered = 'maybe'\nexpect = []", "maybe"),
        ("[[expect]]\nexactly = 1\nfrom = 2026-01-01T00:00:00", r"expect\[0\].from: expected a time with offset"),
        ("[[expect]]\nexactly = 1\nto = 'noon'", "expected a time with offset"),
        ("[[expect]]\nexactly = 1\nfrom = 2026-01-02T00:00:00Z\nto = 2026-01-01T00:00:00Z", "from before to"),
        ("[[expect", "e.toml"),
    ],
)
def test_a_file_of_another_form_is_refused(toml: str, found: str) -> None:
    with pytest.raises(ExpectError, match=found):
        read_expectations(toml, "e.toml")
