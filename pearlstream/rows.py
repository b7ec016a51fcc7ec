"""Rows: the columns of some readings as NumPy arrays, the way terms and measures read them.

A call into a query engine costs about the same for ten rows as for ten thousand, and the measures of one feed need a
hundred small steps. A step on a NumPy array costs a microsecond or two, so what a small batch pays is little, and a
large one pays per row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import polars as pl
import pyarrow.compute as pc
from numpy.typing import NDArray

from pearlstream.grouping import Codes, Ints

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
T = TypeVar("T")

LIMIT = 2.0**53
"""Numbers beyond this are unknown: integers up to it are exact as Float64."""


class Words(NamedTuple):
    """A column of text: each row's place in `words`, which are distinct; -1 where there is no text."""

    codes: Ints
    words: list[str]

    @property
    def known(self) -> Bools:
        """Where there is a text."""
        return self.codes >= 0

    def equal(self, other: str | Words) -> Bools:
        """Where both are known and the same."""
        place = {word: at for at, word in enumerate(self.words)}
        if isinstance(other, str):
            return np.equal(self.codes, place.get(other, -2))
        places = np.array([*(place.get(word, -2) for word in other.words), -2], np.int64)
        return np.equal(self.codes, places[other.codes])

    def filled(self) -> Words:
        """The same with the empty text where there was none."""
        if self.known.all():
            return self
        words = self.words if "" in self.words else [*self.words, ""]
        return Words(np.where(self.known, self.codes, words.index("")), words)

    def as_codes(self) -> Codes:
        """The places as codes; every text must be known."""
        return Codes(self.codes, max(1, len(self.words)))


class Rows:
    """Columns by name, and what has been made of them: each thing once, for all who ask."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._kept: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return self.frame.height

    def kept(self, what: Hashable, make: Callable[[Rows], T]) -> T:
        """What `make` makes of these rows, when it is first asked for under the name `what`. Never None."""
        found: T | None = self._kept.get(what)
        if found is None:
            found = self._kept[what] = make(self)
        return found

    def ints(self, name: str) -> Ints:
        """A column of integers or booleans without nulls."""
        values: Ints = self.frame.get_column(name).to_numpy()
        return values

    def numbers(self, name: str) -> Floats:
        """A column as Float64; NaN where it is unknown: null, not finite, or beyond `LIMIT`."""
        values: Floats = self.frame.get_column(name).cast(pl.Float64).to_numpy()
        usable = np.abs(values) <= LIMIT
        return values if usable.all() else np.where(usable, values, np.nan)

    def truths(self, name: str) -> tuple[Bools, Bools]:
        """Where a column is true (any number but 0), and where it is false; neither where it is null."""
        return self.kept((name, "truths"), lambda rows: rows._truths(name))

    def _truths(self, name: str) -> tuple[Bools, Bools]:
        column = self.frame.get_column(name)
        values = column.cast(pl.Float64).to_numpy()
        false = values == 0.0
        if column.null_count():
            return ~false & ~column.is_null().to_numpy(), false
        return ~false, false

    def words(self, name: str) -> Words:
        """A column as text."""
        return self.kept((name, Words), lambda rows: _words(rows.frame.get_column(name)))


def _words(column: pl.Series) -> Words:
    # Enum, Categorical and integers become text first: what they are is the same text in every engine.
    text = column if column.dtype == pl.String else column.cast(pl.String)
    encoded: Any = pc.dictionary_encode(text.to_arrow())
    indices = encoded.indices.fill_null(-1) if encoded.indices.null_count else encoded.indices
    return Words(indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist())
