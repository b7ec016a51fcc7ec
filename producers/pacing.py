"""Pacing: event time against the wall clock, at any speed. The only clock of the producers, and it is at the rim."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

BEAT_S = 2.0


@dataclass
class Pacer:
    """Lets event time pass at `speed` times the wall clock (0: as fast as can be).

    A run that falls behind goes as fast as it can until it has caught up; nothing is left out. `with_wall`:
    event time `start_ms` is that time of the wall clock, otherwise it is the moment of the first wait. Event time
    after `free_after_ms` passes as fast as it can. `beat` is called every two seconds while waiting.
    """

    start_ms: int
    speed: float = 1.0
    with_wall: bool = False
    free_after_ms: int | None = None
    beat: Callable[[], None] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _began_s: float | None = None

    def wait_until(self, event_ms: int) -> bool:
        """Wait until it is `event_ms` of event time; False if the run was stopped meanwhile."""
        if self._began_s is None:
            ahead_s = self.start_ms / 1000 - time.time() if self.with_wall else 0.0
            self._began_s = time.monotonic() + ahead_s
        if self.speed > 0 and not self._free(event_ms):
            due_s = self._began_s + (event_ms - self.start_ms) / 1000 / self.speed
            while (left_s := due_s - time.monotonic()) > 0 and not self.stop.wait(min(left_s, BEAT_S)):
                if self.beat is not None:
                    self.beat()
        return not self.stop.is_set()

    def _free(self, event_ms: int) -> bool:
        return self.free_after_ms is not None and event_ms > self.free_after_ms

    def behind_s(self, event_ms: int) -> float:
        """Seconds of the wall clock by which `event_ms` is overdue (0 if it is not, or speed is unlimited)."""
        if self._began_s is None or self.speed <= 0 or self._free(event_ms):
            return 0.0
        return max(0.0, time.monotonic() - self._began_s - (event_ms - self.start_ms) / 1000 / self.speed)
