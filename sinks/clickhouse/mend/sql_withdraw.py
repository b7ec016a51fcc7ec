"""Taking readings back, as SQL: which they are, the mark, and the indicators that looked at them."""

# ruff: noqa: S608 - this is where SQL is put together; names are checked by `quoted`, values are parameters

from __future__ import annotations

from sinks.clickhouse.mend.sql import _CLOCK
from sinks.clickhouse.schema_readings import readings_table_name
from sinks.clickhouse.sql import qualified

_THESE = (
    "r.device IN {devices:Array(String)} AND (empty({cities:Array(String)}) OR r.city IN {cities:Array(String)})"
    " AND r.ts >= fromUnixTimestamp64Milli({start:Int64}) AND r.ts < fromUnixTimestamp64Milli({stop:Int64})"
    " AND toInt64(r.off) <= transform(concat(toString(r.src), '/', toString(r.part)),"
    " {keys:Array(String)}, {bounds:Array(Int64)}, -1)"
)
_ARRIVED = "if(r.withdrawn > 0, r.arrived, r.keep)"
_ARRIVED_MS = _CLOCK.replace("keep", _ARRIVED)


def these(database: str, feed: str) -> str:
    """How many readings are meant, and how many of them have been taken back before, by city."""
    return (
        "SELECT toString(r.city) AS city, toInt64(countIf(r.withdrawn = 0)) AS fresh,"
        " toInt64(countIf(r.withdrawn > 0)) AS taken"
        f" FROM {qualified(database, readings_table_name(feed))} AS r FINAL WHERE {_THESE} GROUP BY city ORDER BY city"
    )


def moments(database: str, feed: str) -> str:
    """The 10 s in which readings that were taken back were measured, and in which they arrived, by city."""
    ten = "intDiv({ms}, 10000) * 10000"
    taken = ten.replace("{ms}", "toUnixTimestamp64Milli(r.ts)")
    came = ten.replace("{ms}", f"if({_ARRIVED_MS} = 0, toUnixTimestamp64Milli(r.ts), {_ARRIVED_MS})")
    return (
        f"SELECT DISTINCT toString(r.city) AS city, {taken} AS taken_ms, {came} AS came_ms"
        f" FROM {qualified(database, readings_table_name(feed))} AS r FINAL WHERE {_THESE} AND r.withdrawn > 0"
    )


def mark(database: str, feed: str) -> str:
    """Mark readings: a row of the same key that wins over the one there is, whoever inserts that one again."""
    table = qualified(database, readings_table_name(feed))
    return (
        f"INSERT INTO {table} SELECT * REPLACE (toUInt64(18446744073709551615) AS keep,"
        f" {{act:UInt64}} AS withdrawn, r.keep AS arrived) FROM {table} AS r FINAL WHERE {_THESE} AND r.withdrawn = 0"
    )


def grains(database: str, kind: str) -> str:
    """A measure merged by grain: what a window adds up. `kind`: how it merges."""
    fold = {"min": "min(v_min)", "max": "max(v_max)"}.get(kind, "sum(v_sum)")
    grain = "intDiv(toUnixTimestamp64Milli(pane_ms) + {cut:Int64}, {hop:Int64}) * {hop:Int64} - {cut:Int64}"
    return (
        f"SELECT toString(city) AS city, toString(dims) AS dims, {grain} AS start, key, {fold} AS value, sum(n) AS rows"
        f" FROM {qualified(database, 'rollups')} WHERE feed IN {{feeds:Array(String)}} AND measure = {{measure:String}}"
        " AND city IN {cities:Array(String)} AND pane_ms >= fromUnixTimestamp64Milli({start:Int64})"
        " AND pane_ms < fromUnixTimestamp64Milli({stop:Int64}) AND (NOT late OR {late:Bool})"
        " GROUP BY city, dims, start, key"
    )


def told(database: str) -> str:
    """What is said of some windows of an indicator in a city: the newest revision, open windows apart."""
    return (
        "SELECT toString(dims) AS dims, toUnixTimestamp64Milli(window_start_ms) AS start,"
        " toUnixTimestamp64Milli(window_end_ms) AS end, value, toString(state) AS state, coverage, n, numerator,"
        " denominator, rev, toUnixTimestamp64Milli(known_at_ms) AS known_at, toString(registry) AS registry, sim"
        f" FROM {qualified(database, 'indicators')} FINAL WHERE indicator = {{indicator:String}}"
        " AND city = {city:String} AND rev >= 0 AND window_end_ms >= fromUnixTimestamp64Milli({first:Int64})"
        " AND window_end_ms <= fromUnixTimestamp64Milli({last:Int64}) ORDER BY end, dims"
    )


def means(database: str) -> str:
    """Of a smoothed indicator, the mean by dimensions that a window followed on."""
    return (
        "SELECT toString(dims) AS dims, argMax(assumeNotNull(value), window_end_ms) AS mean"
        f" FROM {qualified(database, 'indicators_history')} WHERE indicator = {{indicator:String}}"
        " AND city = {city:String} AND rev = 0 AND act = 0 AND value IS NOT NULL"
        " AND window_end_ms < fromUnixTimestamp64Milli({end:Int64}) GROUP BY dims"
    )
