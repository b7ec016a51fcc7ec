"""`pearlstream demo` as a process, for tests of whole runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DEMO_TIMEOUT_S = 900


class Demo:
    """A demo as a process; its output goes to a file, so that nothing blocks."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self.data = folder / "data"
        self.report_file = folder / "report.json"
        self.output = folder / "output.txt"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PEARLSTREAM_")}
        environment |= {"PEARLSTREAM_EMBEDDED__DATA_DIR": str(self.data), **settings}
        command = [sys.executable, "-P", "-m", "pearlstream.cli", "demo", "--headless"]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--report", str(self.report_file), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
            )

    def ended(self, timeout_s: float = DEMO_TIMEOUT_S) -> int:
        """Its exit code."""
        return self.process.wait(timeout_s)

    @property
    def said(self) -> str:
        return self.output.read_text("utf-8", "replace")

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.report_file.read_text("utf-8"))
        return found

    def pid_of(self, name: str, *, other_than: int = 0, timeout_s: float = 120) -> int:
        """The process of that name, once it is there and another than the last one."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and self.process.poll() is None:
            for file in self.data.glob("runs/*/processes.json"):
                pid = json.loads(file.read_text()).get(name, 0)
                if pid and pid != other_than:
                    return int(pid)
            time.sleep(0.2)
        raise AssertionError(f"no {name} came\n{self.said}")

    def waits_for(self, words: str, timeout_s: float = 120) -> None:
        until = time.monotonic() + timeout_s
        while words not in self.said:
            assert time.monotonic() < until, f"{words!r} was not said\n{self.said}"
            assert self.process.poll() is None, self.said
            time.sleep(0.2)

    def kill(self, name: str, last: int = 0) -> int:
        """Kill a process as if the machine's memory had run out; its pid."""
        pid = self.pid_of(name, other_than=last)
        os.kill(pid, signal.SIGKILL)
        return pid


def assert_exact(report: dict[str, Any]) -> None:
    readings, stored = report["readings"], report["stored"]
    assert readings["produced"] > 1000
    assert readings["produced"] == readings["accepted"] + readings["duplicate"] + readings["quarantined"]
    assert readings["accepted"] == stored["raw"] == stored["rollup_count"]
    assert (report["ledger"]["missing"], report["ledger"]["doubled"]) == (0, 0)
    assert report["drained"]
    assert report["findings"] == []
