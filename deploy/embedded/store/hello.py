"""The first answer that ClickHouse's Go driver (and so Grafana's data source) reads.

It decodes this one block as if it came from the newest server, with a preamble and a flag per column, and
takes every later block in the layout of the revision that stands in it. Revision 0 is the plain layout,
which is what the engine writes.
"""

from __future__ import annotations

import struct

_PREAMBLE = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""Block info: no overflow rows, no bucket, end."""

_PLAIN_REVISION = 0


def hello_block(display_name: str, version: str, timezone: str) -> bytes:
    """One row of displayName(), version(), revision(), timezone() in the layout that the driver expects."""
    columns = [
        ("displayName()", "String", _string(display_name)),
        ("version()", "String", _string(version)),
        ("revision()", "UInt32", struct.pack("<I", _PLAIN_REVISION)),
        ("timezone()", "String", _string(timezone)),
    ]
    block = [_PREAMBLE, bytes([len(columns), 1])]
    for name, kind, value in columns:
        block += [_string(name), _string(kind), b"\x00", value]
    return b"".join(block)


def _string(text: str) -> bytes:
    data = text.encode()
    if len(data) > 127:
        data = data[:127]  # one byte of length is enough for a name
    return bytes([len(data)]) + data
