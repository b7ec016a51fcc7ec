"""What processes spend on a load: time by the wall, and the CPU time of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from deploy.bench.figures import Run


class Spends(Protocol):
    """Something that takes CPU time."""

    @property
    def name(self) -> str:
        """What it is called in the figure."""
        ...

    def cpu_s(self) -> float:
        """CPU time since it began."""
        ...


class Ourselves(NamedTuple):
    """The process that measures, which is the producer."""

    name: str = "producer"

    def cpu_s(self) -> float:
        """CPU time of all its threads."""
        return time.process_time()


OURSELVES = Ourselves()


class Meter:
    """Time by the wall, and the CPU time that these processes take, from now on."""

    def __init__(self, processes: Sequence[Spends]) -> None:
        self._processes = processes
        self._wall, self._before = time.perf_counter(), [one.cpu_s() for one in processes]

    def run(self, readings: int) -> Run:
        """What was spent on so many readings until now."""
        seconds = time.perf_counter() - self._wall
        cost = {one.name: one.cpu_s() - was for one, was in zip(self._processes, self._before, strict=True)}
        return Run(readings, seconds, cost)
