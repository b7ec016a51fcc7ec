"""Reading accepted frames: what `admit` let through, whether it sent the frame's own bytes on or wrote them anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pearlstream.catalogue.models import Feed
from pearlstream.frame.schema import accepted_schema


def read_accepted(feed: Feed, value: bytes) -> Any:
    """The readings of an accepted frame as a record batch of `accepted_schema(feed)`; zero bytes are 0 rows.

    A column that is not there is null; `run` and `qc` are 0 then, as only frames that needed neither were sent
    on as they were. The bytes are our own and are believed: `decode` is for those of strangers.
    """
    schema = accepted_schema(feed)
    if not value:
        return pa.RecordBatch.from_pylist([], schema)
    batch = pa.ipc.open_stream(value).read_next_batch()
    if batch.schema.equals(schema):
        return batch
    return pa.RecordBatch.from_arrays([_column(batch, field) for field in schema], schema=schema)


def _column(batch: Any, field: Any) -> Any:
    at = batch.schema.get_field_index(field.name)
    if at >= 0:
        return batch.column(at)
    if field.name in ("run", "qc"):
        return pa.array(np.zeros(batch.num_rows, np.uint32))
    return pa.nulls(batch.num_rows, field.type)
