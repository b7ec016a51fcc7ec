"""Fault tables from a file: what `--faults FILE` changes in what the feeds declare."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pearlstream.catalogue.simulation import Faults
from pearlstream.errors import SettingsError

Tables = Mapping[str, Mapping[str, Any]]
"""Keys and values by table: network, outage, clock, sensor."""


@dataclass(frozen=True)
class FaultTables:
    """What a run changes in the declared faults: for every feed, then by feed. Keys not named stay as declared."""

    every: Tables = field(default_factory=dict)
    by_feed: Mapping[str, Tables] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return True

    def over(self, feed: str, declared: Faults) -> Faults:
        """The faults of a feed."""
        tables = declared.model_dump()
        for changes in (self.every, self.by_feed.get(feed, {})):
            for table, keys in changes.items():
                tables[table].update(keys)
        return Faults.model_validate(tables)


def faults_of(text: str, feeds: Iterable[str]) -> bool | FaultTables:
    """What `none`, `default` or the name of a file stands for.

    Raises SettingsError naming the file and the key.
    """
    if text in ("none", "default"):
        return text == "default"
    return read_fault_tables(Path(text), feeds)


def read_fault_tables(file: Path, feeds: Iterable[str]) -> FaultTables:
    """Read `[faults.TABLE]` and `[feed."ID".TABLE]`. Raises SettingsError naming the file and the key."""
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(
            f"--faults: {file} cannot be read: {error.strerror}", remedy="name a TOML file, or say none or default"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"--faults: {file} is not TOML: {error}", remedy="write [faults.sensor] and so on"
        ) from None
    _known(file, "", tables, ("faults", "feed"))
    by_feed = _table(file, "feed", tables.get("feed", {}))
    _known(file, "feed.", by_feed, tuple(feeds))
    return FaultTables(
        _checked(file, "faults", tables.get("faults", {})),
        {name: _checked(file, f'feed."{name}"', changes) for name, changes in by_feed.items()},
    )


def _checked(file: Path, where: str, tables: Any) -> Tables:
    """Tables whose keys and values are those of `Faults`."""
    for name, keys in _table(file, where, tables).items():
        _known(file, f"{where}.", {name: keys}, tuple(Faults.model_fields))
        _table(file, f"{where}.{name}", keys)
    try:
        Faults.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([where, *(str(part) for part in first["loc"])])
        raise SettingsError(
            f"--faults: {file}: {key}: {first['msg'].removeprefix('Value error, ')}",
            remedy="the tables are those of [feed.simulate.faults] in the catalogue",
        ) from None
    checked: Tables = tables
    return checked


def _table(file: Path, where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingsError(f"--faults: {file}: {where} is no table", remedy=f"write [{where}]")
    return value


def _known(file: Path, where: str, names: Iterable[str], known: tuple[str, ...]) -> None:
    """Refuse a name that means nothing, with the nearest one that does."""
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise SettingsError(f"--faults: {file}: there is no {where}{name}", remedy=hint)
