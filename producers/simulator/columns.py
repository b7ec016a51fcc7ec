"""Columns of readings on their way through the simulator: numbers, booleans, or words as codes."""

from __future__ import annotations

from collections.abc import Sequence
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


def as_numbers(column: Coded) -> Column:
    """The numbers that the words write out, or the words themselves if one of them is no number."""
    try:
        numbers: Numbers = np.array([float(word) for word in column.words])[column.codes]
    except ValueError:
        return column
    return numbers


def one_vocabulary(columns: Sequence[Coded]) -> tuple[list[Numbers], tuple[str, ...]]:
    """The codes of each column over words that all share, in the order in which they are first declared."""
    words = columns[0].words
    if all(column.words == words for column in columns):
        return [column.codes for column in columns], words
    number: dict[str, int] = {}
    for column in columns:
        for word in column.words:
            number.setdefault(word, len(number))
    return [np.array([number[word] for word in column.words])[column.codes] for column in columns], tuple(number)


def join(columns: list[Column]) -> Column:
    """Columns of one kind, one after the other."""
    if isinstance(columns[0], Coded):
        coded, words = one_vocabulary([column for column in columns if isinstance(column, Coded)])
        return Coded(np.concatenate(coded), words)
    return np.concatenate([c for c in columns if not isinstance(c, Coded)])
