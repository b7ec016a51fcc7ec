"""The folder of a run: logs, the store's data, the producer's books, the report. Old runs are removed."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson

from deploy.embedded.folders import prepare_folder
from pearlstream.errors import ServiceError
from pearlstream.lock import FolderLock

KEEP = 5
"""So many runs are kept, the present one included."""


@dataclass(frozen=True)
class RunFolder:
    """Where everything of one run lies. `id` names the run in paths, databases and topics."""

    id: str
    path: Path

    @property
    def logs(self) -> Path:
        """Folder of the logs, one file per process."""
        return self.path / "logs"

    def ledger(self, life: int) -> Path:
        """What the simulator says it sent in one life of the broker."""
        return self.path / f"simulate-{life}.json"

    @property
    def report(self) -> Path:
        """A copy of the report."""
        return self.path / "report.json"

    @property
    def processes(self) -> Path:
        """Process ids by name, kept up to date: for whoever wants to see what happens when one is killed."""
        return self.path / "processes.json"

    def log_of(self, name: str) -> Path:
        """The log of a process."""
        return self.logs / f"{name}.log"

    def note_processes(self, pids: dict[str, int]) -> None:
        """Write the process ids, at once for a reader."""
        fresh = self.processes.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(pids))
        fresh.replace(self.processes)


def make_run_folder(data_dir: Path) -> RunFolder:
    """A new folder under `data_dir/runs`, older ones beyond KEEP removed.

    Raises ServiceError if the data folder cannot be written to.
    """
    runs = prepare_folder(data_dir) / "runs"
    _prune(runs, KEEP - 1)
    id_ = f"{datetime.now().astimezone():%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"
    folder = RunFolder(id_, runs / id_)
    folder.logs.mkdir(parents=True, mode=0o700)
    return folder


def _prune(runs: Path, keep: int) -> None:
    """Remove the oldest runs; one that is still in use stays."""
    found = sorted((path for path in runs.glob("2*") if path.is_dir()), reverse=True)
    for path in found[keep:]:
        with contextlib.suppress(ServiceError, OSError):
            FolderLock(path / "lock", what=str(path)).release()
            shutil.rmtree(path, ignore_errors=True)
