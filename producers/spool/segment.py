"""A segment: one file of a spool, written from its first byte to its last by one life of one process.

    file    "PEARLSP1", salt (4 bytes, random), then entries
    entry   mark (4 bytes), length of the payload (4), number (8), checksum (4), payload

The checksum is a CRC-32 that begins with the salt and goes over length, number and payload, so that no payload can
hold what would pass for an entry. The end of a file that a crash cut short is told from bytes that have gone bad.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

MAGIC = b"PEARLSP1"
HEADER = struct.Struct("<8sI")
HEAD = struct.Struct("<4sIQI")
_SUMMED = struct.Struct("<IQ")
MARK = b"\xf7PSE"
LARGEST = 8 << 20
"""Bytes of the largest payload; a longer length is no length."""
SCANNED = 32 << 20
"""Bytes behind bad ones in which an entry is looked for; no segment of ours is longer."""
TRIES = 1_000
"""Places behind bad bytes at which an entry is looked for."""


class Entry(NamedTuple):
    """What was put into a spool, and its number: one more than that of the entry before it."""

    number: int
    payload: bytes


class Damage(NamedTuple):
    """Bytes of a segment that are no entry. `torn`: a crash cut the last entry short, which nobody was told is safe."""

    at: int
    length: int
    torn: bool


def entry_bytes(payload: bytes) -> int:
    """What an entry takes on disk."""
    return HEAD.size + len(payload)


def _checksum(salt: int, number: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_SUMMED.pack(len(payload), number), salt))


class SegmentWriter:
    """A new segment, named by the number of its first entry. Raises OSError as the system does, and then the file is as
    it was before the call."""

    def __init__(self, path: Path, first: int) -> None:
        self.first = first
        self._salt = int.from_bytes(os.urandom(4), "little")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600)
        self.size = 0
        try:
            self._write(HEADER.pack(MAGIC, self._salt))
        except OSError:
            self.close()
            path.unlink(missing_ok=True)
            raise

    def append(self, number: int, payload: bytes) -> None:
        """Add an entry."""
        head = HEAD.pack(MARK, len(payload), number, _checksum(self._salt, number, payload))
        self._write(head + payload)

    def _write(self, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.write(self._file, data[done:])
        except OSError:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise
        self.size += done

    def duplicate(self) -> int:
        """A descriptor of the file that outlives this writer, to be closed by the caller."""
        return os.dup(self._file)

    def sync(self) -> None:
        """See all of it onto the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)


class SegmentReader:
    """Reads a segment from its beginning. Raises OSError, or ValueError if the file is no segment."""

    def __init__(self, path: Path, first: int) -> None:
        self.path, self.first = path, first
        if path.is_symlink():
            raise ValueError("no file")
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise ValueError("no file")
            header = os.pread(self._file, HEADER.size, 0)
            if len(header) < HEADER.size or header[: len(MAGIC)] != MAGIC:
                raise ValueError("no segment")
        except (OSError, ValueError):
            os.close(self._file)
            raise
        self._salt = HEADER.unpack(header)[1]
        self.at = HEADER.size
        self.last = first - 1
        """Number of the last entry that was read."""
        self.damage: list[Damage] = []
        """What was met on the way and could not be read."""

    def next(self, size: int | None = None) -> Entry | None:
        """The next entry, bad bytes passed over; None at the end (`size` bytes, or as long as the file is)."""
        end = os.fstat(self._file).st_size if size is None else size
        if self.at >= end:
            return None
        entry = self._entry(self.at, end)
        if entry is None:
            entry = self._after_damage(end)
        if entry is None:
            self.at = end
            return None
        self.at += entry_bytes(entry.payload)
        self.last = entry.number
        return entry

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    def _entry(self, at: int, end: int) -> Entry | None:
        """The entry that begins there, None if none does."""
        head = os.pread(self._file, HEAD.size, at)
        if len(head) < HEAD.size:
            return None
        mark, length, number, checksum = HEAD.unpack(head)
        if mark != MARK or length > LARGEST or at + HEAD.size + length > end or number <= self.last:
            return None
        payload = os.pread(self._file, length, at + HEAD.size)
        if len(payload) < length or checksum != _checksum(self._salt, number, payload):
            return None
        return Entry(number, payload)

    def _after_damage(self, end: int) -> Entry | None:
        """Note what is bad here, and go on with the first entry behind it."""
        begin = self.at
        rest = os.pread(self._file, min(end - begin, SCANNED), begin)
        at = 0
        for _ in range(TRIES):
            at = rest.find(MARK, at + 1)
            if at < 0:
                break
            entry = self._entry(begin + at, end)
            if entry is not None:
                self.at = begin + at
                self.damage.append(Damage(begin, at, torn=False))
                return entry
        self.damage.append(Damage(begin, end - begin, torn=_is_torn(rest)))
        return None


def _is_torn(rest: bytes) -> bool:
    """Whether bytes are the beginning of an entry that lacks its end."""
    if len(rest) < HEAD.size:
        return MARK.startswith(rest[: len(MARK)])
    mark, length, _, _ = HEAD.unpack_from(rest)
    return bool(mark == MARK and len(rest) - HEAD.size < length <= LARGEST)
