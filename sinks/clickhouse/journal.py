"""The journal: the table `batches`, where every cut stands before it is inserted and again when it is done."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pearlstream.store import Store
from sinks.clickhouse import schema, sql
from sinks.clickhouse.arrow import rows_table, stream
from sinks.clickhouse.chain import Marks, marks_from_map, marks_to_map
from sinks.clickhouse.lane import Cut, Intent, Range

INTENT, DONE, EPOCH_CHANGE = 1, 2, 3
STATES = {INTENT: "intent", DONE: "done", EPOCH_CHANGE: "epoch_change"}


class Entry(NamedTuple):
    """One line of the journal. `marks`: those before the cut for an intent, those after it when it is done."""

    topic_id: str
    role: str
    number: int
    ranges: tuple[Range, ...]
    state: int
    marks: Marks
    tables: Mapping[str, int]


def intent_of(cut: Cut, tables: Mapping[str, int]) -> Entry:
    """The line to write before anything of the cut is inserted."""
    return Entry(cut.topic_id, cut.role, cut.number, cut.ranges, INTENT, cut.before, tables)


def done_of(cut: Cut, tables: Mapping[str, int]) -> Entry:
    """The line to write when all of the cut is in the store."""
    return Entry(cut.topic_id, cut.role, cut.number, cut.ranges, DONE, cut.after, tables)


@dataclass
class Journal:
    """Reads and writes `batches`."""

    store: Store

    @property
    def _table(self) -> str:
        return sql.qualified(self.store.database, schema.BATCHES.name)

    def write(self, entries: Sequence[Entry]) -> None:
        """Write lines in one insert. Writing the same ones again changes nothing. Raises StoreError."""
        now_ms = time.time_ns() // 1_000_000
        rows = [_row(entry, now_ms) for entry in entries]
        body = stream(rows_table(schema.BATCHES, rows))
        what = repr([(e.topic_id, e.role, e.number, e.ranges, e.state) for e in entries])
        token = "journal/" + hashlib.sha256(what.encode()).hexdigest()
        columns = [column.name for column in schema.BATCHES.written]
        self.store.insert(self._table, columns, body, {**sql.INSERT_SETTINGS, "insert_deduplication_token": token})

    def newest(self) -> dict[tuple[str, str], Entry]:
        """The newest line of each topic and each of its lives. Raises StoreError."""
        rows = self.store.dicts(sql.newest_batches(self.store.database))
        entries = [_entry(row) for row in rows]
        return {(entry.topic_id, entry.role): entry for entry in entries}


def as_intent(entry: Entry) -> Intent:
    """A line as a lane goes on from it."""
    return Intent(entry.topic_id, entry.number, entry.ranges, entry.state != INTENT, dict(entry.marks))


def _row(entry: Entry, now_ms: int) -> Mapping[str, Any]:
    return {
        "topic_id": entry.topic_id,
        "topic": entry.role,
        "cut": entry.number,
        "ranges": [{"partition": r.partition, "from": r.start, "to": r.stop} for r in entry.ranges],
        "state_no": entry.state,
        "state": STATES[entry.state],
        "rows": sum(entry.tables.values()),
        "applied": marks_to_map(entry.marks),
        "tables": dict(entry.tables),
        "at": now_ms,
    }


def _entry(row: Mapping[str, Any]) -> Entry:
    ranges = tuple(Range(*_triple(r)) for r in row["ranges"])
    marks = marks_from_map(row["applied"])
    return Entry(row["topic_id"], row["topic"], row["cut"], ranges, row["state_no"], marks, dict(row["tables"]))


def _triple(value: Any) -> tuple[int, int, int]:
    """A named tuple of the store, which drivers give as a dictionary or as a sequence."""
    if isinstance(value, Mapping):
        return int(value["partition"]), int(value["from"]), int(value["to"])
    return int(value[0]), int(value[1]), int(value[2])
