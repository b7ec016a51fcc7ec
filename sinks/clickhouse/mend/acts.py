"""Acts: what somebody did to stored rows, in the table `acts`: begun before anything is changed, done after it."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pearlstream.store import Store
from sinks.clickhouse import schema, sql
from sinks.clickhouse.arrow import rows_table, stream
from sinks.clickhouse.mend import sql as mend_sql

STATES = {1: "begun", 2: "done"}


def account() -> str:
    """The account that this process runs under, as the system names it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, in a container
        return "unknown"


@dataclass
class Act:
    """One act. `scope`: what was asked for; equal scope and kind are one undertaking. Methods raise StoreError."""

    store: Store
    kind: str
    scope: Mapping[str, Any]
    why: str = ""
    number: int = 0
    finished: set[str] = field(default_factory=set)
    """Parts that were done before, when it is taken up again."""

    @classmethod
    def begin(cls, store: Store, kind: str, scope: Mapping[str, Any], why: str = "") -> Act:
        """Write down that it begins. One of the same kind and scope that was never ended is taken up again instead."""
        act = cls(store, kind, scope, why)
        rows = store.dicts(mend_sql.unfinished(store.database), {"kind": kind, "scope": act._scope})
        if rows and not rows[0]["ended"]:
            act.number, act.finished = int(rows[0]["act"]), set(rows[0]["parts"])
            return act
        act.number = max(time.time_ns() // 1_000_000, act._last() + 1)
        act.begun()
        return act

    @property
    def _scope(self) -> str:
        return orjson.dumps(self.scope, option=orjson.OPT_SORT_KEYS).decode()

    def _last(self) -> int:
        return int(self.store.query(sql.single(self.store.database, schema.ACTS.name, "max(act)"))[0][0])

    def begun(self, part: str = "", tables: Mapping[str, int] | None = None) -> None:
        """A part begins; `tables`: the rows that it is going to write."""
        self.write([self.row(1, part, tables=tables)])

    def done(self, part: str = "", *, rows: int = 0, tables: Mapping[str, int] | None = None, data: Any = None) -> None:
        """A part, or without one the whole, is done."""
        self.write([self.row(2, part, rows=rows, tables=tables, data=data)])

    def row(
        self, state: int, part: str, *, rows: int = 0, tables: Mapping[str, int] | None = None, data: Any = None
    ) -> dict[str, Any]:
        """A line of the table."""
        return {
            "act": self.number,
            "part": part,
            "kind": self.kind,
            "state_no": state,
            "state": STATES[state],
            "by": account(),
            "why": self.why,
            "scope": self._scope,
            "rows": rows,
            "tables": dict(tables or {}),
            "data": orjson.dumps(data).decode() if data is not None else "",
            "at": time.time_ns() // 1_000_000,
        }

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write lines in one insert."""
        if not rows:
            return
        columns = [column.name for column in schema.ACTS.written]
        body = stream(rows_table(schema.ACTS, rows))
        settings = {**sql.INSERT_SETTINGS, "insert_deduplicate": 0}  # the key makes a line single
        self.store.insert(sql.qualified(self.store.database, schema.ACTS.name), columns, body, settings)


def list_acts(store: Store, kinds: Sequence[str], limit: int = 1000) -> list[dict[str, Any]]:
    """Acts of some kinds, newest first. Raises StoreError."""
    return store.dicts(mend_sql.acts(store.database), {"kinds": list(kinds), "limit": limit})
