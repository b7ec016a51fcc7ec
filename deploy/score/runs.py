"""Scenarios, run with many seeds, each judged where it ran."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from deploy.score.crew import Progress, Run, one_thread, seldom_collected
from deploy.score.evidence import MINUTE_MS, Evidence, episodes_of
from deploy.score.judge import Verdict, judge, length_min
from deploy.score.means import Means
from deploy.score.mutate import Coverage, coverage
from deploy.score.share import Share
from deploy.score.tally import Opening, sorted_openings
from pearlstream.alerts import run_rules
from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.scenario import Scenario
from pearlstream.rules import Rules
from producers.simulator.plan import Plan, ScenarioAt, make_plan
from producers.simulator.run import Simulation

TICK_MS = 60_000
"""Event time between two ticks of a scored run. The label `late` and the moment of settling are known to a minute
instead of five seconds, which no rule can tell apart: the shortest window lasts as long."""
KEPT = (
    "indicator", "city", "dims", "window_start_ms", "window_end_ms", "value",
    "n", "numerator", "denominator", "maturity", "rev", "known_at_ms", "sim",
)  # fmt: skip
"""What rules and judge read of an indicator row."""


WARM_UP_MS = 60 * MINUTE_MS
"""So long a run goes on before its scenario begins: windows of an hour have seen a whole one by then."""


@dataclass(frozen=True)
class Task:
    """One run: a scenario of a catalogue and a seed. `fleet`: the share of the devices. `mutate`: try
    mutants of the rules, too."""

    catalogue: Catalogue
    scenario: str
    seed: int
    fleet: float = 1.0
    jobs: int = 1
    mutate: bool = False


class Scored(NamedTuple):
    """A run with what was found in it."""

    evidence: Evidence
    verdicts: list[Verdict]
    openings: list[Opening]
    readings: int
    coverage: Coverage | None = None


def plan_of(catalogue: Catalogue, scenario: Scenario, seed: int, fleet: float = 1.0) -> Plan:
    """The plan of a scored run: an ordinary hour first, then until no claim is undecided, in ticks of a minute."""
    duration_ms = WARM_UP_MS + round(length_min(scenario) * MINUTE_MS)
    plan = make_plan(catalogue, [(scenario.id, WARM_UP_MS)], seed=seed, duration_ms=duration_ms)
    plan = replace(
        plan,
        tick_ms=TICK_MS,
        start_ms=plan.start_ms // TICK_MS * TICK_MS,
        duration_ms=-(-duration_ms // TICK_MS) * TICK_MS,
    )
    return plan if fleet == 1 else replace(plan, rate=Simulation(plan).readings_per_s * fleet)


def score(task: Task, progress: Progress | None = None) -> Scored:
    """Run a scenario, the runs it is compared with, and judge it."""
    catalogue = task.catalogue
    scenario = catalogue.scenario(task.scenario)
    plan = plan_of(catalogue, scenario, task.seed, task.fleet)
    watched = sorted({(truth.feed, truth.field) for truth in scenario.truth if truth.must == "move" and truth.feed})
    rules = Rules.of(catalogue)
    judged = {*rules.by_id, *(truth.indicator for truth in scenario.truth if truth.indicator)}
    run = Run(plan, watched, indicators=sorted(judged), jobs=task.jobs)
    with seldom_collected():
        rows = _kept(run.rows(progress))
    simulation = Simulation(plan)
    evidence = Evidence(
        scenario=scenario,
        seed=task.seed,
        start_ms=plan.scenarios[0].start_ms,
        end_ms=plan.end_ms,
        cities=tuple(catalogue.cities),
        episodes=episodes_of(run_rules(rules, rows)),
        rows=rows,
        means=run.means,
        ordinary=_ordinary(plan, watched),
        uneventful=_compared(plan, scenario, "move", (), task.jobs),
        undisturbed=_compared(plan, scenario, "same", (_calm(plan),), task.jobs),
        labels=list(simulation.labels()),
        devices={
            (feed, city.id): int(np.count_nonzero(fleet.city == number))
            for feed, fleet in simulation.fleets.items()
            for number, city in enumerate(fleet.cities)
        },
    )
    verdicts = judge(evidence, catalogue.indicators)
    openings = sorted_openings(evidence, catalogue.indicators)
    tried = coverage(evidence, rules, catalogue.indicators) if task.mutate else None
    return Scored(
        replace(evidence, rows=rows.clear(), uneventful=None, undisturbed=None), verdicts, openings, run.readings, tried
    )


def score_all(tasks: Sequence[Task], jobs: int, progress: Callable[[float], None]) -> Iterator[Scored]:
    """Score runs side by side, and a single one split by feed; in the order of the tasks, whatever ends first.

    `progress` is told how many runs are done; parts of one where it runs here.
    """
    if jobs == 1 or len(tasks) == 1:
        for number, task in enumerate(tasks):
            yield score(replace(task, jobs=jobs), partial(_part, progress, number))
            progress(number + 1)
        return
    with one_thread(), ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        futures: list[Future[Scored]] = [pool.submit(score, task) for task in tasks]
        for number, _ in enumerate(as_completed(futures), 1):
            progress(number)
        yield from (future.result() for future in futures)


def _part(progress: Callable[[float], None], before: int, part: float) -> None:
    progress(before + part)


def _kept(frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
    """Of the rows, what is judged."""
    return pl.concat([frame.select(KEPT) for frame in frames]).rechunk()


def _ordinary(plan: Plan, watched: Sequence[tuple[str, str]]) -> Means:
    """The means of the same run without the scenario: nothing but the readings themselves is needed."""
    if not watched:
        return Means()
    share = Share(replace(plan, scenarios=(), feeds=tuple({feed for feed, _ in watched})), watched=watched)
    share.listen()
    return share.means


def _calm(plan: Plan) -> ScenarioAt:
    """The scenario without its disturbances."""
    first = plan.scenarios[0]
    return first._replace(scenario=first.scenario.model_copy(update={"disturb": ()}))


def _compared(
    plan: Plan, scenario: Scenario, must: str, others: tuple[ScenarioAt, ...], jobs: int
) -> pl.DataFrame | None:
    """The rows of the same run with other scenarios, of the indicators that claims of this kind compare."""
    indicators = {truth.indicator for truth in scenario.truth if truth.must == must and truth.indicator}
    if not indicators:
        return None
    declared = [plan.catalogue.indicators[name] for name in sorted(indicators)]
    feeds = sorted({measure.feed for one in declared for measure in one.measures.values()})
    every = [] if "*" in feeds else feeds
    return _kept(Run(replace(plan, scenarios=others), feeds=every, indicators=sorted(indicators), jobs=jobs).rows())
