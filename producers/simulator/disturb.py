"""What scenarios do to the telemetry plane: gateways cut off, clocks put wrong. What is measured stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pearlstream.catalogue.scenario import Disturbance
from producers.simulator.chance import Ints, key_of
from producers.simulator.drivers import MINUTE_MS
from producers.simulator.effects import chosen
from producers.simulator.fleet import Fleet
from producers.simulator.labels import Label
from producers.simulator.outages import Episode, Flush
from producers.simulator.plan import ScenarioAt


class Skew(NamedTuple):
    """Clocks of one feed that are off by `offset_ms` from `from_ms` until `until_ms`; `devices` in the fleet."""

    cause: str
    devices: Ints
    from_ms: int
    until_ms: int
    offset_ms: int

    def labels(self, fleet: Fleet) -> Iterator[Label]:
        """A truth label for each device."""
        note = f"clock off by {self.offset_ms / 1000:+g} s, {self.cause}"
        for device in self.devices:
            name, city = str(fleet.ids[device]), fleet.cities[fleet.city[device]].id
            yield Label("clock_wrong", name, city, fleet.feed.id, name, self.from_ms, self.until_ms, note)


def cut_off(fleet: Fleet, scenarios: Sequence[ScenarioAt]) -> list[Episode]:
    """The outages that scenarios declare, one for each gateway of the fleet in the cities that they name."""
    found = []
    for name, at, disturbance in _touching(fleet, scenarios, "outage"):
        flush = Flush(max(1, int(disturbance.flush_min * MINUTE_MS)), disturbance.duplicates, disturbance.lost, name)
        span = _span(at, disturbance)
        for index, (gateway, home) in enumerate(fleet.gateways):
            city = fleet.cities[home].id
            if city in disturbance.cities:
                found.append(Episode(fleet.feed.id, city, index, gateway, *span, flush))
    return found


def skews_of(fleet: Fleet, scenarios: Sequence[ScenarioAt], seed: int) -> list[Skew]:
    """The clocks that scenarios put wrong."""
    found = []
    for name, at, disturbance in _touching(fleet, scenarios, "clock"):
        here = np.array([city.id in disturbance.cities for city in fleet.cities])[fleet.city]
        some = np.flatnonzero(here & chosen(fleet, "", disturbance.share, key_of(seed, name)))
        if some.size:
            found.append(Skew(name, some, *_span(at, disturbance), round(disturbance.offset_s * 1000)))
    return found


def _touching(
    fleet: Fleet, scenarios: Sequence[ScenarioAt], kind: str
) -> Iterator[tuple[str, ScenarioAt, Disturbance]]:
    """The disturbances of a kind that touch a feed, each with a name."""
    for at in scenarios:
        for index, disturbance in enumerate(at.scenario.disturb):
            if disturbance.kind == kind and fleet.feed.id in disturbance.feeds:
                yield f"{at.scenario.id}/disturb/{index}", at, disturbance


def _span(at: ScenarioAt, disturbance: Disturbance) -> tuple[int, int]:
    begin = at.start_ms + int(disturbance.start * MINUTE_MS)
    return begin, begin + max(1, int(disturbance.minutes * MINUTE_MS))
