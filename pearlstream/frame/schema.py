"""The columns of a feed: what a frame holds, in which order and with which Arrow types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from pearlstream.catalogue.models import Feed

INT64_MIN, INT64_MAX, UINT64_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1

_TYPES: Mapping[str, Any] = {
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "enum": pa.string(),
    "text": pa.string(),
    "id": pa.string(),
    "boot": pa.string(),
}


class Column(NamedTuple):
    """One column of a frame.

    `kind`: float, int, bool, enum or text as the field declares, or `id` (device) or `boot`. `least`, `most`:
    what an integer column can hold. `values`: the words of an enum.
    """

    name: str
    kind: str
    type: Any
    required: bool
    least: int = INT64_MIN
    most: int = INT64_MAX
    values: frozenset[str] = frozenset()

    @property
    def wanted(self) -> str:
        """What a cell should be, for a message."""
        return {
            "float": "a number",
            "int": f"an integer from {self.least} to {self.most}",
            "bool": "true or false",
            "enum": f"one of {', '.join(sorted(self.values)[:12])}",
            "text": "a text",
        }.get(self.kind, "an id")


SAID = ("feed", "city")
"""Columns that speak of the frame, not of its readings: they must agree with its envelope."""
BOOT = Column("boot", "boot", pa.string(), required=False)


@dataclass(frozen=True, eq=False)
class Layout:
    """A feed with everything that decoding it needs, worked out once. `plans` is the decoder's own memory."""

    feed: Feed
    columns: tuple[Column, ...]
    schema: Any
    accepted: Any
    """The schema of an accepted frame."""
    by_name: Mapping[str, Column]
    plans: dict[bytes, Any] = field(default_factory=dict)

    @property
    def known(self) -> str:
        """The names of all columns, for a remedy."""
        return ", ".join(self.by_name)


_layouts: dict[int, Layout] = {}


def layout_of(feed: Feed) -> Layout:
    """The layout of a feed, from memory if it was asked for before."""
    layout = _layouts.get(id(feed))
    if layout is None or layout.feed is not feed:  # ids are used again once their object is gone
        if len(_layouts) > 4096:
            _layouts.clear()
        layout = _layouts[id(feed)] = _make_layout(feed)
    return layout


def _make_layout(feed: Feed) -> Layout:
    columns = [Column("device", "id", pa.string(), required=True), Column("ts", "int", pa.int64(), required=True)]
    columns.append(Column("seq", "int", pa.uint64(), required=feed.seq == "required", least=0, most=UINT64_MAX))
    for name, spec in feed.fields.items():
        columns.append(Column(name, spec.type, _TYPES[spec.type], spec.required, values=frozenset(spec.values)))
    schema = pa.schema([(column.name, column.type) for column in columns])
    accepted = schema.append(pa.field("run", pa.uint32())).append(pa.field("qc", pa.uint32()))
    return Layout(feed, tuple(columns), schema, accepted, {column.name: column for column in (*columns, BOOT)})


def canonical_schema(feed: Feed) -> pa.Schema:
    """The columns of a decoded frame: device, ts (ms since 1970 UTC), seq, then the measured fields as declared."""
    return layout_of(feed).schema


def with_boot(schema: pa.Schema) -> pa.Schema:
    """A schema with the optional last column `boot`."""
    return schema.append(pa.field("boot", pa.string()))


def accepted_schema(feed: Feed) -> pa.Schema:
    """The columns of an accepted frame: the canonical ones, then `run` and `qc` (bits of `Quality`)."""
    return layout_of(feed).accepted
