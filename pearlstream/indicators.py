"""Indicator rows on the wire, and the fingerprint of what a run said."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from pearlstream.frame import encode_compact

INDICATORS_ARROW = pa.schema(
    [
        ("indicator", pa.string()),
        ("city", pa.string()),
        ("dims", pa.string()),
        ("window_start_ms", pa.int64()),
        ("window_end_ms", pa.int64()),
        ("value", pa.float64()),
        ("state", pa.string()),
        ("coverage", pa.float64()),
        ("n", pa.int64()),
        ("numerator", pa.int64()),
        ("denominator", pa.int64()),
        ("maturity", pa.string()),
        ("rev", pa.int32()),
        ("known_at_ms", pa.int64()),
        ("registry", pa.string()),
        ("sim", pa.bool_()),
    ]
)
"""An indicator row: see section 5 of the contract."""

ORDER = ("indicator", "city", "dims", "window_end_ms", "rev")
"""What tells settled and corrected rows apart."""


def encode_rows(rows: Sequence[tuple[Any, ...]]) -> bytes:
    """Indicator rows as an Arrow stream of `INDICATORS_ARROW`; equal rows give equal bytes."""
    columns = [
        pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), INDICATORS_ARROW, strict=True)
    ]
    return encode_compact(pa.RecordBatch.from_arrays(columns, schema=INDICATORS_ARROW))


def fingerprint(rows: pl.DataFrame) -> tuple[int, str]:
    """How many settled and corrected rows there are, and one SHA-256 over them, whatever order they come in.

    Two runs of one log have the same fingerprint: at any speed, in any batches, with any number of crashes.
    Provisional rows are for the eye and do not count. `rows` has the columns of `INDICATORS_ARROW`.
    """
    said = rows.filter(pl.col("maturity") != "provisional").select(INDICATORS_ARROW.names).sort(ORDER)
    return len(said), hashlib.sha256(orjson.dumps(said.rows())).hexdigest()
