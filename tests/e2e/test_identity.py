"""One log, one truth: the settled rows of a run are the same to the last digit, whatever happens on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo_process import Demo, assert_exact

from pearlstream.catalogue import load_catalogue
from pearlstream.indicators import fingerprint
from pearlstream.inprocess import Lane, gathered
from pearlstream.program import compile_catalogue
from pearlstream.registry import RegistryBook
from producers.simulator.plan import make_plan
from producers.simulator.run import log_steps, simulate

MINUTES = 12
PARTITIONS = 6


def in_process(seed: int) -> tuple[int, str]:
    """The fingerprint of a simulated run that met no broker, no worker and no store."""
    catalogue = load_catalogue()
    plan = make_plan(catalogue, [("SC02", 0)], seed=seed, duration_ms=MINUTES * 60_000)
    program, book = compile_catalogue(catalogue), RegistryBook(catalogue.feeds)
    steps = list(simulate(plan))
    book.read(record for step in steps for record in step.devices)
    lanes = []
    for partition, log in log_steps(steps, PARTITIONS).items():
        lane = Lane(program, book, partition, PARTITIONS, provisional=False)
        for record in log.records:
            lane.take(record.key, record.value or b"", record.headers)
        lane.flush()
        lanes.append(lane)
    return fingerprint(gathered(lanes).indicators)


def run(folder: Path, *options: str) -> Demo:
    folder.mkdir()
    return Demo(folder, "--duration", f"{MINUTES}m", "--seed", "7", *options)


def said(demo: Demo) -> tuple[int, str]:
    assert demo.ended() == 0, demo.said
    assert_exact(demo.report)
    settled = demo.report["settled"]
    return settled["rows"], settled["sha256"]


def test_a_run_in_process_has_one_fingerprint_for_a_seed_and_another_for_another() -> None:
    rows, sha = in_process(7)
    assert rows > 100
    assert in_process(7) == (rows, sha)
    assert in_process(8) != (rows, sha)


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
