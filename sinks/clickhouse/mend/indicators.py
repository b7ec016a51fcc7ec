"""Indicators that looked at changed panes: said again, as corrections, where they come out differently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pearlstream.folds.again_windows import Grain, Place, WindowsAgain, places, silent
from pearlstream.folds.evaluate import Row
from pearlstream.measures import parse_dims
from pearlstream.program import IndicatorProgram, MeasureRef, Program
from pearlstream.registry import Registry
from pearlstream.store import Store
from sinks.clickhouse import schema, sql
from sinks.clickhouse.arrow import arrow_schema, rows_table, stream
from sinks.clickhouse.mend import sql_withdraw
from sinks.clickhouse.mend.fleet import StoredFleet
from sinks.clickhouse.shape_panes import REV_SHIFT

Told = Mapping[str, Any]
"""A stored row of an indicator."""


class Corrections:
    """Finds the rows that must be said again. Raises StoreError, RegistryMissing."""

    def __init__(self, store: Store, program: Program) -> None:
        self._store, self._program = store, program
        self._fleet = StoredFleet(store, program.catalogue.feeds)

    def rows(self, feed: str, moments: Mapping[str, Sequence[int]], clock: int, act: int) -> Iterator[dict[str, Any]]:
        """Rows of `indicators` for windows that look back on moments (ms) of a feed, by city, and are not what the
        panes say. `clock`: from when on it is known."""
        everywhere = sorted({ms for some in moments.values() for ms in some})
        for place in places(self._program, feed, moments):
            alone = not place.program.group and not place.program.elsewhere
            ends = place.ends(moments[place.city] if alone else everywhere)
            if ends:
                yield from self._of_place(place, set(ends), clock, act)

    def _of_place(self, place: Place, ends: set[int], clock: int, act: int) -> Iterator[dict[str, Any]]:
        told = [one for one in self._told(place, min(ends), max(ends)) if one["end"] in ends]
        if not told:
            return
        ends_told = [one["end"] for one in told]
        windows = WindowsAgain(self._program, place, self._grains(place, min(ends_told), max(ends_told)))
        by_end: dict[int, list[Told]] = {}
        for one in told:
            by_end.setdefault(one["end"], []).append(one)
        for end, said in by_end.items():
            means = self._means(place, end)
            for version in dict.fromkeys(one["registry"] for one in said):
                found = windows.rows(end, self._registry(place.program, version), means)
                for one in said:
                    row = found.get(one["dims"]) or silent(one["dims"])
                    if one["registry"] == version and row != row_of(one):
                        yield self._correction(place, one, row, clock, act)

    def _told(self, place: Place, first: int, last: int) -> list[Told]:
        of = {"indicator": place.program.indicator.id, "city": place.city, "first": first, "last": last}
        rows = self._store.dicts(sql_withdraw.told(self._store.database), of)
        mine = parse_dims(place.program.dims_prefix) if place.program.dims_prefix else {}
        return [row for row in rows if not mine or mine.items() <= dict(parse_dims(row["dims"])).items()]

    def _grains(self, place: Place, first: int, last: int) -> Iterator[tuple[MeasureRef, Grain]]:
        """What windows look back on that end between two moments."""
        one = place.program
        of = {
            "cities": list(place.cities),
            "start": first - one.span_ms,
            "stop": last,
            "hop": one.hop_ms,
            "cut": place.cut_ms,
        }
        for ref in one.refs:
            text = sql_withdraw.grains(self._store.database, ref.kind)
            asked = {**of, "feeds": list(ref.feeds), "measure": ref.measure, "late": ref.late}
            for row in self._store.query(text, asked):
                yield ref, Grain(*row)

    def _means(self, place: Place, end: int) -> dict[str, float]:
        if place.program.indicator.smooth_s is None:
            return {}
        of = {"indicator": place.program.indicator.id, "city": place.city, "end": end}
        return {str(dims): mean for dims, mean in self._store.query(sql_withdraw.means(self._store.database), of)}

    def _registry(self, one: IndicatorProgram, version: str) -> Registry:
        parts = [self._fleet.at(version, feed).parts for feed in one.feeds]
        return Registry(version, {key: part for some in parts for key, part in some.items()})

    def _correction(self, place: Place, told: Told, row: Row, clock: int, act: int) -> dict[str, Any]:
        """The next revision of a stored row; of one that was never told (`rev` -1), the first."""
        rev, known = int(told["rev"]) + 1, max(clock, int(told["known_at"]))
        return {
            "indicator": place.program.indicator.id,
            "city": place.city,
            "window_start_ms": told["start"],
            "window_end_ms": told["end"],
            **row._asdict(),
            "maturity": "corrected" if rev else "settled",
            "rev": rev,
            "known_at_ms": known,
            "catalogue": self._program.catalogue.version,
            "registry": told["registry"],
            "sim": told["sim"],
            "version": (rev + 1) * REV_SHIFT + known,
            "act": act,
        }


def row_of(told: Told) -> Row:
    """What a stored row says."""
    return Row(*(told[name] for name in Row._fields))


def write_corrections(store: Store, rows: Iterable[Mapping[str, Any]], token: str = "") -> int:
    """Write rows into the history, then into the table of newest revisions; how many. Raises StoreError.

    Whoever dies in between finds the same rows to write the next time, as the table decides; the history may then hold
    a revision twice, word for word. Not so with a `token`, under which rows are written once only.
    """
    made = list(rows)
    if not made:
        return 0
    act = next(column for column in schema.INDICATORS.columns if column.name == "act")
    table = rows_table(schema.INDICATORS, made)
    table = table.append_column(arrow_schema([act]).field(0), pa.array([row["act"] for row in made], pa.uint64()))
    for name in (schema.INDICATORS_HISTORY.name, schema.INDICATORS.name):
        once = {"insert_deduplication_token": f"{token}/{name}"} if token else {"insert_deduplicate": 0}
        settings = {**sql.INSERT_SETTINGS, **once}
        store.insert(sql.qualified(store.database, name), table.column_names, stream(table), settings)
    return len(made)
