"""What can be wrong with an import: errors that stop it, and the words under which single rows are set aside.

PearlstreamError
├── MappingError      the mapping does not fit itself, the catalogue or the files (file, key, remedy)
├── FileRefused       a file cannot be read as it was said to be; nothing is sent (carries a reason code)
└── PrefixRefused     the log that it should go to is live, or already holds a later time
"""

from __future__ import annotations

from collections.abc import Mapping

from pearlstream.errors import EXIT_FINDING, EXIT_USAGE, PearlstreamError


class MappingError(PearlstreamError):
    """The mapping is wrong, or does not fit the catalogue or the files."""

    exit_code = EXIT_USAGE


class FileRefused(PearlstreamError):
    """A file is refused whole, before anything is sent.

    `reason`: `csv_dialect` (say how the file is written), `csv_encoding`, `csv_quote`, `csv_empty`, `csv_header`,
    `csv_file`, `unit_mixed`, `no_readings`.
    """

    def __init__(self, reason: str, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        self.exit_code = EXIT_USAGE if reason.startswith("csv_") else EXIT_FINDING


class PrefixRefused(PearlstreamError):
    """An import may not write under this prefix."""

    exit_code = EXIT_USAGE


ROW_REASONS: Mapping[str, str] = {
    "bad_id": "a device id outside `[A-Za-z0-9._:-]{1,64}`",
    "duplicate": "the same device and time came before; the first counts",
    "future": "a time beyond 2100",
    "integer_range": "an integer outside what its column can hold",
    "no_value": "a row in which every mapped field is missing: no reading at all",
    "not_finite": "NaN or infinity",
    "not_in_values": "a word that the field does not list",
    "null_required": "nothing where the feed requires a value",
    "ragged": "more or fewer cells than the header has columns",
    "range_hard": "outside the range of a field whose range is hard",
    "time_malformed": "a time that does not follow the mapping's format, or is no date",
    "time_nonexistent": "a local time that the clocks skipped (start of summer time)",
    "time_unset": "a time before 2015",
    "too_large": "a text longer than the limit",
    "unknown_city": "a city code that the catalogue does not have",
    "wrong_type": "a value of another type than its field",
}
"""Reasons for which a row is written to the rejects file."""

NOTES: Mapping[str, str] = {
    "range": "a value outside the plausible range of its field: sent, but left out of indicators by default",
    "time_ambiguous": "a local time that exists twice (end of summer time): the first was taken",
    "text_cleaned": "invisible characters were taken out of a text",
}
"""What is said of rows that are sent all the same."""

QUIET_REASONS = frozenset({"no_value"})
"""Reasons that are no finding: gaps in the data, not faults of them."""
