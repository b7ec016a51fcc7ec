"""Commands `pearlstream sink` and `pearlstream store migrate|status|ledger`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


def _settings() -> Any:
    from pearlstream.logs import configure
    from pearlstream.settings import load_settings

    settings = load_settings()
    configure(settings.log.level)
    return settings


@click.command()
@click.option(
    "--status-file", type=click.Path(path_type=Path, dir_okay=False), help="Write the status here each second, as JSON."
)
@click.option(
    "--health-port", type=click.IntRange(0, 65535), help="Port of the health page (default: the setting; 0: any)."
)
def sink(status_file: Path | None, health_port: int | None) -> None:
    """Write what the streams say into ClickHouse, until stopped.

    Needs a broker with its topics and a migrated store. After a crash, start it again: nothing is lost or doubled.
    """
    from sinks.clickhouse.service import run_sink

    run_sink(_settings(), status_file=status_file, health_port=health_port)


@click.group()
def store() -> None:
    """The store: schema, sizes, ledger."""


@store.command()
@click.option("--dry-run", is_flag=True, help="Print the statements and run none.")
def migrate(dry_run: bool) -> None:
    """Bring the database to the catalogue: create what is missing, change nothing that is stored."""
    from pearlstream.catalogue import load_catalogue
    from pearlstream.store import Store
    from sinks.clickhouse.migrate import migrate as run
    from sinks.clickhouse.migrate import plan

    settings = _settings()
    target, catalogue = Store(settings.clickhouse), load_catalogue(settings.catalogue.overlays)
    if dry_run:
        todo = plan(target, catalogue)
        click.echo(todo.script + ";" if todo.statements else "-- nothing to do")
        return
    done = run(target, catalogue)
    if done.statements:
        click.echo(f"{settings.clickhouse.database}: migration {done.version}, {len(done.statements)} statements")
    else:
        click.echo(
            f"{settings.clickhouse.database}: up to date" + (", catalogue tables rewritten" if done.fill else "")
        )
