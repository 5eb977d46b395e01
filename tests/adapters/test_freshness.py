"""When cameras and zones were last heard of; bounded, whatever names come."""

from dataclasses import dataclass, field

from stream_app.adapters.freshness import MAX_CAMERAS, MAX_ZONES, RECENT_MS, Freshness
from stream_app.core.types import Side


@dataclass(frozen=True, slots=True)
class Raw:
    key: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    offset: int = 0
    value: bytes | None = b"x"


def frame(zone: str, camera: str, at: int) -> Raw:
    return Raw(zone.encode(), at, [("camera", camera.encode())])


def gauges(freshness: Freshness) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        metric.name: {tuple(sample.labels.values()): sample.value for sample in metric.samples}
        for metric in freshness.collect()
    }


def test_ages_are_of_the_newest_record_and_never_negative() -> None:
    freshness = Freshness(now_ms=lambda: 10_000)
    freshness.saw(0, Side.FRAME, [frame("a", "c1", 4_000), frame("a", "c1", 3_000), frame("a", "c2", 99_000)])
    freshness.saw(1, Side.TEXT, [Raw(b"b", 8_500)])
    found = gauges(freshness)
    assert found["vigil_last_frame_age_seconds"] == {("a", "c1"): 6.0, ("a", "c2"): 0.0}
    assert found["vigil_last_text_age_seconds"] == {("b",): 1.5}


def test_a_zone_with_texts_and_no_recent_frames_is_blind() -> None:
    now = 10 * RECENT_MS
    freshness = Freshness(now_ms=lambda: now)
    freshness.saw(0, Side.TEXT, [Raw(b"seeing", now), Raw(b"dark", now), Raw(b"stale", now), Raw(b"old", 0)])
    freshness.saw(0, Side.FRAME, [frame("seeing", "c", now), frame("stale", "c", now - RECENT_MS - 1)])
    assert freshness.blind_zones() == ["dark", "stale"]
    assert gauges(freshness)["vigil_zones_without_frames"] == {(): 2.0}


def test_names_are_bounded_and_what_is_left_out_is_counted() -> None:
    freshness = Freshness(now_ms=lambda: 0)
    freshness.saw(0, Side.FRAME, [frame("a", str(number), 0) for number in range(MAX_CAMERAS + 7)])
    assert len(list(freshness.frames())) == MAX_CAMERAS
    assert gauges(freshness)["vigil_names_left_out"] == {(): 7.0}


def test_at_the_bound_a_new_name_takes_the_place_of_one_long_silent_and_of_no_other() -> None:
    now = 10 * RECENT_MS
    freshness = Freshness(now_ms=lambda: now)
    freshness.saw(0, Side.FRAME, [frame("a", str(number), now - RECENT_MS) for number in range(MAX_CAMERAS)])
    freshness.saw(0, Side.FRAME, [frame("a", "0", now), frame("a", "new", now)])
    cameras = {seen.camera for seen in freshness.frames()}
    assert len(cameras) == MAX_CAMERAS
    assert {"0", "new"} <= cameras
    assert "1" not in cameras
    freshness.saw(0, Side.FRAME, [frame("a", str(number), now) for number in range(2, MAX_CAMERAS)])
    freshness.saw(0, Side.FRAME, [frame("a", "newest", now)])
    assert "newest" not in {seen.camera for seen in freshness.frames()}
    assert gauges(freshness)["vigil_names_left_out"] == {(): 1.0}


def test_a_zone_whose_cameras_are_left_out_is_not_called_blind() -> None:
    now = 10 * RECENT_MS
    freshness = Freshness(now_ms=lambda: now)
    freshness.saw(0, Side.FRAME, [frame(f"z{number}", "c", now) for number in range(10 * MAX_ZONES)])
    freshness.saw(0, Side.TEXT, [Raw(b"yard", now)])
    assert freshness.blind_zones() == ["yard"]
    freshness.saw(0, Side.FRAME, [frame("yard", "c", now)])
    assert freshness.blind_zones() == []


def test_names_that_look_alike_are_one_line_of_the_page() -> None:
    freshness = Freshness(now_ms=lambda: 10_000)
    freshness.saw(0, Side.FRAME, [Raw(b"\xff", 3_000), Raw(b"\xfe", 4_000), Raw(b"z" * 64, 0), Raw(b"z" * 65, 1_000)])
    freshness.saw(1, Side.TEXT, [Raw(b"\xff", 9_000), Raw(b"\xfe", 8_000)])
    samples = [sample for metric in freshness.collect() for sample in metric.samples]
    lines = [(sample.name, *sample.labels.values()) for sample in samples]
    assert len(lines) == len(set(lines))
    found = gauges(freshness)
    assert found["vigil_last_frame_age_seconds"] == {("\N{REPLACEMENT CHARACTER}", ""): 6.0, ("z" * 64, ""): 9.0}
    assert found["vigil_last_text_age_seconds"] == {("\N{REPLACEMENT CHARACTER}",): 1.0}


def test_what_another_worker_reads_now_is_forgotten() -> None:
    freshness = Freshness(now_ms=lambda: 0)
    freshness.saw(0, Side.FRAME, [frame("a", "c", 0)])
    freshness.saw(1, Side.FRAME, [frame("b", "c", 0)])
    freshness.forget(0)
    assert [seen.zone for seen in freshness.frames()] == ["b"]


def test_a_record_without_key_has_no_zone_and_one_that_is_no_utf8_does_no_harm() -> None:
    freshness = Freshness(now_ms=lambda: 0)
    freshness.saw(0, Side.FRAME, [Raw(None, 0), Raw(b"\xff", 0)])
    assert [seen.zone for seen in freshness.frames()] == ["\N{REPLACEMENT CHARACTER}"]
