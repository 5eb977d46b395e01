"""Acting at a line that a library logs: the only sign of how far it is."""

import contextlib
import logging
from collections.abc import Callable, Iterator


class _AtLine(logging.Handler):
    """Calls a function at the n-th line that begins so, in the thread that logs."""

    def __init__(self, beginning: str, number: int, action: Callable[[], object]) -> None:
        super().__init__()
        self._beginning, self._left, self._action = beginning, number, action

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self._beginning):
            self._left -= 1
            if self._left == 0:
                self._action()


@contextlib.contextmanager
def at_line(logger_name: str, beginning: str, number: int, action: Callable[[], object]) -> Iterator[None]:
    """Call a function once, at the n-th line from now on that a logger writes with this beginning."""
    logger, handler = logging.getLogger(logger_name), _AtLine(beginning, number, action)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
