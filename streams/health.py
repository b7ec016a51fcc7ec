"""Is the worker alive, is it ready: checks with their remedies, and the page that shows them.

GET /healthz   200 while the event loop turns
GET /readyz    200 if every check holds, else 503; the checks with message and remedy as JSON
GET /metrics   Prometheus
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from pearlstream.errors import ServiceError
from pearlstream.logs import get_logger
from streams.metrics import render

if TYPE_CHECKING:
    from streams.app import WorkerApp
    from streams.stage import Stage

log = get_logger(__name__)

STALLED_S = 15.0
"""Without progress for so long, with input waiting, a stage is not ready."""
TICK_S = 10.0
"""Without a tick for so long, with input waiting, time stands still."""


class Check(NamedTuple):
    """One thing that must hold for the worker to be ready."""

    name: str
    ok: bool
    message: str
    remedy: str = ""


def checks(app: WorkerApp) -> list[Check]:
    """All checks of a worker, in the order in which things come up."""
    found = [
        Check(
            "recovered",
            not app.recovering,
            "partitions are assigned and snapshots loaded" if not app.recovering else "waiting for partitions",
            "wait; a killed worker keeps its partitions for a few seconds",
        ),
        Check(
            "running",
            not app._crashed.is_set(),
            "the application runs" if not app._crashed.is_set() else f"it crashed: {app.crash_reason!r}",
            "restart the worker; the log says what happened",
        ),
        Check(
            "broker",
            not app.broker_error,
            app.broker_error or "the broker answers",
            "start the broker, or mend PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS; the worker goes on by itself",
        ),
    ]
    for stage in app.stages:
        found += _stage_checks(stage, time.monotonic())
    return found


def _stage_checks(stage: Stage, now: float) -> list[Check]:
    name = stage.fold.name
    lag = sum(stage.lags().values())
    waiting = [lane.waiting_for for lane in list(stage.lanes.values()) if lane.waiting_for]
    stalled = (lag > 0 or stage.busy or stage.unacked_bytes > 0) and now - stage.progress_at > STALLED_S
    last_tick = max((lane.last_tick_at for lane in list(stage.lanes.values())), default=now)
    timeless = lag > 0 and now - last_tick > TICK_S
    return [
        Check(
            f"{name}.agent",
            not stage.broken,
            stage.broken or "the agent runs",
            "restart the worker; the log says what happened",
        ),
        Check(
            f"{name}.progress",
            not stalled,
            f"{lag} records wait" + (f", no progress for {now - stage.progress_at:.0f} s" if stalled else ""),
            "look for a slow broker or a machine without CPU; the worker ends itself after a minute",
        ),
        Check(
            f"{name}.ticks",
            not timeless,
            f"no tick for {now - last_tick:.0f} s, {lag} records wait" if timeless else "time moves",
            "start whatever drives time under this prefix (PEARLSTREAM_CLOCK__DRIVER)",
        ),
        Check(
            f"{name}.registry",
            not waiting,
            waiting[0] if waiting else "the device registry is there",
            "the producer must register its devices before the tick that names them",
        ),
    ]


class HealthPage:
    """The page. `port` is the one chosen once it has started."""

    def __init__(self, app: WorkerApp, port: int, host: str = "127.0.0.1") -> None:
        self.app = app
        self.port, self.host = port, host
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Begin to listen. Raises ServiceError if the port is taken."""
        page = web.Application()
        page.router.add_get("/healthz", self._healthz)
        page.router.add_get("/readyz", self._readyz)
        page.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(page, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError as error:
            raise ServiceError(
                f"the health page cannot listen on {self.host}:{self.port}: {error}",
                remedy="set PEARLSTREAM_WORKER__HEALTH_PORT to a free port, or to 0",
            ) from error
        self.port = self._runner.addresses[0][1]
        log.info("health page", url=f"http://{self.host}:{self.port}/readyz")

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        found = checks(self.app)
        ready = all(check.ok for check in found)
        body = {
            "ready": ready,
            "failing": [check._asdict() for check in found if not check.ok],
            "checks": [{"name": check.name, "ok": check.ok, "message": check.message} for check in found],
        }
        return web.json_response(body, status=200 if ready else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=render(self.app.stages), headers={"Content-Type": "text/plain; version=0.0.4"})
