"""Health: /health/live, /health/ready and /metrics over HTTP, on loopback unless told otherwise.

In: a snapshot of the worker, asked for at each request. Out: 200 or 503 with every check and its value as JSON. It must
not know how the worker works, and it decides nothing but what a snapshot means.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
from aiohttp import web

#: A probe that hangs must not hold up the worker's end.
_SHUTDOWN_S = 1.0


class HealthSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker knows of itself at one moment.

    ``commit_age_s``: the longest time that a task has had something to commit or to score without a confirmed commit,
    0 where nothing waits. ``oldest_fetch_s``: age of the oldest last fetch of a running task, 0 without tasks.
    ``oldest_batch_s``: how long the model has been at its present batch, 0 when idle. ``gaps``: tasks
    that stopped because input is missing, in words. ``about``: provider, bundle, settings hash and the like.
    """

    is_group_joined: bool
    is_model_warm: bool
    tasks_assigned: int
    tasks_recovered: int
    commit_age_s: float
    oldest_batch_s: float
    oldest_fetch_s: float = 0.0
    gaps: tuple[str, ...] = ()
    about: Mapping[str, str] = msgspec.field(default_factory=dict)


class HealthState(Protocol):
    """Implemented by the worker."""

    def snapshot(self) -> HealthSnapshot:
        """Return the state of this moment; called on the event loop, must not block."""
        ...


class Check(msgspec.Struct, frozen=True):
    """One claim about the worker: its name, whether it holds, what was found and what is expected."""

    name: str
    ok: bool
    found: str
    expected: str


class HealthRules(msgspec.Struct, frozen=True, kw_only=True):
    """From where on a worker is not well. Seconds."""

    max_commit_age_s: float = 15.0
    max_fetch_age_s: float = 15.0
    watchdog_s: float


def liveness(snapshot: HealthSnapshot, rules: HealthRules) -> tuple[Check, ...]:
    """Return the checks that say whether restarting the process would help.

    That the request is answered at all says that the event loop turns.
    """
    return (
        Check(
            "watchdog",
            snapshot.oldest_batch_s <= rules.watchdog_s,
            f"{snapshot.oldest_batch_s:.1f} s at the present batch",
            f"<= {rules.watchdog_s:g} s",
        ),
    )


def readiness(snapshot: HealthSnapshot, rules: HealthRules) -> tuple[Check, ...]:
    """Return the checks that say whether this worker does its share. A worker without tasks, a spare one, is ready."""
    return (
        Check("group", snapshot.is_group_joined, _yes(snapshot.is_group_joined), "joined"),
        Check("model", snapshot.is_model_warm, _yes(snapshot.is_model_warm), "warm"),
        Check(
            "tasks",
            snapshot.tasks_recovered >= snapshot.tasks_assigned,
            f"{snapshot.tasks_recovered} of {snapshot.tasks_assigned} recovered",
            "all",
        ),
        Check(
            "commit",
            snapshot.commit_age_s <= rules.max_commit_age_s,
            f"{snapshot.commit_age_s:.1f} s uncommitted",
            f"<= {rules.max_commit_age_s:g} s",
        ),
        Check(
            "fetch",
            snapshot.oldest_fetch_s <= rules.max_fetch_age_s,
            f"{snapshot.oldest_fetch_s:.1f} s since the brokers answered",
            f"<= {rules.max_fetch_age_s:g} s",
        ),
        Check("gaps", not snapshot.gaps, "; ".join(snapshot.gaps) or "none", "none"),
        *liveness(snapshot, rules),
    )


class HealthAddressError(RuntimeError):
    """The health pages cannot be served at the address that the settings name."""


class HealthServer:
    """The HTTP server; one per worker."""

    def __init__(
        self,
        state: HealthState,
        *,
        metrics: Callable[[], bytes],
        host: str,
        port: int,
        rules: HealthRules,
    ) -> None:
        """Make a server, not yet listening.

        Args:
            state: asked at each request.
            metrics: returns the page for Prometheus.
            host: address to listen on.
            port: port to listen on; 0 for a free one.
            rules: from where on the worker is not well.
        """
        self._state = state
        self._metrics = metrics
        self._host = host
        self._port = port
        self._rules = rules
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Begin to listen.

        Returns:
            The port in use.

        Raises:
            HealthAddressError: if the address cannot be had.
        """
        app = web.Application()
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/metrics", self._page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            found = "it is in use" if error.errno == errno.EADDRINUSE else str(error)
            message = (
                f"health pages: expected {self._host}:{self._port} to be free, found that {found}; give each worker of "
                "a machine a port of its own: --set health_port=N, 0 for a free one"
            )
            raise HealthAddressError(message) from error
        self._runner = runner
        port: int = runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop listening; harmless when it never began."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _live(self, _request: web.Request) -> web.Response:
        snapshot = self._state.snapshot()
        return _answer(snapshot, liveness(snapshot, self._rules))

    async def _ready(self, _request: web.Request) -> web.Response:
        snapshot = self._state.snapshot()
        return _answer(snapshot, readiness(snapshot, self._rules))

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _answer(snapshot: HealthSnapshot, checks: tuple[Check, ...]) -> web.Response:
    is_ok = all(check.ok for check in checks)
    body = msgspec.json.encode({"ok": is_ok, "checks": checks, "about": snapshot.about})
    return web.Response(body=body, status=200 if is_ok else 503, content_type="application/json")


def _yes(holds: bool) -> str:  # noqa: FBT001 - one claim in, one word out
    return "yes" if holds else "no"
