"""When to try again, and with how much: back-off with jitter, larger or smaller cuts as the store asks for them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pearlstream.store import StoreError, Trouble
from sinks.clickhouse.lane import CUT_ROWS

FIRST_S, LONGEST_S = 0.1, 30.0
_LEAST_S = {Trouble.MERGING: 10.0, Trouble.FULL: 5.0, Trouble.SCHEMA: 5.0, Trouble.REFUSED: 5.0}


@dataclass
class Breaker:
    """Open after a failure until it is time for one trial. `failures` counts those in a row."""

    failures: int = 0
    last: StoreError | None = None
    _until: float = 0.0
    _random: random.Random = field(default_factory=random.Random)

    def open(self, now: float) -> bool:
        """Whether to leave the store alone for now. `now` is a steady clock in seconds."""
        return bool(self.failures) and now < self._until

    def failed(self, error: StoreError, now: float) -> float:
        """Note a failure; returns the seconds until the next trial."""
        self.failures += 1
        self.last = error
        wait = min(LONGEST_S, FIRST_S * (1 << min(self.failures - 1, 12)))
        wait = max(wait, _LEAST_S.get(error.trouble, 0.0)) * self._random.uniform(0.5, 1.0)
        self._until = now + wait
        return wait

    def succeeded(self) -> None:
        """Note that the store works."""
        self.failures, self.last = 0, None


LEAST_ROWS = 1000
SLOWEST_S = 10.0
REST, MOST = 3.0, 10.0
"""Cuts are this many times as far apart as the store needs for one, up to so many times their usual distance."""
EASE_S = 60.0
"""After so long without trouble cuts go back to their usual size, a step at a time."""


class Pace:
    """How often cuts are made and how large: `flush_s` seconds apart, of about `cut_rows` rows.

    Too many parts in the store: fewer and larger. Not enough memory there: smaller. A store that is slow to take rows
    gets them less often, and more at once: most of what an insert costs does not depend on how many rows it has.
    """

    def __init__(self, flush_s: float) -> None:
        self.flush_s, self.cut_rows = flush_s, CUT_ROWS
        self._usual_s = flush_s
        self._changed = 0.0
        self._took_s = 0.0

    @property
    def gap_s(self) -> float:
        """Seconds from one cut to the next: `flush_s`, or as long as leaves the store two thirds of the time, but never
        more than ten times `flush_s`."""
        return min(max(self.flush_s, REST * self._took_s), MOST * self.flush_s)

    def took(self, seconds: float) -> None:
        """Note how long the store took over the last cut."""
        self._took_s = seconds

    def failed(self, trouble: Trouble, now: float) -> None:
        """Change the pace if that is what the store needs."""
        if trouble is Trouble.MERGING:
            self.flush_s = min(SLOWEST_S, max(self.flush_s, 0.5) * 2)
        elif trouble is Trouble.MEMORY:
            self.cut_rows = max(LEAST_ROWS, self.cut_rows // 2)
        self._changed = now

    def succeeded(self, now: float) -> None:
        """Go back towards the usual pace once all has been well for a while."""
        usual = self.flush_s == self._usual_s and self.cut_rows == CUT_ROWS
        if not usual and now - self._changed >= EASE_S:
            self.flush_s = max(self._usual_s, self.flush_s / 2)
            self.cut_rows = min(CUT_ROWS, self.cut_rows * 2)
            self._changed = now
