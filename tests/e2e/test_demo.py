"""Whole runs of `pearlstream demo` as processes: what was produced is accounted for, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DEMO_TIMEOUT_S = 600


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


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[list[Demo]]:
    """Whatever is put in is ended in any case."""
    made: list[Demo] = []
    yield made
    for demo in made:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


def assert_exact(report: dict[str, Any]) -> None:
    readings, stored = report["readings"], report["stored"]
    assert readings["produced"] > 1000
    assert readings["produced"] == readings["accepted"] + readings["duplicate"] + readings["quarantined"]
    assert readings["accepted"] == stored["raw"] == stored["rollup_count"]
    assert (report["ledger"]["missing"], report["ledger"]["doubled"]) == (0, 0)
    assert report["drained"]
    assert report["findings"] == []


@pytest.mark.slow
@pytest.mark.parametrize("speed", ["max", "120"])
def test_ten_minutes_are_accounted_for_to_the_last_reading(tmp_path: Path, demos: list[Demo], speed: str) -> None:
    demo = Demo(tmp_path, "--speed", speed, "--duration", "10m", "--seed", "7")
    demos.append(demo)
    assert demo.ended() == 0, demo.said
    report = demo.report
    assert_exact(report)
    assert (report["seed"], report["scenario"], report["duration_s"]) == (7, "SC02", 600.0)
    assert report["alerts"] == {"fired": 0, "resolved": 0}
    assert report["freshness_ms"]["p50"] <= report["freshness_ms"]["p99"]
    assert not any(report["restarts"].values())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_counts(tmp_path: Path, demos: list[Demo]) -> None:
    counts = []
    for number, speed in enumerate(("max", "200")):
        (tmp_path / str(number)).mkdir()
        demo = Demo(tmp_path / str(number), "--speed", speed, "--duration", "5m", "--seed", "3")
        demos.append(demo)
        assert demo.ended() == 0, demo.said
        counts.append((demo.report["readings"], demo.report["stored"]))
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_killing_worker_and_sink_loses_and_doubles_nothing(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--speed", "20", "--duration", "10m")
    demos.append(demo)
    demo.waits_for("first indicators")
    first = demo.kill("worker")
    demo.waits_for("worker is back (restart 1)")
    demo.kill("sink")
    demo.waits_for("sink is back (restart 1)")
    demo.kill("worker", last=first)
    assert demo.ended() == 0, demo.said
    assert_exact(demo.report)
    assert demo.report["restarts"]["sink"] == 1
    assert demo.report["restarts"]["worker"] == 2


@pytest.mark.slow
def test_the_death_of_the_broker_begins_a_new_life_in_a_database_of_its_own(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--speed", "60", "--duration", "5m")
    demos.append(demo)
    demo.waits_for("first indicators")
    demo.kill("broker")
    assert demo.ended() == 0, demo.said
    assert "the broker died" in demo.said
    assert demo.report["life"] == 2
    assert demo.report["database"].endswith("_2")
    assert_exact(demo.report)


@pytest.mark.slow
def test_ctrl_c_ends_the_run_cleanly_and_still_counts(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--speed", "60")
    demos.append(demo)
    demo.waits_for("first indicators")
    pids = json.loads(next(demo.data.glob("runs/*/processes.json")).read_text())
    demo.process.send_signal(signal.SIGINT)
    assert demo.ended(180) == 0, demo.said
    assert demo.report["stopped"]
    assert_exact(demo.report)
    assert not [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()], "something was left running"


def test_a_taken_port_is_said_with_its_setting(tmp_path: Path, demos: list[Demo]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        demo = Demo(tmp_path, "--duration", "1m", PEARLSTREAM_EMBEDDED__BROKER_PORT=port)
        demos.append(demo)
        assert demo.ended(60) == 70, demo.said
    assert f"port {port}" in demo.said
    assert "PEARLSTREAM_EMBEDDED__BROKER_PORT" in demo.said
    assert "Traceback" not in demo.said


def test_a_data_folder_that_cannot_be_written_to_is_said_with_its_setting(tmp_path: Path, demos: list[Demo]) -> None:
    (tmp_path / "data").write_text("in the way")
    demo = Demo(tmp_path, "--duration", "1m")
    demos.append(demo)
    assert demo.ended(60) == 70, demo.said
    assert "cannot write to the data folder" in demo.said
    assert "PEARLSTREAM_EMBEDDED__DATA_DIR" in demo.said
    assert "Traceback" not in demo.said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--scenario", "SC98"], 78, "there is no scenario 'SC98'"),
        (["--speed", "soon"], 2, "is no speed"),
        (["--duration", "long"], 2, "is no duration"),
        (["--start", "yesterday"], 2, "--start"),
        (["--report", "no/such/folder/r.json"], 2, "there is no folder"),
    ],
    ids=["scenario", "speed", "duration", "start", "report"],
)
def test_what_is_wrong_in_the_call_is_said_before_anything_starts(
    tmp_path: Path, demos: list[Demo], arguments: list[str], code: int, words: str
) -> None:
    demo = Demo(tmp_path, *arguments)
    demos.append(demo)
    assert demo.ended(60) == code, demo.said
    assert words in demo.said
    assert not list(demo.data.glob("runs/*")), "a run was begun"
