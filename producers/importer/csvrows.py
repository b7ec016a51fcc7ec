"""Rows of a CSV file, in chunks, with the line that each begins on.

Read by Python's own CSV reader: it tells a short row from an empty cell and knows where it is. (A scan by Polars
fills short rows with nulls, fails a whole file for a long one, and has no line numbers to name in a rejects file.)
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from producers.importer.dialect import Written
from producers.importer.problems import FileRefused

CHUNK_ROWS = 50_000
"""Rows that are converted together, if nothing else is said; more would cost memory and win nothing."""


@dataclass
class Chunk:
    """Some rows of one file in their order. `lines`: where each begins, counted from 1.

    `ragged`: rows of another length, as (line, number of cells).
    """

    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    ragged: list[tuple[int, int]] = field(default_factory=list)
    bytes_read: int = 0
    """How far into the file the reader is, about."""

    def __len__(self) -> int:
        return len(self.rows) + len(self.ragged)


def read_chunks(path: Path, written: Written, chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """All rows of a file. Blank lines are passed over. Raises FileRefused where the file cannot be read on."""
    width = len(written.names)
    with written.open(path) as file:
        reader = written.rows(file)
        chunk, line, header = Chunk(), 1, written.header
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise FileRefused(
                    "csv_quote",
                    f"{path}:{line}: {error}",
                    remedy="a quote in this row is not closed or stands alone; mend it, "
                    "or say --quote '' if quotes are plain characters in this file",
                ) from None
            begins, line = line, reader.line_num + 1
            if row is None:
                break
            if not row or (len(row) == 1 and not row[0].strip() and width > 1):
                continue
            if header:
                header = False
                continue
            if len(row) == width:
                chunk.rows.append(row)
                chunk.lines.append(begins)
            else:
                chunk.ragged.append((begins, len(row)))
            if len(chunk) >= chunk_rows:
                chunk.bytes_read = _position(file)
                yield chunk
                chunk = Chunk()
        chunk.bytes_read = path.stat().st_size
        yield chunk


def _position(file: object) -> int:
    """How many bytes have been taken from the file; a text file that is iterated over does not tell."""
    buffer = getattr(file, "buffer", None)
    return int(buffer.tell()) if buffer is not None else 0
