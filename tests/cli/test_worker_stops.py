"""A worker that is asked to stop before it is at work: status 0, a true last line, and no member left in its group."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.kafka.group_rig import LONG_SESSION_MS, group_of, hand_made_member, others_in
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.cli.deployment import VIGIL, Deployment

pytestmark = pytest.mark.kafka


@contextmanager
def _worker(deployment: Deployment, group: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    settings = {
        "deployment": group,
        "bundle": write_tiny_bundle(folder),
        "allow_unsigned": True,
        "session_timeout_ms": LONG_SESSION_MS - 20_000,
        "decode_children": 1,
        "ort_threads": 1,
        "provider": "cpu",
        "health_port": 0,
        "log_format": "json",
    }
    flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    command = [*VIGIL, "worker", *flags, *deployment.options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _lines_until(process: subprocess.Popen[str], event: str) -> list[dict[str, Any]]:
    """Read the worker's lines up to the one of that name, or to the last one."""
    assert process.stderr is not None
    lines: list[dict[str, Any]] = []
    while not lines or lines[-1]["event"] != event:
        line = process.stderr.readline()
        if not line:
            break
        lines.append(json.loads(line) if line.startswith("{") else {"event": line, "level": "plain"})
    return lines


def _assert_it_ended_as_asked(process: subprocess.Popen[str]) -> None:
    lines = _lines_until(process, "")
    assert (process.wait(timeout=60), lines[-1]["event"], lines[-1]["reason"]) == (0, "ended", "asked to stop"), lines
    assert [line for line in lines if line["level"] not in {"debug", "info"}] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("event", ["bundle", "model ready", "joining group", "group joined"])
def test_a_worker_that_is_stopped_on_its_way_to_work_leaves_its_group(
    deployment: Deployment, topic_prefix: str, tmp_path: Path, event: str, number: signal.Signals
) -> None:
    with _worker(deployment, topic_prefix, tmp_path) as process:
        assert _lines_until(process, event)[-1]["event"] == event
        process.send_signal(number)
        _assert_it_ended_as_asked(process)
    assert asyncio.run(asyncio.wait_for(others_in(deployment.bootstrap, topic_prefix), 60)) == set()


def test_a_worker_that_is_stopped_while_another_member_holds_its_join_up_leaves_its_group(
    deployment: Deployment, topic_prefix: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with hand_made_member(deployment.bootstrap, topic_prefix) as absent:
            assert await absent.join() == [absent.member_id]
            with _worker(deployment, topic_prefix, tmp_path) as process:
                await asyncio.to_thread(_lines_until, process, "joining group")
                while len((await group_of(deployment.bootstrap, topic_prefix))[1]) < 2:
                    assert process.poll() is None
                process.terminate()
                await asyncio.to_thread(_assert_it_ended_as_asked, process)
            assert (await group_of(deployment.bootstrap, topic_prefix))[1] == {absent.member_id}

    asyncio.run(scenario())


def test_a_worker_that_is_stopped_before_it_has_read_its_settings_ends_as_asked(tmp_path: Path) -> None:
    settings = tmp_path / "vigil.toml"
    program = f"""import os, signal, sys
from stream_app.cli import main
def interrupt(event, arguments):
    if event == "open" and str(arguments[0]) == {str(settings)!r}:
        os.kill(os.getpid(), signal.SIGTERM)
sys.addaudithook(interrupt)
main(["worker", "--config", {str(settings)!r}])"""
    settings.write_text("", "utf-8")
    ended = subprocess.run([VIGIL[0], "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "vigil: asked to stop before the worker began\n")


def test_a_worker_that_nobody_asked_to_stop_does_not_say_that_it_was() -> None:
    """What a client library cancels within it comes out as a cancellation, too."""
    program = """import asyncio
from stream_app.cli import main
from stream_app.wiring import worker
async def run_worker(_settings):
    answer = asyncio.get_running_loop().create_future()
    answer.cancel()
    await answer
worker.run_worker = run_worker
main(["worker", "--set", "log_format=json"])"""
    ended = subprocess.run([VIGIL[0], "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (
        1,
        "vigil: the worker broke: it was cancelled from within",
    )
    said = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert [(line["event"], line["level"], line["reason"]) for line in said] == [
        ("ended", "critical", "cancelled from within")
    ]
