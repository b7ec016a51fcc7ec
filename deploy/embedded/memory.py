"""How long the embedded broker may go on: it keeps every byte until it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

_SHARE_OF_MACHINE = 0.5
_LEAST_SPAN_S = 5.0


@dataclass(frozen=True)
class BrokerMemory:
    """What the broker holds and where that leads.

    `seconds_left` until `limit_bytes` at the pace since it started; None while that cannot be told, or if
    it does not grow.
    """

    rss_bytes: int
    limit_bytes: int
    seconds_left: float | None

    @property
    def full(self) -> bool:
        """Whether the limit is reached: the run has to end."""
        return self.rss_bytes >= self.limit_bytes


class MemoryWatch:
    """Looks at the memory of a process now and then, and reckons."""

    def __init__(
        self,
        rss_bytes: Callable[[], int | None],
        *,
        limit_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limit_bytes` is half of the machine's memory unless given."""
        self._rss_bytes = rss_bytes
        self._clock = clock
        self._limit = limit_bytes or int(_machine_bytes() * _SHARE_OF_MACHINE)
        self._first: tuple[float, int] | None = None

    def begin(self) -> None:
        """A new life of the process has begun."""
        rss = self._rss_bytes()
        self._first = (self._clock(), rss) if rss is not None else None

    def look(self) -> BrokerMemory | None:
        """The state at this moment; None where the system does not tell."""
        rss = self._rss_bytes()
        if rss is None:
            return None
        if self._first is None:
            self.begin()
            return BrokerMemory(rss, self._limit, None)
        then, before = self._first
        span, grown = self._clock() - then, rss - before
        left = (self._limit - rss) * span / grown if span >= _LEAST_SPAN_S and grown > 0 else None
        return BrokerMemory(rss, self._limit, None if left is None else max(0.0, left))


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
