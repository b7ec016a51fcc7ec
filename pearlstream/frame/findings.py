"""What decoding found in the rows of a frame: flaws that set a row aside, flags that it keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pearlstream.frame.schema import Column
from pearlstream.frame.text import shown
from pearlstream.quality import Quality

Flags = npt.NDArray[np.uint32]
"""Bits of `Quality`, one cell per row."""

_SEVERAL = 3


class Flaw(NamedTuple):
    """Why one row is set aside. The message begins with `<feed>/<field>` and ends with the remedy."""

    row: int
    reason: str
    message: str


class Read(NamedTuple):
    """The content of a frame: columns of the feed, and what it says about itself.

    `exact`: the batch holds just what the bytes say in canonical form. `ignored`: names of columns that the
    feed does not have. `cities`, `feeds`: the distinct ones that the content names; none if it is silent.
    """

    batch: Any
    exact: bool = False
    ignored: tuple[str, ...] = ()
    cities: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()


class Findings:
    """Collects flaws and flags of one frame of a feed."""

    def __init__(self, feed: str, rows: int = 0) -> None:
        self.feed = feed
        self.rows = rows
        """Rows of the frame; to be set before any flag."""
        self.flags: Flags | None = None
        self._flaws: dict[int, list[Flaw]] = {}

    def flaw(self, row: int, reason: str, field: str, what: str, remedy: str) -> None:
        """Set a row aside: `what` says what was found in `field`."""
        flaws = self._flaws.setdefault(row, [])
        if len(flaws) < _SEVERAL:
            flaws.append(Flaw(row, reason, f"{self.feed}/{field}: {what}; {remedy}"))

    def cell(self, row: int, reason: str, column: Column, cell: Any, remedy: str) -> None:
        """Set a row aside for the value of one cell."""
        self.flaw(row, reason, column.name, f"got {shown(cell)}, wanted {column.wanted}", remedy)

    def null(self, rows: Iterable[int], column: Column) -> None:
        """Set rows aside that have nothing in a required column, unless a flaw has already emptied them."""
        for row in rows:
            if row not in self._flaws:
                self.flaw(row, "null_required", column.name, f"row {row} has no value", f"send {column.wanted}")

    def flag(self, rows: Any, quality: Quality) -> None:
        """Set a flag on rows (indices or mask)."""
        if self.flags is None:
            self.flags = np.zeros(self.rows, np.uint32)
        self.flags[rows] |= np.uint32(quality)

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to find."""
        return self.flags is None and not self._flaws

    def flaws(self) -> list[Flaw]:
        """One flaw per row, in the order of rows: the first reason found, with the messages of up to three."""
        return [
            found[0] if len(found) == 1 else Flaw(row, found[0].reason, " | ".join(flaw.message for flaw in found))
            for row, found in sorted(self._flaws.items())
        ]
