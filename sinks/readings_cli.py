"""Commands `pearlstream readings withdraw|withdrawn`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from sinks.mend_cli import MOMENT, known, moment_ms, say_json, settings_and_catalogue


@click.group()
def readings() -> None:
    """Stored readings: take wrong ones back."""


@readings.command()
@click.option("--feed", required=True, help="The feed.")
@click.option("--device", "devices", multiple=True, required=True, help="A device, by its id; may be repeated.")
@click.option("--city", "cities", multiple=True, help="Only in this city; may be repeated.")
@click.option("--from", "start", type=MOMENT, required=True, help="From this moment on (UTC, time of the reading).")
@click.option("--to", "stop", type=MOMENT, required=True, help="Up to, and without, this moment.")
@click.option("--why", required=True, help="Why they are wrong; is kept with the act.")
@click.option("--force", is_flag=True, help="Although the worker still has them in its memory.")
@click.option("--dry-run", is_flag=True, help="Count them, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def withdraw(
    feed: str,
    devices: Sequence[str],
    cities: Sequence[str],
    start: datetime,
    stop: datetime,
    why: str,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take wrong readings back; panes and indicators follow.

    They stay in the store, marked, in the view withdrawn_<feed>; nothing exact counts them any more. Alerts that were
    told stay told. Exit code 1 if there are no such readings.
    """
    from pearlstream.errors import EXIT_FINDING
    from pearlstream.program import compile_catalogue
    from pearlstream.store import Store
    from sinks.clickhouse.mend import withdraw as module
    from sinks.clickhouse.mend.standing import standing

    if not why.strip():
        raise click.BadParameter("say why in a few words", param_hint="--why")
    if start >= stop:
        raise click.BadParameter("it must be later than --from", param_hint="--to")
    settings, catalogue = settings_and_catalogue()
    known("feed", [feed], list(catalogue.feeds))
    wanted = module.Wanted(
        feed,
        tuple(dict.fromkeys(devices)),
        moment_ms(start),
        moment_ms(stop),
        known("city", cities, list(catalogue.cities)),
    )
    store = Store(settings.clickhouse)
    if dry_run:
        result = module.look(store, wanted, standing(store))
    else:
        result = module.withdraw(store, compile_catalogue(catalogue), wanted, why, force=force)
    if as_json:
        say_json({**result.as_dict(), "dry_run": dry_run})
    else:
        _tell(result, dry_run=dry_run)
    raise SystemExit(0 if result.fresh or result.taken else EXIT_FINDING)


def _tell(result: Any, *, dry_run: bool) -> None:
    before = sum(result.taken.values())
    word = "would be taken back" if dry_run else f"taken back by act {result.act}"
    click.echo(f"{result.readings:,} readings {word}" + (f", {before:,} had been before" if before else ""))
    for day in result.days:
        changed = sum(d.lacking + d.excess + d.different for d in day.differences)
        click.echo(f"{day.day}  {changed:,} panes changed")
    if not dry_run:
        click.echo(f"{result.corrected:,} windows of indicators corrected")


@readings.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def withdrawn(limit: int, as_json: bool) -> None:
    """What was taken back: by whom, when, why, and how many readings."""
    from pearlstream.store import Store
    from sinks.clickhouse.mend.acts import list_acts

    settings, _ = settings_and_catalogue()
    acts = [act for act in list_acts(Store(settings.clickhouse), ["withdraw"], 100_000) if not act["part"]][:limit]
    if as_json:
        say_json(acts)
        return
    for act in acts:
        at = datetime.fromtimestamp(act["at_ms"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        click.echo(f"{act['act']}  {at}  {act['by']}  {act['rows']:,} readings ({act['state']}): {act['why']}")
        click.echo(f"    {act['scope']}")
