"""Logs: no contents, no floods, one form for our lines and the clients'."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from stream_app.adapters.observing.logs import FloodFilter, configure_logging


class ManualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("json", "info", stream=stream, context={"worker": "w1"})
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(message: str, name: str = "aiokafka.conn") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, None, None)


def test_a_flood_of_one_message_is_cut_to_five_lines_and_counted() -> None:
    clock = ManualClock()
    flood = FloodFilter(clock=clock)
    assert sum(flood.filter(record(f"Unable connect to node with id {n}")) for n in range(1_000)) == 5
    clock.now = 10.0
    first = record("Unable connect to node with id 3")
    assert flood.filter(first)
    assert first.suppressed == 995  # type: ignore[attr-defined] # set by the filter


def test_a_flood_whose_lines_all_differ_is_cut_too_and_counted() -> None:
    clock = ManualClock()
    flood = FloodFilter(clock=clock)
    addresses = (
        record(f"Future exception was never retrieved at {n:#x}", "asyncio") for n in range(2**24, 2**24 + 999)
    )
    assert sum(map(flood.filter, addresses)) == 5
    names = ["".join(chr(ord("g") + int(digit)) for digit in f"{n:03}") for n in range(1_000)]
    assert sum(flood.filter(record(f"member {name} lost", "faust.transport")) for name in names) == 50
    clock.now = 10.0
    first = record("member new lost", "faust.transport")
    assert flood.filter(first)
    assert first.suppressed == 950  # type: ignore[attr-defined] # set by the filter


def test_other_messages_and_our_own_lines_are_not_cut() -> None:
    flood = FloodFilter(clock=ManualClock())
    assert all(flood.filter(record("ours", "stream_app.worker")) for _ in range(100))
    for _ in range(100):
        flood.filter(record("one"))
    assert flood.filter(record("another"))


def test_what_the_filter_remembers_is_bounded() -> None:
    flood = FloodFilter(clock=ManualClock())
    for number in range(5_000):
        flood.filter(record("".join(chr(97 + int(digit)) for digit in str(number))))
    assert len(flood._seen) <= 512


def test_our_lines_and_the_clients_are_json_with_the_same_fields(lines: io.StringIO) -> None:
    structlog.get_logger("stream_app.x").info("task up", partition=3)
    logging.getLogger("aiokafka").warning("node %s gone", 4)
    ours, theirs = read(lines)
    assert (ours["event"], ours["partition"], ours["worker"], ours["level"]) == ("task up", 3, "w1", "info")
    assert (theirs["event"], theirs["worker"], theirs["level"]) == ("node 4 gone", "w1", "warning")
    assert ours.keys() >= {"timestamp", "logger"} <= theirs.keys()


def test_text_contents_images_and_passwords_are_not_logged(lines: io.StringIO) -> None:
    log = structlog.get_logger("stream_app.x")
    log.info("seen", text="two men fighting", image=b"\xff\xd8 pixels", frame=b"bytes", note="y" * 900)
    log.info("connecting", password="hunter2")  # noqa: S106 - what is not to be seen
    written = lines.getvalue()
    assert not any(secret in written for secret in ("fighting", "pixels", "hunter2", "y" * 600))
    assert read(lines)[0]["frame"] == "<5 bytes>"


def test_the_kafka_clients_requests_and_responses_are_not_logged_even_for_debugging(lines: io.StringIO) -> None:
    configure_logging("json", "debug", stream=lines)
    client = logging.getLogger("aiokafka.conn")
    client.debug("Response from %s:%d %d: %s", "kafka-1", 9092, 7, {"records": b'{"text": "two men fighting"}'})
    client.info("connected")
    logging.getLogger("vigil.worker").debug("ours")
    assert [line["event"] for line in read(lines)] == ["connected", "ours"]


def test_a_level_holds_for_the_clients_too(lines: io.StringIO) -> None:
    configure_logging("json", "error", stream=lines)
    logging.getLogger("aiokafka.conn").warning("not severe")
    logging.getLogger("aiokafka.conn").error("severe")
    assert [line["event"] for line in read(lines)] == ["severe"]


def test_local_variables_are_not_part_of_a_traceback(lines: io.StringIO) -> None:
    def refuse(text: str) -> None:
        raise ValueError(len(text))

    try:
        refuse("two men " + "fighting")
    except ValueError:
        structlog.get_logger("stream_app.x").exception("broken")
    assert "ValueError" in lines.getvalue()
    assert "two men fighting" not in lines.getvalue()


HOSTILE = "z\x1b]0;owned\x07\x9b2J\u202e\ud800\u2028\n2026-01-01 [info] forged"


@pytest.fixture
def shown() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("console", "info", stream=stream, context={"worker": HOSTILE})
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def fail(words: str) -> None:
    raise ValueError(words)


def test_nothing_that_is_logged_steers_a_terminal_or_forges_a_line(shown: io.StringIO) -> None:
    log = structlog.get_logger("stream_app.x")
    log.info(HOSTILE, zone=HOSTILE, zones=[HOSTILE], **{HOSTILE: 1})
    log.info("stack", stack_info=True)
    logging.getLogger("aiokafka").warning("from %s", HOSTILE)
    try:
        fail(HOSTILE)
    except ValueError:
        log.exception("broken")
        logging.getLogger("stream_app.y").exception("broken")
    written = shown.getvalue()
    assert "".join(written.split("\n")).isprintable()
    assert written.count(r"z\x1b]0;owned\x07\x9b2J\u202e\ud800\u2028") >= 5
    assert "ValueError: z" in written
    assert not any(line.startswith("2026-01-01 [info] forged") for line in written.splitlines())


def test_json_lines_hold_no_raw_control_character(lines: io.StringIO) -> None:
    structlog.get_logger("stream_app.x").info("seen", zone=HOSTILE, deleted="\x7f")
    assert lines.getvalue().rstrip("\n").isascii()
    assert lines.getvalue().rstrip("\n").isprintable()
    assert read(lines)[0]["zone"] == HOSTILE
