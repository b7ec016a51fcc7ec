"""Rows that are not sent: counted by reason, and written to a file with what would have been right."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from producers.importer.problems import QUIET_REASONS, FileRefused

HEADER = ("file", "row", "reason", "message")
_HEADER_LINE = ",".join(f'"{name}"' for name in HEADER)
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


class Rejects:
    """A rejects file, made when the first row is set aside. `path` None: only count."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        """The first message of each reason, with its place."""
        self._file: IO[str] | None = None
        self._writer: Any = None

    def __enter__(self) -> Rejects:
        self._clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _clear(self) -> None:
        """Take away the rejects file of an earlier import. Raises FileRefused rather than overwrite any other file."""
        if self.path is None or not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline().strip()
        if first != _HEADER_LINE:
            raise FileRefused(
                "csv_file", f"{self.path} exists and is no rejects file", remedy="name another file with --rejects"
            )
        self.path.unlink()

    @property
    def total(self) -> int:
        """Rows that were set aside."""
        return sum(self.counts.values())

    @property
    def findings(self) -> int:
        """Rows that were set aside for a fault, and not just because they were empty."""
        return sum(count for reason, count in self.counts.items() if reason not in QUIET_REASONS)

    def add(self, file: str, found: Iterable[tuple[int, str, str]]) -> None:
        """Set rows aside: line (counted from 1), reason and message of each."""
        for line, reason, message in found:
            self.counts[reason] += 1
            self.examples.setdefault(reason, f"{file}:{line}: {message}")
            if self.path is not None:
                self._row((file, line, reason, message))

    def _row(self, cells: tuple[str | int, ...]) -> None:
        assert self.path is not None
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", newline="")
            self._writer = csv.writer(self._file, quoting=csv.QUOTE_ALL)
            self._writer.writerow(HEADER)
        self._writer.writerow([_harmless(cell) for cell in cells])

    def close(self) -> None:
        """Write out what is held back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _harmless(cell: str | int) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = str(cell)
    return f"'{text}" if isinstance(cell, str) and text.startswith(_FORMULA_SIGNS) else text
