"""One run from the first step to the report: what `pearlstream demo` does."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from deploy.demo.clients import Wanted
from deploy.demo.folder import RunFolder
from deploy.demo.pipeline import Pipeline
from deploy.demo.report import Facts, Outcome, conclude, gather
from deploy.demo.scene import Scene, told
from deploy.demo.screen import Screen
from deploy.demo.watcher import Watcher
from pearlstream.catalogue import Catalogue, Scenario
from pearlstream.logs import get_logger
from pearlstream.settings import Settings

log = get_logger(__name__)

DRAW_EACH_S = 0.5
CHECK_EACH_S = 1.0
STILL_S = 90.0
"""A drain in which nothing moves for so long has failed. A killed worker may take half of it to come back."""
NEWS_S = 20.0
"""News stay on the screen for so long."""


@dataclass
class Run:
    """A demo: settings and catalogue, what to play, where to keep it, where to show it."""

    settings: Settings
    catalogue: Catalogue
    wanted: Wanted
    folder: RunFolder
    screen: Screen
    page: bool = True
    """Whether the page in the browser is served, too."""
    stop: threading.Event = field(default_factory=threading.Event)
    _news: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=50))
    _began: float = field(default_factory=time.monotonic)
    _seen: bool = False
    """Whether an indicator has been shown."""
    _drained: bool = False
    last: Scene | None = None
    """The last picture, when all was stored."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """What is played."""
        return tuple(self.catalogue.scenario(name) for name, _ in self.wanted.scenarios)

    def play(self) -> Outcome:
        """Start everything, show it until the end, drain, count, and end everything.

        Raises ServiceError if something cannot be started or is given up; nothing is left running in any case.
        """
        with Pipeline(self.settings, self.catalogue, self.wanted, self.folder, self._tell) as pipeline:
            self._start(pipeline)
            watcher = self._watch(pipeline)
            with self.screen.step("counting what was produced against what is stored"):
                outcome = conclude(self._facts(pipeline, watcher))
            with self.screen.step("ending all processes"):
                pipeline.stop()
        return outcome

    def _facts(self, pipeline: Pipeline, watcher: Watcher) -> Facts:
        return gather(
            watcher.life,
            self.catalogue,
            run_id=self.folder.id,
            scenario=" + ".join(scenario.id for scenario in self.scenarios),
            freshness_ms=watcher.freshness,
            restarts=pipeline.restarts,
            cpu_s=pipeline.costs.by_name(),
            drained=self._drained,
        )

    def _services(self) -> dict[str, bool]:
        """Broker and store, and whether the settings name them: then they are somebody else's."""
        return {"broker": bool(self.settings.kafka.bootstrap_servers), "store": bool(self.settings.clickhouse.url)}

    def left_behind(self, outcome: Outcome) -> str:
        """What stays on services that are not ours; nothing if there is nothing."""
        theirs = self._services()
        left = [f"topics {outcome.report['prefix']}*"] if theirs["broker"] else []
        left += [f"database {outcome.report['database']}"] if theirs["store"] else []
        return " and ".join(left)

    # --- start ----------------------------------------------------------------------------------------

    def _start(self, pipeline: Pipeline) -> None:
        counts = f"{len(self.catalogue.cities)} cities, {len(self.catalogue.feeds)} feeds"
        self.screen.say(f"catalogue {self.catalogue.version}: {counts}, {len(self.catalogue.indicators)} indicators")
        own = [name for name, theirs in self._services().items() if not theirs]
        with self.screen.step(f"starting {' and '.join(own)}" if own else "using broker and store") as said:
            addresses = pipeline.start_services()
            said += [addresses.bootstrap_servers, addresses.clickhouse_url]
        with self.screen.step("making topics and tables, starting sink and worker") as said:
            pipeline.begin()
            assert pipeline.life is not None
            said.append(f"database {pipeline.life.settings.clickhouse.database}")
        with self.screen.step(f"starting the simulator with {told(self.scenarios)}"):
            pipeline.play()
        if self.page:
            pipeline.show()

    # --- while it runs --------------------------------------------------------------------------------

    def _watch(self, pipeline: Pipeline) -> Watcher:
        """Show scenes until everything is played and stored; then the last watcher, already stopped."""
        watcher = self._new_watcher(pipeline)
        checked, drain = 0.0, _Drain()
        try:
            while not drain.over:
                if time.monotonic() - checked >= CHECK_EACH_S:
                    checked = time.monotonic()
                    pipeline.check()
                if pipeline.life is not watcher.life:
                    watcher.stop()
                    watcher, drain = self._new_watcher(pipeline), _Drain()
                if self.stop.is_set() and not pipeline.played:
                    self._tell("ending: the simulator sends what its gateways hold")
                    pipeline.stop_simulator()
                if pipeline.played:
                    if not drain.begun:
                        self._tell("all is played; waiting until every stage has caught up and all is stored")
                    drain.look(watcher)
                self.last = self._scene(pipeline, watcher)
                self.screen.show(self.last)
                time.sleep(DRAW_EACH_S)
        finally:
            watcher.stop()
            self.screen.close()
        self._drained = drain.done
        return watcher

    def _new_watcher(self, pipeline: Pipeline) -> Watcher:
        assert pipeline.life is not None
        shown = f"in the browser: {pipeline.address}; " if pipeline.address else ""
        hint = f"{shown}Ctrl-C ends the run cleanly; logs: {_home(self.folder.logs)}"
        return Watcher(Scene(self.catalogue, self.scenarios, self.wanted.speed, 0.0, hint=hint), pipeline.life).start()

    def _scene(self, pipeline: Pipeline, watcher: Watcher) -> Scene:
        scene = watcher.scene()
        if scene.signals and not self._seen:
            self._seen = True
            self._tell(f"first indicators after {time.monotonic() - self._began:.0f} s")
        headline = replace(scene.headline, restarts=pipeline.restarts, memory_mb=pipeline.memory_mb)
        now = time.monotonic()
        news = tuple(text for at, text in self._news if now - at < NEWS_S)
        return replace(scene, headline=headline, news=news)

    def _tell(self, text: str) -> None:
        """News for whoever watches."""
        log.info(text)
        self._news.append((time.monotonic(), text))
        if not self.screen.full:
            self.screen.say(text)


@dataclass
class _Drain:
    """Waits until a watcher has seen, twice in a row, that nobody is behind."""

    done: bool = False
    _looks: int | None = None
    _clear: int = 0
    _behind: tuple[int | None, ...] = ()
    _moved: float = field(default_factory=time.monotonic)

    @property
    def begun(self) -> bool:
        """Whether it has looked at all."""
        return self._looks is not None

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.done or (self._looks is not None and time.monotonic() - self._moved > STILL_S)

    def look(self, watcher: Watcher) -> None:
        """Judge the watcher's newest look, if there is a new one; the one under way at the start does not count."""
        if self._looks is None:
            self._looks, self._moved = watcher.looks + 1, time.monotonic()
        if watcher.looks <= self._looks:
            return
        self._looks = watcher.looks
        behind = tuple(lag.records for lag in watcher.scene().headline.lags)
        if behind != self._behind:
            self._behind, self._moved = behind, time.monotonic()
        self._clear = self._clear + 1 if behind and not any(left != 0 for left in behind) else 0
        self.done = self._clear >= 2


@contextmanager
def ending_on_signals(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks for a clean end, the second ends at once (KeyboardInterrupt)."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _home(path: Path) -> str:
    """A path as one would type it."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
