"""The stage `indicate`: from partials to indicator rows.

Reads `rollups`, writes `indicators`. Keeps merged measures by window grain, settles a window when the clock
has passed its end plus hold, corrects it when late partials come (at most once per 30 s of clock), and shows
open windows every 10 s of clock for the eye.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pearlstream.fold import Output, Record, header, headers_of
from pearlstream.folds import packing
from pearlstream.folds.evaluate import Evaluator, Row
from pearlstream.folds.fleet import Fleet, fleet_of
from pearlstream.folds.rollup import decode_partials
from pearlstream.folds.windows import Merged, Store
from pearlstream.frame import expected_partition
from pearlstream.indicators import encode_rows
from pearlstream.panes import crossed, ends_touched, first_end_after, floor_to, settles
from pearlstream.position import Mark, Position, Source, Verdict
from pearlstream.program import IndicatorProgram, MeasureRef, Program
from pearlstream.registry import EMPTY_VERSION, Registry, RegistryBook

PROVISIONAL_MS = 10_000
"""Open windows are shown so often, in clock time."""
CORRECTION_MS = 30_000
"""Settled windows are corrected at most so often, in clock time."""
LATENESS_MS = 86_400_000
"""How late a reading may be and still correct a window."""
HOUR_MS = 3_600_000
MAX_HELD = 1000
MAX_HELD_BYTES = 32 << 20
MAX_WINDOWS_PER_TICK = 2000
"""A clock that jumps further leaves out windows in which nothing can have been measured."""


class Place(NamedTuple):
    """One program in one city: by number of the program, and city code."""

    program: int
    city: str


@dataclass
class Told:
    """What has been said about the settled windows of one place: by window end and dimensions, revision and row."""

    next_end: int
    windows: dict[int, dict[str, tuple[int, Row]]] = field(default_factory=dict)
    doubted: set[int] = field(default_factory=set)
    """Ends of settled windows that late partials have touched since the last correction."""


@dataclass
class IndicateState:
    """What `indicate` remembers of one partition."""

    source: Source
    upto: int
    marks: dict[str, Mark] = field(default_factory=dict)
    held: list[Record] = field(default_factory=list)
    clock: int = -1
    registry: str = EMPTY_VERSION
    sim: bool = False
    stores: list[Store] = field(default_factory=list)
    told: dict[Place, Told] = field(default_factory=dict)
    fleets: dict[Place, Fleet] = field(default_factory=dict)
    """Derived from the registry in force; made anew when that changes."""
    lost: list[str] = field(default_factory=list)


class Indicate:
    """The fold. `partitions`: how many the log has (0: one holds every city). `provisional`: show open windows."""

    name = "indicate"
    version = 1
    source = "rollups"
    targets: tuple[str, ...] = ("indicators",)

    def __init__(self, program: Program, book: RegistryBook, partitions: int = 0, *, provisional: bool = True) -> None:
        self.program = program
        self.book = book
        self.partitions = partitions
        self.provisional = provisional
        self._offset_ms = {c.id: round(c.utc_offset_h * HOUR_MS) for c in program.catalogue.cities.values()}
        self._routes: dict[tuple[str, str], list[tuple[int, MeasureRef]]] = {}
        for number, one in enumerate(program.indicators):
            for ref in {ref.measure: ref for ref in (*one.measures.values(), one.coverage)}.values():
                self._routes.setdefault((ref.feed, ref.measure), []).append((number, ref))
        self._kind = f"{self.name}@{self.version}/{program.catalogue.version}"

    def start(self, source: Source, first_offset: int = 0) -> IndicateState:
        """State before the first record of a partition."""
        return IndicateState(source, first_offset - 1, stores=[Store() for _ in self.program.indicators])

    def settled(self, state: IndicateState) -> bool:
        """Any moment will do: the state is complete after every record."""
        del state
        return True

    def apply(self, state: IndicateState, records: Sequence[Record]) -> tuple[IndicateState, list[Output]]:
        """Fold records in order; see `pearlstream.fold.Fold`."""
        for version in {header(record.headers, "registry") or EMPTY_VERSION for record in records}:
            self.book.at(version)
        outputs = []
        for record in records:
            rows = self._record(state, record)
            if rows:
                outputs.append(self._output(state, record.offset, rows))
        return state, outputs

    def _output(self, state: IndicateState, offset: int, rows: list[tuple[Any, ...]]) -> Output:
        position = Position(state.source, state.upto, offset)
        state.upto = offset
        headers: dict[str, str | int] = {
            "from": str(position),
            "clock": state.clock,
            "fold": f"{self.name}@{self.version}",
            "catalogue": self.program.catalogue.version,
        }
        return Output("indicators", None, encode_rows(rows), headers_of(headers), offset)

    # ------------------------------------------------------------------ positions

    def _record(self, state: IndicateState, record: Record) -> list[tuple[Any, ...]]:
        """Rows that one record brings about; none if it repeats what was applied or waits for what is missing."""
        position = _position(record)
        if position is None:
            return []
        mark = state.marks.setdefault(str(position.source), Mark())
        verdict = mark.judge(position)
        if verdict is Verdict.REPEAT:
            return []
        if verdict is Verdict.GAP:
            state.held.append(record)
            if len(state.held) <= MAX_HELD and sum(len(r.value or b"") for r in state.held) <= MAX_HELD_BYTES:
                return []
            return self._pass_gap(state)
        mark.advance(position)
        return self._apply(state, record) + self._release(state)

    def _release(self, state: IndicateState) -> list[tuple[Any, ...]]:
        """Apply held records that follow on what is applied now."""
        rows: list[tuple[Any, ...]] = []
        while True:
            for number, record in enumerate(state.held):
                position = _position(record)
                assert position is not None
                mark = state.marks[str(position.source)]
                if mark.judge(position) is Verdict.GAP:
                    continue
                del state.held[number]
                if mark.judge(position) is Verdict.APPLY:
                    mark.advance(position)
                    rows += self._apply(state, record)
                break
            else:
                return rows

    def _pass_gap(self, state: IndicateState) -> list[tuple[Any, ...]]:
        """Give up on what is missing before the earliest held record, and say so in `lost`."""
        record = min(state.held, key=lambda r: _position(r) or Position(state.source, 0, 0))
        position = _position(record)
        assert position is not None
        mark = state.marks[str(position.source)]
        state.lost.append(f"{position.source}/{mark.applied}/{position.after}")
        mark.applied = position.after
        return self._release(state)

    # ------------------------------------------------------------------ partials and ticks

    def _apply(self, state: IndicateState, record: Record) -> list[tuple[Any, ...]]:
        table = decode_partials(record.value or b"")
        if table is not None:
            self._add(state, table)
        clock = int(header(record.headers, "clock") or -1)
        if clock <= state.clock:
            return []
        before, state.clock = state.clock, clock
        version = header(record.headers, "registry") or EMPTY_VERSION
        state.sim = header(record.headers, "sim") == "1"
        if version != state.registry or not state.told:
            state.registry = version
            self._enlist(state, self.book.at(version))
        return self._tick(state, before)

    def _add(self, state: IndicateState, table: Any) -> None:
        columns = [table[name].to_pylist() for name in ("feed", "measure", "city", "dims", "pane_ms", "key")]
        numbers = [table[name].to_pylist() for name in ("value", "n", "late")]
        for feed, measure, city, dims, pane, key, value, n, late in zip(*columns, *numbers, strict=True):
            for number, ref in self._routes.get((feed, measure), ()):
                if late and not ref.late:
                    continue
                one = self.program.indicators[number]
                grain = floor_to(pane, one.hop_ms, self._cut(one, city))
                state.stores[number].at(city, measure, dims, ref.kind).add(grain, key, value, n)
                told = state.told.get(Place(number, city))
                if told is not None and grain + one.hop_ms < told.next_end:
                    ends = ends_touched(grain, one.hop_ms, one.span_ms)
                    told.doubted.update(end for end in ends if end in told.windows)

    def _cut(self, one: IndicatorProgram, city: str) -> int:
        return self._offset_ms[city] if one.indicator.window.cut == "city" else 0

    def _enlist(self, state: IndicateState, registry: Registry) -> None:
        """Note for which indicators each city of this partition has a fleet."""
        state.fleets = {}
        for city in self.program.catalogue.cities:
            mine = not self.partitions or expected_partition(city.encode(), self.partitions) == state.source.partition
            if not mine:
                continue
            for number, one in enumerate(self.program.indicators):
                fleet = fleet_of(one, registry, city)
                if fleet is None:
                    continue
                place = Place(number, city)
                state.fleets[place] = fleet
                if place not in state.told:
                    end = first_end_after(state.clock, one.hop_ms, self._cut(one, city))
                    state.told[place] = Told(end)

    def _tick(self, state: IndicateState, before: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        clock = state.clock
        correct = crossed(before, clock, CORRECTION_MS)
        show = self.provisional and crossed(before, clock, PROVISIONAL_MS)
        for place, fleet in state.fleets.items():
            told = state.told[place]
            one = self.program.indicators[place.program]
            if correct and told.doubted:
                rows += self._correct(state, place, fleet)
            due = settles(told.next_end, one.hold_ms, clock)
            if not due and not show:
                continue
            evaluator = self._evaluator(state, place, fleet)
            if due:
                rows += self._settle(state, place, evaluator, before)
            if show and told.next_end - one.length_ms < clock:
                rows += [
                    self._row(state, place, told.next_end, row, "provisional", -1)
                    for row in evaluator.rows(told.next_end, clock)
                ]
        if crossed(before, clock, HOUR_MS):
            self._forget(state)
        return rows

    def _evaluator(self, state: IndicateState, place: Place, fleet: Fleet) -> Evaluator:
        one = self.program.indicators[place.program]
        population = self.program.catalogue.cities[place.city].population
        return Evaluator(one, state.stores[place.program], place.city, population, fleet)

    def _settle(self, state: IndicateState, place: Place, evaluator: Evaluator, before: int) -> list[tuple[Any, ...]]:
        one, told, rows = self.program.indicators[place.program], state.told[place], []
        quiet_from = max(before, 0) + one.span_ms + one.hop_ms
        while settles(told.next_end, one.hold_ms, state.clock):
            waiting = (state.clock - told.next_end) // one.hop_ms
            if told.next_end > quiet_from and waiting > MAX_WINDOWS_PER_TICK:
                told.next_end += (waiting - MAX_WINDOWS_PER_TICK) * one.hop_ms
            end, told.next_end = told.next_end, told.next_end + one.hop_ms
            said = told.windows[end] = {}
            for row in evaluator.rows(end):
                if one.feeds and row.coverage is None and row.n == 0:
                    continue
                said[row.dims] = (0, row)
                rows.append(self._row(state, place, end, row, "settled", 0))
        return rows

    def _correct(self, state: IndicateState, place: Place, fleet: Fleet) -> list[tuple[Any, ...]]:
        told, rows = state.told[place], []
        evaluator = self._evaluator(state, place, fleet)
        for end in sorted(told.doubted):
            said = told.windows.get(end)
            if said is None:
                continue
            for row in evaluator.rows(end):
                rev, old = said.get(row.dims, (-1, None))
                if row != old and not (old is None and row.coverage is None and row.n == 0):
                    said[row.dims] = (rev + 1, row)
                    rows.append(self._row(state, place, end, row, "corrected" if rev >= 0 else "settled", rev + 1))
        told.doubted.clear()
        return rows

    def _row(self, state: IndicateState, place: Place, end: int, row: Row, maturity: str, rev: int) -> tuple[Any, ...]:
        one = self.program.indicators[place.program]
        return (
            one.indicator.id, place.city, row.dims, end - one.length_ms, end, row.value, row.state, row.coverage,
            row.n, row.numerator, row.denominator, maturity, rev, state.clock, state.registry, state.sim,
        )  # fmt: skip

    def _forget(self, state: IndicateState) -> None:
        """Drop what no reading in time can touch any more."""
        for place, told in state.told.items():
            horizon = state.clock - LATENESS_MS - 2 * self.program.indicators[place.program].hop_ms
            told.windows = {end: said for end, said in told.windows.items() if end > horizon}
        for one, store in zip(self.program.indicators, state.stores, strict=True):
            store.forget(state.clock - LATENESS_MS - one.span_ms - 3 * one.hop_ms)

    # ------------------------------------------------------------------ snapshots

    def pack(self, state: IndicateState) -> bytes:
        """The state as bytes."""
        meta: dict[str, Any] = {
            "source": str(state.source),
            "upto": state.upto,
            "marks": {source: mark.applied for source, mark in state.marks.items()},
            "clock": state.clock,
            "registry": state.registry,
            "sim": state.sim,
            "lost": state.lost,
            "held": [_pack_record(record) for record in state.held],
            "stores": [
                [[*key, [[g, m.value, list(m.counts.items()), m.rows] for g, m in series.grains.items()]]
                 for key, series in store]
                for store in state.stores
            ],
            "told": [
                [*place, told.next_end, sorted(told.doubted),
                 [[end, [[rev, *row] for rev, row in said.values()]] for end, said in told.windows.items()]]
                for place, told in state.told.items()
            ],
        }  # fmt: skip
        return packing.pack(self._kind, meta, {"none": np.empty(0)})

    def unpack(self, blob: bytes) -> IndicateState:
        """Inverse of `pack`. Raises ValueError if the blob is torn or of another catalogue.

        The fleets are made anew from the registry, so RegistryMissing is possible, too.
        """
        meta, _ = packing.unpack(self._kind, blob)
        state = IndicateState(Source.parse(meta["source"]), meta["upto"])
        state.marks = {source: Mark(applied) for source, applied in meta["marks"].items()}
        state.clock, state.registry, state.sim = meta["clock"], meta["registry"], meta["sim"]
        state.lost = meta["lost"]
        state.held = [_unpack_record(fields) for fields in meta["held"]]
        kinds = [
            {ref.measure: ref.kind for ref in (*one.measures.values(), one.coverage)} for one in self.program.indicators
        ]
        for number, entries in enumerate(meta["stores"]):
            store = Store()
            for city, measure, dims, grains in entries:
                series = store.at(city, measure, dims, kinds[number][measure])
                series.grains = {g: Merged(value, dict(counts), rows) for g, value, counts, rows in grains}
            state.stores.append(store)
        for number, city, next_end, doubted, windows in meta["told"]:
            said = {end: {row[1]: (row[0], Row(*row[1:])) for row in rows} for end, rows in windows}
            state.told[Place(number, city)] = Told(next_end, said, set(doubted))
        if state.told:
            self._enlist(state, self.book.at(state.registry))
        return state


def _position(record: Record) -> Position | None:
    text = header(record.headers, "from")
    try:
        return Position.parse(text) if text else None
    except ValueError:
        return None


def _pack_record(record: Record) -> list[Any]:
    value = base64.b64encode(record.value or b"").decode()
    return [record.offset, value, [[k, base64.b64encode(v).decode()] for k, v in record.headers], record.timestamp_ms]


def _unpack_record(fields: Sequence[Any]) -> Record:
    offset, value, headers, timestamp = fields
    return Record(offset, None, base64.b64decode(value), tuple((k, base64.b64decode(v)) for k, v in headers), timestamp)
