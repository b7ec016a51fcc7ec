"""What `pearlstream store status` tells: sizes, bytes per reading, the newest cuts."""

from __future__ import annotations

import time
from typing import Any

from pearlstream.store import Store
from sinks.clickhouse import ledger_sql


def store_status(store: Store) -> dict[str, Any]:
    """Rows, bytes and parts by table; bytes per reading; age of the newest cut of each topic. Raises StoreError."""
    tables = store.dicts(ledger_sql.sizes(store.database), {"database": store.database})
    for table in tables:
        table["bytes_per_row"] = round(table["bytes"] / table["rows"], 2) if table["rows"] else None
    readings = [table for table in tables if table["table"].startswith("readings_")]
    rows = sum(table["rows"] for table in readings)
    size = sum(table["bytes"] for table in readings)
    return {
        "database": store.database,
        "tables": tables,
        "rows": sum(table["rows"] for table in tables),
        "bytes": sum(table["bytes"] for table in tables),
        "readings": {"rows": rows, "bytes": size, "bytes_per_reading": round(size / rows, 2) if rows else None},
        "last_batches": [_batch(row) for row in store.dicts(ledger_sql.last_batches(store.database))],
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
