"""The drawn site: equal seeds give equal bytes, the truth is what is drawn, and the schedule keeps its promises."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

import stream_app.drawn_site
from stream_app.drawn_site import LABELS, LOOKALIKES, Schedule, Site, contact_sheet, sample

MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def minute() -> Schedule:
    return Site(3, zones=4, cameras_per_zone=2).schedule(2 * MINUTE_MS)


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not() -> None:
    first, again, other = (Site(seed, zones=2).schedule(MINUTE_MS) for seed in (5, 5, 6))
    assert first.incidents == again.incidents
    assert first.reports == again.reports
    for left, right in zip(first.cameras, again.cameras, strict=True):
        assert [left.jpeg(t) for t in (0, 7000, 21_300)] == [right.jpeg(t) for t in (0, 7000, 21_300)]
    assert first.reports != other.reports
    assert first.cameras[0].jpeg(0) != other.cameras[0].jpeg(0)


def test_a_frame_depends_on_its_moment_alone_not_on_what_was_asked_before(minute: Schedule) -> None:
    camera = minute.cameras[0]
    late_first = [camera.jpeg(t) for t in (9000, 4000, 100)]
    assert late_first[::-1] == [camera.jpeg(t) for t in (100, 4000, 9000)]


def test_the_global_random_state_is_neither_read_nor_written() -> None:
    np.random.seed(1)  # noqa: NPY002 - the very state that must be left alone
    before = np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr, unused-ignore]  # noqa: NPY002
    rows = list(sample(2, 30))
    after = np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr, unused-ignore]  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert before == after
    assert rows == list(sample(2, 30))


def test_frames_are_jpeg_of_320_by_240_and_move(minute: Schedule) -> None:
    camera = minute.cameras[0]
    picture = cv2.imdecode(np.frombuffer(camera.jpeg(5000), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (240, 320, 3)
    assert camera.jpeg(5000) != camera.jpeg(5250)


def test_cameras_of_a_zone_see_the_same_place_from_different_spots(minute: Schedule) -> None:
    first, second = (camera for camera in minute.cameras if camera.zone.name == "zone-1")
    assert first.zone == second.zone
    assert first.view != second.view


def test_an_incident_changes_the_picture_exactly_while_it_lasts(minute: Schedule) -> None:
    incident = minute.incidents[0]
    camera = next(c for c in minute.cameras if c.zone.name == incident.zone)
    for t_ms, is_visible in (
        (incident.start_ms - 1, False),
        (incident.start_ms, True),
        (incident.end_ms - 1, True),
        (incident.end_ms, False),
    ):
        empty = camera.render([], t_ms)
        assert bool((camera.frame(t_ms) != empty).any()) == is_visible, t_ms
        assert minute.truth(incident.zone, t_ms) == ((incident.label,) if is_visible else ())


def test_incidents_of_a_zone_never_overlap_and_every_label_occurs() -> None:
    schedule = Site(1, zones=4).schedule(4 * MINUTE_MS)
    for zone in {incident.zone for incident in schedule.incidents}:
        mine = [incident for incident in schedule.incidents if incident.zone == zone]
        assert all(a.end_ms < b.start_ms for a, b in itertools.pairwise(mine))
    assert {incident.label for incident in schedule.incidents} == set(LABELS)


@pytest.mark.parametrize("seed", range(8))
def test_reports_say_what_their_kind_promises(seed: int) -> None:
    schedule = Site(seed, zones=4, cameras_per_zone=1).schedule(2 * MINUTE_MS)
    for report in schedule.reports:
        meant_ms = report.event_time_ms - report.offset_ms
        truth = schedule.truth(report.zone, meant_ms)
        assert report.sent_ms >= report.event_time_ms
        assert 1 <= report.severity <= 5
        if report.incident is not None:
            assert truth == (schedule.incidents[report.incident].label,)
        else:
            assert truth == ()
        if report.kind == "truthful":
            assert report.claims in truth or (not truth and report.claims not in LABELS)
        if report.kind == "wrong":
            assert report.claims in LABELS
            assert report.claims not in truth
    for incident in schedule.incidents:
        assert any(r.incident == incident.number and r.kind == "truthful" for r in schedule.reports)
    kinds = {report.kind for report in schedule.reports}
    assert kinds in ({"truthful", "vague", "wrong"}, {"truthful", "wrong"})


def test_the_last_of_three_or_more_zones_stays_quiet(minute: Schedule) -> None:
    assert not [r for r in minute.reports if r.zone == "zone-4"]
    assert not [i for i in minute.incidents if i.zone == "zone-4"]
    assert [camera for camera in minute.cameras if camera.zone.name == "zone-4"]


def test_a_schedule_without_room_is_refused_with_what_was_found() -> None:
    with pytest.raises(ValueError, match="found 5000"):
        Site(1).schedule(5000)


def test_rows_hold_every_scene_every_kind_and_a_truth_that_follows_from_the_scene() -> None:
    rows = list(sample(4, 600))
    assert {row.scene for row in rows} == {*LABELS, *LOOKALIKES, "quiet"}
    assert {row.kind for row in rows} == {"truthful", "vague", "wrong"}
    assert {row.language for row in rows} == {"en", "zh"}
    assert {row.is_night for row in rows} == {True, False}
    for row in rows:
        named = {label for label, value in zip(LABELS, row.truth, strict=True) if value}
        assert (row.scene in named) == (row.scene in LABELS)
        assert bool(named) == (row.scene in LABELS)
        if row.kind == "truthful":
            assert row.claims == row.scene
        if row.kind == "wrong":
            assert row.claims != row.scene


def test_rows_of_two_seeds_share_no_picture() -> None:
    assert not {row.jpeg for row in sample(1, 48)} & {row.jpeg for row in sample(2, 48)}


def test_the_contact_sheet_holds_a_row_for_each_event_look_alike_and_quiet() -> None:
    sheet = contact_sheet(1, columns=2)
    assert sheet.shape == (258 * (len(LABELS) + len(LOOKALIKES) + 1), 640, 3)
    assert sheet.dtype == np.uint8


def test_the_site_imports_nothing_else_of_the_project() -> None:
    folder = Path(stream_app.drawn_site.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith(("torch", "vigil_export")), path
                assert not name.startswith("stream_app") or name.startswith("stream_app.drawn_site"), path
