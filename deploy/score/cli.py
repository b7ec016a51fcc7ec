"""The command `pearlstream score`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from pearlstream.errors import EXIT_FINDING

if TYPE_CHECKING:
    from deploy.score.runs import Scored, Task

ALL = "ALL"


@click.command()
@click.option(
    "--scenario", "scenarios", multiple=True, default=[ALL], show_default=True, help="By id or alias; repeatable."
)
@click.option("--seeds", type=click.IntRange(1), default=20, show_default=True, help="Run with the seeds 1 to this.")
@click.option("--seed", "one_seed", type=click.IntRange(0), help="Run with this seed alone.")
@click.option("--fleet", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Only this share of devices.")
@click.option("--mutate", is_flag=True, help="Change every rule a little: would any claim notice?")
@click.option("--jobs", type=click.IntRange(1), help="Processes.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def score(
    scenarios: tuple[str, ...],
    seeds: int,
    one_seed: int | None,
    fleet: float,
    mutate: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Hold the alert rules against the claims of the scenarios.

    Plays each scenario with each seed in this process and its children, at full speed and without broker or store,
    and judges what fired, what did not, and how soon. Exits with 1 if a claim failed or a goal was missed.
    """
    import orjson

    from deploy.score.report import Board

    tasks = _tasks(scenarios, [one_seed] if one_seed is not None else list(range(1, seeds + 1)), fleet, mutate)
    board = Board(fleet)
    with _progress(len(tasks)) as progress:
        for scored in _scored(tasks, jobs or os.cpu_count() or 1, progress):
            board.add(scored)
    if as_json:
        click.echo(orjson.dumps(board.as_json()).decode())
    else:
        board.tell()
    if not board.fine:
        sys.exit(EXIT_FINDING)


def _tasks(scenarios: tuple[str, ...], seeds: list[int], fleet: float, mutate: bool) -> list[Task]:
    """Every scenario with every seed. Raises click.UsageError for an unknown scenario."""
    from deploy.score.runs import Task
    from pearlstream.catalogue import load_catalogue
    from pearlstream.settings import load_settings

    catalogue = load_catalogue(load_settings().catalogue.overlays)
    known = {one.alias: name for name, one in catalogue.scenarios.items()} | {
        name: name for name in catalogue.scenarios
    }
    for name in scenarios:
        if name not in known and name.upper() != ALL:
            raise click.UsageError(f"there is no scenario {name!r}; known: {ALL}, {', '.join(catalogue.scenarios)}")
    every = ALL in {name.upper() for name in scenarios}
    wanted = list(catalogue.scenarios) if every else [known[name] for name in scenarios]
    return [Task(catalogue, name, seed, fleet, mutate=mutate) for name in dict.fromkeys(wanted) for seed in seeds]


def _scored(tasks: list[Task], jobs: int, progress: Callable[[float], None]) -> Iterator[Scored]:
    from deploy.score.runs import score_all

    return score_all(tasks, jobs, progress)


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress("runs", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True)
    bar.disable = not console.is_terminal
    with bar:
        task = bar.add_task("runs", total=runs)
        yield lambda done: bar.update(task, completed=done)
