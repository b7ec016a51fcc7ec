"""What one run of a scenario leaves behind for its judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from deploy.score.means import Means
from pearlstream.alerts import Transition
from pearlstream.catalogue.scenario import Scenario
from producers.simulator.labels import Label

MINUTE_MS = 60_000


class Episode(NamedTuple):
    """The life of one alert. `ended_ms`: the window end that resolved (or annulled) it, None if it stayed open."""

    indicator: str
    city: str
    dims: str
    sub_item: str
    opened_ms: int
    ended_ms: int | None = None
    flapped: bool = False


def episodes_of(transitions: Iterable[Transition]) -> list[Episode]:
    """Alerts from what was said of them, in the order in which they opened."""
    found: dict[str, Episode] = {}
    for one in transitions:
        before = found.get(one.alert_id)
        if before is None:
            before = Episode(one.indicator, one.city, one.dims, one.sub_item, one.opened_ms)
        if one.transition in ("resolved", "annulled") and before.ended_ms is None:
            before = before._replace(ended_ms=one.window_end_ms)
        found[one.alert_id] = before._replace(flapped=before.flapped or one.transition == "flapping")
    return sorted(found.values(), key=lambda episode: (episode.opened_ms, episode))


@dataclass(frozen=True)
class Evidence:
    """One run of one scenario with one seed. Times in ms since 1970 UTC.

    `rows`: settled and corrected indicator rows. `means`, `ordinary`: what devices measured, with the scenario and
    without it. `uneventful`: the rows without the scenario, for claims that an indicator moves. `undisturbed`: the
    rows without the scenario's disturbances, for claims that they leave no trace.
    """

    scenario: Scenario
    seed: int
    start_ms: int
    end_ms: int
    cities: Sequence[str]
    episodes: Sequence[Episode]
    rows: pl.DataFrame
    means: Means = field(default_factory=Means)
    ordinary: Means = field(default_factory=Means)
    uneventful: pl.DataFrame | None = None
    undisturbed: pl.DataFrame | None = None
    labels: Sequence[Label] = ()
    devices: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many there are, by feed and city."""

    @property
    def days(self) -> float:
        """How long the run lasted."""
        return (self.end_ms - self.start_ms) / 86_400_000

    def minute(self, ms: int) -> float:
        """Minutes since the scenario's start."""
        return (ms - self.start_ms) / MINUTE_MS

    def at_ms(self, minute: float) -> int:
        """The moment so many minutes after the scenario's start."""
        return self.start_ms + round(minute * MINUTE_MS)


def matches(wanted: str, dims: str) -> bool:
    """Whether dimensions (canonical text) have all pairs of `wanted`."""
    return not wanted or set(wanted.split(",")) <= set(dims.split(","))
