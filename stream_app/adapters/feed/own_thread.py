"""A thread of its own for calls that block and cannot be cancelled, such as waiting for a camera's next picture.

In: functions, one after the other. Out: their results, awaited. It must not know what they do. The thread is a daemon:
a call that never returns keeps neither its caller nor the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

_ResultT = TypeVar("_ResultT")


class OwnThread:
    """Runs functions in the order of their calls, never two at once."""

    def __init__(self, name: str) -> None:
        """Start the thread.

        Args:
            name: of the thread, for those who look at stacks.
        """
        self._calls: SimpleQueue[tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]] | None]
        self._calls = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, function: Callable[[], _ResultT]) -> _ResultT:
        """Run a function in the thread and return its result, or raise what it raised.

        Cancelling this stops the waiting, not the function.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_ResultT] = loop.create_future()

        def settle(result: _ResultT, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def hand_over(result: _ResultT, error: BaseException | None) -> None:
            # The loop may be closed by now: then nobody waits any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, result, error)

        self._calls.put((function, hand_over))
        return await future

    async def end(self, last: Callable[[], object], *, patience_s: float) -> None:
        """Let the thread end after it has run ``last``, and wait for that, but not for ever.

        Args:
            last: what to run before; nobody hears of its result.
            patience_s: how long to wait, in seconds. A thread that is still in foreign code when the interpreter ends
                may break the process, so it is worth some waiting.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.call(last)
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, hand_over = call
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
                hand_over(None, error)
            else:
                hand_over(result, None)
