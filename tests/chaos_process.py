"""`pearlstream chaos` as a process, for tests of whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 600


def chaos(folder: Path, *arguments: str, **settings: str) -> tuple[int, dict[str, Any], str]:
    """Its exit code, its report (empty if there is none) and what it said besides."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PEARLSTREAM_")}
    environment |= {"PEARLSTREAM_EMBEDDED__DATA_DIR": str(folder / "data"), **settings}
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "pearlstream.cli", "chaos", "--json", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=TIMEOUT_S,
        check=False,
    )
    return ended.returncode, json.loads(ended.stdout) if ended.stdout else {}, ended.stderr


def assert_nothing_lost(report: dict[str, Any], rounds: int) -> None:
    """Nothing missing, nothing doubled, under a load that would have shown it."""
    assert report["findings"] == []
    assert (report["rounds"], report["missing"], report["doubled"]) == (rounds, 0, 0)
    readings = report["readings"]
    assert readings["produced"] > 1000
    assert readings["produced"] == readings["accepted"] + readings["duplicate"]
    assert readings["repeats"] > 0.02 * readings["produced"]
    assert readings["late"] > 0.005 * readings["produced"]
    assert report["settled"] == report["undisturbed"]
    assert report["settled"]["rows"] > 0
    assert report["drained"]


def done(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What was done to whom, round by round."""
    return [(fault["act"], fault["target"]) for fault in report["faults"]]
