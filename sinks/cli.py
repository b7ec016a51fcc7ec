"""Commands `pearlstream sink` and `pearlstream store migrate|status|ledger|backfill|repair|asof`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sinks.mend_cli import asof, backfill, repair


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
    """The store: schema, sizes, ledger, repair."""


store.add_command(backfill)
store.add_command(repair)
store.add_command(asof)


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


@store.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """Sizes of the tables, what a reading and a value cost, and how long ago the sink wrote."""
    import orjson

    from pearlstream.store import Store
    from sinks.clickhouse.sizes import store_status

    found = store_status(Store(_settings().clickhouse))
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"{'table':32}{'rows':>14}{'MB':>10}{'B/row':>8}{'B/reading':>11}{'parts':>7}")
    for table in found["tables"]:
        row, reading = table["bytes_per_row"] or 0, table["bytes_per_reading"] or 0
        size = f"{table['rows']:>14,}{table['bytes'] / 1e6:>10.1f}"
        click.echo(f"{table['table']:32}{size}{row:>8}{reading:>11}{table['parts']:>7}")
    one = found["readings"]
    if one["rows"]:
        click.echo(
            f"{one['rows']:,} readings with {one['values']:,} values: {one['bytes_per_reading']} bytes a reading,"
            f" {one['bytes_per_value']} a value; {one['all_bytes_per_reading']} a reading with all that follows from it"
        )
    for batch in found["last_batches"]:
        click.echo(
            f"{batch['topic']:14} last cut {batch['age_s']:,.0f} s ago ({batch['state']}, {batch['rows']:,} rows)"
        )


@store.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--drained", is_flag=True, help="Nothing is on the way: what is not there is missing.")
@click.option("--produced", type=click.IntRange(0), help="Readings that left the gateways, repeats included.")
def ledger(as_json: bool, drained: bool, produced: int | None) -> None:
    """Compare what went in with what is stored. Exit code 0 if nothing is missing or doubled, else 1.

    With a broker in the settings, what is still on its way counts as pending; without one as missing.
    """
    import orjson

    from pearlstream.errors import EXIT_FINDING
    from pearlstream.store import Store
    from sinks.clickhouse.ledger import run_ledger
    from sinks.clickhouse.ledger_broker import broker_view

    settings = _settings()
    with broker_view(settings.kafka) as broker:
        result = run_ledger(Store(settings.clickhouse), broker, drained=drained, produced=produced)
    if as_json:
        click.echo(orjson.dumps(result.as_dict(), option=orjson.OPT_INDENT_2).decode())
    else:
        _print_ledger(result)
    raise SystemExit(0 if result.exact else EXIT_FINDING)


def _print_ledger(result: Any) -> None:
    from pearlstream.position import Source

    click.echo(
        f"{'partition':>9}{'frames':>10}{'ticks':>8}{'accepted':>12}{'stored':>12}{'missing':>9}{'doubled':>9}{'pending':>9}"
    )
    for part in result.partitions:
        name = part.topic_id if Source(part.topic_id, part.partition).historic else str(part.partition)
        click.echo(
            f"{name:>9}{part.frames:>10,}{part.ticks:>8,}{part.accepted:>12,}{part.stored_raw:>12,}"
            f"{part.missing:>9,}{part.doubled:>9,}{part.pending:>9,}"
        )
    for finding in result.findings:
        where = f" ({finding.where})" if finding.where else ""
        places = ", ".join(str(place) for place in finding.places)
        click.echo(f"! {finding.what}{where}: {finding.missing} missing, {finding.doubled} doubled. {places}")
    for row in result.lost:
        click.echo(
            f"! passed over in {row['topic']}: ({row['after']}, {row['offset']}], {row['reason']}. {row['note']}"
        )
    if not result.panes and result.loading:
        acts = ", ".join(map(str, result.loading))
        click.echo(f"rollups were not compared pane by pane: history is being loaded (act {acts}); if it was killed,"
                   " load the same files once more")  # fmt: skip
    elif not result.panes:
        click.echo("rollups were not compared pane by pane: the sink was writing all the time")
    click.echo(f"missing {result.missing:,}, doubled {result.doubled:,}, on its way {result.pending:,}")
