"""The command `pearlstream worker`."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import click

from pearlstream.errors import EXIT_IO, PearlstreamError

if TYPE_CHECKING:
    from streams.app import WorkerApp


@click.command()
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(["admit", "indicate", "cluster", "alert"]),
    help="Only this stage; repeatable.",
)
@click.option(
    "--alone", is_flag=True, help="Take every partition without joining a group: for the only worker of a prefix."
)
def worker(stages: tuple[str, ...], alone: bool) -> None:
    """Run stream processors: admit readings, compute indicators, raise alerts."""
    from pearlstream.settings import load_settings
    from streams.app import STAGES, make_app

    try:
        settings = load_settings()
        app = make_app(settings, stages or STAGES, alone=alone)
    except PearlstreamError as error:
        click.echo(f"pearlstream worker: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(run(app))


def run(app: WorkerApp) -> int:
    """Run a worker until a signal stops it; returns the exit code. Logging is set up from its settings."""
    from pearlstream.logs import configure, get_logger

    configure(app.settings.log.level)
    try:
        return asyncio.run(_run(app))
    except PearlstreamError as error:
        get_logger(__name__).critical(error.message, remedy=error.remedy, exit_code=error.exit_code)
        return error.exit_code


async def _run(app: WorkerApp) -> int:
    from pearlstream.logs import get_logger

    log = get_logger(__name__)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.ensure_future(app.start())
    crashed = asyncio.ensure_future(app._crashed.wait())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping, crashed}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        await asyncio.wait({stopping, crashed}, return_when=asyncio.FIRST_COMPLETED)
    if crashed.done() and not stopping.done():
        app.die(EXIT_IO, f"the application crashed: {app.crash_reason!r}")
    log.info("stopping")
    await app.stop()
    for task in (starting, stopping, crashed):
        task.cancel()
    return 0
