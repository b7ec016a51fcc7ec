"""Whole runs of `pearlstream demo` as processes: what was produced is accounted for, whoever is killed."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from demo_process import Demo, assert_exact


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[list[Demo]]:
    """Whatever is put in is ended in any case."""
    made: list[Demo] = []
    yield made
    for demo in made:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("speed", ["max", "120"])
def test_ten_minutes_are_accounted_for_to_the_last_reading(tmp_path: Path, demos: list[Demo], speed: str) -> None:
    demo = Demo(tmp_path, "--speed", speed, "--duration", "10m", "--seed", "7")
    demos.append(demo)
    assert demo.ended() == 0, demo.said
    report = demo.report
    assert_exact(report)
    assert (report["seed"], report["scenario"], report["duration_s"]) == (7, "SC02", 600.0)
    assert report["alerts"]["fired"] >= report["alerts"]["resolved"] >= 0
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
    demo.waits_for("the live view in the browser")
    pids = json.loads(next(demo.data.glob("runs/*/processes.json")).read_text())
    demo.process.send_signal(signal.SIGINT)
    assert demo.ended(180) == 0, demo.said
    assert demo.report["stopped"]
    assert_exact(demo.report)
    assert not [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()], "something was left running"


@pytest.mark.slow
def test_the_page_in_the_browser_comes_with_the_demo_on_another_port_if_its_own_is_taken(
    tmp_path: Path, demos: list[Demo]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = Demo(tmp_path, "--speed", "60", "--duration", "5m", PEARLSTREAM_LIVE__PORT=str(port))
        demos.append(demo)
        demo.waits_for("the live view in the browser: http://127.0.0.1:")
        address = demo.said.partition("the live view in the browser: ")[2].split()[0]
        assert urlsplit(address).port not in (port, None)
        with urlopen(address, timeout=60) as page:
            assert "<h1>Cluster overview</h1>" in page.read().decode()
        assert demo.ended() == 0, demo.said
    assert_exact(demo.report)


@pytest.mark.slow
def test_a_demo_goes_on_without_the_page(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--speed", "60", "--duration", "10m")
    demos.append(demo)
    demo.waits_for("the live view in the browser")
    demo.kill("page")
    assert demo.ended() == 0, demo.said
    assert_exact(demo.report)
    assert "page" not in demo.report["restarts"]


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
