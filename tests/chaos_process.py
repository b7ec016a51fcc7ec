"""`pearlstream chaos` as a process, for tests of whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 900


def started(folder: Path, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    """A run under way; it says its report on standard output."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PEARLSTREAM_")}
    environment |= {"PEARLSTREAM_EMBEDDED__DATA_DIR": str(folder / "data"), **settings}
    command = [sys.executable, "-P", "-m", "pearlstream.cli", "chaos", "--json", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
    )


def chaos(folder: Path, *arguments: str, **settings: str) -> tuple[int, dict[str, Any], str]:
    """Its exit code, its report (empty if there is none) and what it said besides."""
    process = started(folder, *arguments, **settings)
    try:
        said, complaints = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    return process.returncode, json.loads(said) if said else {}, complaints


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
