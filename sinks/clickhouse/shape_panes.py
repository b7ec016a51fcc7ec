"""Rollup and indicator records as rows of `rollups`, `ticks`, `indicators` and its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pearlstream.catalogue import Catalogue
from sinks.clickhouse import schema
from sinks.clickhouse.arrow import arrow_schema
from sinks.clickhouse.chain import Item
from sinks.clickhouse.shapes import Shaped, number, source_columns, unreadable

_PLACE = ["feed", "city", "pane_ms", "pane_len_s", "measure", "dims", "key", "late"]
REV_SHIFT = 1 << 48
"""Milliseconds stay below this for ten thousand years, so rev and time fit into one number."""


def _read(item: Item) -> Any:
    return pa.ipc.open_stream(item.record.value).read_all()


def shape_rollups(catalogue: Catalogue, items: Sequence[Item]) -> Shaped:
    """Partials merged as far as the cut goes, and one row per record for the ledger."""
    shaped, parts, counted = Shaped(), [], []
    for item in items:
        rows: dict[str, int] = {}
        if item.record.value:
            try:
                partials = pl.DataFrame(_read(item))
                rows = _rows_by_feed(partials)
            except (pa.ArrowException, OSError, ValueError, pl.exceptions.PolarsError) as error:
                shaped.lost.append(unreadable(item, error))
                continue
            parts.append(partials)
        counted.append((item, rows))
    shaped.add(schema.TICKS, [_tick(item, rows) for item, rows in counted])
    if parts:
        shaped.tables[schema.ROLLUPS.name] = merged_rows(catalogue, pl.concat(parts))
    return shaped


def _rows_by_feed(partials: pl.DataFrame) -> dict[str, int]:
    counts = partials.filter(pl.col("measure") == pl.col("feed") + ".rows").group_by("feed").agg(pl.col("n").sum())
    return dict(counts.iter_rows())


def _tick(item: Item, rows: Mapping[str, int]) -> Mapping[str, Any]:
    facts = item.facts
    return {
        **source_columns(item),
        "clock_ms": max(number(facts.get("clock")), 0),
        "registry": facts.get("registry", ""),
        "sim": facts.get("sim") == "1",
        "rows": dict(sorted(rows.items())),
    }


_known_kinds: dict[str, Mapping[str, str]] = {}


def _kinds(catalogue: Catalogue) -> Mapping[str, str]:
    """How each measure merges, by its name in partials; `<feed>.rows` is a sum, as is what is not listed."""
    kinds = _known_kinds.get(catalogue.sha)
    if kinds is None:
        _known_kinds.clear()
        kinds = _known_kinds[catalogue.sha] = {
            f"{one.id}.{name}": measure.kind
            for one in catalogue.indicators.values()
            for name, measure in one.measures.items()
        }
    return kinds


def merged_rows(catalogue: Catalogue, partials: pl.DataFrame) -> pa.Table:
    """Rows of `rollups`: one per place, pane, measure and key. Only the column of the measure's kind is filled."""
    kinds = _kinds(catalogue)
    low = [name for name, kind in kinds.items() if kind == "min"]
    high = [name for name, kind in kinds.items() if kind == "max"]
    value, measure = pl.col("value"), pl.col("measure")
    merged = (
        partials.with_columns(pl.col("key").fill_null(0))
        .group_by(_PLACE)
        .agg(value.sum().alias("v_sum"), value.min().alias("v_min"), value.max().alias("v_max"), pl.col("n").sum())
        .sort(_PLACE)
        .with_columns(
            pl.when(measure.is_in(low + high)).then(0).otherwise(pl.col("v_sum")).alias("v_sum"),
            pl.when(measure.is_in(low)).then(pl.col("v_min")).otherwise(0).alias("v_min"),
            pl.when(measure.is_in(high)).then(pl.col("v_max")).otherwise(0).alias("v_max"),
        )
    )
    return _cast(merged.to_arrow(), _rollup_columns())


@lru_cache(maxsize=1)
def _rollup_columns() -> Any:
    return arrow_schema(schema.ROLLUPS.written)


@lru_cache(maxsize=1)
def _indicator_columns() -> Any:
    return arrow_schema(schema.INDICATORS.written)


def _cast(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    return pa.table([table[field.name].cast(field.type) for field in wanted], schema=wanted)


def shape_indicators(catalogue: Catalogue, items: Sequence[Item]) -> Shaped:
    """Every row into the history, and into the table that keeps the newest revision."""
    del catalogue
    shaped, parts = Shaped(), []
    for item in items:
        if not item.record.value:
            continue
        try:
            table = _read(item)
            version = item.facts.get("catalogue", "")
            parts.append(table.append_column("catalogue", pa.repeat(pa.scalar(version), table.num_rows)))
        except (pa.ArrowException, OSError, ValueError) as error:
            shaped.lost.append(unreadable(item, error))
    if parts:
        table = pa.concat_tables(parts).combine_chunks()
        rev = pc.add(table["rev"].cast(pa.int64()), 1)
        version = pc.add(pc.multiply(rev, REV_SHIFT), table["known_at_ms"]).cast(pa.uint64())
        rows = _cast(table.append_column("version", version), _indicator_columns())
        shaped.tables[schema.INDICATORS.name] = rows
        shaped.tables[schema.INDICATORS_HISTORY.name] = rows
    return shaped
