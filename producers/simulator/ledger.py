"""The producer's side of the books: what left the gateways, and what did not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from producers.simulator.gateways import Frame


@dataclass
class Counts:
    """Readings of one feed and city that left their gateways. `produced` includes `repeats`."""

    produced: int = 0
    repeats: int = 0
    frames: int = 0


@dataclass
class Ledger:
    """Counts of a run. `lost`: readings that devices made and no gateway ever sent, by cause."""

    counts: dict[tuple[str, str], Counts] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    last_clock_ms: int = 0
    ticks: int = 0

    def note(self, frames: Iterable[Frame]) -> None:
        """Count frames that were sent."""
        for frame in frames:
            counts = self.counts.setdefault((frame.feed.id, frame.city), Counts())
            counts.produced += frame.rows
            counts.repeats += frame.repeats
            counts.frames += 1

    def note_tick(self, clock_ms: int) -> None:
        """Count a tick."""
        self.last_clock_ms = clock_ms
        self.ticks += 1

    @property
    def produced(self) -> int:
        """Readings that left the gateways, repeats included."""
        return sum(counts.produced for counts in self.counts.values())

    @property
    def repeats(self) -> int:
        """Readings that were sent a second time."""
        return sum(counts.repeats for counts in self.counts.values())

    @property
    def frames(self) -> int:
        """Frames sent."""
        return sum(counts.frames for counts in self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """Totals, then feed by feed and city by city."""
        feeds: dict[str, Any] = {}
        for (feed, city), counts in sorted(self.counts.items()):
            total = feeds.setdefault(feed, {"produced": 0, "repeats": 0, "frames": 0, "cities": {}})
            for name in ("produced", "repeats", "frames"):
                total[name] += getattr(counts, name)
            total["cities"][city] = {"produced": counts.produced, "repeats": counts.repeats, "frames": counts.frames}
        return {
            "produced": self.produced,
            "repeats": self.repeats,
            "frames": self.frames,
            "ticks": self.ticks,
            "last_clock_ms": self.last_clock_ms,
            "lost": dict(self.lost),
            "feeds": feeds,
        }
