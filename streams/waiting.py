"""Records between the reader and the fold: whatever has come while a batch was folded is the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from pearlstream.fold import Record

MOST_RECORDS = 4000
MOST_BYTES = 32 << 20
"""What may wait before no more is let in; all that waits is one batch."""

Read = tuple[int, Record]
"""A record with the partition that it comes from."""


class Waiting:
    """A queue for one reader and one folder that is emptied in one go."""

    def __init__(self) -> None:
        self._records: list[Read] = []
        self._bytes = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._records)

    async def add(self, records: Iterable[Read]) -> None:
        """Let records in, all of them, once there is any room."""
        await self._until(lambda: len(self._records) < MOST_RECORDS and self._bytes < MOST_BYTES)
        added = list(records)
        self._records += added
        self._bytes += _size(added)
        self._changed.set()

    async def take(self) -> list[Read]:
        """Everything that waits, at least one record."""
        await self._until(lambda: bool(self._records))
        records = self._records
        self._put([])
        return records

    async def emptied(self) -> None:
        """Wait until nothing waits."""
        await self._until(lambda: not self._records)

    def drop(self, partition: int) -> None:
        """Forget what waits of a partition: it comes again, and is in the way till then."""
        self._put([one for one in self._records if one[0] != partition])

    def _put(self, records: list[Read]) -> None:
        self._records = records
        self._bytes = _size(records)
        self._changed.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()


def _size(records: Iterable[Read]) -> int:
    return sum([len(record.value or b"") for _, record in records])
