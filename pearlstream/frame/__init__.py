"""Frames: the wire contract of `readings`. What a gateway sends, what a tick is, and how both are read.

A frame holds readings of one feed and one city as columns, in Arrow, JSON or SenML. `encode_*` write it,
`decode` reads it back or says why it cannot be believed; nothing else does either.
"""

from pearlstream.frame.accepted import read_accepted
from pearlstream.frame.decode import Decoded, decode, decode_all
from pearlstream.frame.encode import (
    encode_arrow,
    encode_batch,
    encode_compact,
    encode_json_columns,
    encode_json_reading,
    encode_senml,
)
from pearlstream.frame.findings import Flaw
from pearlstream.frame.headers import (
    ARROW,
    JSON,
    SENML,
    SchemaVersion,
    Tick,
    frame_headers,
    read_tick,
    tick_record,
)
from pearlstream.frame.ids import bad_ids
from pearlstream.frame.partition import expected_partition
from pearlstream.frame.reasons import FRAME_REASONS, ROW_REASONS
from pearlstream.frame.schema import accepted_schema, canonical_schema

__all__ = [
    "ARROW",
    "FRAME_REASONS",
    "JSON",
    "ROW_REASONS",
    "SENML",
    "Decoded",
    "Flaw",
    "SchemaVersion",
    "Tick",
    "accepted_schema",
    "bad_ids",
    "canonical_schema",
    "decode",
    "decode_all",
    "encode_arrow",
    "encode_batch",
    "encode_compact",
    "encode_json_columns",
    "encode_json_reading",
    "encode_senml",
    "expected_partition",
    "frame_headers",
    "read_accepted",
    "read_tick",
    "tick_record",
]
