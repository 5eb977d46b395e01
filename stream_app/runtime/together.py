"""Jobs that belong together: they run concurrently, and when one fails, the others end. In: awaitables. Out: results.

In place of :class:`asyncio.TaskGroup`, for two reasons. What fails comes out as itself, not in a group. And where a
task of a TaskGroup fails, Pythons before 3.13 leave a request for cancellation with the task that waits: on 3.11.2
(Debian 12) its next timeout then ends it without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

_Result = TypeVar("_Result")


async def run_together(jobs: Iterable[Awaitable[_Result]]) -> list[_Result]:
    """Run jobs at once, until all have ended or one fails; none runs on afterwards.

    Args:
        jobs: Coroutines, or tasks that have begun.

    Returns:
        What they returned, in their order; a job that was cancelled by another of them has no result.

    Raises:
        BaseException: What the first job that failed raised; of several at the same moment the first in their order.
        RuntimeError: If a job was cancelled from within: something that it awaited was, and nobody asked for it.
    """
    tasks = [asyncio.ensure_future(job) for job in jobs]
    if not tasks:
        return []
    ended: set[asyncio.Future[_Result]] = set()
    try:
        running = set(tasks)
        # Not `FIRST_EXCEPTION`: to that a job that was cancelled from within has not failed, and the others go on.
        while running and not any(map(_has_failed, ended)):
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            ended |= done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    # Not of those that were cancelled here: what they raise on their way out is not why.
    return [_result_of(task) for task in tasks if task in ended and not _was_asked_to_end(task)]


def _was_asked_to_end(job: asyncio.Future[_Result]) -> bool:
    return job.cancelled() and isinstance(job, asyncio.Task) and job.cancelling() > 0


def _has_failed(job: asyncio.Future[_Result]) -> bool:
    return not _was_asked_to_end(job) and (job.cancelled() or job.exception() is not None)


def _result_of(job: asyncio.Future[_Result]) -> _Result:
    try:
        return job.result()
    except asyncio.CancelledError as error:
        message = "a job was cancelled from within: something that it waited for was cancelled"
        raise RuntimeError(message) from error
