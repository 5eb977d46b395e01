"""The command `vigil` itself: what it lists, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream_app.cli import main
from stream_app.config import SETTINGS
from stream_app.terminal.outcome import _GRACE_S

COMMANDS = (
    "demo",
    "worker",
    "topics",
    "feed",
    "watch",
    "status",
    "decisions",
    "record",
    "recording",
    "evidence",
    "replay",
    "compare",
    "task",
    "bundle",
    "config",
    "kafka",
    "site",
)


def run(*arguments: str) -> int:
    """Run `vigil` in this process and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_help_lists_every_command_and_loads_none(capsys: pytest.CaptureFixture[str]) -> None:
    program = (
        "import sys; from stream_app.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'aiokafka', 'faust', 'onnxruntime', 'cv2', 'numpy', 'stream_app.cli.config'} & set(sys.modules)\n"
        "sys.exit(f'loaded for nothing: {heavy}' if heavy else 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in shown] == []
    assert "Exit status" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_of_help_says_its_defaults_and_nothing_foreign(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    shown = capsys.readouterr().out
    assert "completion" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    is_group = "Commands:" in shown
    assert ("COMMAND [ARGS]" in shown) is is_group
    assert is_group or "--config" not in shown or "$VIGIL_CONFIG" in shown


def test_an_unknown_phase_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("watch", "--phase", "opend") == 2
    assert "expected opened, updated, closed, found opend" in capsys.readouterr().err.replace("\n", " ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip()


def test_a_mistyped_command_is_wrong_usage_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("topic") == 2
    assert "Did you mean 'topics'" in capsys.readouterr().err


def test_a_wrong_setting_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "check", "--set", "comit_ms=1") == 2
    assert "did you mean commit_ms?" in capsys.readouterr().err


def test_config_check_refuses_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "check", "--set", "bundle=/nowhere/at/all") == 4
    assert "expected a bundle" in capsys.readouterr().err
    assert run("config", "check") == 0


def test_config_show_prints_every_setting_and_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_SASL_PASSWORD", "hunter2")
    assert run("config", "show", "--json") == 0
    shown = capsys.readouterr().out
    assert "hunter2" not in shown
    assert [setting.name for setting in SETTINGS if f'"{setting.name}"' not in shown] == []
    assert run("config", "show") == 0
    assert "hunter2" not in capsys.readouterr().out


INTERRUPTED_PROGRAM = """
import asyncio, sys, time
from stream_app.terminal import outcome
from stream_app.terminal.outcome import run_command
async def work():
    print("up", flush=True)
    {body}
try:
    run_command(work())
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_one_wish_signalled_twice_lets_a_command_close_what_it_opened() -> None:
    body = """try: await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.1)
        print("closed", flush=True)"""
    # However long this process waits for its turn between the two.
    program = INTERRUPTED_PROGRAM.replace("async def", "outcome._SAME_WISH_S = 3600\nasync def").format(body=body)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(process.pid, number)
        assert process.stdout.read() == b"closed\n"
        assert process.wait(timeout=60) == 130


def test_a_second_signal_ends_a_command_that_is_still_closing() -> None:
    body = """try: await asyncio.sleep(3600)
    finally:
        print("closing", flush=True)
        await asyncio.sleep(3600)"""
    # Without the time-out that would end it, too.
    program = INTERRUPTED_PROGRAM.replace("async def", "outcome._GRACE_S = 3600\nasync def").format(body=body)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGTERM)
        assert process.stdout.readline() == b"closing\n"
        while process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        assert (process.returncode, process.stderr.read().count(b"ended without waiting")) == (130, 1)


def test_a_command_in_the_background_of_a_script_ignores_ctrl_c_and_ends_by_sigterm() -> None:
    program = INTERRUPTED_PROGRAM.format(body="await asyncio.sleep(60)")
    script = """trap '' INT; exec "$0" -c "$1" """
    with subprocess.Popen(["/bin/sh", "-c", script, sys.executable, program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ignored = re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text("ascii"))
        assert ignored is not None
        assert int(ignored[1], 16) >> (signal.SIGINT - 1) & 1
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=60) == 130


def test_sigterm_ends_a_command_without_an_event_loop_with_a_word(tmp_path: Path) -> None:
    arguments = ["site", "play", "--out", str(tmp_path / "play"), "--seconds", "6000", "--zones", "8"]
    with subprocess.Popen([sys.executable, "-m", "stream_app", *arguments], stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (tmp_path / "play").exists():
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.read() == b"vigil: interrupted\n"
        assert process.wait(timeout=60) == 130


def test_sentences_of_the_demo_belong_to_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts").write_text("smoke\n", encoding="utf-8")
    assert run("demo", "--texts", str(tmp_path / "texts")) == 2
    assert "expected --video" in capsys.readouterr().err


@pytest.mark.parametrize(("body", "is_stuck"), [("await asyncio.sleep(3600)", False), ("time.sleep(3600)", True)])
def test_ctrl_c_ends_a_command_that_waits_and_in_time_one_that_is_stuck(body: str, *, is_stuck: bool) -> None:
    assert _GRACE_S < 5, "docs/cli.md promises 5 s"
    program = INTERRUPTED_PROGRAM.format(body=body)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, b"ended without waiting" in said) == (130, is_stuck)


def test_every_line_of_a_worker_names_it_the_kafka_clients_too() -> None:
    settings = ("log_format=json", "worker_name=gate-1", "health_port=0", "decode_children=1", "provider=cpu")
    ended = subprocess.run(
        [sys.executable, "-c", "from stream_app.cli import main; main()", "worker", "--bootstrap", "127.0.0.1:9"]
        + [argument for setting in settings for argument in ("--set", setting)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    lines = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert {line["logger"].partition(".")[0] for line in lines} >= {"vigil", "aiokafka"}
    assert {line["worker"] for line in lines} == {"gate-1"}


def test_an_interruption_is_said_from_the_first_thing_that_a_command_loads() -> None:
    program = """import os, signal, sys
from stream_app.cli import main
is_armed = True
def interrupt(event, _):
    global is_armed
    if event == "import" and is_armed:
        is_armed = False
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(interrupt)
main(["config", "show"])"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"vigil: interrupted\n")


SHOW = [sys.executable, "-m", "stream_app", "config", "show"]


def test_a_reader_that_goes_away_is_an_ordinary_end() -> None:
    with subprocess.Popen(SHOW, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_output_that_cannot_be_written_is_said_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(SHOW, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr.count(b"\n")) == (1, 1)
    assert b"No space left on device" in ended.stderr


def test_closed_streams_are_no_error_and_no_socket_takes_their_place() -> None:
    program = """import os, sys
from stream_app.cli import main
try: main(["config", "show"])
except SystemExit as ended: assert not ended.code
assert [os.readlink(f"/proc/self/fd/{number}") for number in range(3)] == 3 * ["/dev/null"]
assert sys.stdin.read() == "" """
    script = 'exec "$0" -c "$1" <&- >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", script, sys.executable, program], check=False).returncode == 0


def test_no_line_is_broken_for_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert run("bundle", "show", "--json") == 0
    sha256 = json.loads(capsys.readouterr().out)["sha256"]
    assert run("bundle", "show") == 0
    assert sha256 in capsys.readouterr().out


def test_an_output_folder_that_cannot_be_made_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert run("demo", "--out", str(tmp_path / "file" / "demo"), "--seconds", "15", "--zones", "1") == 1
    assert "--out: expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b'{"note": "no text"}\n', b"{broken\n", b"\xff\n"])
def test_sentences_that_are_none_are_refused_in_words(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, video = tmp_path / "texts", tmp_path / "video.avi"
    texts.write_bytes(content)
    video.write_bytes(b"")
    assert run("demo", "--video", str(video), "--texts", str(texts)) == 2
    assert str(texts) in capsys.readouterr().err
