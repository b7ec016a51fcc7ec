"""Windows that were told once, reckoned again from merged measures: what `indicate` would say had it known.

The evaluation is that of the stream (`evaluate`); what is different is that time stands still: the fleet, the window
and, of smoothed indicators, the mean that it followed on are those of the row that was told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pearlstream.folds.evaluate import NODATA, Evaluator, Row
from pearlstream.folds.fleet import EMPTY_FLEET, Fleets
from pearlstream.folds.lines import Site
from pearlstream.folds.routes import cut_ms
from pearlstream.folds.windows import Chunk, Spot, Spots, Store
from pearlstream.measures import MeasureKind
from pearlstream.panes import ends_touched, floor_to
from pearlstream.program import IndicatorProgram, MeasureRef, Program
from pearlstream.registry import Registry


class Place(NamedTuple):
    """One program where it is said: `city` is what stands in its rows, `cities` are those it is about."""

    program: IndicatorProgram
    city: str
    cities: tuple[str, ...]
    cut_ms: int
    """East of UTC, where its windows are cut by local midnight."""

    def grain(self, ms: int) -> int:
        """The start of the grain that an instant lies in."""
        return floor_to(ms, self.program.hop_ms, self.cut_ms)

    def ends(self, instants: Iterable[int]) -> list[int]:
        """The ends of all windows that look back on any of these instants."""
        one = self.program
        grains = {self.grain(ms) for ms in instants}
        return sorted({end for grain in grains for end in ends_touched(grain, one.hop_ms, one.span_ms)})


class Grain(NamedTuple):
    """A measure merged over one grain of one city and its dimensions; `key` is 0 unless it is a map."""

    city: str
    dims: str
    start: int
    key: int
    value: int
    rows: int


def places(program: Program, feed: str, cities: Iterable[str]) -> Iterator[Place]:
    """Where indicators may change if readings of a feed in some cities do."""
    mine = set(cities)
    for one in program.indicators:
        if not any(feed in ref.feeds for ref in one.refs):
            continue
        if one.group:
            if one.elsewhere or mine & set(one.group):
                yield Place(one, one.indicator.scope.upper(), one.group, cut_ms(program, one, one.group[0]))
        else:
            for city in program.catalogue.cities if one.elsewhere else sorted(mine):
                yield Place(one, city, (city,), cut_ms(program, one, city))


class WindowsAgain:
    """Says the rows of one place again. `grains`: its measures, over all that its windows look back on."""

    def __init__(self, program: Program, place: Place, grains: Iterable[tuple[MeasureRef, Grain]]) -> None:
        self._program, self._place = program, place
        self._store, self._spots = Store(), Spots()
        self._evaluators: dict[str, Evaluator] = {}
        of_measure: dict[str, dict[int, list[Grain]]] = {}
        refs = {ref.measure: ref for ref in place.program.refs}
        for ref, one in grains:
            of_measure.setdefault(ref.measure, {}).setdefault(one.start, []).append(one)
        for measure, by_start in of_measure.items():
            kept = self._store.of(measure, refs[measure].kind)
            for start, some in by_start.items():
                kept.put(start, self._chunk(some, of_map=kept.kind is MeasureKind.MAP))

    def _chunk(self, grains: Sequence[Grain], *, of_map: bool) -> Chunk:
        spots = [self._spots.number(Spot(one.city, one.dims)) for one in grains]
        columns = [[one.key for one in grains], [one.value for one in grains], [one.rows for one in grains]]
        spot, keys, values, rows = (np.array(column, np.int64) for column in (spots, *columns))
        return Chunk(spot, keys if of_map else None, values, rows)

    def rows(self, end: int, registry: Registry, means: Mapping[str, float]) -> dict[str, Row]:
        """The rows of the window that ends at `end`, by dimensions, under the fleet of a registry. `means`: those that
        it follows on, by dimensions, if the indicator is smoothed."""
        evaluator = self._evaluators.get(registry.version)
        if evaluator is None:
            evaluator = self._evaluators[registry.version] = self._evaluator(registry)
        (rows,) = evaluator.rows(end, (0,)).values()
        return {row.dims: evaluator.smoothed(0, row, means.get(row.dims)) for row in rows}

    def _evaluator(self, registry: Registry) -> Evaluator:
        place, catalogue = self._place, self._program.catalogue
        fleet = Fleets(registry).of(place.program, place.cities) or EMPTY_FLEET
        population = sum(catalogue.cities[city].population for city in place.cities)
        site = Site(place.city, place.cities, population, fleet)
        return Evaluator(place.program, self._store, self._spots, [site], catalogue.bases.at)


def silent(dims: str) -> Row:
    """The row of dimensions that nothing is left of."""
    return Row(dims, None, NODATA, None, 0, None, None)
