"""Means of what devices measured, by city and ten minutes: what claims that something moves are judged by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from producers.simulator.columns import Coded
from producers.simulator.fleet import Fleet
from producers.simulator.rows import Rows

SLOT_MS = 600_000


@dataclass
class Means:
    """Sums and counts by (feed, field, city) and slot of ten minutes (counted from 1970 UTC)."""

    sums: dict[tuple[str, str, str], dict[int, tuple[float, int]]] = field(default_factory=dict)

    def add(self, fleet: Fleet, name: str, rows: Rows) -> None:
        """Add what devices reported, by their true time. Words have no mean and are left out."""
        column = rows.values.get(name)
        if column is None or isinstance(column, Coded):
            return
        values = np.asarray(column, dtype=float)
        known = np.isfinite(values)
        city = fleet.city[rows.device]
        for slot in np.unique(rows.ts_ms // SLOT_MS).tolist():
            here = known & (rows.ts_ms // SLOT_MS == slot)
            total = np.bincount(city[here], values[here], len(fleet.cities))
            count = np.bincount(city[here], minlength=len(fleet.cities))
            for number in np.flatnonzero(count).tolist():
                self._put(
                    (fleet.feed.id, name, fleet.cities[number].id), slot, float(total[number]), int(count[number])
                )

    def _put(self, key: tuple[str, str, str], slot: int, total: float, count: int) -> None:
        slots = self.sums.setdefault(key, {})
        before = slots.get(slot, (0.0, 0))
        slots[slot] = (before[0] + total, before[1] + count)

    def merge(self, others: Iterable[Means]) -> Means:
        """All of them as one; their keys do not overlap, since each feed belongs to one share."""
        merged = Means(dict(self.sums))
        for other in others:
            merged.sums |= other.sums
        return merged

    def over(self, feed: str, name: str, city: str, from_ms: int, until_ms: int) -> float | None:
        """The mean over whole slots that begin in [from_ms, until_ms), None if nothing was reported."""
        total, count = self._within(feed, name, city, from_ms, until_ms)
        return total / count if count else None

    def count(self, feed: str, name: str, city: str, from_ms: int, until_ms: int) -> int:
        """The number of readings over whole slots that begin in [from_ms, until_ms)."""
        return self._within(feed, name, city, from_ms, until_ms)[1]

    def _within(self, feed: str, name: str, city: str, from_ms: int, until_ms: int) -> tuple[float, int]:
        slots = self.sums.get((feed, name, city), {})
        some = [cell for slot, cell in slots.items() if from_ms <= slot * SLOT_MS < until_ms]
        return sum(total for total, _ in some), sum(n for _, n in some)

    def cities(self, feed: str, name: str) -> list[str]:
        """The cities in which a field was reported."""
        return sorted(city for of, field_, city in self.sums if (of, field_) == (feed, name))
