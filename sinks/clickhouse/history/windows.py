"""Windows of indicators that look back on readings which were loaded: said again, or for the first time.

The evaluation is that of the stream, over the stored panes and under the act's version of the registry. A window that
was told says it as its next revision if it comes out differently. Of the time that the readings are about, windows
that nobody told are said as the stream would have: those without data too, as long as somebody owed some.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd
from typing import Any, NamedTuple

from pearlstream.folds.again_windows import Place, WindowsAgain, places, silent
from pearlstream.folds.evaluate import Row, speechless
from pearlstream.folds.fleet import Fleets
from pearlstream.panes import first_end_after, settles
from pearlstream.program import Program
from pearlstream.registry import Registry
from pearlstream.store import Store
from sinks.clickhouse.history import sql
from sinks.clickhouse.mend.indicators import Corrections, Told, row_of
from sinks.clickhouse.shapes import source_hash

DAY_MS = 86_400_000
CHUNK_MS = 7 * DAY_MS
"""Windows of so much time are looked at together."""


class Log(NamedTuple):
    """The act's log: its number, source, version of the registry, feed and cities; its first and last tick; and the
    live log's clock at which the act began: from then on what it says is known. `left_out`: days (ms) that it could
    not load, so of them it says nothing but what its readings of other days change."""

    act: int
    topic_id: str
    registry: str
    feed: str
    cities: tuple[str, ...]
    began: int
    ended: int
    known_at: int
    left_out: frozenset[int] = frozenset()


class Chunk(NamedTuple):
    """Windows that end in (start, stop], ms."""

    start: int
    stop: int


def chunks(store: Store, program: Program, log: Log) -> list[Chunk]:
    """The stretches of time in which windows may have to be said; none if no reading was stored. Raises StoreError."""
    first, last = store.query(sql.span(store.database, log.feed), {"src": source_hash(log.topic_id)})[0]
    if not last:
        return []
    reach = max((one.span_ms + one.hop_ms for one in _programs(program, log.feed)), default=0)
    start, stop = min(first, log.began) // DAY_MS * DAY_MS, max(last + reach, log.ended)
    return [Chunk(at, min(at + CHUNK_MS, stop)) for at in range(start, stop, CHUNK_MS)]


def _programs(program: Program, feed: str) -> list[Any]:
    return [one for one in program.indicators if any(feed in ref.feeds for ref in one.refs)]


class Windows(Corrections):
    """Finds what has to be said. Raises StoreError, RegistryMissing."""

    def __init__(self, store: Store, program: Program, log: Log) -> None:
        super().__init__(store, program)
        self._log = log
        self._of_feed = _programs(program, log.feed)
        self._reach_ms = max((one.span_ms + one.hop_ms for one in self._of_feed), default=0)

    def of_chunk(self, chunk: Chunk) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Rows of `indicators` for windows of a chunk, place by place, each with a name of the place."""
        moments = self._moments(chunk)
        everywhere = sorted({ms for some in moments.values() for ms in some})
        for place in places(self._program, self._log.feed, self._log.cities):
            alone = not place.program.group and not place.program.elsewhere
            touched = place.ends(moments.get(place.city, ()) if alone else everywhere)
            inside = {end for end in touched if chunk.start < end <= chunk.stop}
            yield f"{place.program.key}/{place.city}", list(self._of(place, chunk, inside))

    def _moments(self, chunk: Chunk) -> Mapping[str, list[int]]:
        """When readings of the act were measured or arrived that windows of a chunk look back on, by city. Coarse, but
        no coarser than any grain."""
        zones = [round(city.utc_offset_h * 3_600_000) for city in self._program.catalogue.cities.values()]
        of = {
            "src": source_hash(self._log.topic_id),
            "start": chunk.start - self._reach_ms - DAY_MS,
            "stop": chunk.stop,
            "step": gcd(*(one.hop_ms for one in self._of_feed), *zones),
        }
        found: dict[str, list[int]] = {}
        for city, ms in self._store.query(sql.moments(self._store.database, self._log.feed), of):
            found.setdefault(city, []).append(ms)
        return found

    def _of(self, place: Place, chunk: Chunk, touched: set[int]) -> Iterator[dict[str, Any]]:
        registry = self._registry(place.program, self._log.registry)
        fleet = Fleets(registry).of(place.program, place.cities)
        speaks = fleet is not None or (place.program.elsewhere and registry.has(place.program.feeds))
        ends = sorted(touched | (self._due(place, chunk) if speaks else set()))
        if not ends:
            return
        told: dict[int, dict[str, Told]] = {}
        for one in self._told(place, ends[0], ends[-1]):
            told.setdefault(one["end"], {})[one["dims"]] = one
        windows = WindowsAgain(self._program, place, self._grains(place, ends[0], ends[-1]))
        named = fleet is not None or self._spoke(place, ends[0])
        carried = self._carried(place, ends[0])
        for end in ends:
            said = told.get(end, {})
            if said and end not in touched:
                carried |= {dims: one["value"] for dims, one in said.items() if one["value"] is not None}
                continue
            means = self._means(place, end) if said else carried
            found = windows.rows(end, registry, means)
            named = named or any(row.n for row in found.values())
            if place.program.indicator.smooth_s is not None:
                carried = {**carried, **{dims: row.value for dims, row in found.items() if row.value is not None}}
            yield from self._again(place, said, found)
            for dims, row in found.items():
                if dims not in said and speaks and not speechless(place.program, row, named=named):
                    yield self._first(place, end, row, registry)

    def _again(self, place: Place, said: Mapping[str, Told], found: Mapping[str, Row]) -> Iterator[dict[str, Any]]:
        for dims, one in said.items():
            row = found.get(dims) or silent(dims)
            if row != row_of(one):
                again = {**one, "registry": self._log.registry}
                yield self._correction(place, again, row, self._log.known_at, self._log.act)

    def _first(self, place: Place, end: int, row: Row, registry: Registry) -> dict[str, Any]:
        never = {"start": end - place.program.length_ms, "end": end, "rev": -1, "known_at": 0, "sim": False}
        told = {**never, "registry": registry.version}
        return self._correction(place, told, row, self._log.known_at, self._log.act)

    def _due(self, place: Place, chunk: Chunk) -> set[int]:
        """The ends of windows in a chunk that a live log would have settled from the act's first tick to its last."""
        one = place.program
        first = first_end_after(max(self._log.began, chunk.start), one.hop_ms, place.cut_ms)
        ends = range(first, min(self._log.ended, chunk.stop) + 1, one.hop_ms)
        due = (end for end in ends if settles(end, one.hold_ms, self._log.ended))
        return {end for end in due if (end - 1) // DAY_MS * DAY_MS not in self._log.left_out}

    def _spoke(self, place: Place, first: int) -> bool:
        if not place.program.elsewhere:
            return False
        of = {"indicator": place.program.indicator.id, "city": place.city, "first": first}
        return bool(self._store.query(sql.spoke(self._store.database), of)[0][0])

    def _carried(self, place: Place, first: int) -> dict[str, float]:
        """The means that a window which nobody told follows on, at the beginning of a chunk."""
        if place.program.indicator.smooth_s is None:
            return {}
        of = {"indicator": place.program.indicator.id, "city": place.city, "end": first}
        return {str(dims): mean for dims, mean in self._store.query(sql.means(self._store.database), of)}
