"""Shapes: what a cut of each topic becomes as rows of our tables. Pure; whole columns at a time, never row by row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
import pyarrow as pa

from pearlstream.catalogue import Catalogue
from pearlstream.errors import FrameError, PearlstreamError
from pearlstream.registry import decode_devices
from sinks.clickhouse import schema
from sinks.clickhouse.arrow import rows_table
from sinks.clickhouse.chain import Item, Lost
from sinks.clickhouse.model import Table


@dataclass
class Shaped:
    """Rows by table, and records that could not be read."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)

    def add(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of a small table."""
        if rows:
            self.tables[table.name] = rows_table(table, rows)


def source_columns(item: Item) -> dict[str, Any]:
    """Where an output came from, as every table with a position has it."""
    position = item.position
    assert position is not None
    return {
        "topic_id": position.source.topic_id,
        "partition": position.source.partition,
        "after": position.after,
        "offset": position.upto,
    }


def number(text: str | None, default: int = 0) -> int:
    """A header that should be a whole number; `default` if it is not there or is none."""
    try:
        return int(text) if text else default
    except ValueError:
        return default


def feed_of(schema_version: str) -> str:
    """The feed in `traffic.flow@1`."""
    return schema_version.partition("@")[0]


@lru_cache(maxsize=4096)
def source_hash(topic_id: str) -> int:
    """A topic id as 64 bits, as readings carry it."""
    return int.from_bytes(hashlib.blake2b(topic_id.encode(), digest_size=8).digest(), "big")


def unreadable(item: Item, error: Exception) -> Lost:
    """A record of ours whose value cannot be read: named, and passed over."""
    position = item.position
    note = f"{item.role}/{item.partition}/{item.record.offset}: {error}"[:500]
    if position is None:
        return Lost(item.role, "", item.partition, item.record.offset - 1, item.record.offset, "unreadable", note)
    source = position.source
    return Lost(item.role, source.topic_id, source.partition, position.after, position.upto, "unreadable", note)


def shape_all_that_can(shape: Callable[[Sequence[Item]], Shaped], items: Sequence[Item]) -> Shaped:
    """The rows of all items; if that fails, of those that can be shaped, and the others are named.

    A record of ours that makes us stumble must not stop the stream for ever. Our own errors go through: they
    speak of the sink as a whole.
    """
    try:
        return shape(items)
    except PearlstreamError:
        raise
    except Exception:
        good, lost = [], []
        for item in items:
            try:
                shape([item])
                good.append(item)
            except Exception as error:
                lost.append(unreadable(item, error))
        shaped = shape(good)
        shaped.lost += lost
        return shaped


# ---------------------------------------------------------------- small topics


def shape_quarantine(catalogue: Catalogue, items: Sequence[Item]) -> Shaped:
    """One row per finding."""
    del catalogue
    rows = []
    for item in items:
        facts, value = item.facts, item.record.value or b""
        where = facts.get("rows", "whole")
        rows.append(
            {
                **source_columns(item),
                "item": item.part,
                "items": item.parts,
                "reason": facts.get("reason", ""),
                "message": facts.get("message", ""),
                "whole": where == "whole",
                "rows": [int(row) for row in where.split(",") if row.isdigit()],
                "feed": feed_of(facts.get("schema", "")),
                "schema_version": facts.get("schema", ""),
                "city": facts.get("city", ""),
                "gateway": facts.get("gateway", ""),
                "clock_ms": max(number(facts.get("clock")), 0),
                "key": (item.record.key or b"").decode("utf-8", "replace"),
                "headers": _headers(facts.get("headers", "")),
                "payload": value,
                "length": number(facts.get("length"), len(value)),
                "sha256": facts.get("sha256") or hashlib.sha256(value).hexdigest(),
            }
        )
    shaped = Shaped()
    shaped.add(schema.QUARANTINE, rows)
    return shaped


def _headers(text: str) -> dict[str, str]:
    """What stood on the outside of the record that was set aside; nothing if it was not kept."""
    try:
        return {str(name): str(value) for name, value in orjson.loads(text).items()} if text else {}
    except (orjson.JSONDecodeError, AttributeError):
        return {}


def shape_devices(catalogue: Catalogue, items: Sequence[Item]) -> Shaped:
    """One row per device of each entry of the registry, into the history too."""
    shaped, rows = Shaped(), []
    for item in items:
        try:
            key, devices = decode_devices(item.record.value or b"", catalogue.feeds)
        except FrameError as error:
            shaped.lost.append(unreadable(item, error))
            continue
        static = list(catalogue.feeds[key.feed].static)
        for device in devices.to_dicts():
            attrs = {name: _text(device.pop(name)) for name in static}
            kept = {name: value for name, value in device.items() if value is not None}
            rows.append(
                {
                    "feed": key.feed,
                    "city": key.city,
                    **dict.fromkeys(("zone", "site", "origin"), ""),
                    **kept,
                    "attrs": {name: value for name, value in attrs.items() if value is not None},
                    "registry": item.facts.get("registry", ""),
                    "entry": item.record.offset,
                }
            )
    shaped.add(schema.DEVICES, rows)
    shaped.add(schema.DEVICES_HISTORY, rows)
    return shaped


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def shape_truth(catalogue: Catalogue, items: Sequence[Item], topic_id: str = "") -> Shaped:
    """One row per label."""
    del catalogue
    shaped, rows = Shaped(), []
    for item in items:
        try:
            label = orjson.loads(item.record.value or b"")
            row = {name: str(label.get(name) or "") for name in ("kind", "id", "city", "feed", "device", "note")}
            times = {name: _time(label.get(name)) for name in ("from_ms", "until_ms")}
        except (ValueError, AttributeError, TypeError) as error:
            shaped.lost.append(unreadable(item, error))
            continue
        data = orjson.dumps(label).decode()
        rows.append({"topic_id": topic_id, "entry": item.record.offset, **row, **times, "data": data})
    shaped.add(schema.TRUTH_LABELS, rows)
    return shaped


def _time(value: Any) -> int | None:
    return None if value is None else int(value)


def shape_alerts(catalogue: Catalogue, items: Sequence[Item]) -> Shaped:
    """One row per transition; what a transition says beyond the columns stays in `data`."""
    del catalogue
    shaped, rows = Shaped(), []
    for item in items:
        value = item.record.value or b""
        try:
            said = orjson.loads(value)
            row: dict[str, Any] = {
                name: str(said.get(name) or "") for name in ("transition", "indicator", "city", "dims", "severity")
            }
            level = said.get("value")
            row |= {
                "transition_no": int(said.get("transition_no", 0)),
                "value": None if level is None else float(level),
            }
            row |= {"window_end_ms": int(said.get("window_end_ms", 0))}
        except (ValueError, AttributeError, TypeError) as error:
            shaped.lost.append(unreadable(item, error))
            continue
        rows.append(
            {
                "alert_id": (item.record.key or b"").decode("utf-8", "replace"),
                **row,
                "clock_ms": max(number(item.facts.get("clock")), 0),
                "data": value.decode("utf-8", "replace"),
                **source_columns(item),
            }
        )
    shaped.add(schema.ALERTS, rows)
    return shaped


Shape = Callable[[Catalogue, Sequence[Item]], Shaped]
"""From the applied items of a cut to rows."""
