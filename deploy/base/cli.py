"""The command `pearlstream base`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pearlstream.errors import EXIT_FINDING

if TYPE_CHECKING:
    from pearlstream.catalogue.bases import Ordinary
    from pearlstream.learn import Learnable


@click.group()
def base() -> None:
    """What an ordinary hour looks like."""


@base.command()
@click.option("--from-store", is_flag=True, help="From the last four weeks that the store holds.")
@click.option("--scenario", default="SC00", show_default=True, help="Simulated weeks begin when this scenario does.")
@click.option("--weeks", type=click.FloatRange(0, 8, min_open=True), default=4.0, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the simulated weeks.")
@click.option(
    "--fleet", type=click.FloatRange(0.01, 1), default=1.0, show_default=True, help="Share of the devices to simulate."
)
@click.option("--indicator", "only", multiple=True, metavar="ID", help="Only bases of this indicator; repeatable.")
@click.option("--jobs", type=click.IntRange(1), help="Processes.  [default: one per core]")
@click.option("--name", default="learned", show_default=True, help="The file is called NAME.toml.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default="here",
    help="An overlay folder; the file goes into its folder `bases`.",
)  # fmt: skip
def learn(
    from_store: bool,
    scenario: str,
    weeks: float,
    seed: int,
    fleet: float,
    only: tuple[str, ...],
    jobs: int | None,
    name: str,
    out: Path,
) -> None:
    """Learn bases: medians by hour of the week, holidays as Sundays.

    Without --from-store they come from simulated weeks in which nothing happens, played in this process. Name the
    folder in PEARLSTREAM_CATALOGUE__OVERLAYS to use them. Exits with 1 if nothing could be learned.
    """
    from pearlstream.catalogue import load_catalogue
    from pearlstream.learn import as_toml, learnable
    from pearlstream.settings import load_settings

    settings = load_settings()
    what = learnable(load_catalogue(settings.catalogue.overlays), only)
    if not what.wanted:
        click.echo("no indicator declares a base" + (f" among {', '.join(only)}" if only else ""))
        click.get_current_context().exit(EXIT_FINDING)
    if from_store:
        from deploy.base.stored import learn_from_store
        from pearlstream.store import Store

        found = learn_from_store(what, Store(settings.clickhouse))
        origin = "readings in the store"
    else:
        found = _simulated(what, scenario, weeks, seed, fleet, jobs or os.cpu_count() or 1)
        origin = f"simulated weeks without any event from the start of {scenario}, seed {seed}: synthetic"
        origin += "" if fleet == 1 else f", {fleet:.0%} of the devices"
    if not found:
        click.echo("nothing was learned: no window has a value")
        click.get_current_context().exit(EXIT_FINDING)
    file = out / "bases" / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_toml(found, f"Learned by `pearlstream base learn` from {origin}."), "utf-8")
    _tell(found, file)


def _simulated(what: Learnable, scenario: str, weeks: float, seed: int, fleet: float, jobs: int) -> list[Ordinary]:
    from rich.progress import Progress

    from deploy.base.simulated import learn_from_simulation

    with Progress(transient=True) as bar:
        task = bar.add_task("playing", total=1.0)
        return learn_from_simulation(
            what, scenario, weeks, seed, fleet, jobs, lambda part: bar.update(task, completed=part)
        )


def _tell(found: Sequence[Ordinary], file: Path) -> None:
    """How much history stands behind each base."""
    by_base: dict[tuple[str, str], list[Ordinary]] = {}
    for one in found:
        by_base.setdefault((one.indicator, one.name), []).append(one)
    for (indicator, name), cities in by_base.items():
        known = [sum(value is not None for value in one.values) for one in cities]
        click.echo(
            f"{indicator} {name}: {len(cities)} cities, {min(one.weeks for one in cities):g} weeks,"
            f" {min(known)} to {max(known)} of 168 hours, at least {min(one.samples for one in cities)} windows an hour"
        )
    click.echo(f"wrote {file}, {file.stat().st_size / 1000:.0f} kB")
