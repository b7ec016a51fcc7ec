"""The command `pearlstream demo`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pearlstream.errors import EXIT_FINDING
from producers.options import FAULTS_HELP, Duration, ScenarioCommand, ScenarioDelay, Speed, at_option

if TYPE_CHECKING:
    from deploy.demo.clients import Wanted
    from deploy.demo.report import Outcome
    from deploy.demo.run import Run

SCENARIO_HELP = "A scenario of the catalogue, by id or alias; repeatable.  [default: SC02]"


@click.command(cls=ScenarioCommand)
@click.option("--scenario", "scenarios", multiple=True, type=ScenarioDelay(), help=SCENARIO_HELP)
@at_option
@click.option("--duration", type=Duration(), help="Event time to play: 10m, 2h. Default: until the scenarios end.")
@click.option("--speed", type=Speed(), help="Event time per wall time; max: no limit.  [default: 10, or 1 from now on]")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Decides every random number.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Readings a second at speed 1: scales the fleet.")
@click.option("--start", help="ISO time with offset, or now. Default: as the scenario says.")
@click.option("--faults", metavar="none|default|FILE", default="default", show_default=True, help=FAULTS_HELP)
@click.option("--headless", is_flag=True, help="Lines now and then in place of the live view.")
@click.option("--no-page", is_flag=True, help="Do not serve the live view in the browser.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write what came of it as JSON.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Write the last view as SVG.")
def demo(
    scenarios: tuple[tuple[str, int], ...],
    duration: int | None,
    speed: float | None,
    seed: int,
    rate: float | None,
    start: str | None,
    faults: str,
    headless: bool,
    no_page: bool,
    report: Path | None,
    picture: Path | None,
) -> None:
    """Run the whole pipeline on this machine, with a live view.

    Starts a broker and a store (unless the settings name real ones), the sink, a worker and the simulator, and
    shows the indicators as they come, here and as a page in the browser. Ctrl-C ends it cleanly: what is on the way
    is stored and counted.
    Exits with 0 only if every reading produced is accounted for.
    """
    from deploy.demo.clients import Wanted

    if speed is None:
        speed = 1.0 if start == "now" else 10.0
    played = scenarios or (("SC02", 0),)
    wanted = Wanted(played, speed, seed=seed, duration_ms=duration, rate=rate, start=start, faults=faults)
    files = [file for file in (report, picture) if file is not None]
    run = prepare(wanted, headless=headless, page=not no_page, files=files)
    outcome = play(run)
    tell(run, outcome, report)
    if picture is not None:
        draw_last(run, picture)
    if not outcome.exact:
        sys.exit(EXIT_FINDING)


def prepare(wanted: Wanted, *, headless: bool, page: bool = True, files: Sequence[Path] = ()) -> Run:
    """Everything that can be wrong before a process is started is found here.

    Raises SettingsError, CatalogueError, ServiceError, or click.UsageError.
    """
    from rich.console import Console

    from deploy.demo.folder import make_run_folder
    from deploy.demo.run import Run
    from deploy.demo.screen import Screen
    from pearlstream.catalogue import load_catalogue
    from pearlstream.logs import configure
    from pearlstream.program import compile_catalogue
    from pearlstream.settings import load_settings
    from producers.simulator.fault_tables import faults_of

    settings = load_settings()
    catalogue = load_catalogue(settings.catalogue.overlays)
    compile_catalogue(catalogue)
    for name, _ in wanted.scenarios:
        catalogue.scenario(name)
    faults_of(wanted.faults, catalogue.feeds)
    _check_start(wanted.start)
    for file in files:
        if not file.absolute().parent.is_dir():
            raise click.UsageError(f"{file}: there is no folder {file.absolute().parent}")
    folder = make_run_folder(settings.embedded.data_dir)
    # Our own lines go where those of the other processes go: the screen is for the picture.
    configure(settings.log.level, folder.log_of("demo").open("a", encoding="utf-8"), json=False)
    console = Console()
    full = console.is_terminal and not console.is_dumb_terminal and not headless
    return Run(settings, catalogue, wanted, folder, Screen(console, full=full), page=page)


def _check_start(start: str | None) -> None:
    from producers.simulator.plan import instant_ms

    try:
        if start not in (None, "now"):
            instant_ms(str(start))
    except ValueError as error:
        raise click.UsageError(f"--start: {error}") from None


def play(run: Run) -> Outcome:
    """Play it; Ctrl-C ends it cleanly, a second Ctrl-C at once."""
    from deploy.demo.run import ending_on_signals

    with ending_on_signals(run.stop):
        return run.play()


def draw_last(run: Run, file: Path) -> None:
    """Write the last view as a picture."""
    from dataclasses import replace

    from deploy.demo.screen import picture

    if run.last is not None:
        file.write_text(picture(replace(run.last, hint="", news=())), "utf-8")


def tell(run: Run, outcome: Outcome, report: Path | None) -> None:
    """Print the summary, write the report beside the logs and where it was asked for."""
    import orjson

    from deploy.demo.report import summary

    body = orjson.dumps(outcome.report, option=orjson.OPT_INDENT_2) + b"\n"
    run.folder.report.write_bytes(body)
    if report is not None:
        report.write_bytes(body)
    for line in summary(outcome):
        run.screen.say(line)
    left = run.left_behind(outcome)
    if left:
        run.screen.say(f"left for you to look at, and to drop: {left}")
    run.screen.say(f"report: {report or run.folder.report}; logs: {run.folder.logs}")
