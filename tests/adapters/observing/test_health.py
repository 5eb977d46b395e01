"""Health tells the truth: 200 only while every check holds, and each check with what was found."""

import asyncio
import socket

import aiohttp
import msgspec
import pytest

from stream_app.adapters.observing.health import HealthAddressError, HealthRules, HealthServer, HealthSnapshot

WELL = HealthSnapshot(
    is_group_joined=True,
    is_model_warm=True,
    tasks_assigned=4,
    tasks_recovered=4,
    commit_age_s=0.4,
    oldest_batch_s=0.0,
    about={"provider": "CPUExecutionProvider"},
)


class Worker:
    def __init__(self, snapshot: HealthSnapshot) -> None:
        self.state = snapshot

    def snapshot(self) -> HealthSnapshot:
        return self.state


async def _ask(snapshot: HealthSnapshot, path: str) -> tuple[int, bytes]:
    server = HealthServer(
        Worker(snapshot), metrics=lambda: b"vigil_up 1\n", host="127.0.0.1", port=0, rules=HealthRules(watchdog_s=10)
    )
    port = await server.start()
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.read()
    finally:
        await server.stop()


def ask(snapshot: HealthSnapshot, path: str) -> tuple[int, bytes]:
    return asyncio.run(_ask(snapshot, path))


@pytest.mark.parametrize(
    ("change", "failing", "is_live"),
    [
        ({}, set(), True),
        ({"tasks_assigned": 0, "tasks_recovered": 0}, set(), True),
        ({"is_group_joined": False}, {"group"}, True),
        ({"oldest_fetch_s": 15.1}, {"fetch"}, True),
        ({"is_model_warm": False}, {"model"}, True),
        ({"tasks_recovered": 3}, {"tasks"}, True),
        ({"commit_age_s": 15.1}, {"commit"}, True),
        ({"gaps": ("vigil.frames/2",)}, {"gaps"}, True),
        ({"oldest_batch_s": 10.5}, {"watchdog"}, False),
    ],
)
def test_ready_names_what_does_not_hold(change: dict[str, object], failing: set[str], *, is_live: bool) -> None:
    snapshot = msgspec.structs.replace(WELL, **change)
    status, body = ask(snapshot, "/health/ready")
    answer = msgspec.json.decode(body)
    assert status == (503 if failing else 200)
    assert {check["name"] for check in answer["checks"] if not check["ok"]} == failing
    assert answer["ok"] == (not failing)
    assert answer["about"] == {"provider": "CPUExecutionProvider"}
    assert ask(snapshot, "/health/live")[0] == (200 if is_live else 503)


def test_the_metrics_page_is_served() -> None:
    assert ask(WELL, "/metrics") == (200, b"vigil_up 1\n")


def test_a_taken_port_is_an_error_and_leaves_nothing_behind() -> None:
    async def start_on(port: int) -> None:
        await HealthServer(
            Worker(WELL), metrics=bytes, host="127.0.0.1", port=port, rules=HealthRules(watchdog_s=10)
        ).start()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(HealthAddressError, match=r"it is in use; .*--set health_port"):
            asyncio.run(start_on(taken.getsockname()[1]))
