"""The data folder: made, tried, locked."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from pearlstream.errors import ServiceError

DATA_DIR_SETTING = "PEARLSTREAM_EMBEDDED__DATA_DIR"
"""Environment name of the setting that chooses the data folder."""

ROOM_BYTES = 256 * 1024 * 1024
"""Free space that must be there before anything starts."""

_REMEDY = f"set {DATA_DIR_SETTING} to a folder that you may write to"


def prepare_folder(folder: Path, *, room_bytes: int = ROOM_BYTES) -> Path:
    """Make `folder` (and its parents), prove that one can write into it, and that it has room.

    Returns its absolute path. Raises ServiceError that names the folder and the remedy.
    """
    folder = folder.expanduser().absolute()
    try:
        # Ours alone: logs, data and the password of the run lie there.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"pearlstream" * 400)
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ServiceError(f"cannot write to the data folder {folder}: {error.strerror}", remedy=_REMEDY) from None
    if free < room_bytes:
        raise ServiceError(
            f"the data folder {folder} has {free >> 20} MiB left, {room_bytes >> 20} MiB are needed",
            remedy=f"free some space, or set {DATA_DIR_SETTING} to a folder with more room",
        )
    return folder


class FolderLock:
    """Holds `file` for this process; the system lets go of it when the process ends, however it ends."""

    def __init__(self, file: Path, *, what: str, remedy: str = "") -> None:
        """Take the lock at once. Raises ServiceError that names `what` and the process that holds it."""
        self._handle: IO[str] = file.open("a+", encoding="ascii")
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._handle.seek(0)
            pid = self._handle.read().strip()
            self._handle.close()
            raise ServiceError(
                f"{what} is in use by another process" + (f" (pid {pid})" if pid else ""),
                remedy=remedy or f"end that process, or set {DATA_DIR_SETTING} to another folder",
            ) from None
        self._handle.truncate(0)
        self._handle.write(f"{os.getpid()}\n")
        self._handle.flush()

    def release(self) -> None:
        """Let go; more than once does no harm."""
        self._handle.close()
