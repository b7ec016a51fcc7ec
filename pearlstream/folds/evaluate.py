"""One indicator, one city or group of cities, one window: from merged measures to rows. Here is the one division."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from pearlstream.folds.fleet import NOBODY, Fleet, Members, Owed
from pearlstream.folds.windows import Merged, Series, Store
from pearlstream.formula import Histogram, Value
from pearlstream.measures import MeasureKind, parse_dims
from pearlstream.program import IndicatorProgram, MeasureRef, ReductionProgram

OK, WATCH, RAISED, NODATA = "OK", "WATCH", "RAISED", "NODATA"


class Row(NamedTuple):
    """What a window says, without the bookkeeping of when it was said. `dims` is canonical text."""

    dims: str
    value: float | None
    state: str
    coverage: float | None
    n: int
    numerator: int | None
    denominator: int | None


@lru_cache(maxsize=65_536)
def _dims(text: str) -> Mapping[str, str]:
    return parse_dims(text)


@lru_cache(maxsize=65_536)
def _joined(prefix: str, dims: str) -> str:
    """Two canonical texts as one."""
    return ",".join(sorted(filter(None, (*prefix.split(","), *dims.split(",")))))


BaseOf = Callable[[str, str, str, int], float | None]
"""What is ordinary per unit of `per`: by indicator, name of the base, city, start of the window in ms."""


class Evaluator:
    """Evaluates one program over one window ending at `end_ms`, in one city or, as one row, in several `cities`.

    `city`: what stands in the row as its city; `population` and `fleet`: those of all the cities together.
    """

    def __init__(
        self,
        program: IndicatorProgram,
        store: Store,
        city: str,
        population: int,
        fleet: Fleet,
        base_of: BaseOf | None = None,
        cities: Sequence[str] = (),
    ) -> None:
        self.cities = tuple(cities) or (city,)
        self.base_of = base_of
        self.program = program
        self.store = store
        self.city = city
        self.population = population
        self.fleet = fleet
        self.elapsed_ms = program.length_ms
        alert = program.indicator.alert
        self._pair = alert.for_city(city) if alert is not None else None

    def rows(self, end_ms: int, clock_ms: int | None = None) -> Iterator[Row]:
        """One row per group of dimensions that is expected or has data, and the total if it is declared.

        `clock_ms`: how far time has come in a window that is still open; what is owed counts up to there.
        """
        start = end_ms - self.program.length_ms
        self.elapsed_ms = self.program.length_ms if clock_ms is None else min(self.program.length_ms, clock_ms - start)
        if not self.program.dims:
            yield self._row("", None, start, self.fleet.all)
            return
        groups = {group for group, members in self.fleet.by_dims.items() if members.owed(start, 1).devices}
        grains = range(start, end_ms, self.program.hop_ms)
        for ref in self.program.measures.values():
            for city in self.cities:
                for group, some in self.store.groups_of(city, ref.measure):
                    if group not in groups and any(g in series.grains for series in some for g in grains):
                        groups.add(group)
        for group in sorted(groups):
            yield self._row(group, group, start, self.fleet.by_dims.get(group, NOBODY))
        if self.program.indicator.total:
            yield self._row("", None, start, self.fleet.all)

    def _row(self, dims: str, group: str | None, start: int, members: Members) -> Row:
        program = self.program
        owed = members.owed(start, self.elapsed_ms)
        grains = range(start, start + program.length_ms, program.hop_ms)
        values = self._given(owed, whole=group is None)
        merged: dict[str, Merged] = {}
        for name, count, ref in program.named:
            one = merged[ref.measure] = self._merged(ref, group, grains)
            values[name], values[count] = _value(ref, one), one.rows
        for reduction in program.reductions:
            values[reduction.name] = self._reduced(reduction, group, start + program.length_ms)
        bases = {name: self._base(name, start, members, owed) for name in program.bases}
        values |= {f"base_{name}": base for name, base in bases.items()}
        value = program.formula.evaluate(values)
        coverage = None
        gate = program.coverage
        if gate is not None:
            received = (merged.get(gate.measure) or self._merged(gate, group, grains)).rows
            if owed.samples is not None:
                coverage = min(1.0, received / owed.samples)
            if coverage is None or coverage < program.indicator.min_coverage:
                value = None
        else:
            received = sum([one.rows for one in merged.values()])
        numerator, denominator = self._pair_of(merged)
        state = self._state(value, bases.get("value"))
        return Row(_joined(program.dims_prefix, dims), value, state, coverage, received, numerator, denominator)

    def _pair_of(self, merged: Mapping[str, Merged]) -> tuple[int | None, int | None]:
        """Above and below the line of a plain ratio, where both are measured."""
        ratio = self.program.formula.ratio()
        if ratio is None:
            return None, None
        refs = [self.program.measures.get(name) for name in ratio]
        above, below = (merged[ref.measure].value if ref is not None else None for ref in refs)
        return (above, below) if above is not None and below is not None else (None, None)

    def smoothed(self, row: Row, before: float | None) -> Row:
        """The row with the mean that follows on `before` in place of its own value.

        A filter of first order, m' = m + (value - m) * hop / (hop + smooth_s): plain arithmetic, so the same on every
        machine. A window without a value says nothing and leaves the mean as it is.
        """
        span_s = self.program.indicator.smooth_s
        if span_s is None or row.value is None or before is None:
            return row
        hop_s = self.program.indicator.window.hop_s
        value = before + (row.value - before) * hop_s / (hop_s + span_s)
        return row._replace(value=value, state=self._state(value, None))

    def _given(self, owed: Owed, *, whole: bool) -> dict[str, Value]:
        return {
            "expected": owed.samples,
            "devices": owed.devices or None,
            "panes": max(1, self.elapsed_ms // self.program.pane_ms),
            "population": self.population,
            "whole": int(whole),
        }

    def _series(self, ref: MeasureRef, group: str | None) -> Iterator[tuple[str, str, Series]]:
        """The series of a measure in a group of dimensions (None: in all), each with its city and its dimensions."""
        for city in self.cities:
            for dims, series in self.store.of(city, ref.measure, group):
                yield city, dims, series

    def _merged(self, ref: MeasureRef, group: str | None, grains: range) -> Merged:
        """A measure over a stretch of time, all of its finer dimensions taken together. Not to be changed."""
        parts: list[Merged] = []
        for city in self.cities:
            parts += self.store.over(city, ref.measure, group, grains)
        return Merged.of(ref.kind, parts)

    def _reduced(self, reduction: ReductionProgram, group: str | None, end: int) -> float | None:
        """A reduction's value: first per member, then over those that have enough samples."""
        each, over = reduction.declared.each, reduction.declared.over
        grains = range(end - reduction.span_ms, end, self.program.hop_ms)
        by_member: dict[tuple[str, str], dict[str, Merged]] = {}
        for name in reduction.measures:
            ref = self.program.measures[name]
            for city, dims, series in self._series(ref, group):
                if parts := series.over(grains):
                    found = by_member.setdefault((city, _dims(dims).get(each, "")), {})
                    before = found.get(name)
                    found[name] = Merged.of(ref.kind, parts if before is None else [before, *parts])
        results = []
        for member in sorted(by_member):
            members = self.fleet.by_member.get((each, group or "", *member), NOBODY)
            value = self._member(reduction, by_member[member], members.owed(end - 1, reduction.span_ms))
            if value is not None:
                results.append(value)
        if not results:
            return None
        if over == "max":
            return max(results)
        if over == "min":
            return min(results)
        if over == "count":
            return float(len(results))
        return sum(results) if over == "sum" else sum(results) / len(results)

    def _member(self, reduction: ReductionProgram, merged: Mapping[str, Merged], owed: Owed) -> float | None:
        values: dict[str, Value] = {"expected": owed.samples}
        for name in reduction.measures:
            ref, one = self.program.measures[name], merged.get(name, Merged())
            values[name], values[f"{name}_n"] = _value(ref, one), one.rows
            if reduction.declared.valid and one.rows < reduction.declared.valid * (owed.samples or float("inf")):
                return None
        return reduction.formula.evaluate(values)

    def _base(self, name: str, start: int, members: Members, owed: Owed) -> float | None:
        """What is ordinary for the fleet in service."""
        base = self.program.bases[name]
        if self.base_of is None:
            return None
        ordinary = self.base_of(self.program.indicator.id, name, self.city, start)
        if ordinary is None or base.declared.per == "one":
            return ordinary
        if base.units:
            units = members.total(base.units, start)
            return None if units is None else ordinary * units
        return ordinary * owed.devices

    def _state(self, value: float | None, base: float | None) -> str:
        if value is None:
            return NODATA
        pair = self._pair
        if pair is None:
            return OK
        if pair.raise_.met(value, base):
            return RAISED
        return OK if pair.clear.met(value, base) else WATCH


def speechless(program: IndicatorProgram, row: Row, *, named: bool) -> bool:
    """Nobody owes anything and nothing came: there is nothing to say, not even that data are missing. `named`: where
    readings count elsewhere than they come from, some named this place, or it has devices."""
    if row.n:
        return False
    if program.coverage is not None:
        return row.coverage is None
    return program.elsewhere and not named


def _value(ref: MeasureRef, merged: Merged) -> Value:
    """A merged measure as a formula sees it. The sum of nothing is 0; the least of nothing is not known."""
    if ref.kind is MeasureKind.MAP:
        return Histogram(ref.edges, merged.counts) if ref.edges else merged.counts
    if merged.value is None:
        return 0 if ref.kind is MeasureKind.SUM else None
    scaled: float = merged.value / 10**ref.decimals
    return scaled
