"""The shell of a worker: which tasks run."""

import asyncio

import pytest

from stream_app.core.types import Side
from stream_app.runtime.runner import TaskRunner
from stream_app.runtime.shell import Shell
from tests.runtime.fakes import Raw, RecordedTelemetry
from tests.runtime.stage import NOW_MS, Stage


def test_tasks_run_from_their_assignment_to_the_stop_and_none_is_begun_after_it() -> None:
    async def whole() -> None:
        stage, telemetry = Stage(), RecordedTelemetry()
        shell = Shell(lambda _partition: stage.runner, telemetry)
        shell.on_assigned(frozenset({3}))
        assert set(shell.runners) == {3}
        await _stopped(shell, stage)
        assert telemetry.stopped_partitions == [3]
        shell.on_assigned(frozenset({3}))
        assert shell.runners == {}
        await shell.stop()

    asyncio.run(whole())


def test_a_task_that_runs_already_is_not_begun_again_when_others_come() -> None:
    async def whole() -> list[int]:
        made: list[int] = []

        def make(partition: int) -> TaskRunner:
            made.append(partition)
            return Stage().runner

        shell = Shell(make, RecordedTelemetry())
        for partitions in ({3}, {4}, {3, 4, 5}):
            shell.on_assigned(frozenset(partitions))
        await shell.stop()
        return made

    assert asyncio.run(whole()) == [3, 4, 5]


def test_a_task_that_comes_back_waits_for_its_old_runner_to_end() -> None:
    async def whole() -> None:
        stages = [Stage(), Stage()]
        old, new = stages
        made = iter(stages)
        shell = Shell(lambda _partition: next(made).runner, RecordedTelemetry())
        shell.on_assigned(frozenset({3}))
        await old.until(lambda: old.publisher.published)
        old.publisher.is_silent = True
        old.text()
        old.quiet(NOW_MS + 60_000)
        await old.until(lambda: old.scorer.items)
        # Its last commit is not answered: it is still there for a second and a half.
        shell.on_revoked(frozenset({3}))
        shell.on_assigned(frozenset({3}))
        await new.clock.advance(1.0)
        assert new.publisher.starts == 0
        await old.until(lambda: old.publisher.stops)
        await new.until(lambda: new.publisher.published)
        await _stopped(shell, new)

    asyncio.run(whole())


def test_records_go_to_their_task_and_those_of_foreign_tasks_are_dropped() -> None:
    async def whole() -> None:
        stage = Stage()
        shell = Shell(lambda _partition: stage.runner, RecordedTelemetry())
        shell.on_assigned(frozenset({3}))
        await stage.until(lambda: stage.publisher.published)
        stage.quiet(NOW_MS + 60_000)
        shell.on_records(Side.TEXT, 4, [Raw(0, NOW_MS, b"dock", b"of a foreign task")])
        shell.on_records(Side.TEXT, 3, [Raw(0, NOW_MS, b"dock", b"of ours")])
        await stage.until(lambda: stage.scorer.items)
        assert [item.text.text for item in stage.scorer.items if item.text is not None] == ["of ours"]
        await _stopped(shell, stage)

    asyncio.run(whole())


def test_a_runner_that_breaks_breaks_the_worker() -> None:
    async def whole() -> None:
        stage = Stage()
        stage.scorer.error = RuntimeError("device lost")

        def runner(partition: int) -> TaskRunner:
            del partition
            return stage.runner

        shell = Shell(runner, RecordedTelemetry())
        shell.on_assigned(frozenset({3}))
        waiting = asyncio.create_task(shell.wait())
        await stage.until(lambda: stage.publisher.published)
        assert not waiting.done()
        stage.text()
        stage.quiet(NOW_MS + 60_000)
        await stage.until(waiting.done)
        with pytest.raises(RuntimeError, match="device lost"):
            await waiting
        await shell.stop()

    asyncio.run(whole())


async def _stopped(shell: Shell, stage: Stage) -> None:
    stopping = asyncio.create_task(shell.stop())
    await stage.until(stopping.done)
    await stopping


def test_a_runner_that_a_library_cancels_breaks_the_worker_and_one_that_a_stop_ends_does_not() -> None:
    async def whole() -> None:
        stage = Stage()
        shell = Shell(lambda _partition: stage.runner, RecordedTelemetry())
        shell.on_assigned(frozenset({3}))
        await stage.until(lambda: stage.publisher.published)
        (job,) = [task for task in asyncio.all_tasks() if task.get_name() == "task-3"]
        job.cancel()
        with pytest.raises(RuntimeError, match="task-3 was cancelled from outside"):
            await shell.wait()
        await shell.stop()

    asyncio.run(whole())
