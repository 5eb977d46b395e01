"""A recording of the drawn site in memory, as a deployment with the demo bundle would have made it."""

from __future__ import annotations

from functools import cache

import msgspec

from stream_app.bundle.demo import demo_bundle_path
from stream_app.bundle.load import load_bundle
from stream_app.config import LoadedSettings, load_settings
from stream_app.core.event_time import format_event_time
from stream_app.core.journal import JournalSwitch
from stream_app.core.types import InForce
from stream_app.drawn_site import Site
from stream_app.replay.recording import TopicRecord
from stream_app.wire.checkpoints import state_key
from stream_app.wire.journal import SCHEMA, JournalRecord, encode_journal
from stream_app.wiring.model import model_of
from tests.core.drive import T0
from tests.replay.memory import Memory

_EVERY_MS = 1_000


def settings() -> LoadedSettings:
    """Return settings that nothing outside of the test has a word in."""
    return load_settings(environ={}, assignments=("provider=cpu",))


@cache
def in_force() -> InForce:
    """Return what a worker with the demo bundle and default settings has in force."""
    loaded = settings()
    return InForce(model_of(load_bundle(demo_bundle_path()), loaded), loaded.semantic, loaded.sha256)


def journal_record(at: InForce, *, offset: int = 0, partition: int = 0, start: tuple[int, int] = (0, 0)) -> TopicRecord:
    """Return the journal record with which a task begins."""
    switch = JournalSwitch(at.model.sha256, at.settings_sha256, *start, at.model, at.settings)
    value = encode_journal(JournalRecord(schema=SCHEMA, partition=partition, entries=(switch,)))
    return _record(offset, T0, state_key("night", partition), value, partition=partition)


def site_recording(*, seconds: int = 60, seed: int = 3, judged_by: InForce | None = None) -> Memory:
    """Draw a recording: two zones with a camera each, a frame a second, and their reports."""
    schedule = Site(seed, zones=2, cameras_per_zone=1).schedule(seconds * 1_000)
    frames = [
        (at_ms + number, camera.zone.name, camera.name, camera.jpeg(at_ms + number))
        for at_ms in range(0, seconds * 1_000, _EVERY_MS)
        for number, camera in enumerate(schedule.cameras)
    ]
    texts = sorted(schedule.reports, key=lambda report: report.sent_ms)
    return Memory(
        {
            "journal": [journal_record(judged_by or in_force())],
            "frames": [
                _record(number, T0 + at_ms, zone.encode(), jpeg, (("camera", name.encode()),))
                for number, (at_ms, zone, name, jpeg) in enumerate(frames)
            ],
            "texts": [
                _record(
                    number,
                    T0 + report.sent_ms,
                    report.zone.encode(),
                    msgspec.json.encode({"text": report.text, "severity": report.severity}),
                    (("ce_time", format_event_time(T0 + report.event_time_ms).encode()),),
                )
                for number, report in enumerate(texts)
            ],
        }
    )


def _record(
    offset: int,
    append_ms: int,
    key: bytes,
    value: bytes,
    headers: tuple[tuple[str, bytes | None], ...] = (),
    *,
    partition: int = 0,
) -> TopicRecord:
    return TopicRecord(
        partition=partition,
        offset=offset,
        timestamp=append_ms,
        timestamp_type=1,
        key=key,
        value=value,
        headers=headers,
        size=len(value),
    )
