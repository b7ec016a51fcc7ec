"""`pearlstream import`: the importer's own command, and with `--backfill` files into the past of a live log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import TaskID

from deploy.history.files import FilesHistory
from pearlstream.catalogue import load_catalogue
from pearlstream.errors import EXIT_FINDING, SettingsError
from pearlstream.program import compile_catalogue
from pearlstream.settings import Settings, load_settings
from pearlstream.store import Store
from producers.importer import Import, Mapping, load_mapping, report, resolve
from producers.importer.cli import asker, progress_bar, reading_bar, wide_console, with_dialect
from producers.importer.cli import import_files as own_log
from sinks.clickhouse.history.load import load
from sinks.clickhouse.history.model import Result, Tell

ALSO = """

    With --backfill they go into the past of a live log instead, straight into its store: without a tick, each reading
    once, those that are stored already left as they are; panes and indicators follow. Days that the stream may still
    correct are refused.
"""
BACKFILL = click.Option(
    ["--backfill"], is_flag=True, help="Load into the past of the live log whose store the settings name."
)
WHY = click.Option(["--why"], default="", help="With --backfill: kept with the act.")


def _import(*, backfill: bool, why: str, **options: Any) -> int:
    if not backfill:
        if why:
            raise click.UsageError("--why goes with --backfill")
        code: int = own_log.callback(**options)  # type: ignore[misc]
        return code
    if options.pop("in_process") or options.pop("prefix"):
        raise click.UsageError("--backfill loads into a store: neither --in-process nor --prefix goes with it")
    return _backfill(why=why, **options)


import_files = click.Command(
    "import",
    params=[*own_log.params, BACKFILL, WHY],
    callback=_import,
    help=(own_log.help or "") + ALSO,
    epilog=own_log.epilog,
)
"""The command."""


def _backfill(
    files: tuple[Path, ...],
    mapping_file: Path,
    *,
    dry_run: bool,
    rejects: Path | None,
    units: tuple[tuple[str, str], ...],
    as_json: bool,
    why: str,
    **dialect: str | None,
) -> int:
    settings = load_settings()
    mapping = with_dialect(load_mapping(mapping_file), dialect)
    _check(mapping, settings)
    program = compile_catalogue(load_catalogue(settings.catalogue.overlays))
    resolved = resolve(mapping, program.catalogue, str(mapping_file), dict(units))
    console, store = wide_console(stderr=as_json), Store(settings.clickhouse)
    confirm = None if as_json else asker()
    with Import(resolved, program, rejects=rejects or Path(f"{mapping.name}.rejects.csv"), confirm=confirm) as job:
        readers = job.look(files)
        with progress_bar() as bar:
            job.progress = reading_bar(bar)
            job.read(readers)
        report.tell(console, job, dry=dry_run)
        with _telling() as tell:
            result = load(store, program, FilesHistory(job, files), why=why, dry_run=dry_run, tell=tell)
        _tell(console, result, dry_run=dry_run)
        if as_json:
            body = report.as_json(job, settings.kafka.prefix, settings.clickhouse.database, None, None)
            body["backfill"] = {**result.as_dict(), "dry_run": dry_run}
            click.echo(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())
        found = job.rejects.findings or result.refused or result.total.quarantined
        return EXIT_FINDING if found else 0


def _check(mapping: Mapping, settings: Settings) -> None:
    """Raise SettingsError unless there is a store, and what the mapping is written for is what is live."""
    if not settings.clickhouse.url:
        raise SettingsError(
            "no store is named, so there is no live log to load history into",
            remedy="set PEARLSTREAM_CLICKHOUSE__URL, __DATABASE and the others as the sink of the live log has them",
        )
    live = {folder.resolve() for folder in settings.catalogue.overlays}
    strange = [folder for folder in mapping.overlay if folder.resolve() not in live]
    if strange:
        raise SettingsError(
            f"the mapping is written for a catalogue with {strange[0]}, and the live one goes without it",
            remedy="name the folder in PEARLSTREAM_CATALOGUE__OVERLAYS, for worker and sink too, and run"
            " `pearlstream store migrate`",
        )


@contextmanager
def _telling() -> Iterator[Tell]:
    """Shows how far it has come."""
    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if bar is None:
                return
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield tell


def _tell(console: Console, result: Result, *, dry_run: bool) -> None:
    """What came of it, for a person."""
    for one in result.days:
        aside = f", {sum(one.quarantined.values()):,} set aside" if one.quarantined else ""
        panes = "" if dry_run else f", {one.panes:,} panes changed"
        word = "would be stored" if dry_run else "stored"
        console.print(f"{one.day}  {one.fresh:,} readings {word}, {one.known:,} were there before{aside}{panes}")
    for refused in result.refused:
        console.print(f"[yellow]{refused.day}  {refused.readings:,} readings not loaded:[/] {refused.why}")
    if result.act:
        again = " (gone on with)" if result.resumed else ""
        console.print(f"act {result.act}{again}: {result.windows:,} windows of indicators say something new")
