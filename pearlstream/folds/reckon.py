"""From partials and clocks to indicator rows: what the stages `indicate` and `cluster` have in common.

Keeps merged measures by window grain, settles a window when the clock has passed its end plus hold, corrects it
when late partials come (at most once per 30 s of clock), and shows open windows every 10 s of clock for the eye.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pearlstream.folds.evaluate import Evaluator, Row, speechless
from pearlstream.folds.fleet import EMPTY_FLEET, Fleets
from pearlstream.folds.lines import Site
from pearlstream.folds.routes import Delivery, Routes, cut_ms
from pearlstream.folds.windows import Chunk, Spot, Spots, Store, drop_until
from pearlstream.measures import MeasureKind
from pearlstream.panes import crossed, ends_touched, first_end_after, settles
from pearlstream.program import IndicatorProgram, Program
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
class Desk:
    """The places of one program where somebody can be expected, in the order of the evaluator's sites."""

    program: IndicatorProgram
    evaluator: Evaluator
    places: tuple[Place, ...]
    told: list[Told]
    first_end: int = 0
    """The end of the earliest window that has not settled in one of the places."""
    last_end: int = 0
    """The same of the latest."""

    def __post_init__(self) -> None:
        self.look()

    def look(self) -> None:
        """Note anew how far the places have come."""
        ends = [told.next_end for told in self.told]
        self.first_end, self.last_end = min(ends), max(ends)

    def at(self, end_ms: int) -> list[int]:
        """The sites whose next window ends at an instant."""
        return [site for site, told in enumerate(self.told) if told.next_end == end_ms]


@dataclass
class Reckoning:
    """What is remembered of measures and of what was said about them. `cities`: those that it is about."""

    cities: tuple[str, ...]
    stores: list[Store]
    spots: Spots = field(default_factory=Spots)
    clock: int = -1
    registry: str = EMPTY_VERSION
    sim: bool = False
    told: dict[Place, Told] = field(default_factory=dict)
    named: set[Place] = field(default_factory=set)
    """Places that some reading has named, where readings count elsewhere than they come from."""
    desks: dict[int, Desk] = field(default_factory=dict)
    """By number of the program; derived from the registry in force and made anew when that changes."""
    enlisted: bool = False
    """Whether the desks are those of the registry."""


class Reckoner:
    """Runs the programs of one stage. `provisional`: show open windows."""

    def __init__(
        self, program: Program, book: RegistryBook, stage: Literal["city", "cluster"], *, provisional: bool
    ) -> None:
        self.program = program
        self.book = book
        self.provisional = provisional
        self._routes = Routes(program, stage)

    def start(self, cities: Sequence[str]) -> Reckoning:
        """Nothing measured, nothing said."""
        return Reckoning(tuple(cities), [Store() for _ in self.program.indicators])

    # ------------------------------------------------------------------ partials and clocks

    def add(self, state: Reckoning, table: Any) -> None:
        """Merge partials, a table of `PARTIAL_ARROW`; those of other stages are passed over."""
        for delivery in self._routes.of(table, state.spots):
            number, ref, grain, chunk = delivery
            one, desk = self.program.indicators[number], state.desks.get(number)
            state.stores[number].of(ref.measure, ref.kind).put(grain, chunk)
            late = desk is not None and grain + one.hop_ms < desk.last_end
            for place in self._places_of(state, delivery) if late or one.elsewhere else ():
                if one.elsewhere:
                    state.named.add(place)
                told = state.told.get(place)
                if told is not None and grain + one.hop_ms < told.next_end:
                    ends = ends_touched(grain, one.hop_ms, one.span_ms)
                    told.doubted.update(end for end in ends if end in told.windows)

    def _places_of(self, state: Reckoning, delivery: Delivery) -> set[Place]:
        """The places that partials are about."""
        one = self.program.indicators[delivery.program]
        if one.group:
            return {Place(delivery.program, one.indicator.scope.upper())}
        return {Place(delivery.program, state.spots.known[spot].city) for spot in np.unique(delivery.chunk.spots)}

    def advance(self, state: Reckoning, clock: int, registry: str, sim: bool) -> list[WireRow]:
        """Let time go on to `clock`, which must be later than the state's, and say what there is to say.

        Raises RegistryMissing if `registry` is not in the book.
        """
        found = self.book.at(registry)
        before, state.clock, state.sim = state.clock, clock, sim
        if registry != state.registry or not state.enlisted:
            state.registry = registry
            self._enlist(state, found)
        return self._tick(state, before)

    def _places(self, state: Reckoning, number: int) -> Iterator[tuple[Place, tuple[str, ...]]]:
        """Every place that there may be for a program, with its cities."""
        one = self.program.indicators[number]
        if one.group:
            yield Place(number, one.indicator.scope.upper()), one.group
        else:
            yield from ((Place(number, city), (city,)) for city in state.cities)

    def _enlist(self, state: Reckoning, registry: Registry) -> None:
        """Note which places have a fleet, or may be named by readings from anywhere."""
        state.desks, state.enlisted = {}, True
        fleets, cities, bases = Fleets(registry), self.program.catalogue.cities, self.program.catalogue.bases
        for number, one in self._routes.programs:
            sites: dict[Place, Site] = {}
            anywhere = EMPTY_FLEET if one.elsewhere and registry.has(one.feeds) else None
            for place, mine in self._places(state, number):
                fleet = fleets.of(one, mine)
                if one.elsewhere:
                    if fleet is not None:
                        state.named.add(place)
                    fleet = fleet or anywhere
                if fleet is None:
                    continue
                sites[place] = Site(place.city, mine, sum(cities[city].population for city in mine), fleet)
                if place not in state.told:
                    cut = cut_ms(self.program, one, mine[0])
                    state.told[place] = Told(first_end_after(state.clock, one.hop_ms, cut))
            if sites:
                evaluator = Evaluator(one, state.stores[number], state.spots, list(sites.values()), bases.at)
                state.desks[number] = Desk(one, evaluator, tuple(sites), [state.told[place] for place in sites])

    def _tick(self, state: Reckoning, before: int) -> list[WireRow]:
        rows: list[WireRow] = []
        clock = state.clock
        correct = crossed(before, clock, CORRECTION_MS)
        for desk in state.desks.values():
            if correct:
                rows += self._correct(state, desk)
            if settles(desk.first_end, desk.program.hold_ms, clock):
                rows += self._settle(state, desk, before)
            hop_ms = desk.program.hop_ms
            if self.provisional and crossed(before, clock, max(PROVISIONAL_MS, hop_ms // SHOWN_PER_HOP)):
                rows += self._show(state, desk)
        if crossed(before, clock, HOUR_MS):
            self._forget(state)
        return rows

    def _speechless(self, state: Reckoning, place: Place, row: Row) -> bool:
        return speechless(self.program.indicators[place.program], row, named=place in state.named)

    def _settle(self, state: Reckoning, desk: Desk, before: int) -> list[WireRow]:
        """Say every window whose time is over."""
        one = desk.program
        rows: list[WireRow] = []
        quiet_from = max(before, 0) + one.span_ms + one.hop_ms
        while settles(desk.first_end, one.hold_ms, state.clock):
            end = desk.first_end
            waiting = (state.clock - end) // one.hop_ms
            due = desk.at(end)
            if end > quiet_from and waiting > MAX_WINDOWS_PER_TICK:
                for site in due:
                    desk.told[site].next_end += (waiting - MAX_WINDOWS_PER_TICK) * one.hop_ms
            else:
                for site, found in desk.evaluator.rows(end, due).items():
                    rows += self._settled(state, desk, site, end, found)
            desk.look()
        return rows

    def _settled(self, state: Reckoning, desk: Desk, site: int, end: int, found: Sequence[Row]) -> list[WireRow]:
        """Note and say what a window at one site came to."""
        place, told, smooth = desk.places[site], desk.told[site], desk.program.indicator.smooth_s is not None
        rows: list[WireRow] = []
        told.next_end = end + desk.program.hop_ms
        said = told.windows[end] = {}
        if smooth:
            told.before[end] = dict(told.means)
        for one in found:
            if self._speechless(state, place, one):
                continue
            row = one
            if smooth:
                row = desk.evaluator.smoothed(site, one, told.means.get(one.dims))
                if row.value is not None:
                    told.means[row.dims] = row.value
            said[row.dims] = (0, row)
            rows.append(self._row(state, place, end, row, "settled", 0))
        return rows

    def _show(self, state: Reckoning, desk: Desk) -> list[WireRow]:
        """Say how the windows stand that are still open."""
        one = desk.program
        rows: list[WireRow] = []
        for end in sorted({told.next_end for told in desk.told}):
            if end - one.length_ms >= state.clock:
                continue
            for site, found in desk.evaluator.rows(end, desk.at(end), state.clock).items():
                place, means = desk.places[site], desk.told[site].means
                rows += [
                    self._row(
                        state, place, end, desk.evaluator.smoothed(site, row, means.get(row.dims)), "provisional", -1
                    )
                    for row in found
                    if not (one.elsewhere and self._speechless(state, place, row))
                ]
        return rows

    def _correct(self, state: Reckoning, desk: Desk) -> list[WireRow]:
        """Say anew the windows that late partials have changed."""
        rows: list[WireRow] = []
        for end in sorted(set().union(*(told.doubted for told in desk.told))):
            sites = [site for site, told in enumerate(desk.told) if end in told.doubted and end in told.windows]
            for site, found in desk.evaluator.rows(end, sites).items():
                rows += self._corrected(state, desk, site, end, found)
        for told in desk.told:
            told.doubted.clear()
        return rows

    def _corrected(self, state: Reckoning, desk: Desk, site: int, end: int, found: Sequence[Row]) -> list[WireRow]:
        place, told = desk.places[site], desk.told[site]
        said, before = told.windows[end], told.before.get(end, {})
        rows: list[WireRow] = []
        for one in found:
            row = desk.evaluator.smoothed(site, one, before.get(one.dims))
            rev, old = said.get(row.dims, (-1, None))
            if row != old and not (old is None and self._speechless(state, place, row)):
                said[row.dims] = (rev + 1, row)
                rows.append(self._row(state, place, end, row, "corrected" if rev >= 0 else "settled", rev + 1))
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
        if state.spots.tidy([grains for store in state.stores for _, grains in store]):
            self._enlist(state, self.book.at(state.registry))

    # ------------------------------------------------------------------ snapshots

    def pack(self, state: Reckoning) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The state as plain data and columns."""
        chunks: list[tuple[int, int, Chunk]] = []
        measures: list[tuple[int, str]] = []
        for number, store in enumerate(state.stores):
            for measure, grains in store:
                chunks += [(len(measures), grain, one) for grain, some in grains.chunks.items() for one in some]
                measures.append((number, measure))
        meta = {
            "clock": state.clock,
            "registry": state.registry,
            "sim": state.sim,
            "spots": [list(spot) for spot in state.spots.known],
            "measures": measures,
            "told": [
                [*place, told.next_end, sorted(told.doubted),
                 [[end, [[rev, *row] for rev, row in said.values()]] for end, said in told.windows.items()],
                 told.means, [[end, means] for end, means in told.before.items()]]
                for place, told in state.told.items()
            ],
            "named": [list(place) for place in sorted(state.named)],
        }  # fmt: skip
        heads = [(measure, grain, len(one.spots)) for measure, grain, one in chunks]
        columns = zip(_COLUMNS, _end_to_end([chunk for _, _, chunk in chunks]), strict=True)
        return meta, {"heads": np.array(heads, np.int64).ravel(), **dict(columns)}

    def unpack(self, meta: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], cities: Sequence[str]) -> Reckoning:
        """Inverse of `pack`. The fleets are made anew from the registry: raises RegistryMissing if it is not there."""
        spots = Spots([Spot(*spot) for spot in meta["spots"]])
        stores = [Store() for _ in self.program.indicators]
        state = Reckoning(tuple(cities), stores, spots, meta["clock"], meta["registry"], meta["sim"])
        kinds = [{ref.measure: ref.kind for ref in one.refs} for one in self.program.indicators]
        measures = [stores[number].of(name, kinds[number][name]) for number, name in meta["measures"]]
        at = 0
        for measure, grain, size in columns["heads"].reshape(-1, 3).tolist():
            spot, keys, values, rows = (columns[name][at : at + size] for name in _COLUMNS)
            kept = keys if measures[measure].kind is MeasureKind.MAP else None
            measures[measure].put(grain, Chunk(spot, kept, values, rows))
            at += size
        for number, city, next_end, doubted, windows, means, before in meta["told"]:
            said = {end: {row[1]: (row[0], Row(*row[1:])) for row in rows} for end, rows in windows}
            state.told[Place(number, city)] = Told(next_end, said, set(doubted), means, dict(before))
        state.named = {Place(*place) for place in meta["named"]}
        if state.told:
            self._enlist(state, self.book.at(state.registry))
        return state


_COLUMNS = ("spots", "keys", "values", "rows")


def _end_to_end(chunks: Sequence[Chunk]) -> list[NDArray[Any]]:
    """The columns of many chunks, each column in one; the key of what is no map is 0."""
    keys = [np.zeros(len(one.spots), np.int64) if one.keys is None else one.keys for one in chunks]
    columns = [[one.spots for one in chunks], keys, [one.values for one in chunks], [one.rows for one in chunks]]
    return [np.concatenate([np.empty(0, np.int64), *parts]) for parts in columns]
