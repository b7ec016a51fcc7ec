"""Refusals that more than one encoding can meet, each with its remedy."""

from __future__ import annotations

from collections.abc import Sequence

from pearlstream.errors import FrameError
from pearlstream.frame import limits
from pearlstream.frame.schema import Layout
from pearlstream.frame.text import listed


def arrow_invalid(message: str, rows: int = 0) -> FrameError:
    """The error for an Arrow stream that contradicts itself."""
    return FrameError(
        "arrow_invalid", message, remedy="re-encode with an Arrow library (IPC stream, little-endian)", rows=rows
    )


def column_missing(layout: Layout, missing: Sequence[str], given: Sequence[str]) -> FrameError:
    """The error for a frame without a required column."""
    return FrameError(
        "column_missing",
        f"{layout.feed.id}/{missing[0]}: no column {', '.join(missing)}; got {listed(given) or 'none'}",
        remedy=f"known columns: {layout.known}",
    )


def too_large(size: int, limit: int) -> FrameError:
    """The error for a message that is not even looked at."""
    return FrameError("too_large", f"the message has {size} bytes, at most {limit}", remedy="split frames at 900 kB")


def too_many_columns(columns: int) -> FrameError:
    """The error for a frame that is too wide."""
    return FrameError("too_many_columns", f"{columns} columns in one frame", remedy=f"at most {limits.COLUMNS}")


def too_many_rows(rows: int) -> FrameError:
    """The error for a frame of too many readings."""
    return FrameError(
        "too_many_rows", f"{rows} rows in one frame", remedy=f"at most {limits.ROWS}, best are 500 to 5 000", rows=rows
    )
