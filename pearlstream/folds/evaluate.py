"""One indicator, one window, all its cities at once: from merged measures to rows. Here is the one division."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pearlstream.catalogue.indicator import Thresholds
from pearlstream.folds.fleet import Owed
from pearlstream.folds.lines import Lines, Placed, Site
from pearlstream.folds.windows import Chunk, Spots, Store, Sums, counted, summed
from pearlstream.formula import Column, Histogram
from pearlstream.grouping import Ints
from pearlstream.measures import MeasureKind
from pearlstream.program import IndicatorProgram, MeasureRef, ReductionProgram
from pearlstream.rows import Bools, Floats

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


BaseOf = Callable[[str, str, str, int], float | None]
"""What is ordinary per unit of `per`: by indicator, name of the base, city, start of the window in ms."""


@dataclass(frozen=True)
class _Window:
    """One window: from `start_ms`, of which `elapsed_ms` have gone by. `chunks`: its partials by measure; `behind`:
    those that reductions look back on, by reduction and name of the measure."""

    start_ms: int
    end_ms: int
    elapsed_ms: int
    chunks: Mapping[str, Chunk | None]
    behind: Mapping[str, Mapping[str, Chunk | None]]


@dataclass(frozen=True)
class _Merged:
    """The measures of one window, line by line of `lines`. `placed`: partials, and the line that each belongs to;
    `seated`: partials by reduction and measure, and the seat."""

    lines: Lines
    window: _Window
    placed: Mapping[str, Placed]
    seated: Mapping[str, Mapping[str, Placed]]
    sums: Mapping[str, Sums]
    owed: Owed

    @classmethod
    def of(cls, program: IndicatorProgram, lines: Lines, window: _Window, refs: Sequence[MeasureRef]) -> _Merged:
        """Partials may bring lines with them, so all are placed before any is merged."""
        placed = {ref.measure: lines.places.among(window.chunks[ref.measure]) for ref in refs}
        seated = {
            r.name: {
                name: lines.seats(r.declared.each).places.among(chunk) for name, chunk in window.behind[r.name].items()
            }
            for r in program.reductions
        }
        sums = {ref.measure: summed(ref.kind, *placed[ref.measure], len(lines)) for ref in refs}
        return cls(lines, window, placed, seated, sums, lines.roll.owed(window.start_ms, window.elapsed_ms))


class Evaluator:
    """Evaluates one program over windows, at all `sites` where somebody can be expected."""

    def __init__(
        self, program: IndicatorProgram, store: Store, spots: Spots, sites: Sequence[Site], base_of: BaseOf
    ) -> None:
        self.program, self.sites = program, tuple(sites)
        self._store, self._base_of = store, base_of
        self._whole = Lines(program, self.sites, spots, whole=True)
        self._groups = Lines(program, self.sites, spots, whole=False) if program.dims else None
        self._population = np.array([site.population for site in sites], np.float64)
        alert = program.indicator.alert
        self._pairs = [alert.for_city(site.city) if alert is not None else None for site in self.sites]
        self._one_pair = all(pair == self._pairs[0] for pair in self._pairs)

    def rows(self, end_ms: int, sites: Collection[int], clock_ms: int | None = None) -> dict[int, list[Row]]:
        """The rows of the window that ends at `end_ms` at some sites, by the number of the site.

        One row per group of dimensions that is expected or has data, and the total if it is declared. `clock_ms`: how
        far time has come in a window that is still open; what is owed counts up to there.
        """
        program = self.program
        start = end_ms - program.length_ms
        elapsed = program.length_ms if clock_ms is None else min(program.length_ms, clock_ms - start)
        window = _Window(start, end_ms, elapsed, self._chunks(start, end_ms), self._behind(end_ms))
        said: dict[int, list[Row]] = {site: [] for site in sites}
        if self._groups is not None:
            self._say(_Merged.of(program, self._groups, window, program.refs), said)
        if self._groups is None or program.indicator.total:
            self._say(_Merged.of(program, self._whole, window, program.read), said)
        return said

    def _chunks(self, start_ms: int, end_ms: int) -> dict[str, Chunk | None]:
        """The partials of every measure in a stretch of time."""
        grains = range(start_ms, end_ms, self.program.hop_ms)
        return {ref.measure: self._store.of(ref.measure, ref.kind).over(grains) for ref in self.program.refs}

    def _behind(self, end_ms: int) -> dict[str, dict[str, Chunk | None]]:
        """The partials that reductions look back on."""
        found = {}
        for reduction in self.program.reductions:
            grains = range(end_ms - reduction.span_ms, end_ms, self.program.hop_ms)
            refs = {name: self.program.measures[name] for name in reduction.measures}
            found[reduction.name] = {
                name: self._store.of(ref.measure, ref.kind).over(grains) for name, ref in refs.items()
            }
        return found

    def _say(self, merged: _Merged, said: Mapping[int, list[Row]]) -> None:
        """Add the rows of all lines at the sites of `said`."""
        lines = merged.lines
        at_site = np.zeros(len(self.sites), bool)
        at_site[list(said)] = True
        wanted = at_site[lines.site]
        if not lines.whole:
            wanted &= self._spoken(merged)
        picked = lines.order[wanted[lines.order]]
        if not len(picked):
            return
        columns = self._given(merged) | self._measured(merged)
        for reduction in self.program.reductions:
            columns[reduction.name] = self._reduced(reduction, merged)
        bases = {name: self._base(name, merged) for name in self.program.bases}
        columns |= {f"base_{name}": base for name, base in bases.items()}
        values = self.program.formula.over(columns, len(lines))[picked]
        coverage, received = self._received(merged)
        coverage, received = coverage[picked], received[picked]
        if self.program.coverage is not None:
            values = np.where(coverage >= self.program.indicator.min_coverage, values, math.nan)
        sites = lines.site[picked]
        base = bases["value"][picked] if "value" in bases else np.full(len(picked), math.nan)
        made = zip(
            (lines.dims[line] for line in picked.tolist()), _known(values), self._states(sites, values, base),
            _known(coverage), received.tolist(), *self._ratio(merged, picked), strict=True,
        )  # fmt: skip
        for site, row in zip(sites.tolist(), made, strict=True):
            said[site].append(Row._make(row))

    def _spoken(self, merged: _Merged) -> Bools:
        """The groups of dimensions that somebody is expected to speak of, or did."""
        spoken: Bools = merged.owed.devices > 0
        for ref in self.program.measures.values():
            spoken = spoken | merged.sums[ref.measure].some
        return spoken

    def _given(self, merged: _Merged) -> dict[str, Column]:
        devices = merged.owed.devices
        return {
            "expected": merged.owed.samples,
            "devices": np.where(devices > 0, devices, math.nan),
            "panes": float(max(1, merged.window.elapsed_ms // self.program.pane_ms)),
            "population": self._population[merged.lines.site],
            "whole": float(merged.lines.whole),
        }

    def _measured(self, merged: _Merged) -> dict[str, Column]:
        """The measures as the formula sees them."""
        columns: dict[str, Column] = {}
        for name, count, ref in self.program.named:
            sums = merged.sums[ref.measure]
            columns[name] = _column(ref, merged.placed[ref.measure], sums)
            columns[count] = sums.rows.astype(np.float64)
        return columns

    def _received(self, merged: _Merged) -> tuple[Floats, Ints]:
        """How much of what is owed came (NaN if nobody owes anything), and how many readings speak."""
        gate = self.program.coverage
        if gate is not None:
            rows = merged.sums[gate.measure].rows
            return np.minimum(1.0, rows / merged.owed.samples), rows
        every = {ref.measure for _, _, ref in self.program.named}
        total = np.zeros(len(merged.lines), np.int64)
        for measure in every:
            total += merged.sums[measure].rows
        return np.full(len(total), math.nan), total

    def _ratio(self, merged: _Merged, picked: Ints) -> tuple[Sequence[int | None], Sequence[int | None]]:
        """Above and below the line of a plain ratio, where both are measured."""
        refs = [self.program.measures.get(name) for name in self.program.formula.ratio() or ()]
        sums = [merged.sums[ref.measure] for ref in refs if ref is not None and ref.kind is not MeasureKind.MAP]
        if len(sums) < 2:
            return [None] * len(picked), [None] * len(picked)
        both = (sums[0].some & sums[1].some)[picked].tolist()
        above, below = (
            [value if known else None for value, known in zip(one.values[picked].tolist(), both, strict=True)]
            for one in sums
        )
        return above, below

    def smoothed(self, site: int, row: Row, before: float | None) -> Row:
        """The row with the mean that follows on `before` in place of its own value.

        A filter of first order, m' = m + (value - m) * hop / (hop + smooth_s): plain arithmetic, so the same on every
        machine. A window without a value says nothing and leaves the mean as it is.
        """
        span_s = self.program.indicator.smooth_s
        if span_s is None or row.value is None or before is None:
            return row
        hop_s = self.program.indicator.window.hop_s
        value = before + (row.value - before) * hop_s / (hop_s + span_s)
        one, unknown = np.array([value]), np.array([math.nan])
        return row._replace(value=value, state=_state(self._pairs[site], one, unknown)[0])

    def _reduced(self, reduction: ReductionProgram, merged: _Merged) -> Floats:
        """A reduction's value: first per member, then over those that have enough samples."""
        seats, placed = merged.lines.seats(reduction.declared.each), merged.seated[reduction.name]
        owed = seats.roll.owed(merged.window.end_ms - 1, reduction.span_ms)
        columns: dict[str, Column] = {"expected": owed.samples}
        enough, some = np.ones(len(seats.lines), bool), np.zeros(len(seats.lines), bool)
        for name in reduction.measures:
            ref = self.program.measures[name]
            sums = summed(ref.kind, *placed[name], len(enough))
            columns[name] = _column(ref, placed[name], sums)
            columns[f"{name}_n"] = sums.rows.astype(np.float64)
            some |= sums.some
            if reduction.declared.valid:
                enough &= sums.rows >= reduction.declared.valid * owed.samples
        each = reduction.formula.over(columns, len(enough))
        order = seats.order
        order = order[(some & enough & ~np.isnan(each))[order]]
        return _over(reduction.declared.over, np.array(seats.lines, np.int64)[order], each[order], len(merged.lines))

    def _base(self, name: str, merged: _Merged) -> Floats:
        """What is ordinary for the fleet in service."""
        base, start = self.program.bases[name], merged.window.start_ms
        known = [self._base_of(self.program.indicator.id, name, site.city, start) for site in self.sites]
        ordinary = np.array([math.nan if one is None else one for one in known], np.float64)[merged.lines.site]
        if base.declared.per == "one":
            return ordinary
        return ordinary * (merged.lines.roll.totals(base.units, start) if base.units else merged.owed.devices)

    def _states(self, sites: Ints, values: Floats, bases: Floats) -> list[str]:
        """What values at some sites are to the rule."""
        if self._one_pair:
            return _state(self._pairs[0], values, bases)
        each = [_state(pair, values, bases) for pair in self._pairs]
        return [each[site][at] for at, site in enumerate(sites.tolist())]


_NAMES = (OK, WATCH, RAISED, NODATA)


def _state(pair: Thresholds | None, values: Floats, bases: Floats) -> list[str]:
    """What values are to the thresholds of their rule."""
    found = np.zeros(len(values), np.int64)
    if pair is not None:
        raised, clear = pair.raise_.met_each(values, bases), pair.clear.met_each(values, bases)
        found = np.where(raised, 2, np.where(clear, 0, 1))
    return [_NAMES[at] for at in np.where(np.isnan(values), 3, found).tolist()]


def _known(values: Floats) -> list[float | None]:
    """Numbers with None for NaN."""
    return [None if value != value else value for value in values.tolist()]


def _column(ref: MeasureRef, placed: Placed, sums: Sums) -> Column:
    """A merged measure as a formula sees it. The sum of nothing is 0; the least of nothing is not known."""
    if ref.kind is MeasureKind.MAP:
        counts = counted(*placed, len(sums.rows))
        return [Histogram(ref.edges, one) for one in counts] if ref.edges else counts
    scaled = sums.values / 10**ref.decimals
    return scaled if ref.kind is MeasureKind.SUM else np.where(sums.some, scaled, math.nan)


def _over(how: str, lines: Ints, values: Floats, count: int) -> Floats:
    """Values of members reduced line by line, in their order; NaN where there is none."""
    members = np.bincount(lines, minlength=count)
    if how in ("max", "min"):
        best = np.full(count, -math.inf if how == "max" else math.inf)
        (np.maximum if how == "max" else np.minimum).at(best, lines, values)
        return np.where(members > 0, best, math.nan)
    if how == "count":
        return np.where(members > 0, members, math.nan)
    total = np.zeros(count)
    np.add.at(total, lines, values)
    return np.where(members > 0, total if how == "sum" else total / np.maximum(members, 1), math.nan)


def speechless(program: IndicatorProgram, row: Row, *, named: bool) -> bool:
    """Nobody owes anything and nothing came: there is nothing to say, not even that data are missing. `named`: where
    readings count elsewhere than they come from, some named this place, or it has devices."""
    if row.n:
        return False
    if program.coverage is not None:
        return row.coverage is None
    return program.elsewhere and not named
