"""Commands `pearlstream quarantine list|show|redrive|discard`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from sinks.mend_cli import known, say_json, settings_and_catalogue

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])
SINCE = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.group()
def quarantine() -> None:
    """What could not be used: list, show, send again, set aside."""


def _filters(command: AnyCommand) -> AnyCommand:
    """The options that say which findings are meant."""
    for option in (
        click.argument("findings", nargs=-1),
        click.option("--reason", "reasons", multiple=True, help="Only findings with this reason; may be repeated."),
        click.option("--feed", "feeds", multiple=True, help="Only of this feed; may be repeated."),
        click.option("--gateway", "gateways", multiple=True, help="Only from this gateway; may be repeated."),
        click.option("--since", type=SINCE, help="Only from this moment of the log's clock on (UTC)."),
    ):
        command = option(command)
    return command


def _limit(default: int) -> Callable[[AnyCommand], AnyCommand]:
    return click.option("--limit", type=click.IntRange(1, 100_000), default=default, show_default=True,
                        help="At most so many findings, the newest.")  # fmt: skip


def _wanted(catalogue: Any, options: dict[str, Any], *, named: bool = False) -> Any:
    """The filter. `named`: something must be named, so that nobody means everything by leaving all out."""
    from sinks.clickhouse.mend.findings import Filter

    if named and not any(options[name] for name in ("findings", "reasons", "feeds", "gateways")):
        raise click.UsageError("say which findings: their names, or --reason, --feed, --gateway")
    since = options.pop("since")
    known("feed", options["feeds"], list(catalogue.feeds))
    lists: dict[str, Any] = {
        name: tuple(value) if isinstance(value, tuple) else value for name, value in options.items()
    }
    at = 0 if since is None else round(since.replace(tzinfo=UTC).timestamp() * 1000)
    return Filter(**lists, since=at)


@quarantine.command("list")
@_filters
@_limit(50)
@click.option("--all", "all_of_them", is_flag=True, help="Those that were sent again or discarded, too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(as_json: bool, all_of_them: bool, **options: Any) -> None:
    """Findings, newest first, and how many there are by reason."""
    from pearlstream.store import Store
    from sinks.clickhouse.mend.findings import count_findings, list_findings

    settings, catalogue = settings_and_catalogue()
    wanted, store = _wanted(catalogue, {**options, "all": all_of_them}), Store(settings.clickhouse)
    found, counts = list_findings(store, wanted), count_findings(store, wanted)
    if as_json:
        say_json({"findings": [one.as_dict() for one in found], "counts": counts})
        return
    for one in found:
        click.echo(f"{one.finding}  {_at(one.clock_ms)}  {one.reason}  {_what(one)}  {one.done}".rstrip())
        click.echo(f"    {one.message}")
    for count in counts:
        click.echo(f"{count['findings']:>8,}  {count['reason']} {count['done']}".rstrip())
    if not counts:
        click.echo("nothing in quarantine that these filters let through")


def _what(one: Any) -> str:
    rows = "whole frame" if one.whole else f"{len(one.rows)} rows"
    return " ".join(part for part in (rows, one.feed, one.city, one.gateway) if part)


def _at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") if ms else "before any tick"


@quarantine.command()
@click.argument("finding")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(finding: str, as_json: bool) -> None:
    """One finding: position, reason, remedy, what came, and how the catalogue of now reads it."""
    from pearlstream.frame.parts import shown_payload
    from pearlstream.program import compile_catalogue
    from pearlstream.store import Store
    from sinks.clickhouse.mend.findings import load_set_aside, one_finding
    from sinks.clickhouse.mend.redrive import outlook, prepare

    settings, catalogue = settings_and_catalogue()
    store, program = Store(settings.clickhouse), compile_catalogue(catalogue)
    one = one_finding(store, finding)
    came = load_set_aside(store, [finding])[finding]
    (again,) = prepare(store, program, [one], settings.kafka.partitions)
    would = again.refused or outlook(program, again) or "it can be read now: redrive it"
    facts = {**one.as_dict(), "key": came.key.decode("utf-8", "replace"), "headers": dict(came.headers),
             "sha256": came.sha256, "now": would}  # fmt: skip
    if as_json:
        say_json({**facts, "payload": shown_payload(came.payload)})
        return
    for name, value in facts.items():
        if value not in ("", [], {}):
            click.echo(f"{name:10} {_at(value) if name == 'clock_ms' else value}")
    click.echo(shown_payload(came.payload))


@quarantine.command()
@_filters
@_limit(1000)
@click.option("--boot", help="Name a new life of the devices' sequences, for readings taken for repeats (dup_suspect).")
@click.option("--why", default="", help="Is kept with the act.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def redrive(boot: str | None, why: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Send findings into `readings` again, after what was wrong was mended; each with its old identity.

    What has been accepted before is a repeat and counts once. Exit code 1 if some cannot be sent.
    """
    from pearlstream.errors import EXIT_FINDING
    from pearlstream.program import compile_catalogue
    from pearlstream.store import Store
    from sinks.clickhouse.mend import redrive as module
    from sinks.clickhouse.mend.findings import list_findings
    from sinks.clickhouse.mend.send import readings_sender

    try:
        module.check_boot(boot)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--boot") from None
    settings, catalogue = settings_and_catalogue()
    options = {**options, "all": bool(options["findings"])}
    wanted, store = _wanted(catalogue, options, named=True), Store(settings.clickhouse)
    program = compile_catalogue(catalogue)
    found = list_findings(store, wanted)
    _all_there(options["findings"], found)
    frames = list(module.prepare(store, program, found, settings.kafka.partitions, boot))
    if dry_run:
        _tell_frames(program, frames, as_json)
        return
    with readings_sender(settings.kafka) as send:
        result = module.redrive(store, frames, wanted, send, why)
    if as_json:
        say_json(result.as_dict())
    else:
        for name, reason in result.refused.items():
            click.echo(f"! {name}: {reason}")
        click.echo(f"{len(result.sent)} findings sent again in {result.frames} frames, {len(result.refused)} refused")
    raise SystemExit(EXIT_FINDING if result.refused else 0)


def _all_there(names: Sequence[str], found: Sequence[Any]) -> None:
    missing = set(names) - {one.finding for one in found}
    if missing:
        raise click.UsageError(f"nothing in quarantine is named {sorted(missing)[0]!r}")


def _tell_frames(program: Any, frames: Sequence[Any], as_json: bool) -> None:
    from sinks.clickhouse.mend.redrive import outlook

    told = [
        {
            "findings": list(one.findings),
            "refused": one.refused,
            "bytes": len(one.value),
            "now": "" if one.refused else outlook(program, one),
        }
        for one in frames
    ]
    if as_json:
        say_json({"frames": told})
        return
    for frame in told:
        word = frame["refused"] or frame["now"] or f"{frame['bytes']:,} bytes, can be read now"
        click.echo(f"{', '.join(frame['findings'])}: {word}")


@quarantine.command()
@_filters
@_limit(1000)
@click.option("--why", required=True, help="Why nothing is to be done about them; is kept with the act.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def discard(why: str, as_json: bool, **options: Any) -> None:
    """Note that nothing is to be done about findings. They stay in the table, and no longer in `list`."""
    from pearlstream.store import Store
    from sinks.clickhouse.mend import findings as module

    if not why.strip():
        raise click.BadParameter("say why in a few words", param_hint="--why")
    settings, catalogue = settings_and_catalogue()
    wanted, store = _wanted(catalogue, {**options, "all": False}, named=True), Store(settings.clickhouse)
    count = module.discard(store, module.list_findings(store, wanted), wanted, why)
    if as_json:
        say_json({"discarded": count})
        return
    click.echo(f"{count} findings discarded")
