"""Writing frames: columns of readings as Arrow, JSON or SenML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pearlstream.catalogue.models import Feed
from pearlstream.frame.schema import layout_of, with_boot

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The last eight bytes of an Arrow stream."""

COMPRESS_ABOVE_BYTES = 256 << 10
"""Records of our own topics above this size are compressed."""

Columns = Mapping[str, Any]
"""Columns by name: NumPy arrays (masked where something is missing), lists (None), or Arrow arrays."""

_preambles: dict[pa.Schema, bytes] = {}


def encode_batch(batch: pa.RecordBatch) -> bytes:
    """A record batch as an Arrow stream of one batch, uncompressed: Kafka compresses, and `decode` refuses it here."""
    schema = batch.schema
    preamble = _preambles.get(schema)
    if preamble is None:
        if len(_preambles) > 4096:
            _preambles.clear()
        preamble = _preambles[schema] = schema.serialize().to_pybytes()
    return b"".join((preamble, batch.serialize(), END_OF_STREAM))


def encode_compact(batch: pa.RecordBatch) -> bytes:
    """A record batch for our own topics as an Arrow stream, compressed if it is large.

    A message has a limit, and a small hostile frame can unfold into a large one; what stands in columns and
    repeats itself folds up again. Strangers' frames must not be compressed, ours may.
    """
    value = encode_batch(batch)
    if len(value) <= COMPRESS_ABOVE_BYTES:
        return value
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def encode_arrow(feed: Feed, columns: Columns) -> bytes:
    """A frame as an Arrow stream. Columns that are not given are null; NaN stays NaN, so mask what is missing.

    Raises ValueError on a column that the feed does not have, on unequal lengths and on values that do not fit.
    """
    layout = layout_of(feed)
    rows, arrays, used = len(columns["device"]), [], 0
    for column in layout.columns:
        values = columns.get(column.name)
        if values is None:
            used += column.name in columns
            arrays.append(pa.nulls(rows, column.type))
            continue
        used += 1
        if not isinstance(values, pa.Array) or values.type != column.type:
            values = pa.array(values, type=column.type)
        arrays.append(values)
    schema = layout.schema
    if columns.get("boot") is not None:
        schema = with_boot(schema)
        arrays.append(pa.array(columns["boot"], type=pa.string()))
    if used + ("boot" in columns) != len(columns):
        raise ValueError(f"{feed.id} has no column {sorted(set(columns) - set(layout.by_name))}")
    return encode_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def encode_json_columns(feed: Feed, city: str, columns: Columns) -> bytes:
    """A frame as columnar JSON: every field an array; a scalar stands for all readings. NaN becomes null."""
    return orjson.dumps(
        {"feed": feed.id, "city": city, **{name: _plain(values) for name, values in columns.items()}},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def encode_json_reading(feed: Feed, city: str, reading: Mapping[str, Any]) -> bytes:
    """One reading as a JSON object of scalars."""
    return orjson.dumps({"feed": feed.id, "city": city, **reading}, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_senml(feed: Feed, columns: Columns) -> bytes:
    """A frame as a SenML pack: the base name and time of each reading stand in its first record.

    SenML has neither `seq` nor `boot`: both are left out, as are readings without any value.
    """
    cells = {name: np.asarray(_plain(values), dtype=object).tolist() for name, values in columns.items()}
    fields = [(name, spec) for name, spec in feed.fields.items() if name in cells]
    pack: list[dict[str, Any]] = []
    for row, (device, ts) in enumerate(zip(cells["device"], cells["ts"], strict=True)):
        head: dict[str, Any] = {"bn": f"{device}/", "bt": ts // 1000 if ts % 1000 == 0 else ts / 1000}
        for name, spec in fields:
            cell = cells[name][row]
            if cell is None or cell != cell:
                continue
            head["n"] = name
            if spec.type in ("float", "int"):
                head |= {"u": spec.unit, "v": cell} if spec.unit else {"v": cell}
            else:
                head["vb" if spec.type == "bool" else "vs"] = cell
            pack.append(head)
            head = {}
    return orjson.dumps(pack, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(values: Any) -> Any:
    """A column as JSON can say it."""
    if isinstance(values, pa.Array):
        return values.to_pylist()
    if isinstance(values, np.ma.MaskedArray) or (isinstance(values, np.ndarray) and values.dtype.kind in "USO"):
        return values.tolist()
    return np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values
