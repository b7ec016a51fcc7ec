"""Recount: after a power loss, are the rows there that the journal calls done?

ClickHouse answers before a part is on the disk; only the journal is written through. So whoever loses power may find
cuts noted as done whose readings are gone. Here the last minutes of done cuts of `accepted` are counted against the
rows; of short ones the records are read again and inserted once more under the token of then with `/r<act>` behind it,
as the old token may have survived its part. Keys absorb what was there after all. Panes of the days concerned are then
made anew by `backfill`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.fold import Record
from pearlstream.store import Store
from sinks.clickhouse import schema
from sinks.clickhouse import sql as base_sql
from sinks.clickhouse.arrow import stream
from sinks.clickhouse.chain import Marks, Progress, item_of, marks_from_map, walk
from sinks.clickhouse.lane import Range
from sinks.clickhouse.mend import sql
from sinks.clickhouse.mend.acts import Act
from sinks.clickhouse.shape_readings import shape_accepted
from sinks.clickhouse.shapes import source_hash
from sinks.clickhouse.tape import Spot, Tape

LAST_MINUTES = 10
"""How far back from its newest line the journal is believed only after counting."""
READ_POLLS = 400
"""A stretch that takes more polls of 0.1 s than this cannot be read."""
ROLE = "accepted"


@dataclass(frozen=True)
class DoneCut:
    """A cut as the journal has it. `before` and `after`: what was applied, by chain."""

    topic_id: str
    number: int
    ranges: tuple[Range, ...]
    before: Marks
    after: Marks
    tables: Mapping[str, int]

    @property
    def name(self) -> str:
        """What its tokens began with."""
        ranges = ",".join(f"{r.partition}:{r.start}-{r.stop}" for r in self.ranges if r.stop > r.start)
        return f"{self.topic_id}/{ROLE}/{ranges}"


@dataclass
class Short:
    """A cut of which rows are gone: by table, how many it had and how many are there."""

    cut: int
    tables: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass
class Recounted:
    """What came of it. `lost`: cuts whose records the broker no longer has."""

    cuts: int = 0
    short: list[Short] = field(default_factory=list)
    inserted: dict[str, int] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Rows that were gone."""
        return sum(had - has for one in self.short for had, has in one.tables.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "missing": self.missing}


def recount(
    store: Store, catalogue: Catalogue, tape: Tape, *, minutes: int = LAST_MINUTES, dry_run: bool = False
) -> Recounted:
    """Count the last done cuts, and (unless `dry_run`) bring back what is gone. Raises StoreError, ServiceError."""
    topic_id = tape.topic_ids([ROLE]).get(ROLE, "")
    cuts = _cuts(store, topic_id, minutes)
    found = Recounted(len(cuts), _short(store, cuts))
    if dry_run or not found.short:
        return found
    numbers = {one.cut for one in found.short}
    act = Act.begin(store, "recount", {"topic_id": topic_id, "cuts": sorted(numbers)})
    begins = tape.begins([Spot(ROLE, p) for p in tape.partitions(ROLE)])
    for cut in cuts:
        if cut.number not in numbers:
            continue
        if any(begins.get(Spot(ROLE, r.partition), 0) > r.start for r in cut.ranges if r.stop > r.start):
            found.lost.append(cut.number)
            continue
        short = next(one for one in found.short if one.cut == cut.number)
        for table, rows in _insert(store, catalogue, tape, cut, short, act.number).items():
            found.inserted[table] = found.inserted.get(table, 0) + rows
    act.done(rows=found.missing, tables=found.inserted, data=found.as_dict())
    return found


def _cuts(store: Store, topic_id: str, minutes: int) -> list[DoneCut]:
    newest = int(store.query(sql.newest_cut_ms(store.database))[0][0])
    of = {"topic_id": topic_id, "since": newest - minutes * 60_000}
    cuts: list[DoneCut] = []
    before: Marks = {}
    for row in store.dicts(sql.finished_cuts(store.database), of):
        after = marks_from_map(row["applied"])
        if row["at_ms"] >= of["since"]:
            ranges = tuple(Range(*_triple(r)) for r in row["ranges"])
            cuts.append(DoneCut(topic_id, int(row["cut"]), ranges, before, after, dict(row["tables"])))
        before = after
    return cuts


def _triple(value: Any) -> tuple[int, int, int]:
    if isinstance(value, Mapping):
        return int(value["partition"]), int(value["from"]), int(value["to"])
    return int(value[0]), int(value[1]), int(value[2])


# ---------------------------------------------------------------- counting


def _short(store: Store, cuts: Sequence[DoneCut]) -> list[Short]:
    """The cuts that have fewer rows than the journal says, in some table."""
    short: dict[int, Short] = {}
    for table in sorted({table for cut in cuts for table in cut.tables}):
        if table != schema.FRAMES.name and not table.startswith("readings_"):
            continue
        counters: dict[str, _Counter] = {}
        for cut in cuts:
            had = cut.tables.get(table, 0)
            has = sum(_count(store, counters, cuts, table, chain, cut) for chain in cut.after) if had else 0
            if has < had:
                short.setdefault(cut.number, Short(cut.number)).tables[table] = (had, has)
    return [short[number] for number in sorted(short)]


class _Counter:
    """Rows by partition and frame, to be summed between two offsets."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self._parts: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for (part,), own in rows.sort("off").partition_by("part", as_dict=True).items():
            total = np.concatenate(([0], np.cumsum(own["n"].to_numpy())))
            self._parts[int(part)] = own["off"].to_numpy(), total

    def between(self, part: int, after: int, upto: int) -> int:
        """Rows of the frames in (after, upto]."""
        if part not in self._parts:
            return 0
        offsets, total = self._parts[part]
        low, high = np.searchsorted(offsets, [after, upto], side="right")
        return int(total[high] - total[low])


def _count(
    store: Store, counters: dict[str, _Counter], cuts: Sequence[DoneCut], table: str, chain: str, cut: DoneCut
) -> int:
    """Rows of a table that came in the frames of a chain between two marks."""
    topic, _, partition = chain.partition(" ")[2].rpartition("/")
    if topic not in counters:
        least = min((_mark(one.before, key) for one in cuts for key in one.after if f" {topic}/" in key), default=-1)
        of = {"src": source_hash(topic), "topic_id": topic, "after": least}
        frames = table == schema.FRAMES.name
        text = sql.frames_by_offset(store.database) if frames else sql.rows_by_offset(store.database, table)
        counters[topic] = _Counter(pl.DataFrame(store.arrow(text, of, sql.FINAL)))
    return counters[topic].between(int(partition), _mark(cut.before, chain), _mark(cut.after, chain))


def _mark(marks: Marks, chain: str) -> int:
    return marks.get(chain, Progress(-1)).applied


# ---------------------------------------------------------------- bringing back


def _insert(store: Store, catalogue: Catalogue, tape: Tape, cut: DoneCut, short: Short, act: int) -> dict[str, int]:
    """Insert the short tables of a cut once more; how many rows each."""
    records = _read(tape, cut)
    items = [item_of(ROLE, r.partition, record) for r in cut.ranges for record in records.get(r.partition, [])]
    shaped = shape_accepted(catalogue, walk(cut.before, items).applied)
    inserted = {}
    for table in short.tables:
        rows = shaped.tables[table]
        settings = {**base_sql.INSERT_SETTINGS, "insert_deduplication_token": f"{cut.name}/{table}/r{act}"}
        store.insert(base_sql.qualified(store.database, table), rows.column_names, stream(rows), settings)
        inserted[table] = rows.num_rows
    return inserted


def _read(tape: Tape, cut: DoneCut) -> dict[int, list[Record]]:
    """The records of a cut, by partition."""
    wanted = {Spot(ROLE, r.partition): r for r in cut.ranges if r.stop > r.start}
    records: dict[int, list[Record]] = {r.partition: [] for r in wanted.values()}
    reached = {spot: r.start for spot, r in wanted.items()}
    tape.start(reached)
    for _ in range(READ_POLLS):
        for spot, (some, at) in tape.poll(0.1).items():
            records[spot.partition] += [record for record in some if record.offset < wanted[spot].stop]
            reached[spot] = at
        if all(reached[spot] >= r.stop for spot, r in wanted.items()):
            return records
    raise ServiceError(f"the records of cut {cut.number} could not be read", remedy="check the broker and try again")
