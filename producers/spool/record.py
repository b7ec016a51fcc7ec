"""A record as an entry of a spool: a head of fixed length with the lengths of what follows it."""

from __future__ import annotations

import struct

from producers.writer import DEVICES, FRAMES, LABELS, Outgoing

_HEAD = struct.Struct("<BBHiI")
_ROLES = (FRAMES, DEVICES, LABELS)
"""By their number in the head: append, never reorder."""
_NO_KEY = -1


def pack(record: Outgoing) -> bytes:
    """The bytes of a record. Raises struct.error, UnicodeEncodeError for a header that is no header."""
    key = record.key if record.key is not None else b""
    length = len(key) if record.key is not None else _NO_KEY
    parts = [_HEAD.pack(_ROLES.index(record.role), len(record.headers), record.partition, length, len(record.value))]
    for name, value in record.headers:
        text = name.encode()
        parts += [struct.pack("<HI", len(text), len(value)), text, value]
    return b"".join([*parts, key, record.value])


def unpack(data: bytes) -> Outgoing:
    """The record that `pack` was given. Raises ValueError if it was not made by `pack`."""
    try:
        role, count, partition, key_length, value_length = _HEAD.unpack_from(data)
        at, headers = _HEAD.size, []
        for _ in range(count):
            name_length, length = struct.unpack_from("<HI", data, at)
            at += 6
            headers.append((data[at : at + name_length].decode(), data[at + name_length : at + name_length + length]))
            at += name_length + length
        key = data[at : at + key_length] if key_length != _NO_KEY else None
        at += max(0, key_length)
        if at + value_length != len(data):
            raise ValueError("it has another length than it says")
        return Outgoing(_ROLES[role], key, data[at:], tuple(headers), partition)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"no record: {error}") from error
