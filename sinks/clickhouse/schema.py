"""The schema: which tables there are, generated from the catalogue.

Scaled integers: a float field with d decimals is stored as round(x * 10^d), because that compresses three times
better than any codec for floats, and sums exactly. Retention counts from the day a row was stored, not from the
day it tells of: imported history and simulated pasts would otherwise be swept away as soon as they arrive.
"""

from __future__ import annotations

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed, FieldSpec
from sinks.clickhouse.catalogue_tables import CATALOGUE_TABLES, CITY_DICTIONARY
from sinks.clickhouse.model import Column, Schema, Table, View

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

_KEEPS = {"non_replicated_deduplication_window": 10_000}
_STORED_AT = Column("stored_at", "DateTime", CLOSE, "now()", "when the row was stored; retention counts from here")
_FIELD_TYPES = {
    "float": ("Nullable(Int64)", SMALL),
    "int": ("Nullable(Int64)", SMALL),
    "bool": ("Nullable(Bool)", TEXT),
    "enum": ("LowCardinality(Nullable(String))", TEXT),
    "text": ("Nullable(String)", TEXT),
}


def readings_table_name(feed: str) -> str:
    """The table of a feed's readings: `readings_traffic_flow`."""
    return "readings_" + feed.replace(".", "_")


def build_schema(catalogue: Catalogue) -> Schema:
    """Every table, view and dictionary for a catalogue."""
    feeds = list(catalogue.feeds.values())
    tables = (*(_readings(feed) for feed in feeds), *FIXED_TABLES, *CATALOGUE_TABLES)
    views = (*(_readings_view(feed) for feed in feeds), *FIXED_VIEWS)
    return Schema(tables, views, (CITY_DICTIONARY,))


def _ttl(days: int) -> str:
    return f"stored_at + INTERVAL {days} DAY"


def _field(name: str, spec: FieldSpec) -> Column:
    type_, codec = _FIELD_TYPES[spec.type]
    return Column(name, type_, codec, comment=spec.unit, decimals=spec.decimals if spec.type == "float" else None)


def _readings(feed: Feed) -> Table:
    """One wide table: identity, measured fields, and where each reading came from."""
    return Table(
        name=readings_table_name(feed.id),
        meaning=f"accepted readings of {feed.id}, each once; floats as scaled integers, see the view of this name + _v",
        columns=(
            Column("city", WORD),
            Column("device", "String", TEXT),
            Column("ts", TIME, CLOSE, comment="time of the device"),
            Column("run", "UInt32", SMALL, comment="how often the device's sequence began anew"),
            Column("seq", "UInt64", CLOSE, comment="0 if the device has none"),
            Column("has_seq", "Bool", TEXT),
            Column("qc", "UInt32", SMALL, comment="bits of quality flags"),
            *(_field(name, spec) for name, spec in feed.fields.items()),
            Column("src", "UInt64", SMALL, comment="hash of the topic id of `readings`"),
            Column("part", "UInt16", SMALL, comment="partition of `readings`"),
            Column("off", "UInt64", CLOSE, comment="offset of the frame in `readings`"),
            Column(
                "keep", "UInt64", CLOSE, comment="2^64 - 1 - clock of arrival: of two rows with one key the first wins"
            ),
            _STORED_AT,
        ),
        engine="ReplacingMergeTree(keep)",
        order_by=("city", "device", "ts", "run", "seq", "has_seq"),
        partition_by="toDate(ts)",
        ttl=_ttl(RAW_DAYS),
        settings={**_KEEPS, "ttl_only_drop_parts": 1},
    )


def _readings_view(feed: Feed) -> View:
    """The readings as they were measured, each once: floats divided back, `late` and `clock_ms` worked out."""
    columns = ["city", "device", "ts", "run", "if(has_seq, seq, NULL) AS seq", "qc"]
    for name, spec in feed.fields.items():
        scaled = spec.type == "float"
        columns.append(f"`{name}` / {10**spec.decimals} AS `{name}`" if scaled else f"`{name}`")
    hold_ms = feed.hold_s * 1000
    clock = "toInt64(18446744073709551615 - keep)"
    pane_end = "intDiv(toUnixTimestamp64Milli(ts), 10000) * 10000 + 10000"
    columns += [f"{clock} AS clock_ms", f"toBool({pane_end} + {hold_ms} < {clock}) AS late", "part", "off", "stored_at"]
    select = (
        f"SELECT {', '.join(columns)}\nFROM {{db}}.`{readings_table_name(feed.id)}` FINAL\n"
        "SETTINGS do_not_merge_across_partitions_select_final = 1"
    )
    return View(readings_table_name(feed.id) + "_v", f"readings of {feed.id} in their units, each once", select)


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
    ttl=_ttl(PANE_DAYS),
    settings={**_KEEPS, "ttl_only_drop_parts": 1},
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
        _STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic_id", "partition", "offset"),
    ttl=_ttl(PANE_DAYS),
    settings=_KEEPS,
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
    _STORED_AT,
)

INDICATORS = Table(
    name="indicators",
    meaning="the newest revision of each window",
    columns=_INDICATOR_COLUMNS,
    engine="ReplacingMergeTree(version)",
    order_by=("indicator", "city", "dims", "window_end_ms"),
    partition_by="toYYYYMM(window_end_ms)",
    ttl=_ttl(PANE_DAYS),
    settings=_KEEPS,
)

INDICATORS_HISTORY = Table(
    name="indicators_history",
    meaning="every revision of each window, provisional ones included: what was known when",
    columns=_INDICATOR_COLUMNS,
    engine="MergeTree",
    order_by=("indicator", "city", "dims", "window_end_ms", "version"),
    partition_by="toYYYYMM(window_end_ms)",
    ttl=_ttl(PANE_DAYS),
    settings=_KEEPS,
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
        _STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("alert_id", "transition_no"),
    ttl=_ttl(PANE_DAYS),
    settings=_KEEPS,
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
        Column("payload", "String", TEXT, comment="its head, up to 64 kB", binary=True),
        Column("length", "UInt64", SMALL, comment="bytes in full"),
        Column("sha256", "String", TEXT),
        _STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic_id", "partition", "offset", "item"),
    ttl=_ttl(RAW_DAYS),
    settings=_KEEPS,
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
        _STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic_id", "partition", "offset"),
    ttl=_ttl(PANE_DAYS),
    settings=_KEEPS,
)

DEVICES = Table(
    name="devices",
    meaning="the device registry: who ought to speak; the newest entry of a device counts",
    columns=(
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
        _STORED_AT,
    ),
    engine="ReplacingMergeTree(entry)",
    order_by=("feed", "city", "device"),
    settings=_KEEPS,
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
        _STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic_id", "entry"),
    ttl=_ttl(PANE_DAYS),
    settings=_KEEPS,
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
        _STORED_AT,
    ),
    engine="ReplacingMergeTree",
    order_by=("topic", "topic_id", "partition", "after", "offset", "reason"),
    ttl=_ttl(PANE_DAYS),
    settings=_KEEPS,
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
        _STORED_AT,
    ),
    engine="ReplacingMergeTree(state_no)",
    order_by=("topic_id", "topic", "cut"),
    ttl=_ttl(PANE_DAYS),
    settings={**_KEEPS, "fsync_after_insert": 1, "fsync_part_directory": 1},
)

FIXED_TABLES = (
    ROLLUPS, TICKS, INDICATORS, INDICATORS_HISTORY, ALERTS, QUARANTINE, FRAMES, DEVICES, TRUTH_LABELS, LOST, BATCHES,
)  # fmt: skip
"""Tables that do not depend on the catalogue."""

FIXED_VIEWS = (
    View(
        "indicators_v",
        "the newest revision of each window, each once",
        "SELECT * EXCEPT (version, stored_at) FROM {db}.indicators FINAL",
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
