"""When cameras and zones were last heard of; bounded, whatever names come."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream_app.core.heard import MAX_CAMERAS, MAX_ZONES, RECENT_MS, Heard
from stream_app.core.types import Side

NOW_MS = 10 * RECENT_MS


@dataclass(frozen=True, slots=True)
class Raw:
    key: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    offset: int = 0
    value: bytes | None = b"x"


def frame(zone: str, camera: str, at: int) -> Raw:
    # Names before and behind it in the alphabet.
    return Raw(zone.encode(), at, [("baggage", b"x"), ("vendor", b"x"), ("Camera", camera.encode())])


def test_the_newest_append_time_of_each_camera_and_of_each_zones_texts_is_kept() -> None:
    heard = Heard()
    heard.note(0, Side.FRAME, [frame("a", "c1", 4_000), frame("a", "c1", 3_000), frame("b", "c1", 99)], NOW_MS)
    heard.note(1, Side.TEXT, [Raw(b"b", 8_500), Raw(b"b", 8_400)], NOW_MS)
    assert {(one.partition, one.zone, one.camera, one.append_ms) for one in heard.frames()} == {
        (0, "a", "c1", 4_000), (0, "b", "c1", 99),
    }  # fmt: skip
    assert [(one.partition, one.zone, one.camera, one.append_ms) for one in heard.texts()] == [(1, "b", "", 8_500)]


def test_a_zone_with_recent_texts_and_no_recent_frame_is_blind() -> None:
    heard = Heard()
    texts = [Raw(b"seeing", NOW_MS), Raw(b"dark", NOW_MS - RECENT_MS), Raw(b"stale", NOW_MS), Raw(b"old", 0)]
    heard.note(0, Side.TEXT, texts, NOW_MS)
    frames = [frame("seeing", "c", NOW_MS - RECENT_MS), frame("stale", "c", NOW_MS - RECENT_MS - 1)]
    heard.note(0, Side.FRAME, frames, NOW_MS)
    assert heard.blind_zones(NOW_MS) == ["dark", "stale"]
    assert heard.blind_zones(NOW_MS + 1) == ["seeing", "stale"]


def test_at_the_bound_a_new_camera_is_left_out_and_counted_while_all_others_speak() -> None:
    heard = Heard()
    heard.note(0, Side.FRAME, [frame("a", str(number), NOW_MS) for number in range(MAX_CAMERAS + 7)], NOW_MS)
    assert len(list(heard.frames())) == MAX_CAMERAS
    assert heard.left_out == 7


def test_at_the_bound_a_new_zone_of_texts_is_left_out_and_counted_while_all_others_speak() -> None:
    heard = Heard()
    heard.note(0, Side.TEXT, [Raw(str(number).encode(), NOW_MS) for number in range(MAX_ZONES + 7)], NOW_MS)
    assert (len(list(heard.texts())), heard.left_out) == (MAX_ZONES, 7)


def test_at_the_bound_the_camera_that_was_silent_for_longest_gives_way_after_ten_minutes() -> None:
    heard = Heard()
    silent = [frame("a", str(number), NOW_MS - RECENT_MS) for number in range(MAX_CAMERAS)]
    heard.note(0, Side.FRAME, silent, NOW_MS)
    heard.note(0, Side.FRAME, [frame("a", "0", NOW_MS), frame("a", "new", NOW_MS)], NOW_MS)
    cameras = {one.camera for one in heard.frames()}
    assert len(cameras) == MAX_CAMERAS
    assert {"0", "new"} <= cameras
    assert "1" not in cameras
    heard.note(0, Side.FRAME, [frame("a", str(number), NOW_MS) for number in range(2, MAX_CAMERAS)], NOW_MS)
    heard.note(0, Side.FRAME, [frame("a", "newest", NOW_MS)], NOW_MS)
    assert "newest" not in {one.camera for one in heard.frames()}
    assert heard.left_out == 1


def test_a_flood_of_zone_names_does_not_make_a_zone_with_texts_seem_blind() -> None:
    heard = Heard()
    heard.note(0, Side.FRAME, [frame(f"z{number}", "c", NOW_MS) for number in range(10 * MAX_ZONES)], NOW_MS)
    heard.note(0, Side.TEXT, [Raw(b"yard", NOW_MS)], NOW_MS)
    assert heard.blind_zones(NOW_MS) == ["yard"]
    heard.note(0, Side.FRAME, [frame("yard", "c", NOW_MS)], NOW_MS)
    assert heard.blind_zones(NOW_MS) == []


def test_what_belongs_to_a_partition_that_went_elsewhere_is_forgotten() -> None:
    heard = Heard()
    for partition, zone in ((0, "a"), (1, "b")):
        heard.note(partition, Side.FRAME, [frame(zone, "c", 0)], NOW_MS)
        heard.note(partition, Side.TEXT, [Raw(zone.encode(), NOW_MS)], NOW_MS)
    heard.forget(0)
    assert [one.zone for one in heard.frames()] == ["b"]
    assert [one.zone for one in heard.texts()] == ["b"]
    heard.note(1, Side.FRAME, [frame("b", "c", NOW_MS)], NOW_MS)
    heard.forget(1)
    heard.note(1, Side.TEXT, [Raw(b"b", NOW_MS)], NOW_MS)
    assert heard.blind_zones(NOW_MS) == ["b"], "nor is it remembered that somebody looked"


def test_records_without_a_zone_are_passed_over_names_that_are_not_utf_8_shown_and_long_ones_cut() -> None:
    heard = Heard()
    heard.note(0, Side.FRAME, [Raw(None, 0), Raw(b"\xff", 0), Raw(b"z" * 65, 0)], NOW_MS)
    assert [(one.zone, one.camera) for one in heard.frames()] == [("\N{REPLACEMENT CHARACTER}", ""), ("z" * 64, "")]
