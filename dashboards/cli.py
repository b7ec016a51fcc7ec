"""Commands `pearlstream dashboards build|check|push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from dashboards.model import TONGUES
from pearlstream.errors import SettingsError

if TYPE_CHECKING:
    from dashboards.check import Answer

LANGUAGE = click.Choice([tongue.tag for tongue in TONGUES])


@click.group()
def dashboards() -> None:
    """Grafana dashboards, generated from the catalogue."""


def _settings() -> Any:
    from pearlstream.logs import configure
    from pearlstream.settings import load_settings

    settings = load_settings()
    configure(settings.log.level)
    return settings


@dashboards.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
def build(out: Path | None) -> None:
    """Write the dashboards as JSON files, a folder per language.

    Those of the shipped catalogue are part of the package; with overlays of your own, write them to a folder.
    """
    from dashboards.build import FILES, write
    from pearlstream.catalogue import load_catalogue

    folder = out or FILES
    changed = write(load_catalogue(_settings().catalogue.overlays), folder)
    click.echo(f"{folder}: {len(changed)} files changed" if changed else f"{folder}: up to date")


@dashboards.command()
@click.option(
    "--language", "languages", type=LANGUAGE, multiple=True, help="Only boards in this language.  [default: all]"
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def push(languages: tuple[str, ...], dry_run: bool) -> None:
    """Bring folder, data sources, dashboards and alert rules of a Grafana to what they should be.

    Grafana's address and token come from the settings PEARLSTREAM_GRAFANA__... A second push changes nothing.
    The rules are about the pipeline and need Prometheus; those about cities come from the stage `alert`.
    """
    from dashboards.build import boards
    from dashboards.grafana import dashboard
    from pearlstream.catalogue import load_catalogue

    try:
        from dashboards.alerting import alert_rules, contact_points
        from dashboards.push import Push, Wanted, connect, sources
    except ModuleNotFoundError as missing:
        remedy = "install pearlstream[grafana], or provision the files that `dashboards build` writes"
        raise SettingsError(f"{missing.name} is not installed", remedy=remedy) from None
    settings = _settings()
    catalogue, grafana = load_catalogue(settings.catalogue.overlays), settings.grafana
    made = [
        dashboard(board)
        for tongue in TONGUES
        if not languages or tongue.tag in languages
        for board in boards(catalogue, tongue)
    ]
    rules = (contact_points(grafana), alert_rules(grafana)) if grafana.prometheus_url else ()
    changes = list(Push(connect(grafana), dry_run).run(Wanted(sources(settings), made, *rules)))
    for one in changes:
        if one.action != "none":
            keys = f" ({', '.join(one.differs[:8])})" if one.differs else ""
            click.echo(f"{one.action} {one.what} {one.name}{keys}")
    done = sum(one.action != "none" for one in changes)
    would = "would change" if dry_run else "changed"
    click.echo(f"{len(changes)} looked at, {done} {would}")


@dashboards.command()
@click.option("--language", type=LANGUAGE, default="en", show_default=True)
@click.option("--board", "wanted", multiple=True, help="Only boards whose uid contains this.  [repeatable]")
@click.option("--hours", type=click.FloatRange(0.1), default=6, show_default=True, help="Look so far back.")
@click.option("--prometheus", default="", help="Address of a Prometheus to ask as well, like http://127.0.0.1:9090.")
@click.option("--slow-ms", type=click.IntRange(1), default=1000, show_default=True, help="Report slower queries.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(language: str, wanted: tuple[str, ...], hours: float, prometheus: str, slow_ms: int, as_json: bool) -> None:
    """Ask the store every query of every panel, without Grafana.

    Exits with 1 if one fails, or comes back empty where something should be.
    """
    from dashboards.build import boards
    from dashboards.check import answers, chosen, newest_time
    from dashboards.macros import Shown
    from pearlstream.catalogue import load_catalogue
    from pearlstream.store import Store

    settings = _settings()
    catalogue, store = load_catalogue(settings.catalogue.overlays), Store(settings.clickhouse, inside=True)
    tongue = next(tongue for tongue in TONGUES if tongue.tag == language)
    from_ms, to_ms = newest_time(store, round(hours * 3_600_000))
    found = [
        answer
        for board in boards(catalogue, tongue)
        if not wanted or any(part in board.uid for part in wanted)
        for answer in answers(board, Shown(from_ms, to_ms, chosen(store, board)), store, prometheus)
    ]
    bad = [answer for answer in found if answer.failed or answer.missing]
    if as_json:
        click.echo(orjson.dumps([{**one._asdict(), "slow": one.seconds * 1000 > slow_ms} for one in found]))
    else:
        _tell(found, slow_ms)
    if bad:
        raise SystemExit(1)


def _tell(found: list[Answer], slow_ms: int) -> None:
    for one in found:
        if one.failed:
            said = f"FAILED {one.error}"
        elif one.missing:
            said = "EMPTY"
        elif one.seconds * 1000 > slow_ms:
            said = f"SLOW {one.seconds * 1000:.0f} ms"
        else:
            continue
        click.echo(f"{one.board}: {one.panel} [{one.query}]: {said}")
    times = sorted(one.seconds for one in found)
    if times:
        p95 = times[min(len(times) - 1, round(0.95 * len(times)))]
        failed, empty = sum(one.failed for one in found), sum(one.missing for one in found)
        rightly = sum(one.rows == 0 and bool(one.empty) for one in found)
        click.echo(
            f"{len(found)} queries: {failed} failed, {empty} empty, {rightly} rightly empty; "
            f"p50 {times[len(times) // 2] * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms"
        )
