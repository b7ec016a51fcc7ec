"""What the live view shows at one moment: plain data, gathered by `watch`, drawn by `view` and `plain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from pearlstream.catalogue import Catalogue, Scenario

OPEN = "OPEN"
"""How a window that is still open is shown, whatever its value would mean: it has no verdict yet."""
SEVERITY: Mapping[str, int] = {"RAISED": 4, "WATCH": 3, "OK": 2, OPEN: 1, "NODATA": 0}
"""The states that are shown, the one to look at first with the greatest number."""


class Signal(NamedTuple):
    """One window of one indicator in one city: the newest settled one, or an open one as long as none is settled.

    `before` is the value of the window before it. `dims` says of what it speaks where the indicator has
    several series in a city and the worst one is shown.
    """

    value: float | None
    state: str
    maturity: str
    window_end_ms: int
    before: float | None = None
    dims: str = ""

    @property
    def shown(self) -> str:
        """The state to show: half of a window may look like a catastrophe, so an open one is not judged."""
        return OPEN if self.maturity == "provisional" and self.value is not None else self.state


class Lag(NamedTuple):
    """How far a stage is behind: records between its mark and the end of the log, None while unknown."""

    stage: str
    records: int | None


class Firing(NamedTuple):
    """An alert that is open: since which window end, and whether its data have ceased meanwhile."""

    indicator: str
    city: str
    dims: str
    severity: str
    since_ms: int
    stale: bool = False


HEALTH = "health"
"""The sub-item of indicators that speak of the data themselves."""


@dataclass(frozen=True)
class Headline:
    """The numbers above the table: rates over the last seconds, totals of the run."""

    arrived: int = 0
    accepted: int = 0
    stored: int = 0
    arrived_per_s: float = 0.0
    accepted_per_s: float = 0.0
    stored_per_s: float = 0.0
    freshness_p50_ms: float | None = None
    freshness_p99_ms: float | None = None
    lags: tuple[Lag, ...] = ()
    quarantined: Mapping[str, int] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    memory_mb: float = 0.0


def told(scenarios: Sequence[Scenario]) -> str:
    """What is played, in words."""
    return " + ".join(f"{one.id} {one.name.en}" for one in scenarios)


@dataclass(frozen=True)
class Scene:
    """Everything the view draws.

    `signals` by indicator and city. `alerts`: those that are open, the newest first. `clock_ms`: how far event
    time has come in the store. `speed` 0 means as fast as it goes. `news`: what the supervisor has to say, newest
    last. `stale_s`: seconds since the store last answered. `hint`: what one can do, and where to look.
    """

    catalogue: Catalogue
    scenarios: tuple[Scenario, ...]
    speed: float
    elapsed_s: float
    clock_ms: int | None = None
    signals: Mapping[tuple[str, str], Signal] = field(default_factory=dict)
    alerts: tuple[Firing, ...] = ()
    headline: Headline = field(default_factory=Headline)
    news: tuple[str, ...] = ()
    stale_s: float = 0.0
    hint: str = ""

    def local_time(self) -> str:
        """Event time as the cluster's wall clocks show it; UTC if its cities live in several zones."""
        if self.clock_ms is None:
            return "waiting for the first reading"
        hours = self._offset_h()
        return f"{self._moment(self.clock_ms):%a %Y-%m-%d %H:%M:%S} UTC{hours:+g}"

    def since(self, ms: int) -> str:
        """A moment of the past in the same zone: the time of day, with the date unless it is today's."""
        moment = self._moment(ms)
        today = self.clock_ms is None or self._moment(self.clock_ms).date() == moment.date()
        return f"{moment:%H:%M}" if today else f"{moment:%m-%d %H:%M}"

    def place(self, city: str) -> str:
        """The name of a city, or of the group of cities that stands for one."""
        known = self.catalogue.cities.get(city) or self.catalogue.groups.get(city.lower())
        return known.name.en if known else city

    def _moment(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms / 1000, UTC).astimezone(timezone(timedelta(hours=self._offset_h())))

    def _offset_h(self) -> float:
        offsets = {city.utc_offset_h for city in self.catalogue.cities.values()}
        return offsets.pop() if len(offsets) == 1 else 0.0

    def worst(self, city: str, *, health: bool = False) -> tuple[str, Signal] | None:
        """The indicator to look at first in a city, by state and then in the order of the catalogue.

        Those about the data themselves (`health`) are asked for apart: a station that misses a sample is no
        trouble of the city.
        """
        found = [
            (one.id, self.signals[one.id, city])
            for one in self.catalogue.indicators.values()
            if (one.id, city) in self.signals and (one.sub_item == HEALTH) == health
        ]
        return max(found, key=lambda pair: SEVERITY.get(pair[1].shown, 0), default=None)

    def to_show(self) -> list[str]:
        """All indicators, those first that an eye should be on: raised somewhere, then those of which the scenarios
        played claim that they will be, on watch, and the others in the order of the catalogue.
        """
        worst: dict[str, int] = {}
        for (id_, _), signal in self.signals.items():
            worst[id_] = max(worst.get(id_, 0), SEVERITY.get(signal.shown, 0))
        claimed = {truth.indicator for one in self.scenarios for truth in one.truth if truth.must == "fire"}

        def need(id_: str) -> int:
            if worst.get(id_, 0) == SEVERITY["RAISED"]:
                return 0
            return 1 if id_ in claimed else 2 if worst.get(id_, 0) == SEVERITY["WATCH"] else 3

        return sorted(self.catalogue.indicators, key=need)

    def by_need(self) -> list[str]:
        """All cities, those with the worst signal first, otherwise in the order of the catalogue."""

        def need(city: str) -> list[int]:
            found = (self.worst(city), self.worst(city, health=True))
            return [-SEVERITY.get(one[1].shown, 0) if one else 0 for one in found]

        return sorted(self.catalogue.cities, key=need)
