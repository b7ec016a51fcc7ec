"""Which numbers of a growing sequence have been received, per device: ranges, as in QUIC and SACK.

A device that sends 4, 5, 7 has `top` 7 and the gap 6. Memory grows with gaps, not with time, and the answer
to "seen before?" is exact at any cadence. Used for sequence numbers (is this reading a repeat?) and for
pane numbers (is this the device's first reading in the pane?).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import IntEnum

MAX_GAPS = 64
"""Open gaps kept per device; the oldest closes when there would be more."""


class Seen(IntEnum):
    """What the ranges say about a number."""

    NEW = 0
    REPEAT = 1
    FORGOTTEN = 2
    """It lies in a gap that had to be closed: nobody can say whether it came before."""


@dataclass
class Ranges:
    """The numbers 0..`top` received from one device, less its gaps."""

    top: int = -1
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Closed intervals that are missing, rising."""
    forgotten: int = -1
    """Up to here a missing number can no longer be told from a received one."""

    def take(self, number: int) -> Seen:
        """Note one number and say whether it is new."""
        if number > self.top:
            if number > self.top + 1:
                self.open_gap(self.top + 1, number - 1)
            self.top = number
            return Seen.NEW
        at = bisect_right(self.gaps, (number, number)) - 1
        if at >= 0 and self.gaps[at][0] <= number <= self.gaps[at][1]:
            return self._fill(at, number)
        if at + 1 < len(self.gaps) and self.gaps[at + 1][0] == number:
            return self._fill(at + 1, number)
        return Seen.FORGOTTEN if number <= self.forgotten else Seen.REPEAT

    def open_gap(self, low: int, high: int) -> None:
        """Note that low..high (above everything so far) are missing."""
        self.gaps.append((low, high))
        if len(self.gaps) > MAX_GAPS:
            self.forgotten = self.gaps.pop(0)[1]

    def _fill(self, at: int, number: int) -> Seen:
        low, high = self.gaps.pop(at)
        pieces = [(a, b) for a, b in ((low, number - 1), (number + 1, high)) if a <= b]
        self.gaps[at:at] = pieces
        if len(self.gaps) > MAX_GAPS:
            self.forgotten = max(self.forgotten, self.gaps.pop(0)[1])
        return Seen.NEW
