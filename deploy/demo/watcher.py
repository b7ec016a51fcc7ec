"""A thread that looks at a life of the pipeline about once a second and keeps the newest scene ready."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import orjson

from deploy.demo.clients import Life
from deploy.demo.probe import fetch
from deploy.demo.progress import Progress
from deploy.demo.scene import Headline, Lag, Scene
from deploy.demo.watch import Rates, StoreWatch
from pearlstream.errors import PearlstreamError
from pearlstream.logs import get_logger
from pearlstream.store import Store

log = get_logger(__name__)

PAUSE_S, LONGEST_PAUSE_S = 1.0, 5.0


class Watcher:
    """Watches one life. `scene` may be asked at any time and never waits."""

    def __init__(self, first: Scene, life: Life) -> None:
        """`first` is the picture to begin with: what is played, and nothing seen yet."""
        self.life = life
        self.looks = 0
        """How many looks were completed."""
        self.freshness: dict[str, float | None] = {"p50": None, "p99": None}
        """From a gateway's sending to visible in the store, in ms, as the sink last said."""
        self._store = StoreWatch(first.catalogue, Store(life.settings.clickhouse))
        self._progress: Progress | None = None
        self._rates = Rates()
        self._stop = threading.Event()
        self._began = self._answered = time.monotonic()
        self._scene = first
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> Watcher:
        """Begin to look."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop looking; what hangs in a request is left to itself."""
        self._stop.set()
        self._thread.join(3.0)

    def scene(self) -> Scene:
        """The newest picture; `stale_s` says how old it is."""
        now = time.monotonic()
        return replace(self._scene, elapsed_s=now - self._began, stale_s=now - self._answered)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._look()
                self._answered = time.monotonic()
                self.looks += 1
            except PearlstreamError as error:
                log.warning("the view has nothing new", error=str(error))
            except Exception:  # whatever a client library raises: the view goes on, and says how old it is
                log.exception("the view has nothing new")
            # Never more than a fifth of the time: on a slow machine the pipeline goes first.
            self._stop.wait(min(max(PAUSE_S, 4 * (time.monotonic() - began)), LONGEST_PAUSE_S))
        if self._progress is not None:
            self._progress.close()

    def _look(self) -> None:
        lags = self._lags()
        clock = self._store.clock_ms()
        signals = self._store.signals(clock) if clock is not None else {}
        totals = self._store.totals()
        arrived, accepted, stored = self._rates.note(time.monotonic(), (totals.seen, totals.accepted, totals.stored))
        self._look_at_sink()
        headline = Headline(
            arrived=totals.seen,
            accepted=totals.accepted,
            stored=totals.stored,
            arrived_per_s=arrived,
            accepted_per_s=accepted,
            stored_per_s=stored,
            freshness_p50_ms=self.freshness["p50"],
            freshness_p99_ms=self.freshness["p99"],
            lags=tuple(lags),
            quarantined=totals.quarantined,
        )
        alerts = self._store.firing()
        self._scene = replace(self._scene, clock_ms=clock, signals=signals, alerts=alerts, headline=headline)

    def _lags(self) -> list[Lag]:
        try:
            self._progress = self._progress or Progress(self.life)
            return self._progress.behind()
        except PearlstreamError as error:
            log.warning("how far the stages are is not known", error=str(error))
            return [lag._replace(records=None) for lag in self._scene.headline.lags]

    def _look_at_sink(self) -> None:
        body = fetch(f"{self.life.pages['sink']}/status")
        told = orjson.loads(body).get("freshness_ms") if body else None
        if told and told["p50"] is not None:
            self.freshness = told
