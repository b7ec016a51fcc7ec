"""What was known then is told as it was told then, whatever has been corrected since."""

from __future__ import annotations

from typing import Any

import pytest

from pearlstream.store import Store
from sinks.clickhouse import schema, sql
from sinks.clickhouse.arrow import rows_table, stream
from sinks.clickhouse.shape_panes import REV_SHIFT
from sinks.clickhouse.sizes import store_status
from sinks.clickhouse.then import Question, as_known

NOON = 1_772_582_400_000
MINUTE = 60_000


def say(store: Store, *rows: tuple[int, int, float | None, int]) -> None:
    """Revisions of windows: end, revision, value, the clock at which it was known."""
    made: list[dict[str, Any]] = [
        {
            "indicator": "I43a", "city": "440300", "dims": "", "window_start_ms": end - 5 * MINUTE,
            "window_end_ms": end, "value": value, "state": "NODATA" if value is None else "OK", "coverage": 1.0,
            "maturity": ("provisional", "settled", "corrected")[min(rev + 1, 2)], "rev": rev, "known_at_ms": known,
            "version": (rev + 1) * REV_SHIFT + known, "n": 1, "catalogue": "c", "registry": "r", "sim": True,
        }
        for end, rev, value, known in rows
    ]  # fmt: skip
    table = rows_table(schema.INDICATORS, made)
    store.insert(sql.qualified(store.database, schema.INDICATORS_HISTORY.name), table.column_names, stream(table))


@pytest.fixture
def told(migrated: Store) -> Store:
    say(
        migrated,
        (NOON, 0, 1.5, NOON + MINUTE), (NOON, 1, 1.7, NOON + 3 * MINUTE), (NOON, 2, None, NOON + 9 * MINUTE),
        (NOON + 5 * MINUTE, -1, 2.0, NOON + 2 * MINUTE), (NOON + 5 * MINUTE, -1, 2.1, NOON + 4 * MINUTE),
        (NOON + 5 * MINUTE, 0, 2.2, NOON + 6 * MINUTE),
    )  # fmt: skip
    return migrated


def known(store: Store, at: int, **more: Any) -> list[tuple[Any, ...]]:
    rows = as_known(store, Question("I43a", at, NOON - 60 * MINUTE, NOON + 60 * MINUTE, **more))
    return [(row["window_end_ms"] - NOON, row["value"], row["maturity"], row["value_now"], row["same"]) for row in rows]


def test_each_moment_has_its_own_knowledge(told: Store) -> None:
    assert known(told, NOON) == []
    assert known(told, NOON + MINUTE) == [(0, 1.5, "settled", None, False)]
    assert known(told, NOON + 4 * MINUTE) == [
        (5 * MINUTE, 2.1, "provisional", 2.2, False),
        (0, 1.7, "corrected", None, False),
    ]
    assert known(told, NOON + 20 * MINUTE) == [
        (5 * MINUTE, 2.2, "settled", 2.2, True),
        (0, None, "corrected", None, True),
    ]


def test_only_what_was_asked_for_is_told(told: Store) -> None:
    assert known(told, NOON + 20 * MINUTE, cities=("440100",)) == []
    assert len(known(told, NOON + 20 * MINUTE, limit=1)) == 1


def test_status_tells_what_a_reading_and_a_value_cost(told: Store) -> None:
    table = f"`{told.database}`.readings_traffic_flow"
    told.command(
        f"INSERT INTO {table} (city, device, ts, seq, has_seq, flow_vpm)"
        f" SELECT '440300', 'd1', fromUnixTimestamp64Milli({NOON} + number), number, true, number FROM numbers(5000)"
    )
    found = store_status(told)
    readings = found["readings"]
    (one,) = [table for table in readings["by_table"] if table["table"] == "readings_traffic_flow"]
    assert (one["rows"], one["fields"]) == (5000, 4)
    assert readings["values"] == 20_000
    assert readings["bytes_per_value"] == round(readings["bytes"] / 20_000, 2)
    assert readings["all_bytes_per_reading"] > readings["bytes_per_reading"] > readings["bytes_per_value"] > 0
    history = next(table for table in found["tables"] if table["table"] == "indicators_history")
    assert history["bytes_per_reading"] == round(history["bytes"] / 5000, 2)
