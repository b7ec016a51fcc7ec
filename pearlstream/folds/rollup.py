"""Rolls accepted readings up into partials: one group of them per tick.

Not a stage of its own: `admit` hands over the readings that it has accepted, with the number of the *cut*
they belong to, and gets back the partials of each cut that is complete. Readings of the open cut wait here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from pearlstream.aggregate import aggregate_feeds
from pearlstream.frame import encode_compact
from pearlstream.measures import MeasureSpec
from pearlstream.partials import PARTIAL
from pearlstream.program import Program

CUT = "cut"
"""Column that holds the number of the cut."""

PARTIAL_ARROW = pa.schema(
    [
        ("feed", pa.string()),
        ("city", pa.string()),
        ("dims", pa.string()),
        ("pane_ms", pa.int64()),
        ("pane_len_s", pa.int64()),
        ("measure", pa.string()),
        ("key", pa.int64()),
        ("value", pa.int64()),
        ("n", pa.int64()),
        ("late", pa.bool_()),
    ]
)
"""A partial on the wire."""


@dataclass
class Open:
    """Accepted readings of the cut that is still open, by feed, and how many they are."""

    frames: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    rows: int = 0


class Closed(NamedTuple):
    """The partials of a complete cut, and those among them that the stage `cluster` needs, as Arrow streams of
    `PARTIAL_ARROW`; empty bytes where there are none."""

    rollup: bytes = b""
    crossing: bytes = b""


def close_cuts(
    program: Program, waiting: Open, fresh: Mapping[str, pl.DataFrame], closed: int
) -> tuple[Open, list[Closed]]:
    """Partials of the cuts 0..`closed`-1; what belongs to cut `closed` waits on.

    `fresh` holds the accepted readings of the batch by feed with the column `cut`; what waited belongs to
    cut 0.
    """
    kept: dict[str, list[pl.DataFrame]] = {}
    parts: list[tuple[pl.DataFrame, Sequence[MeasureSpec]]] = []
    for feed, measured in program.feeds.items():
        pieces = [piece.with_columns(pl.lit(0, dtype=pl.Int64).alias(CUT)) for piece in waiting.frames.get(feed, [])]
        if feed in fresh:
            pieces.append(fresh[feed])
        if not pieces:
            continue
        if closed == 0:
            kept[feed] = pieces
            continue
        rows = pl.concat(pieces) if len(pieces) > 1 else pieces[0]
        last = rows[CUT].max()
        done = rows if isinstance(last, int) and last < closed else rows.filter(pl.col(CUT) < closed)
        if len(done) < len(rows):
            kept[feed] = [rows.filter(pl.col(CUT) >= closed)]
        if len(done):
            parts.append((done, measured.specs))
    rollups, crossings = [b""] * closed, [b""] * closed
    if parts:
        crosses = sorted({measure for _, measure in program.crossings})
        partials = aggregate_feeds(parts, (CUT,))
        _encode_cuts(partials, rollups)
        _encode_cuts(partials.filter(pl.col("measure").is_in(crosses)), crossings)
    waits = Open(kept, sum(len(piece) for pieces in kept.values() for piece in pieces))
    return waits, [Closed(*values) for values in zip(rollups, crossings, strict=True)]


def _encode_cuts(partials: pl.DataFrame, values: list[bytes]) -> None:
    """Put the partials of each cut, which lie together, into the place of that cut."""
    batch = _partials_batch(partials)
    cuts = partials[CUT].to_numpy()
    starts = np.flatnonzero(np.r_[True, cuts[1:] != cuts[:-1]]) if len(cuts) else np.empty(0, np.int64)
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(cuts)], strict=False):
        values[int(cuts[start])] = encode_compact(batch.take(pa.array(range(start, stop))))


def encode_partials(partials: pl.DataFrame) -> bytes:
    """Partials as an Arrow stream; equal rows give equal bytes."""
    return encode_compact(_partials_batch(partials))


def _partials_batch(partials: pl.DataFrame) -> pa.RecordBatch:
    """Partials as Arrow columns; where there is no key its bytes are zero."""

    def column(name: str) -> Any:
        series, kind = partials[name], PARTIAL_ARROW.field(name).type
        if name == "key":
            return pa.array(series.fill_null(0).to_numpy(), kind, mask=series.is_null().to_numpy())
        return pa.array(series.to_list() if series.dtype == pl.String else series.to_numpy(), kind)

    return pa.RecordBatch.from_arrays([column(name) for name in PARTIAL], schema=PARTIAL_ARROW)


def decode_partials(value: bytes) -> pa.Table | None:
    """Inverse of `encode_partials`; None for the empty value of a cut without readings."""
    if not value:
        return None
    return pa.ipc.open_stream(value).read_all()


def time_columns(
    names: frozenset[str], ts: np.ndarray, clock: np.ndarray, offset_ms: np.ndarray
) -> dict[str, pl.Series]:
    """The derived columns of time that terms may name, for those that are named."""
    made: dict[str, pl.Series] = {}
    if "hour" in names:
        made["hour"] = pl.Series((ts + offset_ms) // 3_600_000 % 24)
    if "dow" in names:
        made["dow"] = pl.Series(((ts + offset_ms) // 86_400_000 + 3) % 7 + 1)
    if "delay_ms" in names:
        made["delay_ms"] = pl.Series(clock - ts).set(pl.Series(clock < 0), None)
    return made


def code_column(words: Sequence[str], column: pl.Series) -> pl.Series:
    """An enumeration as the place of each word in its declaration; null where there is none."""
    return column.replace_strict(list(words), list(range(len(words))), default=None, return_dtype=pl.Int64)
