"""The data folder: made, tried."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pearlstream.errors import ServiceError

DATA_DIR_SETTING = "PEARLSTREAM_EMBEDDED__DATA_DIR"
"""Environment name of the setting that chooses the data folder."""

ROOM_BYTES = 256 * 1024 * 1024
"""Free space that must be there before anything starts."""

IN_USE_REMEDY = f"end that process, or set {DATA_DIR_SETTING} to another folder"
"""What to do if another process holds the lock of the folder."""

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
