"""Merged measures by window grain: the memory of `indicate`.

A window moves by hops, so all it ever needs are sums per hop: each partial is added to the *grain* (one hop
long) that its pane lies in, and a window is the merge of its grains. Sums are integers and extremes merge,
so nothing is lost by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pearlstream.measures import MeasureKind

Cell = list[int]
"""[value, rows] of a scalar measure in one grain."""


@dataclass
class Merged:
    """A measure over a stretch of time: `value` on its grid (None if no row), or counts by key, and the rows."""

    value: int | None = None
    counts: dict[int, int] = field(default_factory=dict)
    rows: int = 0

    def add(self, kind: MeasureKind, key: int | None, value: int, rows: int) -> None:
        """Merge one partial."""
        self.rows += rows
        if kind is MeasureKind.MAP:
            assert key is not None
            self.counts[key] = self.counts.get(key, 0) + value
        elif self.value is None:
            self.value = value
        elif kind is MeasureKind.SUM:
            self.value += value
        else:
            self.value = min(self.value, value) if kind is MeasureKind.MIN else max(self.value, value)


@dataclass
class Series:
    """One measure of one city and one set of dimensions, by grain start (ms)."""

    kind: MeasureKind
    grains: dict[int, Merged] = field(default_factory=dict)

    def add(self, grain_ms: int, key: int | None, value: int, rows: int) -> None:
        """Merge one partial into its grain."""
        grain = self.grains.get(grain_ms)
        if grain is None:
            grain = self.grains[grain_ms] = Merged()
        grain.add(self.kind, key, value, rows)

    def over(self, starts: Iterable[int]) -> Merged | None:
        """All of the grains that start at `starts` as one, None if none of them has a row."""
        total: Merged | None = None
        for start in starts:
            grain = self.grains.get(start)
            if grain is None:
                continue
            if total is None:
                total = Merged()
            if self.kind is MeasureKind.MAP:
                for key, count in grain.counts.items():
                    total.counts[key] = total.counts.get(key, 0) + count
                total.rows += grain.rows
            elif grain.value is not None:
                total.add(self.kind, None, grain.value, grain.rows)
        return total

    def forget(self, before_ms: int) -> None:
        """Drop the grains that start before an instant."""
        for start in [start for start in self.grains if start < before_ms]:
            del self.grains[start]


@dataclass
class Store:
    """All series of one program's measures: by city, measure and dimensions (canonical text)."""

    series: dict[tuple[str, str, str], Series] = field(default_factory=dict)
    by_measure: dict[tuple[str, str], dict[str, Series]] = field(default_factory=dict)

    def at(self, city: str, measure: str, dims: str, kind: MeasureKind) -> Series:
        """The series, made if it was not there."""
        key = (city, measure, dims)
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Series(kind)
            self.by_measure.setdefault((city, measure), {})[dims] = found
        return found

    def of(self, city: str, measure: str) -> Mapping[str, Series]:
        """The series of a measure in a city, by dimensions."""
        return self.by_measure.get((city, measure), {})

    def forget(self, before_ms: int) -> None:
        """Drop grains before an instant, and series that are left with none."""
        for key, series in list(self.series.items()):
            series.forget(before_ms)
            if not series.grains:
                city, measure, dims = key
                del self.series[key]
                del self.by_measure[city, measure][dims]

    def __iter__(self) -> Iterator[tuple[tuple[str, str, str], Series]]:
        return iter(self.series.items())
