"""A peek into Arrow's envelope before any of it is believed.

An Arrow stream is a row of messages, each with its metadata (a flatbuffer) and a body. Arrow libraries
allocate what a compressed body *says* it holds, and slice where offsets *say* they lie; so lengths, offsets,
compression and dictionaries are looked up here first, in the metadata alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pearlstream.errors import FrameError
from pearlstream.frame.limits import ROWS
from pearlstream.frame.refusals import arrow_invalid, too_many_rows

SCHEMA, DICTIONARY, BATCH = 1, 2, 3
"""Kinds of message; others (tensors) have no place in a stream."""

_prefix = struct.Struct("<Ii").unpack_from
_i16 = struct.Struct("<h").unpack_from
_u16 = struct.Struct("<H").unpack_from
_i32 = struct.Struct("<i").unpack_from
_u32 = struct.Struct("<I").unpack_from
_i64 = struct.Struct("<q").unpack_from


class Message(NamedTuple):
    """One message of a stream: `value[start:stop]` is all of it; its metadata ends and its body begins at `body`."""

    kind: int
    start: int
    body: int
    stop: int
    metadata: bytes
    header: int
    """Where the table of this kind of message lies in `metadata`."""


def messages(value: bytes, start: int = 0) -> Iterator[Message]:
    """The messages of a stream from byte `start` to its end. Raises FrameError (arrow_truncated, arrow_invalid)."""
    at, size = start, len(value)
    while at != size:
        if size - at < 8:
            raise _truncated(at + 8, size)
        mark, length = _prefix(value, at)
        if mark != 0xFFFFFFFF:
            raise arrow_invalid(f"no Arrow message begins at byte {at}")
        if length == 0:
            if at + 8 != size:
                raise arrow_invalid(f"{size - at - 8} bytes follow the end of the stream")
            return
        if length < 0 or length & 7:
            raise arrow_invalid(f"the message at byte {at} says its metadata has {length} bytes")
        body = at + 8 + length
        if body > size:
            raise _truncated(body, size)
        try:
            message = _message(value[at + 8 : body], at, body)
        except struct.error:
            raise arrow_invalid(f"the metadata of the message at byte {at} cannot be read") from None
        if message.stop > size:
            raise _truncated(message.stop, size)
        yield message
        at = message.stop


def _truncated(expected: int, got: int) -> FrameError:
    return FrameError(
        "arrow_truncated",
        f"expected at least {expected} bytes, got {got}: was the message cut?",
        remedy="send it whole",
    )


def _message(metadata: bytes, start: int, body: int) -> Message:
    root = _u32(metadata, 0)[0]
    kind_at, header_at, length_at = (_slot(metadata, root, n) for n in (1, 2, 3))
    length = _i64(metadata, length_at)[0] if length_at else 0
    if length < 0 or length & 7:
        raise arrow_invalid(f"the message at byte {start} says its body has {length} bytes")
    if not kind_at or not header_at:
        raise struct.error
    return Message(metadata[kind_at], start, body, body + length, metadata, header_at + _u32(metadata, header_at)[0])


def _slot(metadata: bytes, table: int, number: int) -> int:
    """Where field `number` of a flatbuffer table lies, or 0 if it is left out. Raises struct.error out of bounds."""
    vtable = table - _i32(metadata, table)[0]
    if vtable < 0:
        raise struct.error
    at = 4 + 2 * number
    if at >= _u16(metadata, vtable)[0]:
        return 0
    offset: int = _u16(metadata, vtable + at)[0]
    if table + offset >= len(metadata):
        raise struct.error
    return table + offset if offset else 0


def check_schema(message: Message) -> None:
    """Refuse big-endian data: nothing else of a schema can do harm. Raises FrameError (arrow_invalid)."""
    try:
        endianness = _slot(message.metadata, message.header, 0)
        big = endianness and _i16(message.metadata, endianness)[0]
    except struct.error:
        raise arrow_invalid("the schema cannot be read") from None
    if big:
        raise arrow_invalid("the stream is big-endian")


def batch_rows(message: Message, columns: int, buffers: int) -> int:
    """Rows of a record batch, once its lengths and offsets are known to lie within its body.

    `columns`, `buffers`: how many the schema asks for. Raises FrameError (arrow_compressed, arrow_invalid,
    too_many_rows).
    """
    try:
        return _batch_rows(message, columns, buffers)
    except struct.error:
        raise arrow_invalid("the metadata of a record batch cannot be read") from None


def _batch_rows(message: Message, columns: int, buffers: int) -> int:
    metadata, table = message.metadata, message.header
    if _slot(metadata, table, 3):
        raise FrameError(
            "arrow_compressed",
            "the body of the Arrow stream is compressed",
            remedy="switch off IPC compression, use Kafka's zstd",
        )
    at = _slot(metadata, table, 0)
    rows: int = _i64(metadata, at)[0] if at else 0
    nodes, slices = _pairs(metadata, table, 1), _pairs(metadata, table, 2)
    size = message.stop - message.body
    if len(nodes) != 2 * columns or len(slices) != 2 * buffers:
        raise arrow_invalid(
            f"{len(nodes) // 2} columns and {len(slices) // 2} buffers for {columns} and {buffers} declared"
        )
    if rows < 0 or rows > 8 * size:  # the smallest cell has one bit
        raise arrow_invalid(f"{rows} rows in {size} bytes")
    if rows > ROWS:
        raise too_many_rows(rows)
    for n in range(0, len(nodes), 2):
        if nodes[n] != rows or not 0 <= nodes[n + 1] <= rows:
            raise arrow_invalid(
                f"column {n // 2} says {nodes[n]} rows and {nodes[n + 1]} nulls in a batch of {rows}", rows
            )
    for n in range(0, len(slices), 2):
        offset, length = slices[n], slices[n + 1]
        if offset & 7 or offset < 0 or length < 0 or offset + length > size:
            raise arrow_invalid(f"buffer {n // 2} says bytes {offset} to {offset + length} of {size}", rows)
    return rows


def _pairs(metadata: bytes, table: int, number: int) -> tuple[int, ...]:
    """A vector of pairs of int64: the nodes or the buffers of a batch."""
    slot = _slot(metadata, table, number)
    if not slot:
        return ()
    at = slot + _u32(metadata, slot)[0]
    count = _u32(metadata, at)[0]
    if count > len(metadata) >> 4:
        raise struct.error
    return struct.unpack_from(f"<{2 * count}q", metadata, at + 4)
