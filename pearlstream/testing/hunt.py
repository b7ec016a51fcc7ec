"""Hunts for a schedule that breaks a promise, and shrinks it to what one can read.

    hunt(Schedule(make_fold, records, check), seeds=range(5000), faults=ROUGH, steps=150)

Every seed is a schedule of its own. The first that fails is run again with fewer steps and with fewer kinds of
faults for as long as it still fails; the error shows what is left, and how to see it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pearlstream.fold import Fold, Record
from pearlstream.testing.simulated import Faults, Simulation

SHOWN = 60
"""Lines of the trace that an error shows."""


@dataclass(frozen=True)
class Schedule:
    """What is run, and what must hold at its end: `check` raises AssertionError if it does not."""

    make_fold: Callable[[], Fold[Any]]
    records: Sequence[Record]
    check: Callable[[Simulation], None]
    options: Mapping[str, Any] = field(default_factory=dict)

    def failure(self, seed: int, faults: Faults, steps: int) -> str | None:
        """What is wrong at the end of one schedule, with its trace; None if nothing is."""
        sim = Simulation(self.make_fold, self.records, seed, faults, **self.options)
        try:
            for _ in range(steps):
                sim.step()
            sim.settle()
            self.check(sim)
        except Exception as error:
            return "\n".join([f"{type(error).__name__}: {str(error)[:2000]}", "trace:", *sim.trace[-SHOWN:]])
        return None


def hunt(schedule: Schedule, seeds: Iterable[int], faults: Faults, steps: int) -> int:
    """Run a schedule for each seed; how many there were. Raises AssertionError with the shrunk one if one fails."""
    tried = 0
    for seed in seeds:
        tried += 1
        if schedule.failure(seed, faults, steps) is not None:
            raise AssertionError(shrunk(schedule, seed, faults, steps))
    return tried


def shrunk(schedule: Schedule, seed: int, faults: Faults, steps: int) -> str:
    """The smallest failure near one that fails: fewer kinds of faults, then fewer steps."""
    for name in Faults._fields:
        fewer = faults._replace(**{name: 0.0})
        if fewer != faults and schedule.failure(seed, fewer, steps) is not None:
            faults = fewer
    while steps and schedule.failure(seed, faults, steps // 2) is not None:
        steps //= 2
    while steps and schedule.failure(seed, faults, steps - 1) is not None:
        steps -= 1
    what = schedule.failure(seed, faults, steps)
    kinds = {name: value for name, value in faults._asdict().items() if value}
    return f"seed={seed}, steps={steps}, faults={kinds}:\n{what}"
