"""When to try again: back-off with jitter after failures of the store, one trial at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pearlstream.store import StoreError, Trouble

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
