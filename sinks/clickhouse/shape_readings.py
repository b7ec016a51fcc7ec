"""Accepted frames as rows of `readings_<feed>` and `frames`.

All frames of a feed in a cut become one table: columns are concatenated, then quantised once. The values were
quantised by `admit` already; doing it again changes nothing and gives the integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed
from pearlstream.errors import CatalogueError
from pearlstream.frame import read_accepted
from sinks.clickhouse import schema
from sinks.clickhouse.chain import Item
from sinks.clickhouse.shapes import Shaped, feed_of, number, source_columns, source_hash, unreadable

_UINT64_MAX = np.uint64((1 << 64) - 1)


def shape_accepted(catalogue: Catalogue, items: Sequence[Item]) -> Shaped:
    """One row per frame, and one per reading. Raises CatalogueError for a feed that this catalogue lacks."""
    shaped = Shaped()
    shaped.add(schema.FRAMES, [_frame(item) for item in items])
    by_feed: dict[str, tuple[list[Item], list[Any]]] = {}
    for item in items:
        if not item.record.value:
            continue
        feed = _feed(catalogue, item)
        try:
            batch = read_accepted(feed, item.record.value)
        except (pa.ArrowException, OSError, ValueError) as error:
            shaped.lost.append(unreadable(item, error))
            continue
        kept, batches = by_feed.setdefault(feed.id, ([], []))
        kept.append(item)
        batches.append(batch)
    for feed_id, (kept, batches) in by_feed.items():
        name = schema.readings_table_name(feed_id)
        shaped.tables[name] = _readings(catalogue.feeds[feed_id], kept, batches)
    return shaped


def _feed(catalogue: Catalogue, item: Item) -> Feed:
    version = item.facts.get("schema", "")
    feed = catalogue.feeds.get(feed_of(version))
    if feed is None or feed.schema != version:
        raise CatalogueError(
            f"accepted readings are of {version!r}, which the catalogue of this sink does not have",
            remedy="start the sink with the catalogue of the worker, after `pearlstream store migrate`",
        )
    return feed


def _frame(item: Item) -> Mapping[str, Any]:
    facts = item.facts
    try:
        bad = orjson.loads(facts.get("bad", "{}") or "{}")
    except orjson.JSONDecodeError:
        bad = {}
    return {
        **source_columns(item),
        "clock_ms": max(number(facts.get("clock")), 0),
        "feed": feed_of(facts.get("schema", "")),
        "schema_version": facts.get("schema", ""),
        "city": facts.get("city", ""),
        "gateway": facts.get("gateway", ""),
        **{name: number(facts.get(name)) for name in ("bytes", "rows", "accepted", "dup", "late")},
        "quarantined": {str(reason): int(rows) for reason, rows in bad.items()},
        "sim": facts.get("sim") == "1",
        "sent_ms": number(facts.get("sent-ms")),
    }


def _readings(feed: Feed, items: Sequence[Item], batches: Sequence[Any]) -> pa.Table:
    rows = pa.Table.from_batches(batches).combine_chunks()
    lengths = np.array([batch.num_rows for batch in batches])
    seq = rows["seq"]
    columns: dict[str, Any] = {
        "city": _repeated([item.facts.get("city", "") for item in items], lengths),
        "device": rows["device"],
        "ts": rows["ts"].cast(pa.timestamp("ms", "UTC")),
        "run": rows["run"],
        "seq": pc.fill_null(seq, 0) if seq.null_count else seq,
        "has_seq": pc.is_valid(seq),
        "qc": rows["qc"],
    }
    for name, spec in feed.fields.items():
        columns[name] = quantised(rows[name], spec.decimals) if spec.type == "float" else rows[name]
    sources = [source_columns(item) for item in items]
    clocks = np.array([max(number(item.facts.get("clock")), 0) for item in items], np.uint64)
    columns["src"] = np.repeat(np.array([source_hash(s["topic_id"]) for s in sources], np.uint64), lengths)
    columns["part"] = np.repeat(np.array([s["partition"] for s in sources], np.uint16), lengths)
    columns["off"] = np.repeat(np.array([s["offset"] for s in sources], np.uint64), lengths)
    columns["row"] = np.concatenate([np.arange(n, dtype=np.uint32) for n in lengths])
    columns["keep"] = np.repeat(_UINT64_MAX - clocks, lengths)
    return pa.table(columns)


def _repeated(words: Sequence[str], lengths: Any) -> Any:
    """One word per frame, as a dictionary column with one cell per reading."""
    known = {word: code for code, word in enumerate(dict.fromkeys(words))}
    codes = np.repeat(np.array([known[word] for word in words], np.int32), lengths)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(known), pa.string()))


def quantised(column: Any, decimals: int) -> Any:
    """A float column as integers on the grid of 10^-decimals, half upwards; null, NaN and infinity become null."""
    scaled = pc.floor(pc.add(pc.multiply(column, 10.0**decimals), 0.5))
    try:
        return scaled.cast(pa.int64())
    except pa.ArrowInvalid:
        finite = pc.fill_null(pc.less(pc.abs(scaled), 2.0**63), False)
        return pc.if_else(finite, scaled, pa.scalar(None, pa.float64())).cast(pa.int64())
