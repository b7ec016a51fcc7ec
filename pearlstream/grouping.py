"""Groups of rows by several columns at once, and exact integer reductions over them.

A call into a query engine costs the same for a handful of rows as for thousands, and a plan over one batch would
make a hundred of them. Here columns become small integers, rows are put in order once, and every reduction is one
pass. All arithmetic is on int64 and wraps modulo 2^64, so a sum does not depend on the order of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
ROOM = 1 << 31
"""Codes are made dense again before they would outgrow this, so that a code and a row number fit into one int64."""

RADIX = 1 << 16
"""Up to so many codes NumPy sorts by radix."""


@dataclass(frozen=True)
class Codes:
    """A column as integers from 0 to `size` - 1: equal values have equal codes."""

    values: Ints
    size: int

    def dense(self) -> Codes:
        """The same with no more codes than there are distinct values."""
        distinct, values = np.unique(self.values, return_inverse=True)
        return Codes(values.astype(np.int64, copy=False), max(1, len(distinct)))

    def taken(self, rows: Ints) -> Codes:
        """The codes of some rows."""
        return Codes(self.values[rows], self.size)

    def __and__(self, other: Codes) -> Codes:
        """Codes of pairs."""
        if self.size * other.size < ROOM:
            return Codes(self.values * other.size + other.values, self.size * other.size)
        left, right = self.dense(), other.dense()
        pairs = Codes(left.values * right.size + right.values, left.size * right.size)
        return pairs if pairs.size < ROOM else pairs.dense()


def codes_of_ints(values: Ints) -> Codes:
    """Codes of integers; they keep their distances as long as these are small."""
    if not len(values):
        return Codes(values, 1)
    low, high = int(values.min()), int(values.max())
    codes = Codes(values - low, high - low + 1) if high - low < ROOM else Codes(values, ROOM)
    return codes if codes.size <= 2 * len(values) + 1024 else codes.dense()


@dataclass(frozen=True)
class Groups:
    """Rows put together by their codes. `order`: row numbers, group by group; `starts`: where each group begins."""

    order: Ints
    starts: Ints

    @classmethod
    def of(cls, codes: Codes, rows: Ints | None = None) -> Groups:
        """The groups of rows, at least one, in the order of their codes; rows of a group in their own order.

        `rows`: the numbers of the rows that the codes are for, if these are not all.
        """
        order, sorted_codes = in_order(codes.values, codes.size)
        head = np.empty(len(order), bool)
        head[:1] = True
        np.not_equal(sorted_codes[1:], sorted_codes[:-1], out=head[1:])
        return cls(order if rows is None else rows[order], np.flatnonzero(head))

    @property
    def first(self) -> Ints:
        """The number of the first row of each group."""
        return self.order[self.starts]

    def sums(self, values: NDArray[Any]) -> Ints:
        """The sum of each group."""
        return np.add.reduceat(values[self.order], self.starts, dtype=np.int64)

    def least(self, values: Ints) -> Ints:
        """The least value of each group."""
        return np.minimum.reduceat(values[self.order], self.starts)

    def greatest(self, values: Ints) -> Ints:
        """The greatest value of each group."""
        return np.maximum.reduceat(values[self.order], self.starts)


def in_order(values: Ints, size: int) -> tuple[Ints, Ints]:
    """A stable order of integers from 0 to `size` - 1, and the integers in that order.

    Small ones go through a radix sort. Otherwise value and row number are sorted as one integer, which is faster
    than an indirect sort.
    """
    bits = max(1, len(values).bit_length())
    if size > RADIX and bits <= 31:
        both = (values << bits) | np.arange(len(values), dtype=np.int64)
        both.sort()
        return both & ((1 << bits) - 1), both >> bits
    order = np.argsort(values.astype(np.uint16) if size <= RADIX else values, kind="stable")
    return order, values[order]


def joined(codes: Sequence[Codes]) -> Codes:
    """The codes of several columns as those of one; at least one column."""
    return reduce(Codes.__and__, codes)
