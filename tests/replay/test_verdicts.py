"""Verdicts: read as they are written for `vigil-export`, held against incidents."""

from __future__ import annotations

import pytest

from stream_app.core.event_time import format_event_time
from stream_app.replay.compare import Watch, compare
from stream_app.replay.incidents import Place
from stream_app.replay.verdicts import Judgement, VerdictsError, judge, read_verdicts, share
from tests.core.drive import T0
from tests.replay.incidents_of import frame, incident

ALERTING = {"smoke", "leak"}


def judged(csv: str, *incidents: object) -> Judgement:
    return judge(incidents, read_verdicts(csv, "v.csv"), ALERTING, {})  # type: ignore[arg-type]


def test_an_incident_is_true_false_or_unjudged_by_the_verdicts_about_its_records() -> None:
    sides = (incident(1, 0, 9), incident(2, 100, 109), incident(3, 200, 209))
    found = judged("text,label\nvigil.texts/0/1,smoke\nvigil.texts/0/2,nothing\n", *sides)
    assert (found.true, found.false, found.unjudged) == (1, 1, 1)
    assert (found.found, found.missed) == (1, 0)
    assert (found.precision.share, found.recall.share) == (0.5, 1.0)


def test_a_verdict_of_another_label_is_against_it_and_misses_its_own() -> None:
    found = judged("text,label\nvigil.texts/0/1,leak\n", incident(1, 0, 9))
    assert (found.true, found.false, found.missed) == (0, 1, 1)


def test_a_label_that_does_not_alert_is_not_missed() -> None:
    assert judged("text,label\nvigil.texts/0/9,nothing\n").missed == 0
    assert judged("text,label\nvigil.texts/0/9,smoke\n").missed == 1


def test_a_verdict_may_name_an_alert_an_incident_a_frame_or_several_labels() -> None:
    one = incident(1, 0, 9, more=(frame(40, 3),))
    for named in (f"alert,label\n{one.id},smoke", f"alert,label\n{one.alerts[0]},smoke"):
        assert judged(named, one).true == 1
    assert judged("frame,labels\nvigil.frames/0/40,leak;smoke", one).true == 1
    assert judged("text,frame,label\nvigil.texts/0/1,vigil.frames/0/77,smoke", one).true == 1


def test_evidence_beyond_what_an_alert_names_is_known_by_zone_and_time() -> None:
    line = f"vigil.texts/0/50,smoke,{format_event_time(T0 + 4)},dock"
    assert judged(f"text,label,time,zone\n{line}\n", incident(1, 0, 9)).true == 1
    assert judged(f"text,label,time,zone\n{line.replace('dock', 'gate')}\n", incident(1, 0, 9)).missed == 1


def test_a_verdict_about_an_alert_holds_for_the_incident_that_was_matched_with_it() -> None:
    before, after = incident(1, 0, 9), incident(2, 5, 12)
    verdicts = read_verdicts(f"alert,label\n{before.id},smoke\n", "v.csv")
    found = compare([before], [after], Watch(length_ms=1), verdicts=verdicts, alerting=ALERTING).verdicts
    assert found is not None
    assert (found.before.true, found.after.true) == (1, 1)


def test_lines_that_wait_for_a_reviewer_count_for_nothing() -> None:
    text = "text,frame,label,time,zone,frames,said,score,words\nvigil.texts/0/1,,,2023-11-14T22:13:20.000Z,x,1,a,.9,b\n"
    assert read_verdicts(text, "v.csv") == ()


def test_json_lines_are_read_too() -> None:
    (one,) = read_verdicts('{"text": "vigil.texts/3/17", "label": "smoke"}\n', "v.jsonl")
    assert (one.places, one.labels, one.line) == ((Place("vigil.texts", 3, 17),), ("smoke",), "v.jsonl:1")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "found nothing"),
        ("label\nsmoke\n", "expected the columns"),
        ("text,label,labels\na/0/1,x,y\n", "expected the columns"),
        ("text,text\na,b\n", "v.csv:1: expected every column once"),
        ("text,label\na/0/1\n", "v.csv:2: expected 2 columns, found 1"),
        ("text,label\na/0,x\n", "v.csv:2: expected topic/partition/offset in text"),
        ("alert,text,label\nz,a/0/1,x\n", "found both"),
        ("alert,text,label\n,,x\n", "found neither"),
        ('text,label\n"a/0/1,x\n', "expected CSV"),
        ("text,label,time\na/0/1,x,noon\n", "v.csv:2: expected a time"),
    ],
)
def test_what_is_of_another_form_is_refused_with_its_line(text: str, found: str) -> None:
    with pytest.raises(VerdictsError, match=found):
        read_verdicts(text, "v.csv")


def test_intervals_are_wilsons() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert (share(81, 263).low, share(81, 263).high) == (0.2553, 0.3662)
    assert (share(0, 20).low, share(0, 20).high) == (0.0, 0.1611)
    assert share(0, 0).share is None
