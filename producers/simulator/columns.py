"""Columns of readings on their way through the simulator: numbers, booleans, or words as codes."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt


class Coded(NamedTuple):
    """Text as codes of `words`."""

    codes: npt.NDArray[Any]
    words: tuple[str, ...]

    def cut(self, lo: int, hi: int) -> Coded:
        """Rows lo to hi, without copying."""
        return Coded(self.codes[lo:hi], self.words)

    def text(self) -> npt.NDArray[Any]:
        """The words themselves."""
        words: npt.NDArray[Any] = np.asarray(self.words, dtype=object)[self.codes]
        return words


Numbers: TypeAlias = npt.NDArray[Any]
Column: TypeAlias = Numbers | Coded


def cut(column: Column, lo: int, hi: int) -> Column:
    """Rows lo to hi of a column, without copying."""
    return column.cut(lo, hi) if isinstance(column, Coded) else column[lo:hi]


def take(column: Column, rows: npt.NDArray[Any]) -> Column:
    """Rows of a column by index or mask."""
    return Coded(column.codes[rows], column.words) if isinstance(column, Coded) else column[rows]


def join(columns: list[Column]) -> Column:
    """Columns of one kind, one after the other."""
    first = columns[0]
    if isinstance(first, Coded):
        return Coded(np.concatenate([c.codes for c in columns if isinstance(c, Coded)]), first.words)
    return np.concatenate([c for c in columns if not isinstance(c, Coded)])
