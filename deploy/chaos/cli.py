"""The command `pearlstream chaos`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.chaos.schedule import KINDS
from pearlstream.errors import EXIT_FINDING
from producers.options import Duration

if TYPE_CHECKING:
    from deploy.chaos.run import ChaosRun
    from pearlstream.settings import Settings


@click.command()
@click.option("--rounds", type=click.IntRange(1, 500), default=10, show_default=True, help="Faults, one after another.")
@click.option("--duration", type=Duration(), help="Keep the load up for at least so long: 90s, 10m.")
@click.option("--rate", type=click.IntRange(50, 20_000), default=800, show_default=True, help="Readings a second.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Decides faults and load.")
@click.option("--fault", "kinds", multiple=True, type=click.Choice(KINDS), help="Only faults of this kind; repeatable.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=click.Choice(["worker", "sink", "store", "worker+sink", "producer", "everybody"]),
    help="Hit only this one; repeatable.",
)
@click.option("--kafka", metavar="HOST:PORT", help="A real Kafka on this machine, in place of the embedded broker.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write what came of it as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON, and nothing else.")
def chaos(
    rounds: int,
    duration: int | None,
    rate: int,
    seed: int,
    kinds: tuple[str, ...],
    targets: tuple[str, ...],
    kafka: str | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Break a pipeline of its own under load, again and again, and count what was lost or doubled.

    Kills and freezes workers, sink and store, cuts connections to the broker, lets workers join and leave, while a
    producer sends repeats and late readings. Then compares its books with the store, reading by reading, and the
    indicators with those of an undisturbed run. Exits with 0 only if nothing is missing and nothing doubled.
    Uses nothing but this machine, and topics and a database of its own. Ctrl-C ends the faults; what was done until
    then is counted.
    """
    import orjson

    from deploy.chaos.report import summary
    from deploy.demo.run import ending_on_signals

    run = _prepare(rounds, (duration or 0) / 1000, rate, seed, kinds, targets, kafka, quiet=as_json)
    with ending_on_signals(run.stop):
        verdict = run.play()
    body = orjson.dumps(verdict.report, option=orjson.OPT_INDENT_2) + b"\n"
    run.folder.report.write_bytes(body)
    if report is not None:
        report.write_bytes(body)
    if as_json:
        click.echo(body, nl=False)
    else:
        for line in summary(verdict):
            click.echo(line)
        click.echo(f"report: {report or run.folder.report}; logs: {run.folder.logs}")
    if not verdict.exact:
        sys.exit(EXIT_FINDING)


def _prepare(
    rounds: int,
    duration_s: float,
    rate: int,
    seed: int,
    kinds: tuple[str, ...],
    targets: tuple[str, ...],
    kafka: str | None,
    *,
    quiet: bool,
) -> ChaosRun:
    """Everything that can be wrong before a process is started is found here."""
    from deploy.chaos.load import Load
    from deploy.chaos.run import ChaosRun
    from deploy.chaos.schedule import draw
    from deploy.demo.folder import make_run_folder
    from pearlstream.catalogue import load_catalogue
    from pearlstream.logs import configure

    settings = _settings(kafka)
    if "scale" in kinds and kafka is None:
        raise click.UsageError("--fault scale needs a broker with groups: name one with --kafka")
    wanted = kinds or (KINDS if kafka is not None else tuple(kind for kind in KINDS if kind != "scale"))
    try:
        faults = draw(seed, rounds, wanted, targets)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    catalogue = load_catalogue(settings.catalogue.overlays)
    folder = make_run_folder(settings.embedded.data_dir)
    configure(settings.log.level, folder.log_of("chaos").open("a", encoding="utf-8"), json=False)

    def tell(text: str) -> None:
        if not quiet:
            click.echo(text)

    return ChaosRun(settings, catalogue, folder, Load(seed, rate), faults, duration_s, tell)


def _settings(kafka: str | None) -> Settings:
    """The settings, without whatever broker and store they name: those are not for breaking."""
    from deploy.chaos.cast import is_loopback
    from pearlstream.settings import ClickHouse, Kafka, load_settings

    settings = load_settings()
    if kafka is not None:
        host, _, port = kafka.rpartition(":")
        if not (port.isdigit() and is_loopback(host)):
            raise click.UsageError(f"--kafka {kafka}: chaos breaks things on this machine only; write 127.0.0.1:9092")
    prefix = settings.kafka.prefix if len(settings.kafka.prefix) < 10 else "pearl."
    broker = Kafka(bootstrap_servers=kafka or "", prefix=prefix, partitions=settings.kafka.partitions)
    return settings.model_copy(update={"kafka": broker, "clickhouse": ClickHouse()})
