"""Composes verifications: files of a recording in, what was compared out. It needs no model, unless scores are asked.

In: paths, and how to score again if that is wanted. Out: a verification, and how far today's scores lie from it.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stream_app.replay.recording import RecordingError
from stream_app.replay.verify import require_values, verifying
from stream_app.wiring.garbage import seldom_collected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from stream_app.config import LoadedSettings
    from stream_app.replay.canonical import Reached
    from stream_app.replay.recording import Recording
    from stream_app.replay.rescored import Rescored
    from stream_app.replay.verification import Verification


class Rescore(msgspec.Struct, frozen=True, kw_only=True):
    """How to score again; ``bundles`` empty: by the one of the settings, which has to be the recorded one."""

    bundles: tuple[Path, ...]
    tolerance: float
    band: float


def open_row(paths: Sequence[Path]) -> Recording:
    """Open files in a row as one recording, which is read up to where something of it is lost.

    Raises:
        RecordingError: if they are none, or cannot be opened.
    """
    # Here and not at the top: other recordings, such as those of tests, need no library of files.
    from stream_app.adapters.recording.read import open_recording  # noqa: PLC0415

    try:
        return open_recording(*paths)
    except OSError as error:
        raise RecordingError(f"{error.filename} cannot be opened: {error.strerror or error}") from error


async def run_verification(
    paths: Sequence[Path],
    rescore: Rescore | None = None,
    loaded: LoadedSettings | None = None,
    *,
    open_files: Callable[[Sequence[Path]], Recording] = open_row,
    tell: Callable[[Reached], None] = lambda _: None,
) -> tuple[Verification, Rescored | None]:
    """Verify a recording.

    Args:
        paths: its files.
        rescore: how to score it again; None: not at all.
        loaded: settings, needed to score again.
        open_files: opens them.
        tell: is told how far it has come.

    Raises:
        RecordingError: if it cannot be read, or values were left out of it.
        BundleError: if a bundle is refused, or not the recorded one where none is given.
        SettingsError: if a setting does not fit.
    """
    async with AsyncExitStack() as stack:
        recording = open_files(paths)
        if isinstance(recording, AbstractContextManager):
            # One of files; others have nothing to close.
            stack.enter_context(recording)
        stack.enter_context(seldom_collected())
        if rescore is None or loaded is None:
            return await _in_turns(verifying(recording), _others_first, tell), None
        require_values(recording.about)
        # Here and not at the top: without scoring again no model is needed.
        from stream_app.wiring.rescoring import rescoring  # noqa: PLC0415

        again = await stack.enter_async_context(rescoring(recording, rescore, loaded))
        verification = await _in_turns(verifying(recording, again.onlooker), again.onlooker.room, tell)
        rescored = await again.onlooker.finish()
        return verification, msgspec.structs.replace(rescored, notes=again.notes)


async def _others_first() -> None:
    # Ctrl-C comes through the event loop.
    await asyncio.sleep(0)


async def _in_turns(
    work: Generator[Reached, None, Verification], turn: Callable[[], Awaitable[None]], tell: Callable[[Reached], None]
) -> Verification:
    while True:
        try:
            tell(next(work))
        except StopIteration as done:
            verification: Verification = done.value
            return verification
        await turn()
