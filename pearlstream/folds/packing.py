"""States as bytes: a JSON part for what is small, raw columns for what is long, zstd over both. Never pickle."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

MAX_STATE_BYTES = 1 << 30
"""A blob that claims to be larger is torn or hostile."""

_COMPRESSOR = zstandard.ZstdCompressor(level=1, write_checksum=True)


def pack(kind: str, meta: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> bytes:
    """One blob of a JSON-able `meta` and NumPy columns; `kind` names fold and version."""
    heads, bodies = [], []
    for name, column in columns.items():
        body = np.ascontiguousarray(column).tobytes()
        heads.append((name, column.dtype.str, len(body)))
        bodies.append(body)
    head = orjson.dumps({"kind": kind, "columns": heads, "meta": meta}, option=orjson.OPT_NON_STR_KEYS)
    return _COMPRESSOR.compress(b"".join((struct.pack("<Q", len(head)), head, *bodies)))


def unpack(kind: str, blob: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Inverse of `pack`. Raises ValueError if the blob is torn, or of another kind."""
    try:
        if zstandard.frame_content_size(blob) > MAX_STATE_BYTES:
            raise ValueError("the state is larger than any of ours")
        data = zstandard.ZstdDecompressor().decompress(blob)
        (size,) = struct.unpack_from("<Q", data)
        head = orjson.loads(data[8 : 8 + size])
        if head["kind"] != kind:
            raise ValueError(f"the state is of {head['kind']}, wanted {kind}")
        columns, at = {}, 8 + size
        for name, dtype, length in head["columns"]:
            columns[name] = np.frombuffer(data[at : at + length], dtype=np.dtype(dtype)).copy()
            at += length
        if at != len(data):
            raise ValueError("the state is torn")
        return head["meta"], columns
    except (zstandard.ZstdError, struct.error, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"the state cannot be read: {error}") from None
