"""The load: a deterministic producer, whose log is a function of seed and options, with repeats and late readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pearlstream.catalogue import Catalogue
from producers.simulator.fault_tables import FaultTables
from producers.simulator.plan import Plan, make_plan
from producers.simulator.run import Simulation

SCENARIO = "SC02"
FEEDS_AT_MOST = 4
"""Feeds that take part: those with the most readings. More feeds at the same rate mean more frames, nothing else."""
CITIES_AT_MOST = 9
"""Cities that take part: the largest."""
SPEED = 20.0
"""Event time per wall time: windows close while things break."""
LONGEST_MS = 7 * 86_400_000
"""Event time that the producer has ready; a run ends it when its rounds are over."""
FAULTS: Mapping[str, Mapping[str, Any]] = {
    "network": {"duplicates": 0.05, "disorder": 0.03, "disorder_s": 120.0},
    # Clocks that are off by hours bring readings into quarantine, where the books could not follow them.
    "clock": {"wrong": 0.0},
}
"""What goes wrong on the way to the log: one reading in twenty comes twice, and of those held up by up to two minutes
most (two in a hundred) come after their pane was closed. The rest is as the feeds declare."""


@dataclass(frozen=True)
class Load:
    """What is produced. `rate`: readings a second of the wall clock to aim at; it scales the fleet, never a cadence."""

    seed: int
    rate: float

    @property
    def event_rate(self) -> float:
        """Readings a second of event time."""
        return self.rate / SPEED

    def plan(self, catalogue: Catalogue) -> Plan:
        """Everything that the log depends on."""
        plan = make_plan(
            catalogue,
            [(SCENARIO, 0)],
            seed=self.seed,
            duration_ms=LONGEST_MS,
            rate=self.event_rate,
            faults=FaultTables(every=FAULTS),
        )
        cities = sorted(catalogue.cities.values(), key=lambda city: (-city.population, city.id))[:CITIES_AT_MOST]
        plan = replace(plan, cities=tuple(city.id for city in cities))
        fleets = Simulation(replace(plan, rate=None)).fleets
        feeds = sorted(fleets, key=lambda feed: (-fleets[feed].per_s, feed))[:FEEDS_AT_MOST]
        return replace(plan, feeds=tuple(feeds))


def write_faults(file: Path) -> None:
    """The same faults as a file for `pearlstream simulate --faults`."""
    lines = []
    for table, keys in FAULTS.items():
        lines += [f"[faults.{table}]", *(f"{key} = {value}" for key, value in keys.items())]
    file.write_text("\n".join(lines) + "\n", "utf-8")
