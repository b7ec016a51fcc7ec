"""Merged measures by window grain: the memory of `indicate`.

A window moves by hops, so all it ever needs are sums per hop: each partial is added to the *grain* (one hop
long) that its pane lies in, and a window is the merge of its grains. Sums are integers and extremes merge,
so nothing is lost by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from pearlstream.measures import MeasureKind


@dataclass
class Merged:
    """A measure over a stretch of time: `value` on its grid (None if no row), or counts by key, and the rows."""

    value: int | None = None
    counts: dict[int, int] = field(default_factory=dict)
    rows: int = 0

    def add(self, kind: MeasureKind, value: int, rows: int) -> None:
        """Merge a partial of a measure that is no map."""
        self.rows += rows
        self._put(kind, value)

    def count(self, keys: Sequence[int], values: Sequence[int], rows: int) -> None:
        """Merge partials of a map; `rows`: those behind all of them."""
        self.rows += rows
        counts = self.counts
        for key, value in zip(keys, values, strict=True):
            counts[key] = counts.get(key, 0) + value

    @classmethod
    def of(cls, kind: MeasureKind, parts: Sequence[Merged]) -> Merged:
        """Stretches of time merged into one; a single one is that itself, so do not change what you get."""
        if len(parts) == 1:
            return parts[0]
        total = cls()
        total.merge(kind, parts)
        return total

    def merge(self, kind: MeasureKind, others: Sequence[Merged]) -> None:
        """Merge other stretches of time."""
        self.rows += sum([other.rows for other in others])
        if kind is MeasureKind.MAP:
            counts = self.counts
            for other in others:
                for key, count in other.counts.items():
                    counts[key] = counts.get(key, 0) + count
            return
        values = [other.value for other in others if other.value is not None]
        if values:
            self._put(kind, _REDUCE[kind](values))

    def _put(self, kind: MeasureKind, value: int) -> None:
        self.value = value if self.value is None else _REDUCE[kind]((self.value, value))


_REDUCE: dict[MeasureKind, Callable[[Sequence[int]], int]] = {
    MeasureKind.SUM: sum,
    MeasureKind.MIN: min,
    MeasureKind.MAX: max,
}


@dataclass
class Series:
    """One measure of one city and one set of dimensions, by grain start (ms)."""

    kind: MeasureKind
    grains: dict[int, Merged] = field(default_factory=dict)

    def grain(self, grain_ms: int) -> Merged:
        """What is merged of the grain that starts at `grain_ms`, nothing if it was not there."""
        grain = self.grains.get(grain_ms)
        if grain is None:
            grain = self.grains[grain_ms] = Merged()
        return grain

    def over(self, starts: Iterable[int]) -> list[Merged]:
        """The grains that start at `starts`, those that there are."""
        grains = self.grains
        return [grain for start in starts if (grain := grains.get(start)) is not None]

    def forget(self, before_ms: int) -> None:
        """Drop the grains that start before an instant; one that was begun late goes when those begun before it do."""
        drop_until(self.grains, before_ms - 1)


@dataclass
class Store:
    """All series of one program's measures. `names`: the dimensions, sorted, that its rows are kept by; a row is about
    the series whose dimensions agree in them."""

    names: tuple[str, ...] = ()
    series: dict[tuple[str, str, str], Series] = field(default_factory=dict)
    """By city, measure and dimensions (canonical text)."""
    groups: dict[tuple[str, str], dict[str, dict[str, Series]]] = field(default_factory=dict)
    """By city and measure: by the group of dimensions that a row is about, and all dimensions."""

    def at(self, city: str, measure: str, dims: str, kind: MeasureKind) -> Series:
        """The series, made if it was not there."""
        key = (city, measure, dims)
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Series(kind)
            groups = self.groups.setdefault((city, measure), {})
            groups.setdefault(narrowed(dims, self.names), {})[dims] = found
        return found

    def of(self, city: str, measure: str, group: str | None = None) -> Iterator[tuple[str, Series]]:
        """The series of a measure in a city with their dimensions: of all groups, or of one."""
        for some in self._groups(city, measure, group):
            yield from some.items()

    def over(self, city: str, measure: str, group: str | None, starts: Iterable[int]) -> list[Merged]:
        """Of the same series, the grains that start at `starts`, those that there are."""
        found = []
        for some in self._groups(city, measure, group):
            for series in some.values():
                grains = series.grains
                for start in starts:
                    grain = grains.get(start)
                    if grain is not None:
                        found.append(grain)
        return found

    def _groups(self, city: str, measure: str, group: str | None) -> Iterable[dict[str, Series]]:
        groups = self.groups.get((city, measure))
        if groups is None:
            return ()
        if group is None:
            return groups.values()
        some = groups.get(group)
        return () if some is None else (some,)

    def groups_of(self, city: str, measure: str) -> Iterator[tuple[str, Iterable[Series]]]:
        """The groups of a measure in a city, each with its series."""
        for group, some in self.groups.get((city, measure), {}).items():
            yield group, some.values()

    def forget(self, before_ms: int) -> None:
        """Drop grains before an instant, and series that are left with none."""
        for key, series in list(self.series.items()):
            series.forget(before_ms)
            if not series.grains:
                city, measure, dims = key
                del self.series[key]
                groups = self.groups[city, measure]
                group = narrowed(dims, self.names)
                del groups[group][dims]
                if not groups[group]:
                    del groups[group]

    def __iter__(self) -> Iterator[tuple[tuple[str, str, str], Series]]:
        return iter(self.series.items())


def narrowed(dims: str, names: tuple[str, ...]) -> str:
    """The part of canonical dimensions that concerns `names`, canonical again."""
    return ",".join(pair for pair in dims.split(",") if pair.split("=", 1)[0] in names) if dims and names else ""


def drop_until(kept: dict[int, Any], last: int) -> None:
    """Drop entries up to `last` from the front of what grows in order of time: as much work as there is to drop."""
    for at in list(takewhile(lambda at: at <= last, kept)):
        del kept[at]
