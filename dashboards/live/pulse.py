"""How far event time has come in the store, asked once for everybody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pearlstream.store import StoreError

EACH_S = 1.0
PATIENCE = 8
"""The store is asked again after so many times as long as it took, if that is longer than `EACH_S`."""
RANGE_EACH_S = 60.0

_RANGE = (
    "SELECT toUnixTimestamp64Milli(min(known_at_ms)) AS oldest, toUnixTimestamp64Milli(max(known_at_ms)) AS newest "
    "FROM indicators HAVING count() > 0"
)
_NEWEST = (
    "SELECT toUnixTimestamp64Milli(max(known_at_ms)) AS newest FROM indicators "
    "WHERE window_end_ms > fromUnixTimestamp64Milli({since}) HAVING count() > 0"
)
_BACK_MS = 2 * 86_400_000
"""New rows belong to windows that end after the newest moment less this; the store need not read the others."""


class Pulse:
    """The oldest and the newest moment that the store knows of (ms since 1970 UTC); 0 while it is empty or unknown.

    `read` asks the store. `clock`: steady, in seconds.
    """

    def __init__(
        self, read: Callable[[str], Awaitable[list[dict[str, Any]]]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.oldest_ms = 0
        self.newest_ms = 0
        self.trouble = ""
        self._read, self._clock = read, clock
        self._again_at = self._range_at = 0.0
        self._moved_at = clock()
        self._task: asyncio.Task[None] | None = None

    @property
    def still_s(self) -> float:
        """For so long the newest moment has been the same."""
        return self._clock() - self._moved_at

    async def feel(self, wait_s: float) -> None:
        """Bring it up to date, unless that takes longer than `wait_s`: then it goes on by itself."""
        if self._task is None and self._clock() >= self._again_at:
            self._task = asyncio.create_task(self._look())
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=wait_s)

    async def _look(self) -> None:
        begun = self._clock()
        try:
            if not self.newest_ms or begun >= self._range_at:
                found = await self._read(_RANGE)
                self._range_at = self._clock() + RANGE_EACH_S
            else:
                found = await self._read(_NEWEST.format(since=self.newest_ms - _BACK_MS))
            self.trouble = ""
            if found:
                self._take(int(found[0]["newest"]), int(found[0].get("oldest", self.oldest_ms)))
        except StoreError as failure:
            self.trouble = str(failure.message)
        finally:
            self._again_at = self._clock() + max(EACH_S, PATIENCE * (self._clock() - begun))
            self._task = None

    def _take(self, newest_ms: int, oldest_ms: int) -> None:
        if newest_ms > self.newest_ms:
            self._moved_at = self._clock()
        self.newest_ms, self.oldest_ms = max(newest_ms, self.newest_ms), oldest_ms
