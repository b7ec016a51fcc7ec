"""A store in memory that keeps what ClickHouse promises of an insert, and no more.

An insert lands part by part (one for each day of readings, one for everything else), each of them whole or not at
all; a token keeps parts out that have landed under it before; a retry completes what is missing.
"""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pearlstream.store import StoreError, Trouble

DAY_MS = 86_400_000


class Crash(BaseException):
    """The process that was inserting ends here."""


class Chances:
    """How often an insert goes wrong, and how; `random` decides."""

    WAYS = ("before", "partial", "deaf", "crash before", "crash partial", "crash after")

    def __init__(self, random: random.Random, trouble: float = 0.0) -> None:
        self.random, self.trouble = random, trouble

    def draw(self) -> str:
        """The way of one insert; empty if it goes well."""
        return self.random.choice(self.WAYS) if self.random.random() < self.trouble else ""


class MemoryStore:
    """What `Sink` and its journal need of a store."""

    database = "memory"
    where = "memory"

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[tuple[str, Any], ...]]] = {}
        self.tokens: set[tuple[str, str, int]] = set()
        self.chances = Chances(random.Random(0))
        self.inserts = 0
        self.dropped = 0
        """Parts that a token has kept out."""

    def insert(
        self, table: str, columns: Sequence[str], body: bytes, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.inserts += 1
        way = self.chances.draw()
        name = table.rpartition(".")[2].strip("`")
        token = str((settings or {})["insert_deduplication_token"])
        parts = _parts(body)
        landing = list(parts)
        if "before" in way:
            landing = []
        elif "partial" in way:
            landing = [part for part in landing if self.chances.random.random() < 0.5]
        for part in landing:
            self._land(name, token, part, parts[part])
        if way.startswith("crash"):
            raise Crash(way)
        if way:
            raise StoreError(f"the test says so: {way}", trouble=Trouble.AWAY)

    def _land(self, table: str, token: str, part: int, rows: list[tuple[tuple[str, Any], ...]]) -> None:
        if (table, token, part) in self.tokens:
            self.dropped += 1
            return
        self.tokens.add((table, token, part))
        self.rows.setdefault(table, []).extend(rows)

    def dicts(self, sql: str, *_: Any) -> list[dict[str, Any]]:
        """The newest line of the journal for each topic and life: the only thing that a sink asks."""
        assert "batches" in sql
        newest: dict[tuple[str, str], dict[str, Any]] = {}
        for row in map(dict, self.rows.get("batches", [])):
            at = (row["topic_id"], row["topic"])
            if at not in newest or (row["cut"], row["state_no"]) >= (newest[at]["cut"], newest[at]["state_no"]):
                newest[at] = {**row, "applied": dict(row["applied"]), "tables": dict(row["tables"])}
        return [{**row, "ranges": [dict(one) for one in row["ranges"]]} for row in newest.values()]

    def told(self, *, once: bool = False) -> dict[str, Counter[Any]]:
        """What is stored, table by table. `once`: a row that is there twice counts once, as its key would have it.

        Partials are added up, as they depend on where cuts were made.
        """
        found: dict[str, Counter[Any]] = {}
        for table, rows in self.rows.items():
            if table == "rollups":
                found[table] = _summed(rows)
            elif table != "batches":
                found[table] = Counter(set(rows)) if once else Counter(rows)
        return found


def _parts(body: bytes) -> dict[int, list[tuple[tuple[str, Any], ...]]]:
    """Rows of an Arrow stream by day, if they have one."""
    parts: dict[int, list[tuple[tuple[str, Any], ...]]] = {}
    for row in pa.ipc.open_stream(io.BytesIO(body)).read_all().to_pylist():
        day = row["ts"].timestamp() * 1000 // DAY_MS if "ts" in row and hasattr(row["ts"], "timestamp") else 0
        parts.setdefault(int(day), []).append(tuple((name, _frozen(value)) for name, value in row.items()))
    return parts


def _frozen(value: Any) -> Any:
    """A value that can be a key."""
    if isinstance(value, list):
        return tuple(_frozen(one) for one in value)
    if isinstance(value, dict):
        return tuple((name, _frozen(one)) for name, one in value.items())
    return value


def _summed(rows: list[tuple[tuple[str, Any], ...]]) -> Counter[Any]:
    sums: Counter[Any] = Counter()
    for row in rows:
        fields = dict(row)
        key = tuple((name, value) for name, value in row if name not in ("v_sum", "v_min", "v_max", "n"))
        sums[(*key, "n")] += fields["n"] or 0
        sums[(*key, "v_sum")] += fields["v_sum"] or 0
        for name, pick in (("v_min", min), ("v_max", max)):
            if fields[name] is not None:
                sums[(*key, name)] = pick(sums.get((*key, name), fields[name]), fields[name])
    return sums
