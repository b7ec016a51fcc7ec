"""Weeks without any event, simulated and folded in this process: the history of a cluster that has none yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from deploy.score.crew import Run
from pearlstream.catalogue.bases import Ordinary
from pearlstream.learn import WEEK_MS, Learnable, medians, units_in
from pearlstream.registry import RegistryBook
from producers.simulator.plan import make_plan
from producers.simulator.run import Simulation

TICK_MS = 60_000


def learn_from_simulation(
    what: Learnable,
    scenario: str,
    weeks: float,
    seed: int,
    fleet: float,
    jobs: int,
    progress: Callable[[float], None],
) -> list[Ordinary]:
    """Bases of weeks that begin when a scenario does, without its effects and without faults.

    `fleet`: the share of the devices that takes part. `progress` is told how much of the time has been played. Raises
    CatalogueError for an unknown scenario.
    """
    duration_ms = round(weeks * WEEK_MS)
    plan = make_plan(what.catalogue, [(scenario, 0)], seed=seed, duration_ms=duration_ms, faults=False)
    start_ms = plan.start_ms // TICK_MS * TICK_MS
    plan = replace(plan, scenarios=(), tick_ms=TICK_MS, start_ms=start_ms)
    plan = replace(plan, feeds=what.feeds)
    if fleet != 1:
        plan = replace(plan, rate=Simulation(plan).readings_per_s * fleet)
    book = RegistryBook(what.catalogue.feeds)
    book.read(Simulation(plan).devices)
    parts = [frame.filter(pl.col("value").is_not_null()) for frame in Run(plan, jobs=jobs).rows(progress)]
    if not parts:
        return []
    return medians(pl.concat(parts), what, units_in(book.last, what.programs, what.wanted))
