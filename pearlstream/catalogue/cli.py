"""The command `pearlstream catalogue`: what is declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pearlstream.errors import EXIT_FINDING, CatalogueError, PearlstreamError

if TYPE_CHECKING:
    from pearlstream.catalogue import Catalogue
    from pearlstream.catalogue.models import Entry
    from pearlstream.program import Program

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
    """Show one entry by id (or a scenario by its alias)."""
    table, entry = find(_program().catalogue, name)
    if as_json:
        _print_json({"kind": table, **entry.model_dump(mode="json", by_alias=True)})
        return
    click.echo(click.style(f"{table} {name}", bold=True))
    for line in _lines(entry.model_dump(mode="json", by_alias=True, exclude_defaults=True), 1):
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
        "sub_items": sorted({one.sub_item for one in declared.indicators.values()}),
    }


def find(declared: Catalogue, name: str) -> tuple[str, Entry]:
    """The kind and the entry of that id or alias. Raises CatalogueError that names the nearest known one."""
    tables: dict[str, Mapping[str, Entry]] = {
        "city": declared.cities,
        "group": declared.groups,
        "feed": declared.feeds,
        "indicator": declared.indicators,
        "scenario": {
            **declared.scenarios,
            **{scenario.alias: scenario for scenario in declared.scenarios.values()},
        },
    }
    for table, entries in tables.items():
        if name in entries:
            return table, entries[name]
    near = get_close_matches(name, [id_ for entries in tables.values() for id_ in entries], 1)
    remedy = f"did you mean {near[0]!r}?" if near else "`pearlstream catalogue list` shows what there is"
    raise CatalogueError(f"nothing is declared as {name!r}", remedy=remedy)


def _program(more: tuple[Path, ...] = ()) -> Program:
    from pearlstream.catalogue import load_catalogue
    from pearlstream.program import compile_catalogue
    from pearlstream.settings import load_settings

    return compile_catalogue(load_catalogue([*load_settings().catalogue.overlays, *more]))


def _titles(declared: Catalogue) -> dict[str, str]:
    """What stands beside an id in the list."""
    titles: dict[str, str] = {}
    for entries in (declared.cities, declared.feeds, declared.scenarios):
        titles |= {id_: f"{entry.name.en} {entry.name.zh}" for id_, entry in entries.items()}
    titles |= {
        id_: f"{one.name.en} {one.name.zh} ({f'{one.unit}, ' if one.unit else ''}sub-item {one.sub_item})"
        for id_, one in declared.indicators.items()
    }
    for one in declared.indicators.values():
        titles[one.sub_item] = ", ".join(i.id for i in declared.indicators.values() if i.sub_item == one.sub_item)
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
