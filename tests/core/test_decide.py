"""Decide: scored observations in sequence order become incidents; incidents become alerts."""

from __future__ import annotations

import pytest
from msgspec import structs

from stream_app.core.decide import Decide
from stream_app.core.types import InForce, LabelRule, Model, Observation, Record, Scored, Side
from tests.core.decide_bench import MICRO, MODEL, SETTINGS, Bench, frame, phases, text

OTHER = Model("n", "2", "ff", MODEL.labels)


def test_an_incident_opens_when_a_text_reaches_open_at_and_not_below() -> None:
    bench = Bench()
    assert bench.judge(0, text(1), frame(1), 1.999_999) == []
    assert phases(bench.judge(0, text(2), frame(1), 2.0)) == ["opened"]


def test_a_text_is_judged_by_the_mean_of_its_results() -> None:
    bench = Bench()
    assert bench.judge(0, text(1), frame(1), 1.0) == []
    assert bench.judge(1, text(1), frame(2), 2.9) == []
    (opened,) = bench.judge(2, text(1), frame(3), 2.1)
    assert opened.score == 2 * MICRO
    assert [(one.side, one.offset) for one in opened.evidence] == [
        (Side.TEXT, 1),
        (Side.FRAME, 1),
        (Side.FRAME, 2),
        (Side.FRAME, 3),
    ]


def test_means_of_negative_scores_are_floored_integers() -> None:
    bench = Bench(Model("m", "1", "00", (LabelRule("fight", is_alerting=True, open_at=-2, close_at=-9),)))
    observation = Observation(1, 0, "x", text(1), frame(1))
    assert bench.decide.judge(0, [(observation, Scored(1, 0, (-1,)))]).alerts
    bench = Bench(Model("m", "1", "00", (LabelRule("fight", is_alerting=True, open_at=-1, close_at=-9),)))
    bench.decide.judge(0, [(observation, Scored(1, 0, (-2,)))])
    assert not bench.decide.judge(0, [(Observation(2, 0, "x", text(1), frame(2)), Scored(2, 0, (-1,)))]).alerts


def test_another_texts_low_score_closes_nothing() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), 3)
    for second in range(1, 9):
        assert bench.judge(second * 1_000, text(1 + second), frame(1 + second), -20) == []
    assert bench.expire(10_000) == []
    assert phases(bench.expire(10_001)) == ["closed"]


def test_an_incident_closes_more_than_quiet_ms_after_its_last_support_and_a_score_of_close_at_supports() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), 3)
    bench.judge(6_000, text(2), frame(2), 1.0)
    bench.judge(7_000, text(3), frame(3), 0.999_999)
    assert bench.expire(16_000) == []
    (closed,) = bench.expire(16_001)
    assert (closed.phase, closed.reason, closed.number, closed.time_ms) == ("closed", "quiet", 2, 16_001)
    assert not bench.decide.has_open


def test_incidents_that_close_in_one_step_close_in_the_order_in_which_they_became_due() -> None:
    bench = Bench()
    bench.judge(0, text(1, zone="b"), None, 3)
    bench.judge(1, text(2, zone="a"), None, 3)
    assert [closed.zone for closed in bench.expire(20_000)] == ["b", "a"]


def test_an_alert_says_the_highest_score_of_its_incident_so_far() -> None:
    bench = Bench()
    bench.judge(0, text(1), None, 3)
    (updated,) = bench.judge(2_000, text(2, severity=1), None, 5)
    (again,) = bench.judge(4_000, text(3, severity=2), None, 4)
    assert (updated.score, again.score) == (5 * MICRO, 5 * MICRO)


def test_an_incident_that_only_frames_support_has_no_severity() -> None:
    (opened,) = Bench().judge(0, None, frame(1), 3)
    assert opened.severity == 0


def test_what_a_text_scored_is_forgotten_when_it_leaves_the_window_and_not_when_a_frame_does() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), 1)
    bench.decide.forget(frame(1))
    assert [offset for offset, _ in bench.decide.state().outcomes] == [1]
    bench.decide.forget(text(1))
    assert bench.decide.state().outcomes == []


def test_what_stream_time_expires_comes_before_the_observations_of_the_same_sequence_number() -> None:
    bench = Bench()
    (first,) = bench.judge(0, text(1), frame(1), 3)
    closed, opened = bench.judge(10_001, text(2), frame(2), 3)
    assert (closed.phase, closed.incident) == ("closed", first.incident)
    assert (opened.phase, opened.number) == ("opened", 1)
    assert opened.incident != first.incident


@pytest.mark.parametrize("stream_ms", [10_001, 11_000])
def test_a_text_never_opens_the_same_incident_again_once_it_closed(stream_ms: int) -> None:
    # A text from a fast clock, or of a window with a negative bound, may be held for longer than quiet_ms.
    bench = Bench()
    (opened,) = bench.judge(0, text(1), frame(1), 3)
    again = bench.judge(stream_ms, text(1), frame(2), 3)
    assert phases(again) == ["closed"]
    assert {alert.id for alert in again}.isdisjoint({opened.id})
    assert bench.judge(stream_ms + 1, text(1), frame(3), 3) == []


def test_zones_and_labels_are_incidents_of_their_own_and_a_label_that_does_not_alert_opens_none() -> None:
    labels = tuple(
        LabelRule(name, is_alerting=name != "calm", open_at=MICRO, close_at=0) for name in ("fire", "calm", "fight")
    )
    bench = Bench(Model("m", "1", "00", labels))
    opened = []
    for sequence, zone in enumerate("xy"):
        observation = Observation(sequence, 0, zone, text(sequence, zone=zone), None)
        opened += bench.decide.judge(0, [(observation, Scored(sequence, 0, (MICRO, MICRO, MICRO)))]).alerts
    assert [(one.zone, one.label) for one in opened] == [("x", "fire"), ("x", "fight"), ("y", "fire"), ("y", "fight")]
    assert len({one.id for one in opened}) == 4


@pytest.mark.parametrize(
    ("what", "news", "number"),
    [
        ("a new camera", (text(2, severity=3), frame(2, camera="c2")), 1),
        ("a higher severity", (text(2, severity=4), frame(2)), 1),
        ("a lower severity", (text(2, severity=2), frame(2)), 0),
        ("more of the same", (text(2, severity=3), frame(2)), 0),
    ],
)
def test_updated_comes_on_a_new_camera_or_a_higher_severity(
    what: str, news: tuple[Record, Record], number: int
) -> None:
    bench = Bench()
    bench.judge(0, text(1, severity=3), frame(1), 3)
    assert phases(bench.judge(2_000, *news, 3)) == ["updated"] * number, what


def test_updated_comes_on_a_new_modality() -> None:
    bench = Bench()
    (opened,) = bench.judge(0, text(1), None, 3)
    (updated,) = bench.judge(2_000, text(2), frame(2), 3)
    assert (opened.present, updated.present) == (("text",), ("image", "text"))


def test_updated_comes_at_most_every_update_every_ms_and_then_says_what_waited() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), 3)
    assert bench.judge(1_000, text(2), frame(2, camera="c2"), 3) == []
    assert bench.judge(1_500, text(3), frame(3, camera="c3"), 3) == []
    assert bench.expire(1_999) == []
    (updated,) = bench.expire(2_000)
    assert (updated.phase, updated.number, updated.cameras) == ("updated", 2, ("c1", "c2", "c3"))
    assert bench.judge(2_001, text(4), frame(4, camera="c4"), 3) == [], "the update counts too, not the opening alone"
    assert bench.expire(3_999) == []
    assert phases(bench.expire(4_000)) == ["updated"]
    assert bench.expire(9_000) == []


def test_a_closing_alert_says_what_had_waited_and_no_update_follows() -> None:
    bench = Bench(update_every_ms=100_000)
    bench.judge(0, text(1), frame(1), 3)
    bench.judge(1, text(2), frame(2, camera="c2"), 3)
    (closed,) = bench.expire(10_002)
    assert (closed.phase, closed.cameras) == ("closed", ("c1", "c2"))
    assert bench.expire(1_000_000) == []


def test_all_image_masked_results_of_a_text_count_as_one_and_only_while_it_has_no_unmasked_one() -> None:
    bench = Bench()
    for offset in range(5):
        assert bench.judge(0, text(1), frame(offset), 1.9, image_failure="undecodable") == []
    (opened,) = bench.judge(0, text(1), frame(9), 2.0)
    assert opened.score == 2 * MICRO
    assert bench.judge(0, text(1), frame(10), 9.9, image_failure="undecodable") == []
    (closed,) = bench.expire(10_001)
    assert closed.score == 2 * MICRO


def test_a_corrupt_image_as_only_partner_does_not_swallow_an_alarm() -> None:
    bench = Bench()
    (opened,) = bench.judge(0, text(1), frame(1), 3, image_failure="undecodable")
    assert (opened.is_masked, opened.present, opened.cameras) == (True, ("text",), ())
    assert bench.letters == [(Side.FRAME, 1, "undecodable")]


def test_a_record_that_fails_again_and_again_is_one_dead_letter() -> None:
    bench = Bench()
    for offset in range(3):
        bench.judge(0, text(offset), frame(1), 0, image_failure="undecodable")
    assert bench.letters == [(Side.FRAME, 1, "undecodable")]
    assert bench.decide.forget(frame(1))
    assert not bench.decide.forget(frame(1))


def test_a_shed_image_masks_the_result_and_is_no_dead_letter() -> None:
    bench = Bench()
    (opened,) = bench.judge(0, text(1), frame(1), 3, is_shed=True)
    assert (opened.is_masked, opened.present) == (True, ("text",))
    assert bench.letters == []


def test_what_cannot_be_scored_at_all_is_a_decision_and_no_alert() -> None:
    bench = Bench()
    assert bench.judge(0, text(1), frame(1), None, image_failure="undecodable") == []


def test_late_is_said() -> None:
    bench = Bench()
    (opened,) = bench.judge(0, text(1), None, 3, is_late=True)
    (other,) = bench.judge(0, text(2, zone="y"), None, 3)
    assert (opened.is_late, other.is_late) == (True, False)


def test_what_one_result_of_a_text_says_of_being_late_or_masked_stays_true_of_the_text() -> None:
    bench = Bench()
    assert bench.judge(0, text(1), frame(1), 0, is_late=True) == []
    assert bench.judge(0, text(1), frame(2), 0, is_shed=True) == []
    (opened,) = bench.judge(0, text(1), frame(3), 9)
    assert (opened.is_late, opened.is_masked) == (True, True)


def test_a_text_that_never_was_judged_is_no_evidence() -> None:
    bench = Bench()
    failed = Scored(1, 0, (9 * MICRO,), text_failure="tokens")
    judged = bench.decide.judge(0, [(Observation(1, 0, "x", text(1), frame(2)), failed)])
    assert [(one.side, one.offset) for one in judged.alerts[0].evidence] == [(Side.FRAME, 2)]


def test_a_text_that_was_judged_once_is_evidence_though_it_fails_later() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), 0)
    failed = Scored(2, 0, (9 * MICRO,), text_failure="tokens")
    judged = bench.decide.judge(0, [(Observation(2, 0, "x", text(1), frame(2)), failed)])
    assert [(letter.ref, letter.reason) for letter in judged.dead_letters] == [((Side.TEXT, 1), "tokens")]
    assert [(one.side, one.offset) for one in judged.alerts[0].evidence] == [
        (Side.TEXT, 1), (Side.FRAME, 1), (Side.FRAME, 2),
    ]  # fmt: skip
    assert judged.alerts[0].is_masked


def test_an_alert_says_what_each_side_contributed_by_leaving_it_out() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), 1, without_image=0.5, without_text=-1)
    (opened,) = bench.judge(0, text(1), frame(2), 3, without_image=0.5, without_text=2)
    assert opened.contribution is not None
    assert [value / MICRO for value in (opened.contribution.full, opened.contribution.without_image)] == [2, 0.5]
    assert opened.contribution.without_text == MICRO // 2


def test_ids_are_functions_of_deployment_zone_label_and_opening_record_never_of_the_model() -> None:
    def ids(deployment: str, model: Model, offset: int) -> str:
        decide = Decide(InForce(model, SETTINGS, SETTINGS.sha256), deployment=deployment, partition=0)
        observation = Observation(1, 0, "x", text(offset), None)
        return decide.judge(0, [(observation, Scored(1, 0, (3 * MICRO,)))]).alerts[0].id

    assert ids("d", MODEL, 1) == ids("d", OTHER, 1)
    assert len({ids("d", MODEL, 1), ids("e", MODEL, 1), ids("d", MODEL, 2)}) == 3


def test_an_incident_whose_label_no_longer_alerts_closes_with_model_changed_and_the_others_stay() -> None:
    labels = tuple(LabelRule(name, is_alerting=True, open_at=MICRO, close_at=0) for name in ("fight", "fire"))
    bench = Bench(Model("m", "1", "00", labels))
    observation = Observation(1, 0, "x", text(1), None)
    bench.decide.judge(0, [(observation, Scored(1, 0, (MICRO, MICRO)))])
    alerts = bench.switch(77)
    assert [(one.label, one.phase, one.reason, one.time_ms) for one in alerts] == [
        ("fire", "closed", "model-changed", 77)
    ]
    assert [one.in_force.model for one in alerts] == [MODEL]
    assert phases(bench.expire(10_001)) == ["closed"]


def test_a_text_does_not_open_its_incident_again_under_another_model() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), 3)
    bench.switch(0, OTHER)
    assert phases(bench.judge(10_001, text(1), frame(2), 3)) == ["closed"]


def test_results_of_another_model_are_not_mixed_with_this_ones() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), -20)
    bench.switch(0, OTHER)
    (opened,) = bench.judge(0, text(1), frame(2), 3)
    assert (opened.phase, opened.score, opened.in_force.model) == ("opened", 3 * MICRO, OTHER)


def test_other_settings_alone_leave_what_a_text_scored_so_far() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), 1)
    settings = structs.replace(SETTINGS, quiet_ms=50)
    assert bench.decide.switch(InForce(MODEL, settings, "77"), 0) == []
    (opened,) = bench.judge(0, text(1), frame(2), 3)
    assert (opened.score, opened.in_force.settings_sha256) == (2 * MICRO, "77")
    assert bench.expire(50) == []
    assert phases(bench.expire(51)) == ["closed"]


def test_an_incident_that_is_open_closes_by_the_quiet_ms_that_a_switch_puts_in_force() -> None:
    bench = Bench()
    bench.judge(0, text(1), frame(1), 3)
    bench.decide.switch(InForce(MODEL, structs.replace(SETTINGS, quiet_ms=50), "77"), 0)
    assert phases(bench.expire(51)) == ["closed"]


def test_an_alert_names_at_most_32_records_and_says_how_many_were_left_out() -> None:
    bench = Bench(update_every_ms=1_000_000)
    for offset in range(40):
        bench.judge(0, text(offset), frame(offset), 3)
    (closed,) = bench.expire(10_001)
    assert (len(closed.evidence), closed.evidence_left_out) == (32, 48)


def test_of_the_frames_that_a_text_was_scored_with_the_newest_32_are_kept() -> None:
    bench = Bench()
    for offset in range(40):
        bench.judge(0, text(1), frame(offset), 0)
    ((_, outcome),) = bench.decide.state().outcomes
    assert [one.offset for one in outcome.frames] == list(range(8, 40))


def test_a_frame_that_several_texts_met_is_left_out_once() -> None:
    bench = Bench(update_every_ms=1_000_000)
    for offset in range(40):
        for number in range(3):
            bench.judge(0, text(number), frame(offset), 3)
    (closed,) = bench.expire(10_001)
    assert (len(closed.evidence), closed.evidence_left_out) == (32, 43 - 32)


def test_of_the_frames_that_were_left_out_the_newest_128_are_remembered() -> None:
    bench = Bench(update_every_ms=1_000_000)
    for offset in range(300):
        bench.judge(0, text(1), frame(offset), 3)
    (incident,) = bench.decide.state().incidents
    assert incident.unnamed == list(range(300 - 128, 300))


def test_what_is_due_for_one_incident_does_not_hurry_the_news_of_another() -> None:
    bench = Bench(update_every_ms=2_000)
    bench.judge(0, text(1, zone="a"), None, 3)
    bench.judge(9_500, text(2, zone="b"), None, 3)
    assert bench.judge(9_600, text(2, zone="b"), frame(1, zone="b"), 3) == []
    assert [(one.zone, one.phase) for one in bench.expire(10_001)] == [("a", "closed")]
    assert [(one.zone, one.phase) for one in bench.expire(11_499)] == []
    assert [(one.zone, one.phase) for one in bench.expire(11_500)] == [("b", "updated")]


def test_a_masked_result_shows_no_frame_again() -> None:
    bench = Bench(update_every_ms=1_000_000)
    for offset in range(40):
        bench.judge(0, text(1), frame(offset), 3)
    for offset in range(40, 50):
        bench.judge(0, text(1), frame(offset), 3, image_failure="undecodable")
    (closed,) = bench.expire(10_001)
    assert (len(closed.evidence), closed.evidence_left_out) == (32, 9)
