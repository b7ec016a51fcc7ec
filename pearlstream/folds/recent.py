"""The last few readings of each device, as hashes: is a repeat the same reading again, or another one by its number?

A device that says the same number with other values has two firmwares, two owners or a counter that stuck. The first
reading counts; the other is set aside, because nobody can say that it is only a copy.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pearlstream.folds.order import DeviceOrder, Ints, Mask
from pearlstream.rows import Rows, Words

DEPTH = 4
"""So many readings are remembered of each device: retransmission and relays repeat what was sent just before."""
Hashes = NDArray[np.uint64]
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


@dataclass
class Recent:
    """Rings by device: what names each of its last accepted readings, and what it said. 0 where there is none."""

    name: Hashes = field(default_factory=lambda: np.zeros((64, DEPTH), np.uint64))
    said: Hashes = field(default_factory=lambda: np.zeros((64, DEPTH), np.uint64))
    taken: Ints = field(default_factory=lambda: np.zeros(64, np.int64))
    """How many readings of each device have been noted."""

    def grow(self, size: int) -> None:
        """Make room for so many devices."""
        more = size - len(self.taken)
        if more > 0:
            rings = np.zeros((more, DEPTH), np.uint64)
            self.name, self.said = np.concatenate([self.name, rings]), np.concatenate([self.said, rings])
            self.taken = np.concatenate([self.taken, np.zeros(more, np.int64)])

    def conflicts(self, at: DeviceOrder, name: Hashes, said: Hashes, accepted: Mask, repeat: Mask) -> Mask:
        """Which of the repeats say something else than the reading did that they repeat; notes what was accepted.

        `at`: the order of the readings by device; the rest row by row in the order of the log. A repeat of what is no
        longer remembered is taken for a copy.
        """
        kept = accepted[at.order]
        own = at.order[kept]
        before: Ints = np.cumsum(kept) - kept  # by place: how many accepted readings stand in front of it
        begun: Ints = before[at.starts][at.group]  # by place: how many in front of the first of its device
        found = np.zeros(len(name), bool)
        if repeat.any():
            place = np.flatnonzero(repeat[at.order])
            found[at.order[place]] = self._differ(at, place, before, begun, own, name, said)
        self._note(at, kept, before - begun, own, name, said)
        return found

    def _differ(
        self, at: DeviceOrder, place: Ints, before: Ints, begun: Ints, own: Ints, name: Hashes, said: Hashes
    ) -> Mask:
        """By repeat: whether one of the last readings has its name and none of these says the same."""
        row, device = at.order[place], at.device[place]
        fresh = before[place] - begun[place]
        same, other = np.zeros(len(place), bool), np.zeros(len(place), bool)
        for age in range(DEPTH):
            here = fresh > age
            batch = own[np.where(here, before[place] - 1 - age, 0)] if len(own) else np.zeros(len(place), np.int64)
            slot = (self.taken[device] - 1 - age + fresh) % DEPTH
            its_name = np.where(here, name[batch], self.name[device, slot])
            its_word = np.where(here, said[batch], self.said[device, slot])
            match = its_name == name[row]
            same |= match & (its_word == said[row])
            other |= match & (its_word != said[row])
        return other & ~same

    def _note(self, at: DeviceOrder, kept: Mask, number: Ints, own: Ints, name: Hashes, said: Hashes) -> None:
        """Put the last accepted readings of each device into its ring."""
        if not len(own):
            return
        counts = np.add.reduceat(kept, at.starts, dtype=np.int64)
        last = (number >= counts[at.group] - DEPTH)[kept]
        rows, device = own[last], at.device[kept][last]
        slot = (self.taken[device] + number[kept][last]) % DEPTH
        self.name[device, slot], self.said[device, slot] = name[rows], said[rows]
        self.taken[at.devices] += counts


def names_of(seq: Ints, ts: Ints, run: NDArray[np.uint32]) -> Hashes:
    """What names a reading among those of its device: run and number, or its time where it has no number."""
    numbered = seq >= 0
    return _mixed([np.where(numbered, seq, ts), np.where(numbered, run, -1)])


def said_of(ts: Ints, fields: Mapping[str, pl.Series]) -> Hashes:
    """What readings say: time and values on their grids."""
    return _mixed([ts, *(_bits(series) for series in fields.values())])


def _bits(series: pl.Series) -> NDArray[np.generic]:
    """A column as 64-bit integers: equal ones for equal values, also in another batch and on another machine."""
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        words: Words = Rows(series.to_frame()).words(series.name)
        sums = np.array([*(zlib.crc32(word.encode()) + 1 for word in words.words), 0], np.int64)
        return sums[words.codes]
    values = series.cast(pl.Float64).to_numpy() + 0.0  # no negative zero
    unknown = np.isnan(values)
    if unknown.any():
        values[unknown] = np.nan  # one of the many
    return values.view(np.int64)


def _mixed(columns: Iterable[NDArray[np.generic]]) -> Hashes:
    """One hash of several columns, never 0."""
    mixed: Hashes = np.uint64(1)  # type: ignore[assignment]
    with np.errstate(over="ignore"):
        for column in columns:
            mixed = (mixed ^ column.astype(np.int64, copy=False).view(np.uint64)) * _MIX
            mixed ^= mixed >> _SHIFT
    return mixed | np.uint64(1 << 63)
