"""Logging: structured lines, JSON or readable, without text contents or images, and without floods.

In: format, level. Out: the process's logging set up, so that our lines (structlog) and those of the Kafka clients
(standard logging) come out alike on one stream. It must not know settings or metrics.
"""

from __future__ import annotations

import io
import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from stream_app.terminal.sanitise import visible, visible_lines

#: A broker outage makes the clients log 1,000 lines a second, and asyncio a traceback for each future that they drop.
_NOISY = ("aiokafka", "faust", "kafka", "mode", "aiohttp", "asyncio")
_CHATTY = (
    "aiokafka",
    "faust",
    "mode",
    "stream_app.adapters.kafka.source.driver",
    "stream_app.adapters.kafka.source.faust_source",
)
#: Their "debug" prints requests and responses whole, with the texts and images in them.
_TELLING = ("aiokafka",)
_LINES = 5
#: Of one logger, whatever its messages: some carry names that are new each time.
_LINES_OF_A_LOGGER = 50
_PERIOD_S = 10.0
_MAX_TEMPLATES = 512
_MAX_VALUE_CHARS = 500
#: Names under which somebody might one day log what a camera saw or an alarm said.
_CONTENT = frozenset(
    {"text", "texts", "value", "image", "images", "payload", "body", "data", "sasl_password", "password"}
)
#: Numbers, addresses, parts of random ids: runs of hexadecimal digits with a decimal one among them.
_NUMBERS = re.compile(r"0x[0-9a-f]+|[0-9a-f]*[0-9][0-9a-f]*")


class FloodFilter(logging.Filter):
    """Lets at most five lines per message template, fifty per logger, through in ten seconds, for noisy loggers only.

    A template is the message with its numbers taken out. The first line after a pause says how many were suppressed.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, noisy: tuple[str, ...] = _NOISY) -> None:
        super().__init__()
        self._clock = clock
        self._noisy = noisy
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line may pass; mark it with the number of lines suppressed before it."""
        if record.name.partition(".")[0] not in self._noisy:
            return True
        template = _NUMBERS.sub("#", str(record.msg))[:160]
        return self._passes(record, (record.name, template), _LINES) and self._passes(
            record, (record.name, ""), _LINES_OF_A_LOGGER
        )

    def _passes(self, record: logging.LogRecord, key: tuple[str, str], most: int) -> bool:
        now = self._clock()
        since, lines = self._seen.get(key, (now, 0))
        if now - since >= _PERIOD_S:
            record.suppressed = getattr(record, "suppressed", 0) + max(lines - most, 0)
            since, lines = now, 0
        self._seen[key] = (since, lines + 1)
        self._seen.move_to_end(key)
        if len(self._seen) > _MAX_TEMPLATES:
            self._seen.popitem(last=False)
        return lines < most


def configure_logging(
    log_format: Literal["auto", "json", "console"],
    level: Literal["debug", "info", "warning", "error"],
    *,
    stream: TextIO | None = None,
    context: Mapping[str, str] | None = None,
) -> None:
    """Set up logging for the whole process. Calling it again replaces what was set up before.

    Args:
        log_format: ``auto`` writes readable lines to a terminal and JSON elsewhere.
        level: the least severe line that is written.
        stream: where to; None for standard error.
        context: names and values that every line carries, such as the worker's name.
    """
    target = sys.stderr if stream is None else stream
    is_json = log_format == "json" or (log_format == "auto" and not target.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(target)
    handler.addFilter(FloodFilter())
    handler.setFormatter(_formatter(shared, dict(context or {}), is_json=is_json, is_coloured=target.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    asked_for = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(asked_for)
    for name in _CHATTY:
        # Their "info" is every step of every service's start and stop.
        least = logging.WARNING if level != "debug" else logging.INFO if name in _TELLING else logging.DEBUG
        logging.getLogger(name).setLevel(max(least, asked_for))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _formatter(
    shared: list[Processor], context: dict[str, str], *, is_json: bool, is_coloured: bool
) -> structlog.stdlib.ProcessorFormatter:
    def add_context(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        return {**context, **event}

    # Plain tracebacks: those with local variables would print frames and texts.
    renderers: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if is_json
        else [
            _make_visible,
            structlog.dev.ConsoleRenderer(colors=is_coloured, exception_formatter=_write_traceback),
        ]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            _say_suppressed,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_context,
            hide_contents,
            *renderers,
        ],
    )


def _say_suppressed(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    suppressed = getattr(record, "suppressed", 0)
    if suppressed:
        event["suppressed"] = suppressed
    return event


def hide_contents(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Replace what may be a text's contents, an image or a password by its size, and cut what is long."""
    for name, value in event.items():
        if name in {"event", "exc_info", "exception", "stack"}:
            continue
        event[name] = _hidden(value) if name in _CONTENT else _shortened(value)
    event["event"] = _shortened(event.get("event", ""))
    return event


def _make_visible(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Make names and values visible, each on its line; the renderer puts its colours around them. JSON escapes all."""
    return {visible(str(name)): _shown(name, value) for name, value in event.items()}


def _shown(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever somebody logged
    if name == "exc_info":
        return value
    if name in {"exception", "stack"}:
        return _below(str(value))
    if isinstance(value, str):
        return visible(value)
    words = str(value) if name == "event" else repr(value)
    return value if visible(words) == words else visible(words)


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    drawn = io.StringIO()
    structlog.dev.plain_traceback(drawn, exc_info)
    out.write(_below(drawn.getvalue()))


def _below(lines: str) -> str:
    # Under its line, indented: a line break in a message must not begin a record that nobody logged.
    return visible_lines(lines).replace("\n", "\n  ")


def _hidden(value: Any) -> str:  # noqa: ANN401 - whatever somebody logged
    length = f"{len(value)} " if hasattr(value, "__len__") else ""
    return f"<{length}hidden>"


def _shortened(value: Any) -> Any:  # noqa: ANN401 - whatever somebody logged
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, str) and len(value) > _MAX_VALUE_CHARS:
        return f"{value[:_MAX_VALUE_CHARS]}... ({len(value)} characters)"
    return value
