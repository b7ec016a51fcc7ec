"""The command `pearlstream simulate`."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pearlstream.errors import EXIT_TRY_AGAIN
from producers.options import FAULTS_HELP, Duration, ScenarioCommand, ScenarioDelay, Speed, at_option

if TYPE_CHECKING:
    from producers.simulation import Played, Progress
    from producers.simulator.plan import Plan


@click.command(cls=ScenarioCommand)
@click.option("--scenario", "scenarios", multiple=True, type=ScenarioDelay(), help="By id or alias; repeatable.")
@at_option
@click.option("--duration", type=Duration(), help="Event time to play: 90s, 15m, 2h. Default: until the scenarios end.")
@click.option("--speed", type=Speed(), default="1", show_default=True, help="Event time per wall time; max: no limit.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Decides every random number.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Readings a second at speed 1: scales the fleet.")
@click.option("--start", help="ISO time with offset, or now. Default: as the scenario says, else now.")
@click.option("--faults", metavar="none|default|FILE", default="default", show_default=True, help=FAULTS_HELP)
@click.option("--encoding", type=click.Choice(["arrow", "json", "senml", "mixed"]), default="arrow", show_default=True)
@click.option("--feed", "feeds", multiple=True, help="Only this feed; repeatable.")
@click.option("--city", "cities", multiple=True, help="Only this city; repeatable.")
@click.option("--gateway-rows", type=click.IntRange(1, 100_000), help="A gateway sends after so many readings,")
@click.option("--gateway-time", type=Duration(), help="or after so much event time. Default: as feeds say.")
@click.option("--ledger", type=click.Path(dir_okay=False, path_type=Path), help="Write what was sent as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print what was sent as JSON.")
def simulate(speed: float, ledger: Path | None, as_json: bool, **options: Any) -> None:
    """Play a scenario of the catalogue into the broker.

    Ctrl-C ends the run cleanly: what gateways hold is sent, with a last tick. While the broker is away a run that has a
    speed goes on, into a spool on disk, which is sent when the broker is back, by this run or the next one.
    """
    import orjson

    from pearlstream.catalogue import load_catalogue
    from pearlstream.logs import configure
    from pearlstream.settings import load_settings
    from producers.pacing import Pacer
    from producers.simulation import play

    settings = load_settings()
    configure(settings.log.level)
    plan = plan_of(load_catalogue(settings.catalogue.overlays), **options)
    pacer = Pacer(plan.start_ms, speed, with_wall=plan.live)
    _stop_on_signals(pacer.stop)
    played = play(plan, settings, pacer, progress=None if as_json else _progress(plan))
    report = report_of(plan, played)
    if ledger is not None:
        ledger.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    if as_json:
        click.echo(orjson.dumps(report).decode())
    else:
        _tell(report)
    if played.kept:
        click.echo(
            f"{played.kept:,} records wait for the broker in {settings.spool_folder}; the next run sends them first",
            err=True,
        )
        sys.exit(EXIT_TRY_AGAIN)


def plan_of(
    catalogue: Any,
    scenarios: tuple[tuple[str, int], ...] = (),
    duration: int | None = None,
    seed: int = 1,
    rate: float | None = None,
    start: str | None = None,
    faults: str = "default",
    encoding: Any = "arrow",
    feeds: tuple[str, ...] = (),
    cities: tuple[str, ...] = (),
    gateway_rows: int | None = None,
    gateway_time: int | None = None,
) -> Plan:
    """The plan that the options ask for. Raises click.UsageError or CatalogueError saying what is wrong."""
    from dataclasses import replace

    from producers.simulator.fault_tables import faults_of
    from producers.simulator.plan import instant_ms, make_plan

    live = start == "now" or (start is None and not scenarios)
    if duration is None and not scenarios:
        raise click.UsageError("say how long with --duration, or which --scenario")
    try:
        start_ms = int(time.time() * 1000) if live else instant_ms(start) if start else None
    except ValueError as error:
        raise click.UsageError(f"--start: {error}") from None
    for name, known, what in ((feeds, catalogue.feeds, "feed"), (cities, catalogue.cities, "city")):
        for wrong in set(name) - set(known):
            raise click.UsageError(f"there is no {what} {wrong!r}; `pearlstream catalogue list` names them")
    plan = make_plan(
        catalogue,
        scenarios,
        seed=seed,
        duration_ms=duration,
        start_ms=start_ms,
        rate=rate,
        faults=faults_of(faults, catalogue.feeds),
        encoding=encoding,
        live=live,
    )
    return replace(plan, feeds=feeds, cities=cities, frame_rows=gateway_rows, frame_ms=gateway_time or plan.frame_ms)


def _stop_on_signals(stop: threading.Event) -> None:
    """The first Ctrl-C (or SIGTERM) asks for a clean end, the second does not ask."""
    if threading.current_thread() is not threading.main_thread():
        return

    def ask(number: int, _frame: Any) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)


def report_of(plan: Plan, played: Played) -> dict[str, Any]:
    """What a run has to say for itself, as JSON."""
    return {
        "seed": plan.seed,
        "scenarios": [at.scenario.id for at in plan.scenarios],
        "start_ms": plan.start_ms,
        "duration_s": plan.duration_ms / 1000,
        "registry": played.registry,
        "driver": played.driver,
        "stopped": played.stopped,
        "wall_s": round(played.wall_s, 3),
        "kept": played.kept,
        **played.ledger.as_json(),
    }


def _progress(plan: Plan) -> Progress | None:
    """A line that is kept up to date on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None
    shown_s = 0.0

    def tell(step: Any, ledger: Any, behind_s: float) -> None:
        nonlocal shown_s
        if time.monotonic() - shown_s < 0.5:
            return
        shown_s = time.monotonic()
        done = min(1.0, (step.clock_ms - plan.start_ms) / max(1, plan.duration_ms))
        late = f", {behind_s:.0f} s behind" if behind_s > 1 else ""
        line = f"{done:4.0%}  {ledger.produced:,} readings in {ledger.frames:,} frames{late}"
        click.echo(f"\r{line}   ", nl=False, err=True)

    return tell


def _tell(report: dict[str, Any]) -> None:
    if sys.stderr.isatty():
        click.echo(err=True)
    for feed, counts in report["feeds"].items():
        click.echo(f"{feed:24} {counts['produced']:>12,} readings  {counts['repeats']:>8,} of them sent twice")
    lost = ", ".join(f"{count:,} {cause.replace('_', ' ')}" for cause, count in report["lost"].items() if count)
    sums = f"{report['frames']:,} frames, {report['ticks']:,} ticks"
    click.echo(f"{'all':24} {report['produced']:>12,} readings in {sums}")
    if lost:
        click.echo(f"never sent: {lost}")
