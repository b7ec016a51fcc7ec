"""The tables of readings, one per feed, and the views that show them in their units.

Scaled integers: a float field with d decimals is stored as round(x * 10^d), because that compresses three times
better than any codec for floats, and sums exactly.
"""

from __future__ import annotations

from pearlstream.catalogue.models import Feed, FieldSpec
from sinks.clickhouse.columns import CLOSE, KEEPS, RAW_DAYS, SMALL, STORED_AT, TEXT, TIME, WORD, ttl
from sinks.clickhouse.model import Column, Table, View

_FIELD_TYPES = {
    "float": ("Nullable(Int64)", SMALL),
    "int": ("Nullable(Int64)", SMALL),
    "bool": ("Nullable(Bool)", TEXT),
    "enum": ("LowCardinality(Nullable(String))", TEXT),
    "text": ("Nullable(String)", TEXT),
}

_IDENTITY = (
    Column("city", WORD),
    Column("device", "String", TEXT),
    Column("ts", TIME, CLOSE, comment="time of the device"),
    Column("run", "UInt32", SMALL, comment="how often the device's sequence began anew"),
    Column("seq", "UInt64", CLOSE, comment="0 if the device has none"),
    Column("has_seq", "Bool", TEXT),
    Column("qc", "UInt32", SMALL, comment="bits of quality flags"),
)
_ORIGIN = (
    Column("src", "UInt64", SMALL, comment="hash of the topic id of `readings`"),
    Column("part", "UInt16", SMALL, comment="partition of `readings`"),
    Column("off", "UInt64", CLOSE, comment="offset of the frame in `readings`"),
    Column("row", "UInt32", SMALL, comment="place among the accepted readings of its frame, from 0"),
    Column("keep", "UInt64", CLOSE, comment="2^64 - 1 - clock of arrival: of two rows with one key the first wins"),
    Column("withdrawn", "UInt64", SMALL, "0", "the act that took it back, else 0; `keep` is 2^64 - 1 then"),
    Column("arrived", "UInt64", SMALL, "0", "of a reading that was taken back, the `keep` it had before"),
    STORED_AT,
)
COMMON = tuple(column.name for column in (*_IDENTITY, *_ORIGIN))
"""Columns that every table of readings has; the others are fields."""


def readings_table_name(feed: str) -> str:
    """The table of a feed's readings: `readings_traffic_flow`."""
    return "readings_" + feed.replace(".", "_")


def _field(name: str, spec: FieldSpec) -> Column:
    type_, codec = _FIELD_TYPES[spec.type]
    return Column(name, type_, codec, comment=spec.unit, decimals=spec.decimals if spec.type == "float" else None)


def readings_table(feed: Feed) -> Table:
    """One wide table: identity, measured fields, and where each reading came from."""
    return Table(
        name=readings_table_name(feed.id),
        meaning=f"accepted readings of {feed.id}, each once; floats as scaled integers, see the view of this name + _v",
        columns=(
            *_IDENTITY,
            *(_field(name, spec) for name, spec in feed.fields.items()),
            *_ORIGIN,
        ),
        engine="ReplacingMergeTree(keep)",
        order_by=("city", "device", "ts", "run", "seq", "has_seq"),
        partition_by="toDate(ts)",
        ttl=ttl(RAW_DAYS),
        settings={**KEEPS, "ttl_only_drop_parts": 1},
    )


def readings_views(feed: Feed) -> tuple[View, View]:
    """The readings as they were measured, each once: floats divided back, `late` and `clock_ms` worked out. Those that
    were taken back stand in a view of their own, `withdrawn_<feed>`, and in no other.
    """
    name = readings_table_name(feed.id)
    kept = View(name + "_v", f"readings of {feed.id} in their units, each once", _readings_select(feed))
    taken = View(
        name.replace("readings_", "withdrawn_", 1),
        f"readings of {feed.id} that were taken back, and the act that did it",
        _readings_select(feed, taken_back=True),
    )
    return kept, taken


def _readings_select(feed: Feed, *, taken_back: bool = False) -> str:
    columns = ["city", "device", "ts", "run", "if(has_seq, seq, NULL) AS seq", "qc"]
    for name, spec in feed.fields.items():
        scaled = spec.type == "float"
        columns.append(f"`{name}` / {10**spec.decimals} AS `{name}`" if scaled else f"`{name}`")
    hold_ms = feed.hold_s * 1000
    clock = f"toInt64(18446744073709551615 - {'arrived' if taken_back else 'keep'})"
    pane_end = "intDiv(toUnixTimestamp64Milli(ts), 10000) * 10000 + 10000"
    columns += [f"{clock} AS clock_ms", f"toBool({pane_end} + {hold_ms} < {clock}) AS late", "part", "off", "stored_at"]
    columns += ["withdrawn AS act"] if taken_back else []
    return (
        f"SELECT {', '.join(columns)}\nFROM {{db}}.`{readings_table_name(feed.id)}` FINAL\n"
        f"WHERE withdrawn {'>' if taken_back else '='} 0\n"
        "SETTINGS do_not_merge_across_partitions_select_final = 1"
    )
