"""Where partials go: from the columns of a record to the grains of every program that wants them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pearlstream.folds.windows import Chunk, Spots
from pearlstream.grouping import Codes, Groups, Ints, codes_of_ints
from pearlstream.program import IndicatorProgram, MeasureRef, Program

HOUR_MS = 3_600_000


class Delivery(NamedTuple):
    """Partials of one measure that lie in one grain of one program, which has a number."""

    program: int
    ref: MeasureRef
    grain_ms: int
    chunk: Chunk


class _Words(NamedTuple):
    """A column of text: each row's place among `words`, which are distinct."""

    codes: Ints
    words: list[str]

    @classmethod
    def of(cls, column: Any) -> _Words:
        encoded = column.combine_chunks().dictionary_encode()
        return cls(encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist())


class Routes:
    """The ways of partials to the programs of one stage."""

    def __init__(self, program: Program, stage: Literal["city", "cluster"]) -> None:
        cities = program.catalogue.cities
        self.programs = [(n, one) for n, one in enumerate(program.indicators) if one.indicator.stage == stage]
        self._ways: list[tuple[int, IndicatorProgram, MeasureRef]] = []
        self._by_measure: dict[tuple[str, str], list[int]] = {}
        for number, one in self.programs:
            for ref in one.refs:
                for feed in ref.feeds:
                    self._by_measure.setdefault((feed, ref.measure), []).append(len(self._ways))
                self._ways.append((number, one, ref))
        self._measures = pa.array(sorted({measure for _, measure in self._by_measure}), pa.string())
        self._city = {city: at for at, city in enumerate(cities)}
        self._hop_ms = np.array([one.hop_ms for _, one, _ in self._ways], np.int64)
        self._late = np.array([ref.late for _, _, ref in self._ways], bool)
        self._cut_ms = np.array(
            [[cut_ms(program, one, city) for city in cities] for _, one, _ in self._ways], np.int64
        ).reshape(len(self._ways), len(cities))
        self._counts = np.array(
            [[not one.group or city in one.group for city in cities] for _, one, _ in self._ways], bool
        ).reshape(len(self._ways), len(cities))

    def of(self, table: Any, spots: Spots) -> Iterator[Delivery]:
        """The partials of a table of `PARTIAL_ARROW` that somebody wants; those of other stages are passed over."""
        table = table.filter(pc.is_in(table["measure"], value_set=self._measures))
        if not len(table):
            return
        cities, dims = _Words.of(table["city"]), _Words.of(table["dims"])
        spot = spots.numbers(cities, dims)
        city = np.array([self._city[word] for word in cities.words], np.int64)[cities.codes]
        pane, value, rows = (table[name].to_numpy() for name in ("pane_ms", "value", "n"))
        key = table["key"].fill_null(0).to_numpy()
        late = table["late"].to_numpy()
        row, way = self._rows_and_ways(_Words.of(table["feed"]), _Words.of(table["measure"]))
        wanted = self._counts[way, city[row]] & (self._late[way] | ~late[row])
        if not wanted.all():
            row, way = row[wanted], way[wanted]
        if not len(row):
            return
        hop, cut = self._hop_ms[way], self._cut_ms[way, city[row]]
        grain = (pane[row] + cut) // hop * hop - cut
        groups = Groups.of(Codes(way, len(self._ways)) & codes_of_ints(grain))
        spot, key, value, rows = (column[row[groups.order]] for column in (spot, key, value, rows))
        first, ends = groups.first, [*groups.starts[1:].tolist(), len(spot)]
        heads = zip(groups.starts.tolist(), ends, way[first].tolist(), grain[first].tolist(), strict=True)
        for start, end, number, grain_ms in heads:
            program, _, ref = self._ways[number]
            here = slice(start, end)
            keys = key[here] if ref.kind == "map" else None
            yield Delivery(program, ref, grain_ms, Chunk(spot[here], keys, value[here], rows[here]))

    def _rows_and_ways(self, feeds: _Words, measures: _Words) -> tuple[Ints, Ints]:
        """Each row once for each program that wants it: its number, and that of the way."""
        width = len(measures.words)
        pairs, place = np.unique(feeds.codes * width + measures.codes, return_inverse=True)
        ways = [
            self._by_measure.get((feeds.words[pair // width], measures.words[pair % width]), [])
            for pair in pairs.tolist()
        ]
        sizes = np.array([len(some) for some in ways], np.int64)
        starts = np.concatenate(([0], np.cumsum(sizes)))
        each = sizes[place]
        row = np.repeat(np.arange(len(place)), each)
        within = np.arange(len(row)) - np.repeat(np.cumsum(each) - each, each)
        return row, _flat(ways)[starts[place[row]] + within]


def _flat(ways: Sequence[Sequence[int]]) -> Ints:
    return np.array([way for some in ways for way in some], np.int64)


def cut_ms(program: Program, one: IndicatorProgram, city: str) -> int:
    """East of UTC, where windows are cut by local midnight: that of the city, of a group its first city's."""
    if one.indicator.window.cut != "city":
        return 0
    offset_h = program.catalogue.cities[one.group[0] if one.group else city].utc_offset_h
    return round(offset_h * HOUR_MS)
