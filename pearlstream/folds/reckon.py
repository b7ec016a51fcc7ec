"""From partials and clocks to indicator rows: what the stages `indicate` and `cluster` have in common.

Keeps merged measures by window grain, settles a window when the clock has passed its end plus hold, corrects it
when late partials come (at most once per 30 s of clock), and shows open windows every 10 s of clock for the eye.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pearlstream.folds.evaluate import Evaluator, Row, speechless
from pearlstream.folds.fleet import EMPTY_FLEET, Fleet, Fleets
from pearlstream.folds.windows import Merged, Store, drop_until
from pearlstream.measures import MeasureKind
from pearlstream.panes import crossed, ends_touched, first_end_after, floor_to, settles
from pearlstream.program import IndicatorProgram, MeasureRef, Program
from pearlstream.registry import EMPTY_VERSION, Registry, RegistryBook

PROVISIONAL_MS = 10_000
"""Open windows are shown so often at most, in clock time."""
SHOWN_PER_HOP = 10
"""An open window is shown about so many times before the next one begins: what moves slowly needs no more."""
CORRECTION_MS = 30_000
"""Settled windows are corrected at most so often, in clock time."""
LATENESS_MS = 86_400_000
"""How late a reading may be and still correct a window."""
HOUR_MS = 3_600_000
MAX_WINDOWS_PER_TICK = 2000
"""A clock that jumps further leaves out windows in which nothing can have been measured."""

WireRow = tuple[Any, ...]
"""A row with the columns of `INDICATORS_ARROW`."""


_PANE = ("feed", "measure", "city", "dims", "pane_ms", "late")
"""What partials have in common that belong to one series and one pane."""


def _lists(frame: pl.DataFrame, *names: str) -> Iterator[tuple[Any, ...]]:
    """The rows of some columns, by way of lists: cheaper than row by row."""
    return zip(*(frame[name].to_list() for name in names), strict=True)


class Place(NamedTuple):
    """One program in one city: by number of the program, and city code (of a group: its id in capitals)."""

    program: int
    city: str


@dataclass
class Told:
    """What has been said about the settled windows of one place: by window end and dimensions, revision and row."""

    next_end: int
    windows: dict[int, dict[str, tuple[int, Row]]] = field(default_factory=dict)
    doubted: set[int] = field(default_factory=set)
    """Ends of settled windows that late partials have touched since the last correction."""
    means: dict[str, float] = field(default_factory=dict)
    """Of smoothed indicators, the mean so far by dimensions."""
    before: dict[int, dict[str, float]] = field(default_factory=dict)
    """The means that the remembered windows followed on: a correction changes its own window and no other."""


@dataclass
class Reckoning:
    """What is remembered of measures and of what was said about them. `cities`: those that it is about."""

    cities: tuple[str, ...]
    stores: list[Store]
    clock: int = -1
    registry: str = EMPTY_VERSION
    sim: bool = False
    told: dict[Place, Told] = field(default_factory=dict)
    named: set[Place] = field(default_factory=set)
    """Places that some reading has named, where readings count elsewhere than they come from."""
    evaluators: dict[Place, Evaluator] = field(default_factory=dict)
    """One where somebody can be expected; derived from the registry in force and made anew when that changes."""


class _Route(NamedTuple):
    """Where partials of a measure go: the program, its number, and the measure as it knows it. `scope`: the id of the
    group of cities that its rows are about, in capitals, or empty; `group`: its cities."""

    number: int
    program: IndicatorProgram
    ref: MeasureRef
    scope: str
    group: frozenset[str]

    @classmethod
    def of(cls, number: int, program: IndicatorProgram, ref: MeasureRef) -> _Route:
        """The way of one measure to one program."""
        return cls(number, program, ref, program.indicator.scope.upper(), frozenset(program.group))


class Reckoner:
    """Runs the programs of one stage. `provisional`: show open windows."""

    def __init__(
        self, program: Program, book: RegistryBook, stage: Literal["city", "cluster"], *, provisional: bool
    ) -> None:
        self.program = program
        self.book = book
        self.provisional = provisional
        self._mine = [(number, one) for number, one in enumerate(program.indicators) if one.indicator.stage == stage]
        self._offset_ms = {c.id: round(c.utc_offset_h * HOUR_MS) for c in program.catalogue.cities.values()}
        self._routes: dict[tuple[str, str], list[_Route]] = {}
        for number, one in self._mine:
            for ref in one.refs:
                for feed in ref.feeds:
                    self._routes.setdefault((feed, ref.measure), []).append(_Route.of(number, one, ref))
        self._measures = pa.array(sorted({measure for _, measure in self._routes}), pa.string())

    def start(self, cities: Sequence[str]) -> Reckoning:
        """Nothing measured, nothing said."""
        return Reckoning(tuple(cities), [Store(one.dims) for one in self.program.indicators])

    # ------------------------------------------------------------------ partials and clocks

    def add(self, state: Reckoning, table: Any) -> None:
        """Merge partials, a table of `PARTIAL_ARROW`; those of other stages are passed over."""
        frame = pl.from_arrow(table.filter(pc.is_in(table["measure"], value_set=self._measures)))
        assert isinstance(frame, pl.DataFrame)
        of_map = frame["key"].is_not_null()
        for *pane, value, rows in _lists(frame.filter(~of_map), *_PANE, "value", "n"):
            for kind, grain in self._grains(state, *pane):
                grain.add(kind, value, rows)
        maps = frame.filter(of_map).group_by(_PANE, maintain_order=True).agg("key", "value", pl.col("n").sum())
        for *pane, keys, values, rows in _lists(maps, *_PANE, "key", "value", "n"):
            for _, grain in self._grains(state, *pane):
                grain.count(keys, values, rows)

    def _grains(
        self, state: Reckoning, feed: str, measure: str, city: str, dims: str, pane: int, late: bool
    ) -> Iterator[tuple[MeasureKind, Merged]]:
        """Where partials of one pane are to be merged, by every program that wants them."""
        for route in self._routes.get((feed, measure), ()):
            if not (late and not route.ref.late) and (not route.group or city in route.group):
                yield route.ref.kind, self._grain(state, route, city, dims, pane)

    def _grain(self, state: Reckoning, route: _Route, city: str, dims: str, pane: int) -> Merged:
        """What is merged of the grain that a pane lies in; what has been said of it is doubted."""
        one, ref = route.program, route.ref
        grain = floor_to(pane, one.hop_ms, self._cut(one, city))
        place = Place(route.number, route.scope or city)
        if one.elsewhere:
            state.named.add(place)
        told = state.told.get(place)
        if told is not None and grain + one.hop_ms < told.next_end:
            ends = ends_touched(grain, one.hop_ms, one.span_ms)
            told.doubted.update(end for end in ends if end in told.windows)
        return state.stores[route.number].at(city, ref.measure, dims, ref.kind).grain(grain)

    def advance(self, state: Reckoning, clock: int, registry: str, sim: bool) -> list[WireRow]:
        """Let time go on to `clock`, which must be later than the state's, and say what there is to say.

        Raises RegistryMissing if `registry` is not in the book.
        """
        found = self.book.at(registry)
        before, state.clock, state.sim = state.clock, clock, sim
        if registry != state.registry or not state.told:
            state.registry = registry
            self._enlist(state, found)
        return self._tick(state, before)

    def _cut(self, one: IndicatorProgram, city: str) -> int:
        """East of UTC, where windows are cut by local midnight: that of the city, of a group its first city's."""
        return self._offset_ms[one.group[0] if one.group else city] if one.indicator.window.cut == "city" else 0

    def _places(self, state: Reckoning) -> Iterator[tuple[Place, tuple[str, ...]]]:
        """Every place that there may be, with its cities."""
        for city in state.cities:
            for number, one in self._mine:
                if not one.group:
                    yield Place(number, city), (city,)
        for number, one in self._mine:
            if one.group:
                yield Place(number, one.indicator.scope.upper()), one.group

    def _enlist(self, state: Reckoning, registry: Registry) -> None:
        """Note which places have a fleet, or may be named by readings from anywhere."""
        state.evaluators = {}
        fleets = Fleets(registry)
        for place, cities in self._places(state):
            one = self.program.indicators[place.program]
            fleet = fleets.of(one, cities)
            if one.elsewhere:
                if fleet is not None:
                    state.named.add(place)
                elif registry.has(one.feeds):
                    fleet = EMPTY_FLEET
            if fleet is None:
                continue
            state.evaluators[place] = self._evaluator(state, place, fleet)
            if place not in state.told:
                state.told[place] = Told(first_end_after(state.clock, one.hop_ms, self._cut(one, cities[0])))

    def _tick(self, state: Reckoning, before: int) -> list[WireRow]:
        rows: list[WireRow] = []
        clock = state.clock
        correct = crossed(before, clock, CORRECTION_MS)
        for place, evaluator in state.evaluators.items():
            told = state.told[place]
            one = self.program.indicators[place.program]
            if correct and told.doubted:
                rows += self._correct(state, place, evaluator)
            due = settles(told.next_end, one.hold_ms, clock)
            show = self.provisional and crossed(before, clock, max(PROVISIONAL_MS, one.hop_ms // SHOWN_PER_HOP))
            if not due and not show:
                continue
            if due:
                rows += self._settle(state, place, evaluator, before)
            if show and told.next_end - one.length_ms < clock:
                rows += [
                    self._row(
                        state,
                        place,
                        told.next_end,
                        evaluator.smoothed(row, told.means.get(row.dims)),
                        "provisional",
                        -1,
                    )
                    for row in evaluator.rows(told.next_end, clock)
                    if not (one.elsewhere and self._speechless(state, place, row))
                ]
        if crossed(before, clock, HOUR_MS):
            self._forget(state)
        return rows

    def _evaluator(self, state: Reckoning, place: Place, fleet: Fleet) -> Evaluator:
        one, catalogue = self.program.indicators[place.program], self.program.catalogue
        cities = one.group or (place.city,)
        population = sum(catalogue.cities[city].population for city in cities)
        store = state.stores[place.program]
        return Evaluator(one, store, place.city, population, fleet, catalogue.bases.at, cities)

    def _speechless(self, state: Reckoning, place: Place, row: Row) -> bool:
        return speechless(self.program.indicators[place.program], row, named=place in state.named)

    def _settle(self, state: Reckoning, place: Place, evaluator: Evaluator, before: int) -> list[WireRow]:
        one, told = self.program.indicators[place.program], state.told[place]
        rows: list[WireRow] = []
        quiet_from = max(before, 0) + one.span_ms + one.hop_ms
        while settles(told.next_end, one.hold_ms, state.clock):
            waiting = (state.clock - told.next_end) // one.hop_ms
            if told.next_end > quiet_from and waiting > MAX_WINDOWS_PER_TICK:
                told.next_end += (waiting - MAX_WINDOWS_PER_TICK) * one.hop_ms
            end, told.next_end = told.next_end, told.next_end + one.hop_ms
            said = told.windows[end] = {}
            if one.indicator.smooth_s is not None:
                told.before[end] = dict(told.means)
            for found in evaluator.rows(end):
                if self._speechless(state, place, found):
                    continue
                row = evaluator.smoothed(found, told.means.get(found.dims))
                if one.indicator.smooth_s is not None and row.value is not None:
                    told.means[row.dims] = row.value
                said[row.dims] = (0, row)
                rows.append(self._row(state, place, end, row, "settled", 0))
        return rows

    def _correct(self, state: Reckoning, place: Place, evaluator: Evaluator) -> list[WireRow]:
        told = state.told[place]
        rows: list[WireRow] = []
        for end in sorted(told.doubted):
            said = told.windows.get(end)
            if said is None:
                continue
            for found in evaluator.rows(end):
                row = evaluator.smoothed(found, told.before.get(end, {}).get(found.dims))
                rev, old = said.get(row.dims, (-1, None))
                if row != old and not (old is None and self._speechless(state, place, row)):
                    said[row.dims] = (rev + 1, row)
                    rows.append(self._row(state, place, end, row, "corrected" if rev >= 0 else "settled", rev + 1))
        told.doubted.clear()
        return rows

    def _row(self, state: Reckoning, place: Place, end: int, row: Row, maturity: str, rev: int) -> WireRow:
        one = self.program.indicators[place.program]
        return (
            one.indicator.id, place.city, row.dims, end - one.length_ms, end, row.value, row.state, row.coverage,
            row.n, row.numerator, row.denominator, maturity, rev, state.clock, state.registry, state.sim,
        )  # fmt: skip

    def _forget(self, state: Reckoning) -> None:
        """Drop what no reading in time can touch any more."""
        for place, told in state.told.items():
            horizon = state.clock - LATENESS_MS - 2 * self.program.indicators[place.program].hop_ms
            drop_until(told.windows, horizon)
            drop_until(told.before, horizon)
        for one, store in zip(self.program.indicators, state.stores, strict=True):
            store.forget(state.clock - LATENESS_MS - one.span_ms - 3 * one.hop_ms)

    # ------------------------------------------------------------------ snapshots

    def pack(self, state: Reckoning) -> dict[str, Any]:
        """The state as plain data."""
        return {
            "clock": state.clock,
            "registry": state.registry,
            "sim": state.sim,
            "stores": [
                [[*key, [[g, m.value, list(m.counts.items()), m.rows] for g, m in series.grains.items()]]
                 for key, series in store]
                for store in state.stores
            ],
            "told": [
                [*place, told.next_end, sorted(told.doubted),
                 [[end, [[rev, *row] for rev, row in said.values()]] for end, said in told.windows.items()],
                 told.means, [[end, means] for end, means in told.before.items()]]
                for place, told in state.told.items()
            ],
            "named": [list(place) for place in sorted(state.named)],
        }  # fmt: skip

    def unpack(self, meta: Mapping[str, Any], cities: Sequence[str]) -> Reckoning:
        """Inverse of `pack`. The fleets are made anew from the registry: raises RegistryMissing if it is not there."""
        state = Reckoning(tuple(cities), [], meta["clock"], meta["registry"], meta["sim"])
        kinds = [{ref.measure: ref.kind for ref in one.refs} for one in self.program.indicators]
        for number, entries in enumerate(meta["stores"]):
            store = Store(self.program.indicators[number].dims)
            for city, measure, dims, grains in entries:
                series = store.at(city, measure, dims, kinds[number][measure])
                series.grains = {g: Merged(value, dict(counts), rows) for g, value, counts, rows in grains}
            state.stores.append(store)
        for number, city, next_end, doubted, windows, means, before in meta["told"]:
            said = {end: {row[1]: (row[0], Row(*row[1:])) for row in rows} for end, rows in windows}
            state.told[Place(number, city)] = Told(next_end, said, set(doubted), means, dict(before))
        state.named = {Place(*place) for place in meta["named"]}
        if state.told:
            self._enlist(state, self.book.at(state.registry))
        return state
