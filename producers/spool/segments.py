"""The segments of a spool that are on disk: found, opened, removed, put aside."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pearlstream.logs import get_logger
from producers.spool.segment import HEADER, SegmentReader

log = get_logger(__name__)

DAMAGED = ".damaged"
"""Behind the name of a segment that could not be read to its end; it is kept, and no longer belongs to the spool."""
_is_segment = re.compile(r"[0-9]{20}\.seg").fullmatch


class Segments:
    """The segments in a folder by the number of their first entry, oldest first. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        names = sorted(path for path in folder.iterdir() if _is_segment(path.name))
        self._sizes = {int(path.name[:20]): path.lstat().st_size for path in names}
        self._bad: set[int] = set()

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._sizes))

    @property
    def size_bytes(self) -> int:
        """What they take on disk."""
        return sum(self._sizes.values())

    @property
    def newest(self) -> int | None:
        """The one that was begun last."""
        return next(reversed(self._sizes), None)

    def path(self, first: int) -> Path:
        """Where a segment is, or would be."""
        return self._folder / f"{first:020}.seg"

    def note_size(self, first: int, size: int) -> None:
        """Say how long a segment has become; a new one is added."""
        self._sizes[first] = size

    def note_bad(self, first: int) -> None:
        """Say that a segment has bytes that cannot be read: it is kept when its entries are not needed any more."""
        self._bad.add(first)

    def last_of(self, first: int, last: int) -> int:
        """The highest number that an entry of a segment may have, if `last` is the highest of all."""
        later = (other for other in self._sizes if other > first)
        return next(later, last + 1) - 1

    def opened(self, first: int) -> SegmentReader | None:
        """A reader of a segment; one that is none is put aside."""
        try:
            return SegmentReader(self.path(first), first)
        except ValueError:
            if self._sizes[first] < HEADER.size:
                self._unlink(first)
            else:
                self._put_aside(first, "it is no segment")
        return None

    def last_number(self) -> int:
        """Number of the last entry, as far as can be told; segments at the end that hold none are removed."""
        last = 0
        while (first := self.newest) is not None:
            last = max(last, first - 1)
            reader = self.opened(first)
            if reader is None:
                continue
            while reader.next() is not None:
                pass
            reader.close()
            if reader.last >= first:
                return max(last, reader.last)
            if any(not damage.torn for damage in reader.damage):
                self._put_aside(first, "it holds nothing that can be read")
            else:  # a crash came before its first entry was whole
                self._unlink(first)
        return last

    def sync(self) -> None:
        """See all of them onto the disk."""
        for first in self:
            file = os.open(self.path(first), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def remove(self, first: int) -> None:
        """Remove a segment whose entries are not needed any more; one with bad bytes is put aside."""
        if first in self._bad:
            self._put_aside(first, "some of it could not be read")
        else:
            self._unlink(first)

    def _unlink(self, first: int) -> None:
        self.path(first).unlink(missing_ok=True)
        del self._sizes[first]

    def _put_aside(self, first: int, why: str) -> None:
        path = self.path(first)
        kept = path.with_name(path.name + DAMAGED)
        for more in range(1, 1_000):
            if not kept.exists():
                break
            kept = path.with_name(f"{path.name}.{more}{DAMAGED}")
        path.replace(kept)
        del self._sizes[first]
        self._bad.discard(first)
        log.error("a segment of the spool is put aside", why=why, kept=str(kept))
