"""The command `pearlstream catalogue`: what is declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pearlstream.catalogue.indicator import Indicator
from pearlstream.catalogue.models import Card, City, Feed, Group, SubItem, Task
from pearlstream.catalogue.plan_view import indicators_of, sub_item_json, sub_item_lines, task_json, task_lines
from pearlstream.catalogue.scenario import Scenario
from pearlstream.catalogue.wording import title
from pearlstream.errors import EXIT_FINDING, CatalogueError, PearlstreamError

if TYPE_CHECKING:
    from pearlstream.catalogue import Catalogue
    from pearlstream.program import Program

AnyEntry = City | Group | Feed | Indicator | Scenario | SubItem | Task | Card

KINDS = ("cities", "feeds", "measures", "indicators", "rules", "scenarios", "sub_items")
"""What `catalogue list` knows, in its order."""


@click.group()
def catalogue() -> None:
    """Cities, feeds, indicators, scenarios."""


@catalogue.command("list")
@click.argument("kind", type=click.Choice(KINDS), required=False)
@click.option("--json", "as_json", is_flag=True, help="Ids only, as one JSON object.")
def list_command(kind: str | None, as_json: bool) -> None:
    """List what is declared, all of it or one KIND."""
    program = _program()
    found = ids(program)
    if as_json:
        _print_json({name: found[name] for name in ([kind] if kind else KINDS)})
        return
    titles = _titles(program.catalogue)
    for name in [kind] if kind else KINDS:
        click.echo(click.style(f"{name} ({len(found[name])})", bold=True))
        for id_ in found[name]:
            click.echo(f"  {id_:<24} {titles.get(id_, '')}".rstrip())


@catalogue.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The whole entry, defaults included, as JSON.")
def show(name: str, as_json: bool) -> None:
    """Show one entry: by id, a scenario by its alias too, a feed by its number, sub-items as 2.2 and tasks as 2."""
    declared = _program().catalogue
    table, entry = find(declared, name)
    if as_json:
        _print_json({"kind": table, **_as_json(declared, entry)})
        return
    click.echo(click.style(f"{table} {entry.id}", bold=True))
    for line in _as_lines(declared, entry):
        click.echo(line)


@catalogue.command("check")
@click.argument("folders", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON.")
def check(folders: tuple[Path, ...], as_json: bool) -> None:
    """Check every declaration, term and formula; FOLDERS are laid over the catalogue as overlays."""
    try:
        program = _program(folders)
    except CatalogueError as error:
        if not as_json:
            raise PearlstreamError(error.message, remedy=error.remedy) from None
        _print_json({"ok": False, "error": error.message, "remedy": error.remedy})
        click.get_current_context().exit(EXIT_FINDING)
    counts = {kind: len(some) for kind, some in ids(program).items()}
    if as_json:
        _print_json({"ok": True, "sha256": program.catalogue.sha, "counts": counts})
        return
    click.echo("ok: " + ", ".join(f"{n} {kind.replace('_', '-')}" for kind, n in counts.items()))
    click.echo(f"version {program.catalogue.version}")


def ids(program: Program) -> dict[str, list[str]]:
    """The ids of everything that is declared, by kind; a rule has the id of its indicator."""
    declared = program.catalogue
    return {
        "cities": list(declared.cities),
        "feeds": list(declared.feeds),
        "measures": sorted(program.kinds),
        "indicators": list(declared.indicators),
        "rules": [one.id for one in declared.indicators.values() if one.alert],
        "scenarios": list(declared.scenarios),
        "sub_items": list(declared.sub_items),
    }


def find(declared: Catalogue, name: str) -> tuple[str, AnyEntry]:
    """The kind and the entry of that id, alias or number. Raises CatalogueError that names the nearest known one."""
    tables: dict[str, Mapping[str, AnyEntry]] = {
        "city": declared.cities,
        "group": declared.groups,
        "feed": {**declared.feeds, **{feed.number: feed for feed in declared.feeds.values() if feed.number}},
        "indicator": declared.indicators,
        "scenario": {
            **declared.scenarios,
            **{scenario.alias: scenario for scenario in declared.scenarios.values()},
        },
        "sub_item": declared.sub_items,
        "task": declared.tasks,
        "card": declared.cards,
    }
    for table, entries in tables.items():
        if name in entries:
            return table, entries[name]
    near = get_close_matches(name, [id_ for entries in tables.values() for id_ in entries], 1)
    remedy = f"did you mean {near[0]!r}?" if near else "`pearlstream catalogue list` shows what there is"
    raise CatalogueError(f"nothing is declared as {name!r}", remedy=remedy)


def _as_json(declared: Catalogue, entry: AnyEntry) -> dict[str, Any]:
    if isinstance(entry, SubItem):
        return sub_item_json(declared, entry)
    if isinstance(entry, Task):
        return task_json(declared, entry)
    dumped: dict[str, Any] = entry.model_dump(mode="json", by_alias=True)
    if isinstance(entry, Card):  # its own `kind` would hide that it is a card
        dumped["card_kind"] = dumped.pop("kind")
    return dumped


def _as_lines(declared: Catalogue, entry: AnyEntry) -> Iterator[str]:
    if isinstance(entry, SubItem):
        return sub_item_lines(declared, entry)
    if isinstance(entry, Task):
        return task_lines(declared, entry)
    return _lines(entry.model_dump(mode="json", by_alias=True, exclude_defaults=True), 1)


def _program(more: tuple[Path, ...] = ()) -> Program:
    from pearlstream.catalogue import load_catalogue
    from pearlstream.program import compile_catalogue
    from pearlstream.settings import load_settings

    return compile_catalogue(load_catalogue([*load_settings().catalogue.overlays, *more]))


def _titles(declared: Catalogue) -> dict[str, str]:
    """What stands beside an id in the list."""
    titles: dict[str, str] = {}
    for entries in (declared.cities, declared.feeds, declared.scenarios):
        titles |= {id_: title(entry.name) for id_, entry in entries.items()}
    titles |= {
        id_: f"{title(one.name)} ({f'{one.unit}, ' if one.unit else ''}sub-item {one.sub_item})"
        for id_, one in declared.indicators.items()
    }
    for item in declared.sub_items.values():
        spoken = ", ".join(one.id for one in indicators_of(declared, item.id))
        titles[item.id] = f"{title(item.name)}{f' ({spoken})' if spoken else ''}"
    return titles


def _lines(value: Any, depth: int) -> Iterator[str]:
    """An entry as indented lines, the way one would read it aloud: key, then what it holds."""
    pad = "  " * depth
    for key, held in value.items():
        if isinstance(held, dict) and held:
            yield f"{pad}{key}"
            yield from _lines(held, depth + 1)
        elif isinstance(held, list) and held and isinstance(held[0], dict):
            for one in held:
                yield f"{pad}{key}"
                yield from _lines(one, depth + 1)
        elif isinstance(held, list):
            yield f"{pad}{key}: {', '.join(str(one) for one in held)}"
        else:
            yield f"{pad}{key}: {held}"


def _print_json(value: Mapping[str, Any]) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
