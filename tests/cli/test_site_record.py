"""`vigil site record`: everybody has a recording to try, and the one that ships with the tests stays what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_app.adapters.recording.layout import SCHEMA, InForce
from stream_app.adapters.recording.read import open_recording
from stream_app.bundle.demo import demo_bundle_path
from stream_app.cli import main
from stream_app.replay.in_force import recorded_in_force
from stream_app.replay.verify import verify
from stream_app.terminal.outcome import FAILED, REFUSED, USAGE
from stream_app.wire.alerts import decode_alert
from stream_app.wire.decisions import decode_decision
from stream_app.wire.journal import decode_journal
from tests.recordings.shipped import SITE, command
from tests.replay.site import in_force

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.replay.recording import Kind, TopicRecord


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return int(ended.value.code or 0)


def records(path: Path) -> list[tuple[Kind, TopicRecord]]:
    with open_recording(path) as recording:
        return list(recording.records())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "site.mcap"
    assert run(*command(), "--out", path) == 0
    return path


def test_the_recording_that_ships_with_the_tests_is_readable_and_verifies_as_equal() -> None:
    with open_recording(SITE) as recording:
        assert recording.opening.schema == SCHEMA == 1
        assert recording.opening.version == "0.1.0"
        assert recording.about.deployment == "drawn-site"
        verdict = verify(recording)
    assert [difference.words() for difference in verdict.differences] == []
    assert verdict.status == "equal"
    assert [task.partition for task in verdict.tasks] == [0, 3]
    for task in verdict.tasks:
        assert (task.before, task.after, task.gaps, task.without_digests) == ({}, {}, (), 0)
        assert task.verified["keyframes"] >= 3
        assert task.verified["alerts"] >= 2
        assert task.verified["frames"] == 15


def test_what_it_says_of_itself_is_what_judged(made: Path) -> None:
    for path in (SITE, made):
        with open_recording(path) as recording:
            assert recorded_in_force(recording) == in_force()
            (first, second) = recording.opening.in_force
            assert msgspec.json.decode(first.model, type=type(in_force().model)) == in_force().model
            assert msgspec.json.decode(first.settings, type=type(in_force().settings)) == in_force().settings
            assert second == InForce(3, first.model, first.settings, in_force().settings_sha256)
            assert recording.files[0].manifest == (demo_bundle_path() / "manifest.json").read_bytes()


def test_the_command_still_gives_the_records_that_ship_with_the_tests(made: Path) -> None:
    assert [_comparable(kind, one) for kind, one in records(made)] == [
        _comparable(kind, one) for kind, one in records(SITE)
    ]


def _comparable(kind: Kind, record: TopicRecord) -> object:
    """Return what another version on another processor gives too: not its name, not digests, no score to the digit."""
    if kind in {"frames", "texts"}:
        return record
    place = (kind, record.partition, record.offset, record.timestamp, record.timestamp_type, record.key)
    value: Any
    if kind == "journal":
        journal = decode_journal(record.value or b"")
        assert journal.step is not None
        cut = msgspec.structs.replace(journal.step, outputs="")
        value = (journal.entries, cut, journal.epoch is not None, journal.keyframe is not None)
        return place, value
    decoded = decode_alert(record.value, record.headers) if kind == "alerts" else decode_decision(record.value)
    return place, record.headers, _nearly(msgspec.to_builtins(decoded))


def _nearly(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {name: _nearly(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_nearly(one) for one in value]
    return pytest.approx(value, abs=0.005) if isinstance(value, float) else value


def test_equal_arguments_give_equal_bytes_and_another_seed_gives_others(made: Path, tmp_path: Path) -> None:
    assert run(*command(), "--out", tmp_path / "again.mcap") == 0
    assert (tmp_path / "again.mcap").read_bytes() == made.read_bytes()
    assert (tmp_path / "again.mcap").stat().st_mode & 0o077 == 0, "recordings are private"
    assert run(*command(), "--seed", 2, "--out", tmp_path / "other.mcap") == 0
    assert records(tmp_path / "other.mcap") != records(made)


def test_wrong_usage_and_a_bundle_that_is_none_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("site", "record", "--out", tmp_path / "site") == USAGE
    assert "expected a name that ends in .mcap" in capsys.readouterr().err
    assert run("site", "record", "--minutes", "0.1", "--out", tmp_path / "site.mcap") == USAGE
    assert run("site", "record", "--bundle", tmp_path, "--out", tmp_path / "site.mcap") == REFUSED
    assert not (tmp_path / "site.mcap").exists()
    (tmp_path / "site.mcap").write_text("mine")
    assert run(*command(), "--out", tmp_path / "site.mcap") == FAILED
    assert "expected nothing there, found something" in capsys.readouterr().err
    assert (tmp_path / "site.mcap").read_text() == "mine"
