"""The small files of a spool: how far it is acknowledged, and what it is meant for."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

_MARK = struct.Struct("<QI")


class AcknowledgedMark:
    """The number of the last entry of those acknowledged without a gap, in a file.

    It is written often and never synced: an older one, or none, only means that entries are sent again.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)

    def read(self) -> int:
        """What the file says; 0 if it says nothing that can be believed."""
        data = os.pread(self._file, _MARK.size, 0)
        if len(data) < _MARK.size:
            return 0
        number, checksum = _MARK.unpack(data)
        return int(number) if checksum == zlib.crc32(data[:8]) else 0

    def write(self, number: int) -> None:
        """Note a number. That it cannot be noted does no harm."""
        data = number.to_bytes(8, "little")
        with suppress(OSError):
            os.pwrite(self._file, data + zlib.crc32(data).to_bytes(4, "little"), 0)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)


def read_label(path: Path) -> str | None:
    """What a spool is meant for, None if it does not say. Raises OSError."""
    try:
        return path.read_bytes()[:4096].decode("utf-8", "replace")
    except FileNotFoundError:
        return None


def write_label(path: Path, label: str) -> None:
    """Say what a spool is meant for, at once and lastingly. Raises OSError."""
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(label)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """See the names of a folder's files onto the disk. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
