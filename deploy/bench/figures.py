"""What is measured: one run of a stage, the figure that several runs make, and what it cost."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Run(NamedTuple):
    """One run: readings, seconds by the wall, CPU-seconds of each process involved."""

    readings: int
    wall_s: float
    cpu_s: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Readings a second."""
        return self.readings / self.wall_s

    def cpu_per_million(self) -> float:
        """CPU-seconds of all processes for a million readings."""
        return sum(self.cpu_s.values()) / self.readings * 1e6


class Counted(NamedTuple):
    """What came out of a run, held against what went in."""

    what: str
    got: int
    expected: int

    @property
    def exact(self) -> bool:
        """Whether nothing is missing or doubled."""
        return self.got == self.expected

    def told(self) -> str:
        """Both numbers, and by how much they differ."""
        return f"{self.what}: {self.got} of {self.expected} ({self.got - self.expected:+})"


@dataclass(frozen=True)
class Figure:
    """The runs of one stage with the counts that say whether they may be believed."""

    stage: str
    runs: Sequence[Run]
    peak_rss_mb: Mapping[str, float]
    """The most memory that each process has held since it began."""
    counted: Sequence[Counted] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    """How it was measured: encoding, frame_rows and so on."""

    @property
    def exact(self) -> bool:
        """Whether the figure counts: there were runs, and every count was held against its expectation and met it."""
        return bool(self.runs) and bool(self.counted) and all(one.exact for one in self.counted)

    def as_json(self) -> dict[str, Any]:
        """The medians, and how far the runs lay apart."""
        rates = [run.rate for run in self.runs]
        names = self.runs[0].cpu_s if self.runs else {}
        by_process = {
            name: statistics.median(run.cpu_s[name] / run.readings * 1e6 for run in self.runs) for name in names
        }
        return {
            "stage": self.stage,
            "readings_per_s": round(statistics.median(rates)) if rates else 0,
            "readings_per_s_min": round(min(rates, default=0)),
            "readings_per_s_max": round(max(rates, default=0)),
            "cpu_s_per_million": round(statistics.median(run.cpu_per_million() for run in self.runs), 3)
            if self.runs
            else 0.0,
            "cpu_s_per_million_by_process": {name: round(value, 3) for name, value in by_process.items()},
            "peak_rss_mb": round(sum(self.peak_rss_mb.values()), 1),
            "peak_rss_mb_by_process": {name: round(value, 1) for name, value in self.peak_rss_mb.items()},
            "runs": len(self.runs),
            "exact": self.exact,
            "wrong": [one.told() for one in self.counted if not one.exact],
            **self.about,
        }


def timed(readings: int, work: Callable[[], object]) -> Run:
    """One run of something in this process; the CPU time is that of all its threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Run(readings, time.perf_counter() - wall, {"self": time.process_time() - cpu})


def own_peak_rss_mb() -> dict[str, float]:
    """The most memory that this process has held."""
    return {"self": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def beside(figure: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """How many times as fast and as dear a figure is as another (both as JSON); None unless both count."""

    def times(what: str) -> float | None:
        counts = figure["exact"] and base["exact"] and base[what]
        return float(f"{figure[what] / base[what]:.3g}") if counts else None

    of = {"stage": base["stage"], "workers": base["workers"]}
    return {**of, **{what: times(what) for what in ("readings_per_s", "cpu_s_per_million")}}
