"""A scored run takes a short cut around gateways and codec; what it says must be what the log says."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from deploy.score.crew import Run
from deploy.score.runs import TICK_MS
from pearlstream.catalogue import load_catalogue
from pearlstream.indicators import fingerprint
from pearlstream.inprocess import Lane, gathered
from pearlstream.program import compile_catalogue
from pearlstream.registry import RegistryBook
from producers.simulator.fault_tables import FaultTables
from producers.simulator.plan import Plan, make_plan
from producers.simulator.run import log_steps, simulate

FEEDS = ("traffic.flow", "air.quality", "factory.machine", "compute.job")
MINUTES = 75
"""Longer than the longest stretch that is folded together, and than most windows."""


def plan_with_faults(seed: int) -> Plan:
    """The morning rush in some cities with everything that goes wrong on an ordinary day, and many wrong units."""
    faults = FaultTables({"sensor": {"unit": 0.05}})
    plan = make_plan(load_catalogue(), [("SC02", 0)], seed=seed, duration_ms=MINUTES * 60_000, faults=faults)
    cities = ("440300", "441900", "440100", "440400", "820000")
    return replace(plan, tick_ms=TICK_MS, cities=cities, feeds=FEEDS)


def settled(rows: pl.DataFrame) -> pl.DataFrame:
    """What was said of each window when it settled."""
    return rows.filter(pl.col("rev") == 0)


def latest(rows: pl.DataFrame) -> pl.DataFrame:
    """What is known of each window in the end: a scored run corrects in fewer steps, but as far."""
    window = ["indicator", "city", "dims", "window_end_ms"]
    last = rows.sort("rev").group_by(window).agg(pl.col("value", "coverage", "n", "numerator", "denominator").last())
    return last.sort(window)


def through_frames(plan: Plan) -> pl.DataFrame:
    """The rows of the same plan by gateways, frames and codec."""
    program, book = compile_catalogue(plan.catalogue), RegistryBook(plan.catalogue.feeds)
    steps = list(simulate(plan))
    book.read(record for step in steps for record in step.devices)
    lane = Lane(program, book, 0, 1, provisional=False)
    for record in log_steps(steps, 1)[0].records:
        lane.take(record.key, record.value or b"", record.headers)
    lane.flush()
    return gathered([lane]).indicators


@pytest.mark.parametrize("seed", [1, 7])
def test_the_direct_way_and_the_way_through_frames_have_one_fingerprint(seed: int) -> None:
    plan = plan_with_faults(seed)
    rows = pl.concat(Run(plan).rows())

    coded = through_frames(plan)
    assert fingerprint(settled(rows)) == fingerprint(settled(coded))
    assert {"I43a", "I22c"} <= set(settled(rows)["indicator"]), "those of single cities, and of what crosses them"
    assert latest(rows).equals(latest(coded))


@pytest.mark.parametrize("jobs", [2, 4])
def test_a_run_split_over_processes_says_the_same(jobs: int) -> None:
    plan = replace(plan_with_faults(3), duration_ms=20 * 60_000)

    whole, split = (Run(plan, [("traffic.flow", "speed_kmh")], jobs=jobs) for jobs in (1, jobs))

    assert fingerprint(pl.concat(whole.rows())) == fingerprint(pl.concat(split.rows()))
    assert whole.means == split.means
    assert whole.readings == split.readings > 0
