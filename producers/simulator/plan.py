"""A plan: everything that a simulated log depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.scenario import Scenario
from producers.simulator.fault_tables import FaultTables

Encoding = Literal["arrow", "json", "senml", "mixed"]
TICK_MS = 5_000
"""Event time between two ticks."""
NOW_TICK_MS = 1_000
"""The same, for runs that begin now."""
NOW_FRAME_MS = 500
"""A gateway's patience in runs that begin now: freshness counts more than the number of frames."""
DRAIN_MS = 120_000
"""The clock goes on at most so long after the last reading."""


class ScenarioAt(NamedTuple):
    """A scenario and when it begins (ms since 1970 UTC)."""

    scenario: Scenario
    start_ms: int


@dataclass(frozen=True)
class Plan:
    """What to simulate. The log is a function of these values and of nothing else.

    `rate`: readings per second of event time that the devices send together; scales the number of devices,
    never their cadence (None: the catalogue's fleet). `faults`: whether anything goes wrong with devices and between
    them and the log, and what if not as the feeds declare. `frame_ms`, `frame_rows`: when a gateway closes a frame,
    if not as the feed says. `feeds`, `cities`: only these (empty: all). `live`: the run begins now and keeps pace
    with the wall clock.
    """

    catalogue: Catalogue
    seed: int
    start_ms: int
    duration_ms: int
    scenarios: tuple[ScenarioAt, ...] = ()
    rate: float | None = None
    faults: bool | FaultTables = True
    encoding: Encoding = "arrow"
    tick_ms: int = TICK_MS
    frame_ms: int | None = None
    frame_rows: int | None = None
    feeds: tuple[str, ...] = ()
    cities: tuple[str, ...] = ()
    live: bool = False

    @property
    def end_ms(self) -> int:
        """When the last device reports at the latest."""
        return self.start_ms + self.duration_ms


def instant_ms(text: str) -> int:
    """ISO 8601 with offset as ms since 1970 UTC. Raises ValueError without an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset; write {text}+08:00 or {text}Z")
    return round(moment.timestamp() * 1000)


def make_plan(
    catalogue: Catalogue,
    scenarios: Sequence[tuple[str, int]] = (),
    *,
    seed: int = 1,
    duration_ms: int | None = None,
    start_ms: int | None = None,
    rate: float | None = None,
    faults: bool | FaultTables = True,
    encoding: Encoding = "arrow",
    live: bool = False,
) -> Plan:
    """A plan for scenarios by name, each with its delay (ms) after the start of the run.

    Without `start_ms` the run begins when the first scenario says. Without `duration_ms` it lasts until every
    scenario is over. `live`: the run begins now, with the short framing and ticks that this needs.
    Raises CatalogueError for an unknown scenario, ValueError if start or duration follow from nothing.
    """
    found = [(catalogue.scenario(name), delay) for name, delay in scenarios]
    if start_ms is None:
        if not found:
            raise ValueError("without a scenario the run needs a start")
        start_ms = instant_ms(found[0][0].start) - found[0][1]
    if duration_ms is None:
        if not found:
            raise ValueError("without a scenario the run needs a duration")
        duration_ms = max(delay + scenario.length_s * 1000 for scenario, delay in found)
    tick_ms = NOW_TICK_MS if live else TICK_MS
    return Plan(
        catalogue=catalogue,
        seed=seed,
        start_ms=start_ms // tick_ms * tick_ms,
        duration_ms=-(-duration_ms // tick_ms) * tick_ms,
        scenarios=tuple(ScenarioAt(scenario, start_ms + delay) for scenario, delay in found),
        rate=rate,
        faults=faults,
        encoding=encoding,
        tick_ms=tick_ms,
        frame_ms=NOW_FRAME_MS if live else None,
        live=live,
    )
