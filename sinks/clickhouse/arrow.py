"""Rows as Arrow streams in the types of our tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

from sinks.clickhouse.model import Column, Table

_PLAIN = {
    "String": pa.string(),
    "Bool": pa.bool_(),
    "Float64": pa.float64(),
    "DateTime64(3, 'UTC')": pa.timestamp("ms", "UTC"),
    "DateTime": pa.timestamp("s", "UTC"),
    **{f"{kind}{bits}": getattr(pa, f"{kind.lower()}{bits}")() for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)},
}
_WRAPPED = re.compile(r"(LowCardinality|Nullable|SimpleAggregateFunction|Array|Map|Tuple)\((.*)\)\Z", re.DOTALL)


@lru_cache(maxsize=1024)
def arrow_type(text: str) -> Any:
    """The Arrow type for a ClickHouse type of ours. Raises ValueError for one that we do not use."""
    plain = _PLAIN.get(text)
    if plain is not None:
        return plain
    found = _WRAPPED.match(text)
    if found is None:
        raise ValueError(f"no Arrow type for {text!r}")
    kind, inside = found[1], _split(found[2])
    if kind == "Array":
        return pa.list_(arrow_type(inside[0]))
    if kind == "Map":
        return pa.map_(arrow_type(inside[0]), arrow_type(inside[1]))
    if kind == "Tuple":
        fields = [part.split(" ", 1) for part in inside]
        return pa.struct([(name.strip("`"), arrow_type(type_)) for name, type_ in fields])
    return arrow_type(inside[-1])


def _split(text: str) -> list[str]:
    """The arguments of a type, at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Columns of a table as an Arrow schema."""
    return pa.schema([(column.name, pa.binary() if column.binary else arrow_type(column.type)) for column in columns])


def stream(table: pa.Table) -> bytes:
    """A table as an Arrow stream of one batch, so that the store makes one block of it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def rows_table(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows by column name as the written columns of a table; what a row leaves out is null (0 or empty there)."""
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(table.written))
