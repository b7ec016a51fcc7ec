"""What the ledger asks of the store, as SQL. Every query gives columns for arithmetic that happens elsewhere."""

# ruff: noqa: S608 - this is where SQL is put together; names are checked by `quoted`, values are parameters

from __future__ import annotations

from sinks.clickhouse.columns import PANE_DAYS, RAW_DAYS
from sinks.clickhouse.sql import qualified

HORIZON_DAYS = RAW_DAYS - 2
"""What was stored longer ago is not looked at: retention takes it, a part at a time."""
_YOUNG = f"stored_at > now() - INTERVAL {HORIZON_DAYS} DAY"

FINAL_SETTINGS = {"do_not_merge_across_partitions_select_final": 1}
"""Right for readings: the day of a row follows from its key, so no row has a twin in another partition."""


def readings_tables() -> str:
    """Names of the tables of readings that a database has, known to the catalogue or not."""
    return (
        "SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, 'readings_')"
        " AND engine = 'ReplacingMergeTree' ORDER BY name"
    )


def frames(database: str) -> str:
    """Frames of one source up to a bound."""
    return (
        "SELECT f.after AS after, f.offset AS offset, toString(f.feed) AS feed, toString(f.city) AS city,"
        " toInt64(f.rows) AS rows, toInt64(f.accepted) AS accepted, toInt64(f.dup) AS dup, toInt64(f.late) AS late,"
        " toInt64(arraySum(mapValues(f.quarantined))) AS quarantined,"
        " arrayMap(reason -> toString(reason), mapKeys(f.quarantined)) AS reasons,"
        " toUnixTimestamp64Milli(f.clock_ms) AS clock"
        f" FROM {qualified(database, 'frames')} AS f FINAL"
        f" WHERE {_YOUNG} AND"
        " topic_id = {topic_id:String} AND partition = {partition:UInt16} AND offset <= {bound:Int64}"
        " ORDER BY offset"
    )


def ticks(database: str) -> str:
    """Rollup records of one source up to a bound."""
    return (
        f"SELECT after, offset FROM {qualified(database, 'ticks')} FINAL"
        f" WHERE {_YOUNG} AND"
        " topic_id = {topic_id:String} AND partition = {partition:UInt16} AND offset <= {bound:Int64}"
        " ORDER BY offset"
    )


def tick_rows(database: str) -> str:
    """Readings that each rollup record counts, by feed."""
    return (
        "SELECT offset, toString(name) AS feed, n FROM"
        f" (SELECT offset, rows FROM {qualified(database, 'ticks')} FINAL"
        " WHERE topic_id = {topic_id:String} AND partition = {partition:UInt16} AND offset <= {bound:Int64})"
        " ARRAY JOIN mapKeys(rows) AS name, mapValues(rows) AS n"
    )


def raw_by_frame(database: str, table: str) -> str:
    """Stored readings of one feed by the frame that they came in, and how many of them were taken back since."""
    return (
        "SELECT r.src AS src, toInt64(r.part) AS part, toInt64(r.off) AS offset, toString(any(r.city)) AS city,"
        " toInt64(count()) AS n, toInt64(countIf(r.withdrawn > 0)) AS withdrawn"
        f" FROM {qualified(database, table)} AS r FINAL GROUP BY r.src, r.part, r.off"
    )


_BOUND = (
    "toInt64(off) <= transform(concat(toString(src), '/', toString(part)),"
    " {keys:Array(String)}, {bounds:Array(Int64)}, -1)"
)


def raw_by_pane(database: str, table: str) -> str:
    """Stored readings of one feed that count, by city and 10 s pane, up to the last tick of each source."""
    return (
        "SELECT toString(r.city) AS city, intDiv(toUnixTimestamp64Milli(r.ts), 10000) * 10000 AS pane_ms,"
        " toInt64(count()) AS n"
        f" FROM {qualified(database, table)} AS r FINAL WHERE withdrawn = 0 AND {_BOUND}"
        " GROUP BY city, pane_ms"
    )


def readings_by_identity(database: str, table: str) -> str:
    """Every row of one feed's readings as it lies there, repeats that were not merged yet included."""
    return (
        "SELECT toString(r.city) AS city, r.device AS device, toUnixTimestamp64Milli(r.ts) AS ts,"
        " if(r.has_seq, r.seq, NULL) AS seq"
        f" FROM {qualified(database, table)} AS r"
    )


def rollups_by_pane(database: str) -> str:
    """Readings that the rollups count, by feed, city and pane."""
    return (
        "SELECT toString(r.feed) AS feed, toString(r.city) AS city, toUnixTimestamp64Milli(r.pane_ms) AS pane_ms,"
        f" sum(r.n) AS n FROM {qualified(database, 'rollups')} AS r WHERE r.measure = concat(r.feed, '.rows')"
        " GROUP BY feed, city, pane_ms"
    )


def quarantined_frames(database: str) -> str:
    """Findings in quarantine of one source: frame and reason."""
    return (
        f"SELECT DISTINCT offset, toString(reason) AS reason FROM {qualified(database, 'quarantine')} FINAL"
        " WHERE topic_id = {topic_id:String} AND partition = {partition:UInt16} AND offset <= {bound:Int64}"
    )


def lost(database: str) -> str:
    """What the sink passed over."""
    return (
        "SELECT topic, topic_id, partition, after, offset, reason, note"
        f" FROM {qualified(database, 'lost')} FINAL WHERE {_YOUNG} ORDER BY topic, topic_id, partition, after"
    )


def loading(database: str) -> str:
    """Acts that load history, and have begun to let readings count whose panes are not noted as made."""
    return (
        f"SELECT DISTINCT act FROM {qualified(database, 'acts')} FINAL"
        " WHERE kind = 'import' AND state = 'begun' AND part != '' ORDER BY act"
    )


def ages(database: str) -> str:
    """Whether the database is older than the horizon, and older than what keeps longest."""
    return (
        f"SELECT min(at) < now() - INTERVAL {HORIZON_DAYS} DAY AS aged,"
        f" min(at) < now() - INTERVAL {PANE_DAYS - 2} DAY AS old FROM {qualified(database, 'batches')}"
    )


def first_clocks(database: str) -> str:
    """The clock of the oldest frame that retention has left of each source."""
    return (
        f"SELECT toUnixTimestamp64Milli(min(clock_ms)) AS clock FROM {qualified(database, 'frames')}"
        f" WHERE {_YOUNG} GROUP BY topic_id, partition"
    )


def history_counts(database: str) -> str:
    """Rows of `indicators_history` that the stream wrote, and how many finished cuts of the journal inserted."""
    return (
        f"SELECT (SELECT countIf(act = 0) FROM {qualified(database, 'indicators_history')}) AS stored,"
        " (SELECT toUInt64(sum(tables['indicators_history']))"
        f" FROM {qualified(database, 'batches')} FINAL WHERE topic = 'indicators' AND state = 'done') AS written,"
        f" (SELECT count() FROM {qualified(database, 'batches')} FINAL"
        " WHERE topic = 'indicators' AND state != 'done') AS open"
    )


def sizes(database: str) -> str:
    """Rows, bytes and parts by table."""
    del database
    return (
        "SELECT p.table AS table, sum(p.rows) AS rows, sum(p.bytes_on_disk) AS bytes,"
        " sum(p.data_uncompressed_bytes) AS raw_bytes, count() AS parts FROM system.parts AS p"
        " WHERE p.active AND p.database = {database:String} GROUP BY p.table ORDER BY bytes DESC"
    )


def last_batches(database: str) -> str:
    """The newest cut of each topic."""
    return (
        f"SELECT topic, state, toUnixTimestamp64Milli(at) AS at_ms, rows FROM {qualified(database, 'batches')} FINAL"
        " ORDER BY at DESC LIMIT 1 BY topic"
    )


def field_counts() -> str:
    """How many measured fields each table of readings has; `common`: the columns that all of them have."""
    return (
        "SELECT table, toInt64(countIf(name NOT IN {common:Array(String)})) AS fields FROM system.columns"
        " WHERE database = {database:String} AND startsWith(table, 'readings_') AND NOT endsWith(table, '_v')"
        " GROUP BY table"
    )
