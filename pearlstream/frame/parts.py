"""Looking at what was set aside: which encoding it is, some of its rows, and what can safely be shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa

from pearlstream.frame.headers import ARROW, JSON, SENML

_CONTINUATION = b"\xff\xff\xff\xff"
SHOWN_CHARS = 4_000
SHOWN_BYTES = 256


def content_type_of(value: bytes) -> str:
    """The encoding that bytes look like, where no header says: a stream of Arrow begins in one way only."""
    if value[:4] == _CONTINUATION:
        return ARROW
    return SENML if value.lstrip()[:1] == b"[" else JSON


def rows_of_frame(value: bytes, content_type: str, rows: Sequence[int]) -> bytes:
    """A frame of the same encoding with some of its rows, by index in rising order.

    A SenML pack stays whole, since its records do not stand row by row. Raises ValueError if the bytes are no such
    frame, or have no such rows.
    """
    try:
        if content_type == ARROW:
            return _arrow_rows(value, rows)
        return _json_rows(value, rows) if content_type == JSON else value
    except (pa.ArrowException, OSError, IndexError, orjson.JSONDecodeError) as error:
        raise ValueError(f"rows {list(rows)[:5]} cannot be taken out of it: {error}") from None


def _arrow_rows(value: bytes, rows: Sequence[int]) -> bytes:
    table = pa.ipc.open_stream(value).read_all()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.take(pa.array(rows, pa.int64())).combine_chunks())
    return bytes(sink.getvalue())


def _json_rows(value: bytes, rows: Sequence[int]) -> bytes:
    """Columns are lists, scalars stand for every row; without any list it is one reading."""
    body: Any = orjson.loads(value)
    if not isinstance(body, dict):
        raise ValueError("it is no object")
    return orjson.dumps({k: [v[at] for at in rows] if isinstance(v, list) else v for k, v in body.items()})


def shown_payload(value: bytes) -> str:
    """Bytes from outside as text that does nothing to a terminal: what is printable as it is, the rest escaped."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _hex(value)
    safe = "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text[:SHOWN_CHARS])
    return safe + (f"... ({len(text) - SHOWN_CHARS} characters more)" if len(text) > SHOWN_CHARS else "")


def _hex(value: bytes) -> str:
    lines = []
    for at in range(0, min(len(value), SHOWN_BYTES), 16):
        piece = value[at : at + 16]
        plain = "".join(chr(b) if 32 <= b < 127 else "." for b in piece)
        lines.append(f"{at:06x}  {piece.hex(' '):<47}  {plain}")
    if len(value) > SHOWN_BYTES:
        lines.append(f"... ({len(value) - SHOWN_BYTES} bytes more)")
    return "\n".join(lines)
