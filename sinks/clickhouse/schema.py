"""The schema: which tables there are, generated from the catalogue.

Retention counts from the day a row was stored, not from the day it tells of: imported history and simulated pasts would
otherwise be swept away as soon as they arrive.
"""

from __future__ import annotations

from pearlstream.catalogue import Catalogue
from sinks.clickhouse.catalogue_tables import CATALOGUE_TABLES, CITY_DICTIONARY
from sinks.clickhouse.columns import CLOSE, KEEPS, PANE_DAYS, RAW_DAYS, SMALL, STORED_AT, TEXT, TIME, WORD, ttl
from sinks.clickhouse.model import Column, Schema, Table, View
from sinks.clickhouse.schema_readings import readings_table, readings_table_name, readings_views

__all__ = ["readings_table_name"]


def build_schema(catalogue: Catalogue) -> Schema:
    """Every table, view and dictionary for a catalogue."""
    feeds = list(catalogue.feeds.values())
    tables = (*(readings_table(feed) for feed in feeds), *FIXED_TABLES, *CATALOGUE_TABLES)
    views = (*(view for feed in feeds for view in readings_views(feed)), *FIXED_VIEWS)
    return Schema(tables, views, (CITY_DICTIONARY,))


_SOURCE = (
    Column("topic_id", WORD, comment="id of the topic `readings`: one life of the broker"),
    Column("partition", "UInt16", SMALL),
    Column("after", "Int64", CLOSE, comment="offset that the output before this one reached"),
    Column("offset", "Int64", CLOSE, comment="offset that this one reaches"),
)

ROLLUPS = Table(
    name="rollups",
    meaning="mergeable partials per pane; merge with the function of the measure's kind, never average",
    columns=(
        Column("feed", WORD),
        Column("city", WORD),
        Column("pane_ms", TIME, CLOSE, comment="start of the pane"),
        Column("pane_len_s", "UInt32", SMALL),
        Column("measure", WORD),
        Column("dims", WORD),
        Column("key", "Int64", SMALL, comment="key of a map, else 0"),
        Column("late", "Bool", TEXT),
        Column("v_sum", "SimpleAggregateFunction(sum, Int64)", SMALL, comment="sums and maps, on the measure's grid"),
        Column("v_min", "SimpleAggregateFunction(min, Int64)", SMALL, comment="minima, else 0"),
        Column("v_max", "SimpleAggregateFunction(max, Int64)", SMALL, comment="maxima, else 0"),
        Column("n", "SimpleAggregateFunction(sum, Int64)", SMALL, comment="readings behind it"),
        Column("stored_at", "SimpleAggregateFunction(max, DateTime)", CLOSE, "now()"),
    ),
    engine="AggregatingMergeTree",
    order_by=("feed", "city", "pane_ms", "measure", "dims", "key", "late", "pane_len_s"),
    partition_by="toDate(pane_ms)",
    ttl=ttl(PANE_DAYS),
    settings={**KEEPS, "ttl_only_drop_parts": 1},
)

TICKS = Table(
    name="ticks",
    meaning="one row per rollup record: which source range it covers and how many readings it counts by feed",
    columns=(
        *_SOURCE,
        Column("clock_ms", TIME, CLOSE),
        Column("registry", WORD),
        Column("sim", "Bool", TEXT),
        Column("rows", f"Map({WORD}, Int64)", TEXT, comment="readings by feed"),
        STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic_id", "partition", "offset"),
    ttl=ttl(PANE_DAYS),
    settings=KEEPS,
)

_INDICATOR_COLUMNS = (
    Column("indicator", WORD),
    Column("city", WORD),
    Column("dims", WORD),
    Column("window_start_ms", TIME, CLOSE),
    Column("window_end_ms", TIME, CLOSE),
    Column("value", "Nullable(Float64)", TEXT, comment="null: no data"),
    Column("state", WORD, comment="OK, WATCH, RAISED, NODATA"),
    Column("coverage", "Nullable(Float64)", TEXT, comment="0..1, null if nobody is expected"),
    Column("n", "Int64", SMALL),
    Column("numerator", "Nullable(Int64)", SMALL),
    Column("denominator", "Nullable(Int64)", SMALL),
    Column("maturity", WORD, comment="provisional, settled, corrected"),
    Column("rev", "Int32", SMALL, comment="-1 provisional, 0 settled, +1 per correction"),
    Column("known_at_ms", TIME, CLOSE, comment="the tick that brought it"),
    Column("catalogue", WORD),
    Column("registry", WORD),
    Column("sim", "Bool", TEXT),
    Column("version", "UInt64", CLOSE, comment="(rev + 1) * 2^48 + known_at_ms: the greatest is the truth"),
    Column("act", "UInt64", SMALL, "0", "the act that wrote it; 0: the stream"),
    STORED_AT,
)

INDICATORS = Table(
    name="indicators",
    meaning="the newest revision of each window",
    columns=_INDICATOR_COLUMNS,
    engine="ReplacingMergeTree(version)",
    order_by=("indicator", "city", "dims", "window_end_ms"),
    partition_by="toYYYYMM(window_end_ms)",
    ttl=ttl(PANE_DAYS),
    settings=KEEPS,
)

INDICATORS_HISTORY = Table(
    name="indicators_history",
    meaning="every revision of each window, provisional ones included: what was known when",
    columns=_INDICATOR_COLUMNS,
    engine="MergeTree",
    order_by=("indicator", "city", "dims", "window_end_ms", "version"),
    partition_by="toYYYYMM(window_end_ms)",
    ttl=ttl(PANE_DAYS),
    settings=KEEPS,
)

ALERTS = Table(
    name="alerts",
    meaning="transitions of alerts",
    columns=(
        Column("alert_id", "String", TEXT),
        Column("transition_no", "UInt32", SMALL),
        Column("transition", WORD),
        Column("indicator", WORD),
        Column("city", WORD),
        Column("dims", WORD),
        Column("severity", WORD),
        Column("window_end_ms", TIME, CLOSE),
        Column("value", "Nullable(Float64)", TEXT),
        Column("clock_ms", TIME, CLOSE),
        Column("data", "String", TEXT, comment="the whole transition as JSON"),
        *_SOURCE,
        STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("alert_id", "transition_no"),
    ttl=ttl(PANE_DAYS),
    settings=KEEPS,
)

QUARANTINE = Table(
    name="quarantine",
    meaning="what could not be used, with position, reason and what would have been right",
    columns=(
        *_SOURCE,
        Column("item", "UInt32", SMALL, comment="number among the findings of this frame, from 1"),
        Column("items", "UInt32", SMALL),
        Column("reason", WORD),
        Column("message", "String", TEXT),
        Column("whole", "Bool", TEXT, comment="the frame as a whole"),
        Column("rows", "Array(UInt32)", TEXT, comment="indices of the rows, if not the whole"),
        Column("feed", WORD),
        Column("schema_version", WORD),
        Column("city", WORD),
        Column("gateway", WORD),
        Column("clock_ms", TIME, CLOSE),
        Column("key", "String", TEXT),
        Column("headers", f"Map({WORD}, String)", TEXT, comment="its other headers, to send it again with"),
        Column("payload", "String", TEXT, comment="its head, up to 64 kB", binary=True),
        Column("length", "UInt64", SMALL, comment="bytes in full"),
        Column("sha256", "String", TEXT),
        STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic_id", "partition", "offset", "item"),
    ttl=ttl(RAW_DAYS),
    settings=KEEPS,
)

FRAMES = Table(
    name="frames",
    meaning="one row per frame, from the headers of its accepted record: one side of the ledger",
    columns=(
        *_SOURCE,
        Column("clock_ms", TIME, CLOSE),
        Column("feed", WORD),
        Column("schema_version", WORD),
        Column("city", WORD),
        Column("gateway", WORD),
        Column("bytes", "UInt64", SMALL),
        Column("rows", "UInt32", SMALL),
        Column("accepted", "UInt32", SMALL),
        Column("dup", "UInt32", SMALL),
        Column("late", "UInt32", SMALL),
        Column("quarantined", f"Map({WORD}, UInt32)", TEXT, comment="rows by reason"),
        Column("sim", "Bool", TEXT),
        Column("sent_ms", "Int64", CLOSE, comment="wall clock of the gateway, 0 if it does not say"),
        STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic_id", "partition", "offset"),
    ttl=ttl(PANE_DAYS),
    settings=KEEPS,
)

_DEVICE_COLUMNS = (
    Column("feed", WORD),
    Column("city", WORD),
    Column("device", "String", TEXT),
    Column("zone", WORD),
    Column("site", "String", TEXT),
    Column("lon", "Nullable(Float64)", TEXT),
    Column("lat", "Nullable(Float64)", TEXT),
    Column("cadence_s", "Nullable(Float64)", TEXT),
    Column("from_ms", f"Nullable({TIME})", TEXT),
    Column("until_ms", f"Nullable({TIME})", TEXT),
    Column("calibrated_ms", f"Nullable({TIME})", TEXT),
    Column("origin", WORD),
    Column("attrs", f"Map({WORD}, String)", TEXT, comment="the feed's static fields"),
    Column("registry", WORD, comment="the version that this entry completes"),
    Column("entry", "UInt64", CLOSE, comment="offset in the topic `devices`"),
    STORED_AT,
)

DEVICES = Table(
    name="devices",
    meaning="the device registry: who ought to speak; the newest entry of a device counts",
    columns=_DEVICE_COLUMNS,
    engine="ReplacingMergeTree(entry)",
    order_by=("feed", "city", "device"),
    settings=KEEPS,
)

DEVICES_HISTORY = Table(
    name="devices_history",
    meaning="every entry of every device: the registry of then, as a recount of a day needs it",
    columns=_DEVICE_COLUMNS,
    engine="ReplacingMergeTree",
    order_by=("feed", "city", "device", "entry", "registry"),
    settings=KEEPS,
)

TRUTH_LABELS = Table(
    name="truth_labels",
    meaning="what the simulator did: scenarios and faults",
    columns=(
        Column("topic_id", WORD),
        Column("entry", "UInt64", CLOSE, comment="offset in the topic `truth.labels`"),
        Column("kind", WORD),
        Column("id", "String", TEXT),
        Column("city", WORD),
        Column("feed", WORD),
        Column("device", "String", TEXT),
        Column("from_ms", f"Nullable({TIME})", TEXT),
        Column("until_ms", f"Nullable({TIME})", TEXT),
        Column("note", "String", TEXT),
        Column("data", "String", TEXT, comment="the whole label as JSON"),
        STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic_id", "entry"),
    ttl=ttl(PANE_DAYS),
    settings=KEEPS,
)

LOST = Table(
    name="lost",
    meaning="source ranges that the sink passed over, and records that it could not read",
    columns=(
        Column("topic", WORD, comment="role of the topic that it was missed in"),
        Column("topic_id", WORD, comment="id of the source topic"),
        Column("partition", "UInt16", SMALL),
        Column("after", "Int64", CLOSE),
        Column("offset", "Int64", CLOSE, comment="the range (after, offset] of the source"),
        Column("reason", WORD, comment="gap, retention_loss, unreadable"),
        Column("note", "String", TEXT),
        STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic", "topic_id", "partition", "after", "offset", "reason"),
    ttl=ttl(PANE_DAYS),
    settings=KEEPS,
)

BATCHES = Table(
    name="batches",
    meaning="the sink's journal: what it was about to insert, and what it has inserted",
    columns=(
        Column("topic_id", WORD, comment="id of the topic that was read"),
        Column("topic", WORD, comment="its role"),
        Column("cut", "UInt64", CLOSE, comment="number of the cut, from 1"),
        Column("ranges", "Array(Tuple(partition UInt32, `from` Int64, `to` Int64))", TEXT),
        Column("state_no", "UInt8", SMALL, comment="1 intent, 2 done, 3 epoch_change"),
        Column("state", WORD),
        Column("rows", "UInt64", SMALL),
        Column("applied", "Map(String, Int64)", TEXT, comment="marks before the cut (intent) or after it (done)"),
        Column("tables", f"Map({WORD}, UInt64)", TEXT, comment="rows by table"),
        Column("at", TIME, CLOSE, comment="wall clock"),
        STORED_AT,
    ),
    engine="ReplacingMergeTree(state_no)",
    order_by=("topic_id", "topic", "cut"),
    ttl=ttl(PANE_DAYS),
    settings={**KEEPS, "fsync_after_insert": 1, "fsync_part_directory": 1},
)

ACTS = Table(
    name="acts",
    meaning="what was done to stored rows by hand: recomputed, taken back, sent again, set aside",
    columns=(
        Column("act", "UInt64", CLOSE, comment="its number: the wall clock at its beginning, ms"),
        Column("part", "String", TEXT, comment="what of it: a day, a position in quarantine; empty for the whole"),
        Column("kind", WORD, comment="backfill, withdraw, redrive, discard, recount, import"),
        Column("state_no", "UInt8", SMALL, comment="1 begun, 2 done"),
        Column("state", WORD),
        Column("by", WORD, comment="the account that did it"),
        Column("why", "String", TEXT),
        Column("scope", "String", TEXT, comment="what was asked for, as JSON"),
        Column("rows", "Int64", SMALL, comment="rows concerned"),
        Column("tables", f"Map({WORD}, Int64)", TEXT, comment="rows written, by table"),
        Column("data", "String", TEXT, comment="what came of it, as JSON"),
        Column("at", TIME, CLOSE, comment="wall clock"),
        STORED_AT,
    ),
    engine="ReplacingMergeTree(state_no)",
    order_by=("act", "part"),
    settings=KEEPS,
)

FIXED_TABLES = (
    ROLLUPS, TICKS, INDICATORS, INDICATORS_HISTORY, ALERTS, QUARANTINE, FRAMES, DEVICES, DEVICES_HISTORY, TRUTH_LABELS,
    LOST, BATCHES, ACTS,
)  # fmt: skip
"""Tables that do not depend on the catalogue."""

FIXED_VIEWS = (
    View(
        "indicators_v",
        "the newest revision of each window, each once",
        "SELECT * EXCEPT (version, act, stored_at) FROM {db}.indicators FINAL",
    ),
    View(
        "rollups_v",
        "partials merged",
        "SELECT feed, city, pane_ms, pane_len_s, measure, dims, key, late,\n"
        "  sum(v_sum) AS v_sum, min(v_min) AS v_min, max(v_max) AS v_max, sum(n) AS n\n"
        "FROM {db}.rollups GROUP BY feed, city, pane_ms, pane_len_s, measure, dims, key, late",
    ),
    View("devices_v", "the newest entry of each device", "SELECT * EXCEPT (stored_at) FROM {db}.devices FINAL"),
)
