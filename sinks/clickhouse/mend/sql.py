"""What the way back asks of the store, as SQL."""

# ruff: noqa: S608 - this is where SQL is put together; names are checked by `quoted`, values are parameters

from __future__ import annotations

from pearlstream.catalogue.models import Feed
from pearlstream.position import HISTORY
from sinks.clickhouse.schema_readings import readings_table_name
from sinks.clickhouse.sql import literal, qualified, quoted

PANE_KEY = ("feed", "city", "pane_ms", "pane_len_s", "measure", "dims", "key", "late")
"""What tells rows of `rollups` apart."""
_VALUES = ("v_sum", "v_min", "v_max", "n")
FINAL = {"do_not_merge_across_partitions_select_final": 1}
"""Right for readings: the day of a row follows from its key, so no row has a twin in another partition."""
SPILL = {"max_bytes_before_external_group_by": 500_000_000}
"""A day of a big cluster does not fit into memory."""

_CLOCK = "toInt64(18446744073709551615 - keep)"
ARRIVED = f"if({_CLOCK} = 0, toUnixTimestamp64Milli(ts), {_CLOCK})"
"""What panes by arrival are cut by; a reading before any tick counts as arrived when it was taken."""
_SPAN = "ts >= fromUnixTimestamp64Milli({start:Int64}) AND ts < fromUnixTimestamp64Milli({stop:Int64})"
_BOUND = (
    "toInt64(off) <= transform(concat(toString(src), '/', toString(part)),"
    " {keys:Array(String)}, {bounds:Array(Int64)}, -1)"
)


def days(database: str) -> str:
    """Days (as text) that rollups are kept of."""
    return (
        f"SELECT DISTINCT toString(toDate(pane_ms)) AS day FROM {qualified(database, 'rollups')}"
        " WHERE toDate(pane_ms) BETWEEN toDate({first:String}) AND toDate({last:String}) ORDER BY day"
    )


def days_of_readings(database: str, feed: str) -> str:
    """Days that readings of a feed are kept of."""
    return (
        f"SELECT DISTINCT toString(toDate(ts)) AS day FROM {qualified(database, readings_table_name(feed))}"
        " WHERE toDate(ts) BETWEEN toDate({first:String}) AND toDate({last:String}) ORDER BY day"
    )


def cells(database: str, feed: str) -> str:
    """Readings of a feed by city and hour, in a stretch of event time."""
    return (
        "SELECT toString(city) AS city, intDiv(toUnixTimestamp64Milli(ts), 3600000) * 3600000 AS hour_ms,"
        f" toInt64(count()) AS n FROM {qualified(database, readings_table_name(feed))}"
        f" WHERE {_SPAN} GROUP BY city, hour_ms ORDER BY city, hour_ms"
    )


def strays(database: str, feed: str) -> str:
    """Cities and hours outside a day of which some reading arrived on that day."""
    return (
        "SELECT DISTINCT toString(city) AS city, intDiv(toUnixTimestamp64Milli(ts), 3600000) * 3600000 AS hour_ms,"
        f" toInt64(1) AS n FROM {qualified(database, readings_table_name(feed))} WHERE {_SPAN}"
        f" AND {ARRIVED} >= {{from:Int64}} AND {ARRIVED} < {{until:Int64}}"
        " AND NOT (ts >= fromUnixTimestamp64Milli({from:Int64}) AND ts < fromUnixTimestamp64Milli({until:Int64}))"
        " ORDER BY city, hour_ms"
    )


def kept_readings(database: str, feed: Feed) -> str:
    """Readings of some cities and a stretch of event time up to the last rollup record, in the order of the log."""
    fields = [
        f"{quoted(name)} / {10**spec.decimals} AS {quoted(name)}" if spec.type == "float" else quoted(name)
        for name, spec in feed.fields.items()
    ]
    return (
        "SELECT toString(city) AS city, device, toUnixTimestamp64Milli(ts) AS ts_ms,"
        f" if({_CLOCK} = 0, -1, {_CLOCK}) AS clock, qc, src, toInt64(part) AS part, toInt64(off) AS off"
        + "".join(f", {field}" for field in fields)
        + f" FROM {qualified(database, readings_table_name(feed.id))} AS r FINAL"
        f" WHERE r.city IN {{cities:Array(String)}} AND {_SPAN} AND withdrawn = 0 AND {_BOUND}"
        " ORDER BY src, part, off, row, ts, run, seq"
    )


def registry_changes(database: str) -> str:
    """From which offset on which version of the registry was in force, by source."""
    return (
        "SELECT topic_id, partition, offset, version FROM ("
        "SELECT topic_id, toInt64(partition) AS partition, offset, toString(registry) AS version,"
        " lagInFrame(registry, 1, '') OVER (PARTITION BY topic_id, partition ORDER BY offset"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before"
        f" FROM {qualified(database, 'ticks')} FINAL) WHERE version != before ORDER BY topic_id, partition, offset"
    )


def registered(database: str, static: tuple[str, ...]) -> str:
    """Every entry of every device of a feed that is known, oldest first; static fields as text."""
    attrs = "".join(
        f", if(mapContains(attrs, {{s{n}:String}}), attrs[{{s{n}:String}}], NULL) AS {quoted(name)}"
        for n, name in enumerate(static)
    )
    columns = (
        "toString(city) AS city, device, nullIf(toString(zone), '') AS zone, nullIf(site, '') AS site, lon, lat,"
        " cadence_s, toUnixTimestamp64Milli(from_ms) AS from_ms, toUnixTimestamp64Milli(until_ms) AS until_ms,"
        " toUnixTimestamp64Milli(calibrated_ms) AS calibrated_ms, nullIf(toString(origin), '') AS origin,"
        f" toString(registry) AS registry, toInt64(entry) AS entry{attrs}"
    )
    both = " UNION DISTINCT ".join(
        f"SELECT {columns} FROM {qualified(database, table)} WHERE feed = {{feed:String}}"
        for table in ("devices_history", "devices")
    )
    return f"SELECT * FROM ({both}) ORDER BY entry, city, device"


def versions(database: str) -> str:
    """The entry that each version of the registry is complete with."""
    both = " UNION ALL ".join(
        f"SELECT toString(registry) AS version, toInt64(entry) AS entry FROM {qualified(database, table)}"
        for table in ("devices_history", "devices")
    )
    return f"SELECT version, max(entry) AS entry FROM ({both}) GROUP BY version"


# ---------------------------------------------------------------- is what lies there whole


_NEAR = (
    "(toUnixTimestamp64Milli(clock_ms) BETWEEN {from:Int64} - 600000 AND {until:Int64} + 87000000"
    " OR toUnixTimestamp64Milli(clock_ms) = 0)"
)
"""Frames and ticks at whose time a reading of the day may have come: up to 10 minutes early, or a day late."""


def frames_near(database: str) -> str:
    """Frames of a feed that may hold readings of a day."""
    return (
        "SELECT toString(topic_id) AS topic_id, toInt64(partition) AS partition, offset, toInt64(accepted) AS accepted,"
        " toUnixTimestamp64Milli(clock_ms) AS clock, toString(city) AS city"
        f" FROM {qualified(database, 'frames')} FINAL WHERE feed = {{feed:String}} AND accepted > 0 AND {_NEAR}"
    )


def stored_near(database: str, feed: str) -> str:
    """Readings stored by frame, those included that were taken back, of all frames that may hold readings of a day."""
    return (
        "SELECT src, toInt64(part) AS partition, toInt64(off) AS offset, toInt64(count()) AS n"
        f" FROM {qualified(database, readings_table_name(feed))} FINAL WHERE"
        " ts >= fromUnixTimestamp64Milli({from:Int64} - 90000000)"
        " AND ts < fromUnixTimestamp64Milli({until:Int64} + 90000000) GROUP BY src, part, off"
    )


def ticks_near(database: str) -> str:
    """What rollup records say that they count of a feed, about the time of a day."""
    return (
        "SELECT toString(topic_id) AS topic_id, toInt64(partition) AS partition, after, offset,"
        f" rows[{{feed:String}}] AS n FROM {qualified(database, 'ticks')} FINAL WHERE {_NEAR}"
        " ORDER BY topic_id, partition, offset"
    )


def clocks(database: str) -> str:
    """The last clock of each partition, of the life of the broker's log that was stored last."""
    table = qualified(database, "ticks")
    return (
        f"SELECT toInt64(partition) AS partition, toUnixTimestamp64Milli(max(clock_ms)) AS clock FROM {table}"
        f" WHERE topic_id = (SELECT argMax(topic_id, (stored_at, clock_ms)) FROM {table}"
        f" WHERE NOT startsWith(topic_id, {literal(HISTORY)})) GROUP BY partition"
    )


# ---------------------------------------------------------------- a day of panes, beside the stored one


_INSIDE = (
    "feed = {feed:String} AND toDate(pane_ms) = toDate({day:String}) AND measure IN {measures:Array(String)}"
    " AND (empty({cities:Array(String)}) OR city IN {cities:Array(String)})"
)


def differences(database: str, staging: str) -> str:
    """Where a feed's recomputed panes of a day are not the stored ones, by measure: lacking, too many, different."""
    key = ", ".join(PANE_KEY)
    sides = " UNION ALL ".join(
        f"SELECT {key}, {', '.join(_VALUES)}, {side} AS side FROM {qualified(database, table)} WHERE {_INSIDE}"
        for side, table in enumerate(("rollups", staging))
    )
    folds = {"v_sum": "sumIf", "v_min": "minIf", "v_max": "maxIf", "n": "sumIf"}
    pairs = ", ".join(f"({fold}({name}, side = 0), {fold}({name}, side = 1))" for name, fold in folds.items())
    merged = (
        f"SELECT {key}, countIf(side = 0) > 0 AS old, countIf(side = 1) > 0 AS new,"
        " toInt64(sumIf(n, side = 0)) AS n_old, toInt64(sumIf(n, side = 1)) AS n_new,"
        f" arrayExists(p -> p.1 != p.2, [{pairs}]) AS other FROM ({sides}) GROUP BY {key}"
    )
    return (
        "SELECT toString(measure) AS measure, toInt64(countIf(new AND NOT old)) AS lacking,"
        " toInt64(countIf(old AND NOT new)) AS excess, toInt64(countIf(old AND new AND other)) AS different,"
        " sum(n_old) AS n_stored, sum(n_new) AS n_recomputed"
        f" FROM ({merged}) GROUP BY measure HAVING lacking + excess + different > 0 ORDER BY measure"
    )


def keep_the_rest(database: str, staging: str) -> str:
    """What of a day is not recomputed goes along as it is: other feeds, cities, and measures that are not declared."""
    return (
        f"INSERT INTO {qualified(database, staging)} SELECT * FROM {qualified(database, 'rollups')}"
        " WHERE toDate(pane_ms) = toDate({day:String})"
        " AND NOT (feed IN {feeds:Array(String)} AND measure IN {measures:Array(String)}"
        " AND (empty({cities:Array(String)}) OR city IN {cities:Array(String)}))"
    )


def like_rollups(database: str, staging: str) -> str:
    """An empty table of the shape of `rollups`."""
    return f"CREATE TABLE {qualified(database, staging)} AS {qualified(database, 'rollups')}"


def replace_day(database: str, staging: str, day: str) -> str:
    """Put a day of a staging table in the place of the stored one, at once. `day`: checked by the caller."""
    return f"ALTER TABLE {qualified(database, 'rollups')} REPLACE PARTITION '{day}' FROM {qualified(database, staging)}"


def leftovers(database: str) -> str:
    """Staging tables that somebody who died left behind a day ago or longer."""
    del database
    return (
        "SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String})"
        " AND metadata_modification_time < now() - INTERVAL 1 DAY"
    )


# ---------------------------------------------------------------- acts


def acts(database: str) -> str:
    """The newest acts of some kinds."""
    return (
        "SELECT act, part, toString(kind) AS kind, toString(state) AS state, toString(by) AS by, why, scope, rows,"
        f" data, toUnixTimestamp64Milli(at) AS at_ms FROM {qualified(database, 'acts')} FINAL"
        " WHERE kind IN {kinds:Array(String)} ORDER BY act DESC, part LIMIT {limit:UInt32}"
    )


def unfinished(database: str) -> str:
    """The newest act of a kind and scope, if it has no end: its number, and the parts of it that are done."""
    table = qualified(database, "acts")
    return (
        "SELECT act, countIf(part = '' AND state = 'done') AS ended, groupArrayIf(part, part != '' AND state = 'done')"
        f" AS parts FROM {table} FINAL WHERE kind = {{kind:String}} AND act = (SELECT max(act) FROM {table}"
        " WHERE kind = {kind:String} AND part = '' AND scope = {scope:String}) GROUP BY act"
    )


# ---------------------------------------------------------------- quarantine


def _quarantined(database: str, columns: str) -> str:
    """Findings with what was done about each (`done`: redrive, discard or nothing)."""
    decided = (
        "SELECT part, toString(argMax(kind, at)) AS did, argMax(why, at) AS because"
        f" FROM {qualified(database, 'acts')} FINAL"
        " WHERE kind IN ('redrive', 'discard') AND state = 'done' AND part != '' GROUP BY part"
    )
    name = "concat(toString(q.topic_id), '/', toString(q.partition), '/', toString(q.offset), '/', toString(q.item))"
    return (
        f"SELECT {columns} FROM (SELECT *, {name} AS finding FROM {qualified(database, 'quarantine')} AS q FINAL) AS q"
        f" LEFT JOIN ({decided}) AS d ON q.finding = d.part"
    )


_FILTER = (
    " WHERE (empty({reasons:Array(String)}) OR q.reason IN {reasons:Array(String)})"
    " AND (empty({feeds:Array(String)}) OR q.feed IN {feeds:Array(String)})"
    " AND (empty({gateways:Array(String)}) OR q.gateway IN {gateways:Array(String)})"
    " AND (empty({findings:Array(String)}) OR q.finding IN {findings:Array(String)})"
    " AND toUnixTimestamp64Milli(q.clock_ms) >= {since:Int64} AND (d.did = '' OR {all:Bool})"
)
_FINDING = (
    "q.finding AS finding, toString(q.reason) AS reason, q.message AS message, toString(q.feed) AS feed,"
    " toString(q.schema_version) AS schema, toString(q.city) AS city, toString(q.gateway) AS gateway,"
    " toUnixTimestamp64Milli(q.clock_ms) AS clock_ms, q.whole AS whole, q.rows AS rows, q.length AS length,"
    " toUInt64(length(q.payload)) AS kept, toString(q.topic_id) AS topic_id, toInt64(q.partition) AS partition,"
    " q.offset AS offset, d.did AS done, d.because AS why"
)


def findings(database: str) -> str:
    """Findings that pass the filters, newest first, without what was set aside."""
    return (
        f"{_quarantined(database, _FINDING)}{_FILTER}"
        " ORDER BY clock_ms DESC, topic_id, partition, offset DESC, q.item LIMIT {limit:UInt32}"
    )


def finding_counts(database: str) -> str:
    """Findings that pass the filters, by reason and what was done about them."""
    columns = "toString(q.reason) AS reason, d.did AS done, toInt64(count()) AS findings"
    return f"{_quarantined(database, columns)}{_FILTER} GROUP BY reason, done ORDER BY findings DESC, reason, done"


def set_aside(database: str) -> str:
    """What was set aside with some findings, as it came."""
    columns = (
        "q.finding AS finding, q.key AS key, base64Encode(q.payload) AS payload, q.sha256 AS sha256,"
        " mapKeys(q.headers) AS names, mapValues(q.headers) AS values"
    )
    return f"{_quarantined(database, columns)} WHERE q.finding IN {{findings:Array(String)}}"


# ---------------------------------------------------------------- after a power loss


def finished_cuts(database: str) -> str:
    """Cuts of `accepted` that were noted as done in the last minutes of the journal, and the one before them."""
    table = qualified(database, "batches")
    return (
        "SELECT toString(topic_id) AS topic_id, cut, ranges, applied, tables, toUnixTimestamp64Milli(at) AS at_ms"
        f" FROM {table} FINAL WHERE topic = 'accepted' AND state = 'done' AND topic_id = {{topic_id:String}}"
        " AND cut >= (SELECT if(count() = 0, 18446744073709551615, min(cut) - 1)"
        f" FROM {table} WHERE topic = 'accepted' AND topic_id = {{topic_id:String}} AND state = 'done'"
        " AND at >= fromUnixTimestamp64Milli({since:Int64})) ORDER BY cut"
    )


def newest_cut_ms(database: str) -> str:
    """When the journal was written last; 0 if never."""
    return f"SELECT toUnixTimestamp64Milli(max(at)) FROM {qualified(database, 'batches')}"


def rows_by_offset(database: str, table: str) -> str:
    """Rows of a table of readings by the frame that they came in, from some offsets on."""
    return (
        "SELECT toInt64(part) AS part, toInt64(off) AS off, toInt64(count()) AS n"
        f" FROM {qualified(database, table)} FINAL WHERE src = {{src:UInt64}} AND off > {{after:Int64}}"
        " GROUP BY part, off"
    )


def frames_by_offset(database: str) -> str:
    """As `rows_by_offset` for the table of frames."""
    return (
        "SELECT toInt64(partition) AS part, offset AS off, toInt64(count()) AS n"
        f" FROM {qualified(database, 'frames')} FINAL WHERE topic_id = {{topic_id:String}} AND offset > {{after:Int64}}"
        " GROUP BY part, off"
    )
