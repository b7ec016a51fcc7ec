"""What `pearlstream store status` tells: sizes, what a reading and a value cost, the newest cuts."""

from __future__ import annotations

import time
from typing import Any

from pearlstream.store import Store
from sinks.clickhouse import ledger_sql
from sinks.clickhouse.schema_readings import COMMON


def store_status(store: Store) -> dict[str, Any]:
    """Rows, bytes and parts by table; what readings cost; age of the newest cut of each topic. Raises StoreError.

    By table, `bytes_per_reading` is what it costs for each reading that the store holds, whatever the table is about;
    under `readings`, `bytes_per_reading` is the raw reading alone, `bytes_per_value` that divided by the fields of its
    feed, and `all_bytes_per_reading` everything together.
    """
    tables = store.dicts(ledger_sql.sizes(store.database), {"database": store.database})
    fields = dict(store.query(ledger_sql.field_counts(), {"database": store.database, "common": list(COMMON)}))
    readings = [table for table in tables if table["table"] in fields]
    rows, size = sum(t["rows"] for t in readings), sum(t["bytes"] for t in readings)
    for table in tables:
        table["bytes_per_row"] = _each(table["bytes"], table["rows"])
        table["bytes_per_reading"] = _each(table["bytes"], rows)
    values = sum(table["rows"] * fields[table["table"]] for table in readings)
    total = sum(table["bytes"] for table in tables)
    return {
        "database": store.database,
        "tables": tables,
        "rows": sum(table["rows"] for table in tables),
        "bytes": total,
        "readings": {
            "rows": rows,
            "bytes": size,
            "values": values,
            "bytes_per_reading": _each(size, rows),
            "bytes_per_value": _each(size, values),
            "all_bytes_per_reading": _each(total, rows),
            "by_table": [_readings(table, fields[table["table"]]) for table in readings],
        },
        "last_batches": [_batch(row) for row in store.dicts(ledger_sql.last_batches(store.database))],
    }


def _each(size: int, count: int) -> float | None:
    return round(size / count, 2) if count else None


def _readings(table: dict[str, Any], fields: int) -> dict[str, Any]:
    rows, size = table["rows"], table["bytes"]
    return {
        "table": table["table"],
        "rows": rows,
        "fields": fields,
        "bytes_per_reading": _each(size, rows),
        "bytes_per_value": _each(size, rows * fields),
    }


def _batch(row: dict[str, Any]) -> dict[str, Any]:
    at_ms = int(row["at_ms"])
    return {
        "topic": row["topic"],
        "state": row["state"],
        "rows": row["rows"],
        "at_ms": at_ms,
        "age_s": round(time.time() - at_ms / 1000, 1),
    }
