"""The shell of a worker: which tasks run."""

import asyncio

from stream_app.runtime.shell import Shell
from tests.runtime.fakes import RecordedTelemetry
from tests.runtime.test_runner import Stage


def test_tasks_run_from_their_assignment_to_the_stop_and_none_is_begun_after_it() -> None:
    async def whole() -> None:
        telemetry = RecordedTelemetry()
        shell = Shell(lambda _partition: Stage().runner, telemetry)
        shell.on_assigned(frozenset({3}))
        assert set(shell.runners) == {3}
        await shell.stop()
        assert telemetry.stopped_partitions == [3]
        shell.on_assigned(frozenset({3}))
        assert shell.runners == {}
        await shell.stop()

    asyncio.run(whole())
