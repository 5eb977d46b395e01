"""The ages of cameras and zones on the metrics page."""

from stream_app.adapters.observing.freshness import Freshness
from stream_app.core.heard import MAX_CAMERAS, RECENT_MS, Heard
from stream_app.core.types import Side
from tests.core.test_heard import Raw, frame


def gauges(freshness: Freshness) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        metric.name: {tuple(sample.labels.values()): sample.value for sample in metric.samples}
        for metric in freshness.collect()
    }


def test_ages_are_of_the_newest_record_and_never_negative() -> None:
    heard, now_ms = Heard(), 10_000
    heard.note(0, Side.FRAME, [frame("a", "c1", 4_000), frame("a", "c1", 3_000), frame("a", "c2", 99_000)], now_ms)
    heard.note(1, Side.TEXT, [Raw(b"b", 8_500)], now_ms)
    found = gauges(Freshness(heard, now_ms=lambda: now_ms))
    assert found["vigil_last_frame_age_seconds"] == {("a", "c1"): 6.0, ("a", "c2"): 0.0}
    assert found["vigil_last_text_age_seconds"] == {("b",): 1.5}


def test_blind_zones_and_records_that_were_left_out_are_on_the_page() -> None:
    heard, now_ms = Heard(), 10 * RECENT_MS
    heard.note(0, Side.TEXT, [Raw(b"dark", now_ms), Raw(b"seeing", now_ms)], now_ms)
    heard.note(0, Side.FRAME, [frame("seeing", str(number), now_ms) for number in range(MAX_CAMERAS + 7)], now_ms)
    found = gauges(Freshness(heard, now_ms=lambda: now_ms))
    assert found["vigil_zones_without_frames"] == {(): 1.0}
    assert found["vigil_zone_without_frames"] == {("dark",): 1.0}
    assert found["vigil_names_left_out"] == {(): 7.0}


def test_names_that_look_alike_are_one_line_of_the_page() -> None:
    heard, now_ms = Heard(), 10_000
    frames = [Raw(b"\xff", 3_000), Raw(b"\xfe", 4_000), Raw(b"z" * 64, 0), Raw(b"z" * 65, 1_000)]
    heard.note(0, Side.FRAME, frames, now_ms)
    heard.note(1, Side.TEXT, [Raw(b"\xff", 9_000), Raw(b"\xfe", 8_000)], now_ms)
    freshness = Freshness(heard, now_ms=lambda: now_ms)
    samples = [sample for metric in freshness.collect() for sample in metric.samples]
    lines = [(sample.name, *sample.labels.values()) for sample in samples]
    assert len(lines) == len(set(lines))
    found = gauges(freshness)
    assert found["vigil_last_frame_age_seconds"] == {("\N{REPLACEMENT CHARACTER}", ""): 6.0, ("z" * 64, ""): 9.0}
    assert found["vigil_last_text_age_seconds"] == {("\N{REPLACEMENT CHARACTER}",): 1.0}
