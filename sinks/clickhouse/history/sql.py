"""What loading history asks of the store, as SQL."""

# ruff: noqa: S608 - this is where SQL is put together; names are checked by `quoted`, values are parameters

from __future__ import annotations

from sinks.clickhouse.mend.sql import ARRIVED
from sinks.clickhouse.schema_readings import readings_table_name
from sinks.clickhouse.sql import qualified


def claims(database: str) -> str:
    """Who says that he loads history, and how many seconds ago he said so last."""
    return (
        f"SELECT part, data, dateDiff('second', stored_at, now()) AS age_s FROM {qualified(database, 'acts')} FINAL"
        " WHERE kind = {kind:String} AND state = 'begun' ORDER BY part"
    )


def unfinished(database: str) -> str:
    """Acts of a kind that were begun and never ended."""
    return (
        f"SELECT act, toString(by) AS by, scope FROM {qualified(database, 'acts')} FINAL"
        " WHERE kind = {kind:String} AND part = '' AND state = 'begun' ORDER BY act"
    )


def parts(database: str) -> str:
    """What came of the parts of an act that are done, in their order."""
    return (
        f"SELECT part, data FROM {qualified(database, 'acts')} FINAL"
        " WHERE act = {act:UInt64} AND part != '' AND state = 'done' ORDER BY part"
    )


def stored(database: str, feed: str) -> str:
    """Readings that are stored already, by device and time: those from elsewhere than a source. Those that were taken
    back are among them. No devices: of all."""
    return (
        "SELECT DISTINCT toString(city) AS city, device, toUnixTimestamp64Milli(ts) AS ts_ms"
        f" FROM {qualified(database, readings_table_name(feed))} WHERE city IN {{cities:Array(String)}}"
        " AND (empty({devices:Array(String)}) OR device IN {devices:Array(String)})"
        " AND ts >= fromUnixTimestamp64Milli({start:Int64}) AND ts < fromUnixTimestamp64Milli({stop:Int64})"
        " AND src != {src:UInt64}"
    )


def span(database: str, feed: str) -> str:
    """The first and the last time of a reading of a source."""
    return (
        "SELECT toUnixTimestamp64Milli(min(ts)) AS first, toUnixTimestamp64Milli(max(ts)) AS last"
        f" FROM {qualified(database, readings_table_name(feed))} WHERE src = {{src:UInt64}}"
    )


def moments(database: str, feed: str) -> str:
    """The stretches of `step` ms in which readings of a source were measured or arrived, by city."""
    step = "intDiv({ms}, {step:Int64}) * {step:Int64}"
    return (
        "SELECT DISTINCT toString(city) AS city,"
        f" arrayJoin([{step.replace('{ms}', 'toUnixTimestamp64Milli(ts)')}, {step.replace('{ms}', ARRIVED)}]) AS ms"
        f" FROM {qualified(database, readings_table_name(feed))} FINAL WHERE src = {{src:UInt64}} AND withdrawn = 0"
        " AND ts >= fromUnixTimestamp64Milli({start:Int64}) AND ts < fromUnixTimestamp64Milli({stop:Int64})"
    )


def spoke(database: str) -> str:
    """Whether an indicator has said anything of a city before some window."""
    return (
        f"SELECT count() > 0 FROM {qualified(database, 'indicators')} WHERE indicator = {{indicator:String}}"
        " AND city = {city:String} AND rev >= 0 AND window_end_ms < fromUnixTimestamp64Milli({first:Int64})"
    )


def means(database: str) -> str:
    """Of a smoothed indicator, the mean by dimensions that a window which nobody told yet follows on."""
    return (
        "SELECT toString(dims) AS dims, argMax(assumeNotNull(value), window_end_ms) AS mean"
        f" FROM {qualified(database, 'indicators')} FINAL WHERE indicator = {{indicator:String}}"
        " AND city = {city:String} AND rev >= 0 AND value IS NOT NULL"
        " AND window_end_ms < fromUnixTimestamp64Milli({end:Int64}) GROUP BY dims"
    )
