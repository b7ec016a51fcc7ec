"""Reason codes: under which word a frame or a row goes to quarantine, on one page.

Times, plausible ranges and sequences are judged by `admit`, which has words of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

FRAME_REASONS: Mapping[str, str] = {
    "arrow_compressed": "the body of the Arrow stream is compressed, so its true size cannot be bounded",
    "arrow_invalid": "lengths, offsets or structure of the Arrow stream contradict each other",
    "arrow_truncated": "the Arrow stream ends before it should",
    "arrow_type_unsupported": "a column has an Arrow type that its field cannot be read from",
    "column_missing": "a required column is not in the frame",
    "content_type_unknown": "the header `content-type` names no encoding of ours",
    "header_forbidden": "a header speaks to Faust and not to us",
    "json_malformed": "not JSON, or not an object of scalars and arrays",
    "json_too_deep": "more brackets open at once than a flat frame can have",
    "key_mismatch": "the key and the city in the frame differ",
    "key_missing": "the record has no key",
    "mixed_frame": "several feeds or cities in one frame, or header and body differ",
    "not_utf8": "text that is not UTF-8",
    "ragged": "columns of unequal length",
    "senml_unresolved": "a SenML pack or record whose name, time, unit or value cannot be resolved",
    "tick_malformed": "a tick whose clock or registry cannot be read",
    "tick_forged": "a tick without the seal that PEARLSTREAM_KAFKA__CLOCK_KEY asks for",
    "too_large": "the message is larger than the limit",
    "too_many_columns": "more columns than the limit",
    "too_many_rows": "more readings than the limit",
    "unknown_city": "the key is no city of the catalogue",
    "unknown_feed": "the frame names no feed of the catalogue",
    "unknown_schema": "the header `schema` is malformed or names a version that the catalogue does not have",
    "wrong_partition": "the record lies in another partition than its key belongs to",
}
"""Reasons for which a whole frame is set aside (FrameError)."""

ROW_REASONS: Mapping[str, str] = {
    "bad_id": "an id outside `[A-Za-z0-9._:-]{1,64}`",
    "integer_range": "an integer outside what its column can hold",
    "not_finite": "NaN or infinity",
    "not_in_values": "a word that the field does not list",
    "null_required": "nothing where a value is required",
    "senml_unresolved": "a SenML record whose name, time, unit or value cannot be resolved",
    "too_large": "a text longer than the limit",
    "wrong_type": "a value of another type than its field",
}
"""Reasons for which one row is set aside (Flaw)."""
