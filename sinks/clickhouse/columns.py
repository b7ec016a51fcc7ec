"""What the tables have in common: how long they keep, types and codecs, the column that retention counts from."""

from __future__ import annotations

from sinks.clickhouse.model import Column

RAW_DAYS = 30
"""How long readings, quarantine and frames are kept after they were stored."""
PANE_DAYS = 400
"""How long rollups, indicators, alerts and the ledger are kept after they were stored."""

TIME = "DateTime64(3, 'UTC')"
WORD = "LowCardinality(String)"
CLOSE = "DoubleDelta, ZSTD(1)"
"""For what grows evenly: times, offsets, sequences."""
SMALL = "T64, ZSTD(1)"
"""For integers that use few of their bits."""
TEXT = "ZSTD(1)"

KEEPS = {"non_replicated_deduplication_window": 10_000}
STORED_AT = Column("stored_at", "DateTime", CLOSE, "now()", "when the row was stored; retention counts from here")


def ttl(days: int) -> str:
    """Keep rows so many days after they were stored."""
    return f"stored_at + INTERVAL {days} DAY"
