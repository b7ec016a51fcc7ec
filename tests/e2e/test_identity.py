"""One log, one truth: the settled rows of a run are the same to the last digit, whatever happens on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo_process import Demo, assert_exact
from plain_run import MINUTES, in_process


def run(folder: Path, *options: str) -> Demo:
    folder.mkdir()
    return Demo(folder, "--duration", f"{MINUTES}m", "--seed", "7", *options)


def said(demo: Demo) -> tuple[int, str]:
    assert demo.ended() == 0, demo.said
    assert_exact(demo.report)
    settled = demo.report["settled"]
    return settled["rows"], settled["sha256"]


def test_a_run_in_process_has_one_fingerprint_for_a_seed_and_another_for_another() -> None:
    rows, sha = in_process(7, 6)
    assert rows > 100
    assert in_process(7, 6) == (rows, sha)
    assert in_process(8, 6) != (rows, sha)


@pytest.mark.slow
def test_speed_kills_and_the_broker_leave_no_trace_in_the_settled_rows(tmp_path: Path) -> None:
    expected = in_process(7)
    assert said(run(tmp_path / "fast", "--speed", "max")) == expected
    assert said(run(tmp_path / "slow", "--speed", "20")) == expected
    broken = run(tmp_path / "broken", "--speed", "30")
    broken.waits_for("first indicators")
    first = broken.kill("worker")
    broken.waits_for("worker is back (restart 1)")
    broken.kill("sink")
    broken.waits_for("sink is back (restart 1)")
    broken.kill("worker", last=first)
    assert said(broken) == expected
