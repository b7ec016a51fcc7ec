"""A lock file: what belongs to one process at a time."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from pearlstream.errors import ServiceError

AGAIN_S = 0.1


class FolderLock:
    """Holds `file` for this process; the system lets go of it when the process ends, however it ends."""

    def __init__(self, file: Path, *, what: str, remedy: str = "end that process", patience_s: float = 0.0) -> None:
        """Take the lock, waiting for it at most so long. Raises ServiceError that names `what` and who holds it."""
        self._handle: IO[str] = file.open("a+", encoding="ascii")
        until = time.monotonic() + patience_s
        while not self._taken():
            if time.monotonic() >= until:
                self._handle.seek(0)
                pid = self._handle.read().strip()
                self._handle.close()
                raise ServiceError(
                    f"{what} is in use by another process" + (f" (pid {pid})" if pid else ""), remedy=remedy
                )
            time.sleep(AGAIN_S)
        self._handle.truncate(0)
        self._handle.write(f"{os.getpid()}\n")
        self._handle.flush()

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Let go; more than once does no harm."""
        self._handle.close()
