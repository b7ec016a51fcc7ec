"""A day of panes recomputed from the stored readings, in a staging table beside the stored ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from pearlstream.folds.again import partials_again
from pearlstream.measures import MeasureSpec, PaneOf
from pearlstream.program import FeedProgram, Program
from pearlstream.registry import Registry
from pearlstream.store import Store
from sinks.clickhouse import schema
from sinks.clickhouse import sql as base_sql
from sinks.clickhouse.arrow import stream
from sinks.clickhouse.mend.fleet import StoredFleet
from sinks.clickhouse.mend.standing import Standing
from sinks.clickhouse.mend.stored import DAY_MS, HOUR_MS, Chunk, Kept, pack, widened
from sinks.clickhouse.shape_panes import merged_rows


@dataclass(frozen=True)
class Day:
    """A day of event time, in UTC as the store cuts it."""

    text: str
    start: int

    @property
    def stop(self) -> int:
        """Its end, ms."""
        return self.start + DAY_MS


@dataclass(frozen=True)
class Asked:
    """Which panes are wanted; no cities: those of all."""

    feeds: tuple[str, ...]
    cities: tuple[str, ...] = ()


class Recount:
    """Makes the panes of one feed on one day anew. Raises StoreError, RegistryMissing."""

    def __init__(self, store: Store, program: Program, standing: Standing) -> None:
        self._program, self._store = program, store
        self._kept = Kept(store, standing)
        self._fleet = StoredFleet(store, program.catalogue.feeds)
        self._offsets_ms = {c.id: round(c.utc_offset_h * HOUR_MS) for c in program.catalogue.cities.values()}

    def into(self, staging: str, feed: str, day: Day, cities: Sequence[str]) -> int:
        """Insert what the readings of a day say into a staging table; the number of readings that were looked at."""
        looked_at = 0
        columns = [column.name for column in schema.ROLLUPS.written]
        settings = {**base_sql.INSERT_SETTINGS, "insert_deduplicate": 0}  # equal blocks are no repeats here
        for partials, rows in self._partials(self._program.feeds[feed], day, cities):
            looked_at += rows
            inside = pl.col("pane_ms").is_between(day.start, day.stop, closed="left")
            wanted = partials.filter(inside & pl.col("city").is_in(cities) if cities else inside)
            if len(wanted):
                body = stream(merged_rows(self._program.catalogue, wanted))
                self._store.insert(base_sql.qualified(self._store.database, staging), columns, body, settings)
        return looked_at

    def _partials(self, feed: FeedProgram, day: Day, cities: Sequence[str]) -> Iterator[tuple[pl.DataFrame, int]]:
        """Partials chunk by chunk: of the day itself, then of readings from outside it that arrived on it."""
        at_home = tuple(spec for spec in feed.specs if not spec.city or not cities)
        named = tuple(spec for spec in feed.specs if spec.city and cities)
        arrival = tuple(spec for spec in feed.specs if spec.pane_of is PaneOf.ARRIVAL)
        start, stop = widened(day.start, day.stop, feed.pane_lengths_s)
        cells = self._kept.cells(feed.feed.id, start, stop)
        by_hour = all(HOUR_MS % (length * 1000) == 0 for length in feed.pane_lengths_s)
        for specs, of in ((at_home, cities), (named, ())):
            if specs:
                mine = cells.filter(pl.col("city").is_in(of)) if of else cells
                yield from self._made(feed, pack(mine, start, stop, by_hour=by_hour), specs)
        if arrival:
            strays = self._kept.strays(feed.feed.id, day.start, day.stop)
            near = cities and not any(spec.city for spec in arrival)
            mine = strays.filter(pl.col("city").is_in(cities)) if near else strays
            yield from self._made(feed, _around(mine, day, by_hour=by_hour), arrival)

    def _made(
        self, feed: FeedProgram, chunks: Sequence[Chunk], specs: tuple[MeasureSpec, ...]
    ) -> Iterator[tuple[pl.DataFrame, int]]:
        for chunk in chunks:
            rows = self._kept.readings(feed.feed, chunk)
            if len(rows):
                registry = self._registry(feed.feed.id)
                made = partials_again(feed, rows, registry, self._offsets_ms, specs, self._kept.standing.historic)
                yield made, len(rows)

    def _registry(self, feed: str) -> Callable[[str], Registry]:
        return lambda version: self._fleet.at(version, feed)


def _around(strays: pl.DataFrame, day: Day, *, by_hour: bool) -> list[Chunk]:
    """The hours (days, unless `by_hour`) outside a day that hold readings which arrived on it, each whole."""
    length = HOUR_MS if by_hour else DAY_MS
    begins: dict[int, set[str]] = {}
    for city, hour in strays.select("city", "hour_ms").iter_rows():
        begins.setdefault(hour // length * length, set()).add(city)
    return [
        Chunk(tuple(sorted(cities)), begin, begin + length)
        for begin, cities in sorted(begins.items())
        if not day.start <= begin < day.stop
    ]
