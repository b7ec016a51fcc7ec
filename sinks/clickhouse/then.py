"""As it was known then: what an indicator said at a moment, and what it says of the same windows now."""

# ruff: noqa: S608 - this is where SQL is put together; names are checked by `quoted`, values are parameters

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pearlstream.store import Store
from sinks.clickhouse.sql import qualified


@dataclass(frozen=True)
class Question:
    """Which windows, by their end (ms): of an indicator, in some cities (none: all), and the moment `at` (ms of the
    log's clock) that knowledge is cut at."""

    indicator: str
    at: int
    first: int
    last: int
    cities: tuple[str, ...] = ()
    limit: int = 1000


def as_known(store: Store, question: Question) -> list[dict[str, Any]]:
    """A row per window and dimensions that anything was known of at that moment, newest first. Raises StoreError.

    `value`, `state`, `coverage`, `maturity`, `rev`, `known_at_ms` are those of then; `value_now`, `rev_now` and
    `act_now` (the act that corrected it, 0 if the stream did) those of the newest revision; `same`: nothing changed
    but what a window that was open then came to.
    """
    rows = store.dicts(_sql(store.database), {**vars(question), "cities": list(question.cities)})
    return [{**row, "same": row["rev"] >= 0 and row["rev"] == row["rev_now"]} for row in rows]


def _sql(database: str) -> str:
    what = "h.value, h.state, h.coverage, h.maturity, h.rev, toUnixTimestamp64Milli(h.known_at_ms)"
    newest = f"argMaxIf(({what}), h.version,"
    history = (
        "SELECT h.city AS city, h.dims AS dims, h.window_start_ms AS began, h.window_end_ms AS ended,"
        f" {newest} h.known_at_ms <= fromUnixTimestamp64Milli({{at:Int64}})) AS was,"
        " argMax((h.value, h.rev, h.act), h.version) AS is,"
        " countIf(h.known_at_ms <= fromUnixTimestamp64Milli({at:Int64})) AS known"
        f" FROM {qualified(database, 'indicators_history')} AS h WHERE h.indicator = {{indicator:String}}"
        " AND (empty({cities:Array(String)}) OR h.city IN {cities:Array(String)})"
        " AND h.window_end_ms >= fromUnixTimestamp64Milli({first:Int64})"
        " AND h.window_end_ms <= fromUnixTimestamp64Milli({last:Int64}) GROUP BY city, dims, began, ended"
    )
    return (
        "SELECT toString(city) AS city, toString(dims) AS dims, toUnixTimestamp64Milli(began) AS window_start_ms,"
        " toUnixTimestamp64Milli(ended) AS window_end_ms, was.1 AS value, toString(was.2) AS state, was.3 AS coverage,"
        " toString(was.4) AS maturity, was.5 AS rev, was.6 AS known_at_ms, is.1 AS value_now, is.2 AS rev_now,"
        f" is.3 AS act_now FROM ({history}) WHERE known > 0"
        " ORDER BY window_end_ms DESC, city, dims LIMIT {limit:UInt32}"
    )
