"""Partials: the mergeable rows that measures leave behind, their dimensions as text, and how they merge.

Partials of the same place, pane and measure merge by the measure's kind: sums and maps add, minima and maxima
keep the extreme, row counts add. Merging is associative and commutative, so that any split of the rows, in any
order, ends in the same partials.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import polars as pl

from pearlstream.errors import CatalogueError

PARTIAL = pl.Schema(
    {
        "feed": pl.String,
        "city": pl.String,
        "dims": pl.String,
        "pane_ms": pl.Int64,
        "pane_len_s": pl.Int64,
        "measure": pl.String,
        "key": pl.Int64,
        "value": pl.Int64,
        "n": pl.Int64,
        "late": pl.Boolean,
    }
)
"""Columns of a partial. `value` is on the measure's grid, `key` is null unless the measure is a map, `n` counts
the rows behind it (never 0)."""
IDENTITY = ("feed", "city", "dims", "pane_ms", "pane_len_s", "measure", "key", "late")
"""Columns that tell partials apart; those that agree on them merge into one."""
ESCAPES = (("%", "%25"), (",", "%2C"), ("=", "%3D"))
"""What is percent-encoded in the value of a dimension, in this order."""


class MeasureKind(StrEnum):
    """How values merge: SUM adds, MIN and MAX keep the extreme, MAP adds per integer key."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"
    MAP = "map"


def dims_texts(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Canonical text `k=v,k=v`, sorted by k, of each row of dimensions in columns of text."""
    pairs = []
    for name, values in sorted(columns.items()):
        escaped = {value: f"{name}={_escaped(value)}" for value in set(values)}
        pairs.append([escaped[value] for value in values])
    return [",".join(row) for row in zip(*pairs, strict=True)]


def _escaped(value: str) -> str:
    for raw, code in ESCAPES:
        value = value.replace(raw, code)
    return value


def parse_dims(dims: str) -> dict[str, str]:
    """The dimensions of a partial as a mapping: the inverse of the canonical text."""
    values = dict(pair.split("=", 1) for pair in dims.split(",")) if dims else {}
    for raw, code in reversed(ESCAPES):
        values = {name: value.replace(code, raw) for name, value in values.items()}
    return values


def merge(
    partials: pl.DataFrame | Iterable[pl.DataFrame],
    kinds: Mapping[str, MeasureKind],
    by: Sequence[str] = IDENTITY,
) -> pl.DataFrame:
    """Partials with those of one identity made one, sorted by `by`.

    `by` names the columns that stay, in the order of sorting: without `pane_ms`, say, the panes of a window merge.
    `kinds` says how each measure merges; a missing one raises CatalogueError, since adding up minima would be
    nonsense that nobody notices.
    """
    frame = partials if isinstance(partials, pl.DataFrame) else pl.concat([PARTIAL.to_frame(), *partials])
    missing = set(frame["measure"].unique()) - set(kinds)
    if missing:
        raise CatalogueError(f"no kind is known for measure {min(missing)!r}", remedy="pass the catalogue's kinds")
    low = [name for name, kind in kinds.items() if kind is MeasureKind.MIN]
    high = [name for name, kind in kinds.items() if kind is MeasureKind.MAX]
    groups = list(dict.fromkeys([*by, "measure"]))
    value, name = pl.col("value"), pl.col("measure")
    merged = frame.group_by(groups).agg(
        value.sum(), value.min().alias("low"), value.max().alias("high"), pl.col("n").sum()
    )
    chosen = pl.when(name.is_in(low)).then(pl.col("low")).when(name.is_in(high)).then(pl.col("high")).otherwise(value)
    return merged.select(*groups, chosen.alias("value"), "n").sort(groups).select(_ordered(groups))


def _ordered(groups: Sequence[str]) -> list[str]:
    """Columns in the order of a partial, columns of the caller's own first."""
    known = [column for column in PARTIAL if column in groups or column in ("value", "n")]
    return [column for column in groups if column not in PARTIAL] + known
