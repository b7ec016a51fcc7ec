"""`pearlstream import`: recorded readings from files into a log of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pearlstream.catalogue import load_catalogue
from pearlstream.errors import EXIT_FINDING
from pearlstream.inprocess import Folded
from pearlstream.program import compile_catalogue
from pearlstream.settings import load_settings
from producers.importer import report
from producers.importer.dialect import Confirm
from producers.importer.inprocess import fold_import
from producers.importer.job import Import
from producers.importer.mapping import Mapping, load_mapping
from producers.importer.resolve import resolve
from producers.importer.send import Sent, database_for, kafka_for, prefix_for, send
from producers.importer.steps import Step


class UnitOption(click.ParamType):
    """A unit told for a field: `temp_c=degF`."""

    name = "field=unit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The field and the unit."""
        if isinstance(value, tuple):
            return value
        field, sign, unit = str(value).partition("=")
        if not sign or not field or not unit:
            self.fail(f"{value!r}: write for example temp_c=degF", param, ctx)
        return field.strip(), unit.strip()


class Delimiter(click.ParamType):
    """One sign; `\\t` and `tab` stand for a tab."""

    name = "sign"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The sign itself."""
        sign = {"\\t": "\t", "tab": "\t"}.get(str(value), str(value))
        if sign not in (",", ";", "\t", "|"):
            self.fail(f"{value!r}: one of , ; | tab", param, ctx)
        return sign


EPILOG = """\b
Look first, send then:
  pearlstream import *.csv --map examples/beijing/air.toml --dry-run
  pearlstream import *.csv --map examples/beijing/air.toml --in-process
  pearlstream import *.csv --map examples/beijing/air.toml

A mapping is a page of TOML: which column is which field, in which unit, what the times mean, which devices
these are. Copy one from examples/ and mend it; errors name the key and the remedy.

Exit codes: 0 fine, 1 rows were refused for a fault (see the rejects file), 2 the call, the mapping or a file's
dialect is wrong."""


@click.command("import", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--map", "mapping_file", required=True, type=click.Path(path_type=Path), help="The mapping (TOML).")
@click.option("--dry-run", is_flag=True, help="Send nothing: show the first readings, devices, time range, counts.")
@click.option("--in-process", is_flag=True, help="Send nothing: compute the indicators here and show them.")
@click.option("--prefix", help="Topics begin with this; default import.<name of the mapping>. Never the live prefix.")
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where refused rows are written to; default <name>.rejects.csv here.",
)
@click.option("--unit", "units", multiple=True, type=UnitOption(), help="What numbers without unit are in, by field.")
@click.option("--encoding", help="Encoding of the files: utf-8, utf-16, gb18030, cp1252, ...")
@click.option("--delimiter", type=Delimiter(), help="What stands between two cells: , ; | or tab.")
@click.option("--decimal", type=click.Choice([".", ","]), help="The decimal sign.")
@click.option("--quote", help="The sign around cells that hold the delimiter; '' for none. Default: double quotes.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on stdout.")
def import_files(
    files: tuple[Path, ...],
    mapping_file: Path,
    *,
    dry_run: bool,
    in_process: bool,
    prefix: str | None,
    rejects: Path | None,
    units: tuple[tuple[str, str], ...],
    as_json: bool,
    **dialect: str | None,
) -> int:
    """Put recorded readings from CSV FILES into the broker.

    The readings become a log of their own, ordered by event time, under a prefix of their own: history never
    touches what is live. Devices are registered, time is driven by the import itself.
    """
    settings = load_settings()
    mapping = with_dialect(load_mapping(mapping_file), dialect)
    topics = prefix_for(mapping, settings, prefix)
    database = database_for(topics, settings)
    kafka = None if dry_run or in_process else kafka_for(settings, topics)
    overlays = [*settings.catalogue.overlays, *(o for o in mapping.overlay if o not in settings.catalogue.overlays)]
    program = compile_catalogue(load_catalogue(overlays))
    resolved = resolve(mapping, program.catalogue, str(mapping_file), dict(units))
    console = wide_console(stderr=as_json)
    sent: Sent | None = None
    folded: Folded | None = None
    with Import(
        resolved,
        program,
        rejects=rejects or Path(f"{mapping.name}.rejects.csv"),
        confirm=None if as_json else asker(),
    ) as job:
        readers = job.look(files)
        with progress_bar() as bar:
            job.progress = reading_bar(bar)
            job.read(readers)
        report.tell(console, job, dry=dry_run)
        if in_process:
            with progress_bar() as bar:
                folded = fold_import(job, progress=sending_bar(bar, job.survey.readings, "computed"))
            report.tell_folded(console, job, folded)
        elif kafka is not None:
            with progress_bar() as bar:
                sent = send(job, kafka, sending_bar(bar, job.survey.readings))
            console.print(f"sent {sent.readings} readings in {sent.frames} frames, {sent.wall_s:.1f} s")
            console.print(report.what_next(topics, database, list(map(str, overlays))))
        if as_json:
            body = report.as_json(job, topics, database, sent, folded)
            click.echo(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())
        return EXIT_FINDING if job.rejects.findings else 0


def wide_console(*, stderr: bool) -> Console:
    """A console that does not fold lines where nobody sits at it (files, pipes, logs)."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=200)


def with_dialect(mapping: Mapping, told: dict[str, str | None]) -> Mapping:
    """The mapping with what was told about the files on the command line."""
    given = {name: value for name, value in told.items() if value is not None}
    return mapping.model_copy(update={"dialect": mapping.dialect.model_copy(update=given)}) if given else mapping


def asker() -> Confirm | None:
    """Somebody to ask, if a person sits at the terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return lambda question: click.confirm(question, default=True, err=True)


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A progress bar on stderr, if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        yield bar


def reading_bar(bar: Progress | None) -> Callable[[str, int, int], None]:
    """Shows how far files are read and sorted: one line each."""
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if bar is None:
            return
        if what not in tasks:
            tasks[what] = bar.add_task("in order of time" if what == "sort" else what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    return show


def sending_bar(bar: Progress | None, total: int, what: str = "sent") -> Callable[[Step, int], None] | None:
    """Shows how many readings have been sent, or computed."""
    if bar is None:
        return None
    task = bar.add_task(what, total=total)

    def show(step: Step, readings: int) -> None:
        del step
        bar.update(task, completed=readings)

    return show


def main(arguments: Sequence[str] | None = None) -> int:
    """The command by itself, for tests and for `python -m producers.importer.cli`."""
    code = import_files.main(arguments, prog_name="pearlstream import", standalone_mode=False)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
