"""Cuts of an act's log into the store: readings that are news, and everything that the ledger asks about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pearlstream.position import Source
from pearlstream.program import Program
from pearlstream.store import Store
from sinks.clickhouse import schema, sql
from sinks.clickhouse.arrow import rows_table, stream
from sinks.clickhouse.chain import Item, Marks, Progress
from sinks.clickhouse.history import sql as history_sql
from sinks.clickhouse.history.log import Cut
from sinks.clickhouse.history.model import DAY_MS, Loaded
from sinks.clickhouse.journal import DONE, Entry, Journal
from sinks.clickhouse.lane import Range
from sinks.clickhouse.schema_readings import readings_table_name
from sinks.clickhouse.shape_readings import shape_accepted
from sinks.clickhouse.shapes import number, shape_quarantine, source_columns, source_hash

HOUR_MS = 3_600_000
FEW_DEVICES = 40
"""So many are named to the store; of more, all readings of an hour are looked at."""
CHAIN = "admit"
UINT64_MAX = np.uint64((1 << 64) - 1)
_KEY = {"city": pl.String, "device": pl.String, "ts": pl.Int64}


class Storing:
    """Takes the cuts of one act in their order. `registry`: the version that its ticks name. Raises StoreError."""

    def __init__(self, store: Store, program: Program, feed: str, source: Source, registry: str) -> None:
        self._store, self._catalogue, self._feed = store, program.catalogue, feed
        self._source, self._registry = source, registry
        self._table = readings_table_name(feed)
        self._journal = Journal(store)
        self._reached = {"accepted": -1, "rollups": -1}
        self._waiting = 0
        """Readings since the last tick."""
        self.dry = False
        self.days: set[int] = set()
        """Days (ms) on which readings that were stored since this was emptied were measured, or arrived."""

    def open(self) -> None:
        """Make the source known to the ledger, before anything of it is stored."""
        self._write("accepted", 0, {})
        self._write("rollups", 0, {})

    def pass_over(self, cut: Cut) -> None:
        """A cut that was stored before."""
        self._reach(cut)

    def take(self, cut: Cut) -> Loaded:
        """Store a cut; doing it again changes nothing."""
        readings, frames, known = self._shaped(cut)
        ticks = self._ticks(cut, frames)
        quarantine = shape_quarantine(self._catalogue, cut.quarantine).tables
        loaded = _loaded(cut, sum(known.values()))
        self._reach(cut)
        if self.dry:
            return loaded
        tables = {self._table: readings, **quarantine, schema.FRAMES.name: frames, schema.TICKS.name: ticks}
        written = {name: table for name, table in tables.items() if table is not None and table.num_rows}
        for name, table in written.items():
            token = f"{self._source.topic_id}/{cut.number}/{name}"
            settings = {**sql.INSERT_SETTINGS, "insert_deduplication_token": token}
            self._store.insert(sql.qualified(self._store.database, name), table.column_names, stream(table), settings)
        self._write("accepted", cut.number, {name: table.num_rows for name, table in written.items()})
        return loaded

    def count(self, cut: Cut) -> None:
        """From now on panes have to count what came until the end of this cut."""
        self._write("rollups", cut.number, {})

    # ------------------------------------------------------------------ rows

    def _shaped(self, cut: Cut) -> tuple[pa.Table | None, pa.Table | None, dict[int, int]]:
        """Readings that are news, frames, and of these how many readings were known, by offset."""
        shaped = shape_accepted(self._catalogue, cut.accepted).tables
        frames, readings = shaped.get(schema.FRAMES.name), shaped.get(self._table)
        if frames is None or readings is None:
            return None, frames, {}
        news = ~self._known(readings)
        offsets, repeats = np.unique(readings["off"].to_numpy()[~news], return_counts=True)
        known = dict(zip(offsets.tolist(), repeats.tolist(), strict=True))
        readings = readings.filter(pa.array(news))
        for moments in (_ts(readings), (UINT64_MAX - readings["keep"].to_numpy()).astype(np.int64)):
            self.days |= set((np.unique(moments // DAY_MS) * DAY_MS).tolist())
        return readings, _recounted(frames, known), known

    def _known(self, readings: pa.Table) -> Any:
        """Which of these readings are stored already, from elsewhere."""
        here = pl.DataFrame(
            {
                "city": readings["city"].cast(pa.string()).to_pylist(),
                "device": readings["device"].to_pylist(),
                "ts": _ts(readings),
            },
            schema=_KEY,
        )
        parts = [pl.DataFrame(schema=_KEY), *self._stored(here)]
        stored = pl.concat(parts).unique().with_columns(pl.lit(True).alias("known"))
        both = here.join(stored, on=list(_KEY), how="left", maintain_order="left")
        return both["known"].fill_null(False).to_numpy()

    def _stored(self, here: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """What is stored about the time of some readings."""
        text = history_sql.stored(self._store.database, self._feed)
        devices = here["device"].unique().sort().to_list()
        few = len(devices) <= FEW_DEVICES
        of = {"devices": devices if few else [], "src": source_hash(self._source.topic_id)}
        length = DAY_MS if few else HOUR_MS
        for (start,), some in here.group_by(pl.col("ts") // length * length, maintain_order=True):
            asked = {"start": start, "stop": int(str(start)) + length, "cities": some["city"].unique().sort().to_list()}
            found = pl.DataFrame(self._store.arrow(text, {**of, **asked})).rename({"ts_ms": "ts"})
            yield found.select(pl.col(name).cast(kind) for name, kind in _KEY.items())

    def _ticks(self, cut: Cut, frames: pa.Table | None) -> pa.Table | None:
        """The lines of ticks: how many readings came since the one before."""
        accepted: dict[int, int] = {}
        if frames is not None:
            accepted = dict(zip(frames["offset"].to_pylist(), frames["accepted"].to_pylist(), strict=True))
        rows = []
        for item in sorted((*cut.accepted, *cut.rollups), key=lambda one: (one.record.offset, one.role)):
            if item.role == "accepted":
                self._waiting += accepted[item.record.offset]
                continue
            counted = {self._feed: self._waiting} if self._waiting else {}
            clock = max(number(item.facts.get("clock")), 0)
            rows.append({**source_columns(item), "clock_ms": clock, "registry": self._registry, "rows": counted})
            self._waiting = 0
        return rows_table(schema.TICKS, [{"sim": False, **row} for row in rows]) if rows else None

    # ------------------------------------------------------------------ journal

    def _reach(self, cut: Cut) -> None:
        for role, items in (("accepted", cut.accepted), ("rollups", cut.rollups)):
            self._reached[role] = max([self._reached[role], *(item.record.offset for item in items)])

    def _write(self, role: str, cut: int, tables: dict[str, int]) -> None:
        reached = self._reached[role]
        marks: Marks = {f"{CHAIN} {self._source}": Progress(reached)}
        ranges = (Range(self._source.partition, 0, reached + 1),)
        self._journal.write([Entry(self._source.topic_id, role, cut, ranges, DONE, marks, tables)])


def _ts(readings: pa.Table) -> Any:
    return readings["ts"].cast(pa.int64()).to_numpy()


def _recounted(frames: pa.Table, known: dict[int, int]) -> pa.Table:
    """Frames in which readings that were known are no longer accepted, but repeats."""
    repeats = np.array([known.get(offset, 0) for offset in frames["offset"].to_pylist()], np.int64)
    for name, sign in (("accepted", -1), ("dup", 1)):
        column = frames[name]
        changed = pa.array(column.to_numpy().astype(np.int64) + sign * repeats).cast(column.type)
        frames = frames.set_column(frames.column_names.index(name), frames.schema.field(name), changed)
    return frames


def _loaded(cut: Cut, known: int) -> Loaded:
    """What a cut's frames say. Repeats that `admit` found count as known, too."""

    def total(name: str) -> int:
        return sum(number(item.facts.get(name)) for item in cut.accepted)

    loaded = Loaded(readings=total("rows"), fresh=total("accepted") - known, known=total("dup") + known)
    for item in cut.quarantine:
        reason = item.facts.get("reason", "")
        loaded.quarantined[reason] = loaded.quarantined.get(reason, 0) + _rows_of(item)
    return loaded


def _rows_of(item: Item) -> int:
    return item.facts.get("rows", "").count(",") + 1
