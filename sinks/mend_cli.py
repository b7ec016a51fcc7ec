"""Commands that look back at what is stored, and correct it: `pearlstream store backfill|repair|asof`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def settings_and_catalogue() -> tuple[Any, Any]:
    """The settings, and the catalogue that they name."""
    from pearlstream.catalogue import load_catalogue
    from pearlstream.logs import configure
    from pearlstream.settings import load_settings

    settings = load_settings()
    configure(settings.log.level)
    return settings, load_catalogue(settings.catalogue.overlays)


def known(what: str, names: Sequence[str], all_names: Sequence[str]) -> tuple[str, ...]:
    """The names that were given, in their order and each once. Raises click.UsageError for one that is not declared."""
    for name in names:
        if name not in all_names:
            raise click.UsageError(f"no {what} {name!r} in the catalogue; `pearlstream catalogue list` has them all")
    return tuple(dict.fromkeys(names))


def say_json(found: Any) -> None:
    """Print something for programs."""
    import orjson

    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


def _days(store: Any, asked: Any, named: Sequence[Any], first: Any, last: Any) -> list[Any]:
    from sinks.clickhouse.mend.backfill import day_of, days_between

    if not named and first is None and last is None:
        raise click.UsageError("say which days: --day 2026-11-24, or --from and --to")
    if named and (first is not None or last is not None):
        raise click.UsageError("--day names days, --from and --to a stretch of them: not both")
    if named:
        return [day_of(text) for text in sorted({day.strftime("%Y-%m-%d") for day in named})]
    begin, end = (day.strftime("%Y-%m-%d") if day is not None else other
                  for day, other in ((first, "1970-01-01"), (last, "2149-06-06")))  # fmt: skip
    return days_between(store, asked, begin, end)


DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--day", "named", type=DAY, multiple=True, help="A day (UTC), as 2026-11-24; may be repeated.")
@click.option("--from", "first", type=DAY, help="The first of several days.")
@click.option("--to", "last", type=DAY, help="The last of several days, included.")
@click.option("--feed", "feeds", multiple=True, help="Only this feed; may be repeated.")
@click.option("--city", "cities", multiple=True, help="Only the panes of this city; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Compare, and change nothing. Exit code 1 if something differs.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def backfill(
    named: Sequence[Any],
    first: Any,
    last: Any,
    feeds: Sequence[str],
    cities: Sequence[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Recompute panes of whole days from the stored readings; replace those that differ.

    The measures are those of the catalogue as it is now, so this also fills in what a new indicator needs of the past.
    Readings must be whole. Killed in between, the same call goes on where it was.
    """
    from pearlstream.errors import EXIT_FINDING
    from pearlstream.program import compile_catalogue
    from pearlstream.store import Store
    from sinks.clickhouse.mend import backfill as module
    from sinks.clickhouse.mend.panes import Asked

    settings, catalogue = settings_and_catalogue()
    chosen = known("feed", feeds, list(catalogue.feeds)) or tuple(catalogue.feeds)
    asked = Asked(chosen, known("city", cities, list(catalogue.cities)))
    store = Store(settings.clickhouse)
    days = _days(store, asked, named, first, last)
    outcomes = []
    with click.progressbar(length=len(days) * len(chosen), label="days", file=click.get_text_stream("stderr")) as bar:
        program = compile_catalogue(catalogue)
        for outcome in module.backfill(store, program, days, asked, dry_run=dry_run, tell=lambda _: bar.update(1)):
            outcomes.append(outcome)
            if not as_json:
                tell_outcome(outcome, dry_run=dry_run)
    differ = sum(bool(outcome.differences) for outcome in outcomes)
    if as_json:
        say_json({"dry_run": dry_run, "days": [o.as_dict() for o in outcomes], "differ": differ})
    else:
        click.echo(f"{len(outcomes)} days looked at, {differ} differed" + (", nothing changed" if dry_run else ""))
    raise SystemExit(EXIT_FINDING if dry_run and differ else 0)


def tell_outcome(outcome: Any, *, dry_run: bool) -> None:
    """A line for a day, and one for each measure that was wrong."""
    if outcome.resumed:
        click.echo(f"{outcome.day}  done by the call before")
        return
    word = "same" if not outcome.differences else "differs" if dry_run else "replaced"
    click.echo(f"{outcome.day}  {word}, from {outcome.readings:,} readings")
    for d in outcome.differences:
        click.echo(
            f"  {d.feed:20} {d.measure:28} lacking {d.lacking:,}, excess {d.excess:,}, other {d.different:,};"
            f" n {d.n_stored:,} -> {d.n_recomputed:,}"
        )


@click.command()
@click.option("--minutes", type=click.IntRange(1, 100_000), default=10, show_default=True,
              help="How far back from its newest line the journal is counted.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what is wrong, and change nothing. Exit code 1 if anything is.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def repair(minutes: int, dry_run: bool, as_json: bool) -> None:
    """After a power loss or an error: bring back rows that are gone, and make wrong panes anew.

    Readings come from the broker, as far as it still has them; panes from the readings. Exit code 1 if something is
    left that cannot be mended; `pearlstream store ledger` says what.
    """
    from pearlstream.errors import EXIT_FINDING
    from pearlstream.program import compile_catalogue
    from pearlstream.store import Store
    from sinks.clickhouse.mend.repair import repair as run
    from sinks.clickhouse.tape import KafkaTape

    settings, catalogue = settings_and_catalogue()
    store, program = Store(settings.clickhouse), compile_catalogue(catalogue)
    tape = KafkaTape(settings.kafka) if settings.kafka.bootstrap_servers else None
    try:
        result = run(store, program, tape, minutes=minutes, dry_run=dry_run)
    finally:
        if tape is not None:
            tape.close()
    if as_json:
        say_json({**result.as_dict(), "dry_run": dry_run})
    else:
        _tell_repaired(result, dry_run=dry_run)
    short = result.recounted is not None and bool(result.recounted.short)
    left = bool(result.left) or (result.recounted is not None and bool(result.recounted.lost))
    raise SystemExit(EXIT_FINDING if left or (dry_run and (short or result.days)) else 0)


def _tell_repaired(result: Any, *, dry_run: bool) -> None:
    if result.recounted is None:
        click.echo("no broker in the settings: rows that a power loss took are not looked for")
    else:
        one = result.recounted
        click.echo(f"{one.cuts:,} cuts counted, {len(one.short)} short by {one.missing:,} rows")
        for table, rows in one.inserted.items():
            click.echo(f"  {table:32} {rows:,} rows inserted again")
        for cut in one.lost:
            click.echo(f"! cut {cut}: the broker no longer has its records")
    for outcome in result.days:
        tell_outcome(outcome, dry_run=dry_run)
    for where, why in result.left.items():
        click.echo(f"! {where}: {why}")
    if not (result.days or result.left):
        click.echo("every pane counts the readings that are stored")


MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


def moment_ms(moment: Any) -> int:
    """A moment of the command line, in UTC, as milliseconds."""
    from datetime import UTC

    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


@click.command()
@click.argument("indicator")
@click.option("--at", type=MOMENT, required=True, help="The moment (UTC, the log's clock), as 2026-11-24T08:07.")
@click.option("--city", "cities", multiple=True, help="Only this city; may be repeated.")
@click.option("--from", "first", type=MOMENT, help="Windows that end from then on (default: a day before --at).")
@click.option("--to", "last", type=MOMENT, help="Windows that end until then (default: a day after --at).")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def asof(indicator: str, at: Any, cities: Sequence[str], first: Any, last: Any, limit: int, as_json: bool) -> None:
    """What an INDICATOR was known to be at a moment, beside what it says of the same windows now.

    Exit code 1 if nothing was known then.
    """
    from pearlstream.errors import EXIT_FINDING
    from pearlstream.store import Store
    from sinks.clickhouse.then import Question, as_known

    settings, catalogue = settings_and_catalogue()
    known("indicator", [indicator], list(catalogue.indicators))
    places = [*catalogue.cities, *(group.upper() for group in catalogue.groups)]
    moment = moment_ms(at)
    begin = moment_ms(first) if first is not None else moment - 86_400_000
    end = moment_ms(last) if last is not None else moment + 86_400_000
    question = Question(indicator, moment, begin, end, known("city", cities, places), limit)
    rows = as_known(Store(settings.clickhouse), question)
    if as_json:
        say_json(rows)
    else:
        for row in rows:
            _tell_known(row)
    raise SystemExit(0 if rows else EXIT_FINDING)


def _tell_known(row: Any) -> None:
    from datetime import UTC, datetime

    end = datetime.fromtimestamp(row["window_end_ms"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    then = "no data" if row["value"] is None else f"{row['value']:g}"
    now = "no data" if row["value_now"] is None else f"{row['value_now']:g}"
    by = f" by act {row['act_now']}" if row["act_now"] else ""
    changed = "" if row["same"] else f"  now {now} (revision {row['rev_now']}{by})"
    click.echo(f"{end}  {row['city']:8} {row['dims']:24} {then:>12} {row['state']:7} {row['maturity']}{changed}")
