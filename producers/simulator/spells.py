"""Spells: when a fault befalls which devices, by hashed numbers, so that each can be looked up at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from producers.simulator.chance import Bools, Floats, Ints, hashed, key_of
from producers.simulator.fleet import Fleet

NEVER_MS = np.int64(np.iinfo(np.int64).min)


class Found(NamedTuple):
    """Spells of some devices, row by row. Where `hit` is false, the rest of the row means nothing."""

    hit: Bools
    from_ms: Ints
    until_ms: Ints
    slot: Ints


class Begun(NamedTuple):
    """Spells that begin in a stretch of time."""

    device: Ints
    from_ms: Ints
    until_ms: Ints
    slot: Ints

    def some(self, rows: Bools | slice) -> Begun:
        """Some of them."""
        return Begun(self.device[rows], self.from_ms[rows], self.until_ms[rows], self.slot[rows])


def identities(fleet: Fleet) -> npt.NDArray[np.uint64]:
    """A number for each device that hangs on its city and number alone, not on which others there are."""
    cities = np.array([key_of("city", city.id) for city in fleet.cities], dtype=np.uint64)
    return cities[fleet.city] + fleet.number.astype(np.uint64)


@dataclass
class Spells:
    """One kind of fault over a fleet. Time is cut into slots of `slot_ms` from each device's `origin_ms`.

    In each slot a device has one spell with `chance`. `shape` makes its begin (ms after that of the slot) and its
    length (ms) from two uniform numbers. No spell is longer than `longest_ms`; it may reach into later slots.
    """

    key: int
    who: npt.NDArray[np.uint64]
    slot_ms: int
    origin_ms: Ints
    chance: Floats
    shape: Callable[[Floats, Floats], tuple[Ints, Ints]]
    longest_ms: int
    _tables: dict[int, Begun] = field(default_factory=dict)

    def lot(self, purpose: str, device: Ints, slot: Ints) -> Floats:
        """A uniform number for each spell, by what it is for."""
        return hashed(self.key ^ key_of(purpose), self.who[device], slot)

    def of(self, device: Ints, slot: Ints) -> Found:
        """The spell of each device in its slot."""
        hit = self.lot("chance", device, slot) < self.chance[device]
        from_ms, until_ms = np.zeros_like(slot), np.zeros_like(slot)
        some = np.flatnonzero(hit)  # spells are rare: most devices need no more than one number
        if some.size:
            who, when = device[some], slot[some]
            begin, length = self.shape(self.lot("begin", who, when), self.lot("length", who, when))
            from_ms[some] = self.origin_ms[who] + when * self.slot_ms + begin
            until_ms[some] = from_ms[some] + length
        return Found(hit, from_ms, until_ms, slot)

    def at(self, device: Ints, ts_ms: Ints) -> Found:
        """The spell that each device is in; of several the last that began."""
        return self._last(device, ts_ms, lambda spells: (spells.from_ms <= ts_ms) & (ts_ms < spells.until_ms))

    def latest(self, device: Ints, ts_ms: Ints) -> Found:
        """The last spell that began, over or not, as far back as spells can reach."""
        return self._last(device, ts_ms, lambda spells: spells.from_ms <= ts_ms)

    def quiet_until(self, device: Ints, ts_ms: Ints) -> Ints:
        """When there may be a spell again, for devices that are in none: when one begins, else when the slot ends."""
        slot = self._slot(device, ts_ms)
        spells = self.of(device, slot)
        ends = self.origin_ms[device] + (slot + 1) * self.slot_ms
        return np.where(spells.hit & (spells.from_ms > ts_ms), spells.from_ms, ends)

    def begun(self, from_ms: int, until_ms: int) -> Begun:
        """All spells that begin in [from_ms, until_ms). Cheap if asked for one stretch of time after the other."""
        first = (from_ms - int(self.origin_ms.max())) // self.slot_ms
        last = (until_ms - 1 - int(self.origin_ms.min())) // self.slot_ms
        self._tables = {slot: table for slot, table in self._tables.items() if first <= slot <= last}
        parts = []
        for slot in range(first, last + 1):
            table = self._tables.get(slot)
            if table is None:
                table = self._tables[slot] = self._table(slot)
            lo, hi = np.searchsorted(table.from_ms, [from_ms, until_ms])
            parts.append(table.some(slice(lo, hi)))
        return Begun(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _slot(self, device: Ints, ts_ms: Ints) -> Ints:
        slot: Ints = (ts_ms - self.origin_ms[device]) // self.slot_ms
        return slot

    def _last(self, device: Ints, ts_ms: Ints, wanted: Callable[[Found], Any]) -> Found:
        found = Found(np.zeros(len(device), dtype=bool), *(np.full(len(device), NEVER_MS) for _ in range(3)))
        for spells in self._reaching(device, ts_ms):
            right = spells.hit & wanted(spells)
            newer = right & (spells.from_ms >= found.from_ms)
            found = Found(
                found.hit | right, *(np.where(newer, a, b) for a, b in zip(spells[1:], found[1:], strict=True))
            )
        return found

    def _reaching(self, device: Ints, ts_ms: Ints) -> Iterator[Found]:
        """The spells of the slot at hand and of those before it from which one can reach that far."""
        slot = self._slot(device, ts_ms)
        for back in range(-(-self.longest_ms // self.slot_ms) + 1):
            yield self.of(device, slot - back)

    def _table(self, slot: int) -> Begun:
        every = np.arange(len(self.who))
        some = every[self.lot("chance", every, np.full(len(every), slot)) < self.chance]
        spells = self.of(some, np.full(len(some), slot))
        order = np.argsort(spells.from_ms, kind="stable")
        return Begun(some[order], spells.from_ms[order], spells.until_ms[order], spells.slot[order])
