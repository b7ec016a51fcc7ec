"""Reads the catalogue's TOML folders, lays overlays over them, and says exactly where a declaration is wrong."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from pearlstream.catalogue.bases import Ordinary
from pearlstream.catalogue.indicator import Indicator
from pearlstream.catalogue.models import Card, City, Entry, Feed, Group, SubItem, Task
from pearlstream.catalogue.scenario import Scenario
from pearlstream.errors import CatalogueError

SHIPPED = Path(__file__).parent
"""Folder of the catalogue that comes with the package."""

FOLDERS: Mapping[str, Mapping[str, type[Entry]]] = {
    "plan": {"task": Task, "sub_item": SubItem, "card": Card},
    "cities": {"city": City, "group": Group},
    "feeds": {"feed": Feed},
    "indicators": {"indicator": Indicator},
    "scenarios": {"scenario": Scenario},
    "bases": {"base": Ordinary},
}
"""Folder name -> table name -> what one table declares."""

MAX_FILE_BYTES = 1 << 20
E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Place:
    """Where an entry was declared."""

    file: Path
    text: str
    table: str
    index: int

    def line(self, keys: Sequence[str | int] = ()) -> int:
        """The 1-based line of a key of this entry, or of the nearest thing above it that has a line."""
        lines = self.text.splitlines()
        heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{self.table}\s*\]\]", line)]
        start = heads[self.index] if self.index < len(heads) else 0
        stop = heads[self.index + 1] if self.index + 1 < len(heads) else len(lines)
        found, path = start, self.table
        for key in keys:
            if isinstance(key, int):
                continue
            path = f"{path}.{key}"
            table = re.compile(rf"\s*\[\[?\s*{re.escape(path)}\s*\]\]?")
            plain = re.compile(rf"""\s*["']?{re.escape(str(key))}["']?\s*[.=]|.*[{{,]\s*{re.escape(str(key))}\s*=""")
            for pattern in (table, plain):
                hit = next((n for n in range(found, stop) if pattern.match(lines[n])), None)
                if hit is not None:
                    found = hit
                    break
        return found + 1

    def error(self, keys: Sequence[str | int], message: str, remedy: str = "") -> CatalogueError:
        """An error that points at a key of this entry."""
        where = ".".join(str(key) for key in (self.table, *keys))
        return CatalogueError(f"{self.file}:{self.line(keys)}: {where}: {message}", remedy=remedy)


@dataclass(frozen=True)
class Declarations:
    """Everything that was read: entries by table and id, where each stands, and one hash of it all."""

    entries: Mapping[str, Mapping[str, Entry]]
    places: Mapping[tuple[str, str], Place]
    sha: str

    def of(self, table: str, kind: type[E]) -> dict[str, E]:
        """The entries of one table by id."""
        return {id_: entry for id_, entry in self.entries[table].items() if isinstance(entry, kind)}


def read_declarations(overlays: Iterable[Path] = ()) -> Declarations:
    """Read the shipped catalogue, then each overlay in order: an entry with a known id replaces the whole entry.

    Raises CatalogueError naming file, line, key and remedy.
    """
    entries: dict[str, dict[str, Entry]] = {table: {} for tables in FOLDERS.values() for table in tables}
    places: dict[tuple[str, str], Place] = {}
    for root in (SHIPPED, *overlays):
        if not root.is_dir():
            raise CatalogueError(
                f"the catalogue folder {root} does not exist", remedy="mend PEARLSTREAM_CATALOGUE__OVERLAYS"
            )
        seen: dict[tuple[str, str], Place] = {}
        for file, folder in _files(root):
            _read_file(file, FOLDERS[folder], entries, seen)
        places.update(seen)
    canonical = {
        table: {id_: e.model_dump(mode="json", by_alias=True) for id_, e in sorted(some.items())}
        for table, some in entries.items()
    }
    sha = hashlib.sha256(orjson.dumps(canonical, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return Declarations(entries, places, sha)


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    for folder in FOLDERS:
        for file in sorted((root / folder).glob("*.toml")):
            yield file, folder


def _read_file(
    file: Path,
    tables: Mapping[str, type[Entry]],
    entries: dict[str, dict[str, Entry]],
    seen: dict[tuple[str, str], Place],
) -> None:
    if file.stat().st_size > MAX_FILE_BYTES:
        raise CatalogueError(f"{file}: larger than {MAX_FILE_BYTES} bytes", remedy="split the file")
    try:
        text = file.read_text("utf-8")
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{file}: not TOML in UTF-8: {error}", remedy="mend the line that is named") from None
    for id_ in data.pop("remove", []):
        if not any(entries[table].pop(id_, None) for table in tables):
            raise CatalogueError(f"{file}: remove: there is no {id_!r} to remove", remedy="check the id")
    for table, rows in data.items():
        if table not in tables:
            known = ", ".join(f"[[{name}]]" for name in tables)
            raise CatalogueError(f"{file}: unknown table {table!r}", remedy=f"this folder holds {known} and remove")
        if not isinstance(rows, list):
            raise CatalogueError(f"{file}: {table} is not a list", remedy=f"write [[{table}]] with two brackets")
        for index, row in enumerate(rows):
            place = Place(file, text, table, index)
            entry = _validated(tables[table], row, place)
            id_ = str(entry.id)  # type: ignore[attr-defined]
            if (table, id_) in seen:
                other = seen[table, id_]
                raise place.error(["id"], f"{id_!r} is declared a second time", f"first at {other.file}:{other.line()}")
            seen[table, id_] = place
            entries[table][id_] = entry


def _validated(kind: type[E], row: dict[str, Any], place: Place) -> E:
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        # a misspelt key is also a missing one; the misspelling is what there is to mend
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        keys = [key for key in first["loc"] if key != "[key]"]
        remedy = ""
        if first["type"] == "extra_forbidden":
            near = get_close_matches(str(keys[-1]), _keys_at(kind, keys[:-1]), 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(_keys_at(kind, keys[:-1]))}"
        raise place.error(keys, first["msg"].removeprefix("Value error, "), remedy) from None


def _keys_at(kind: type[Entry], keys: Sequence[str | int]) -> list[str]:
    """The known keys of the table that a path of keys leads to."""
    here: type[Entry] = kind
    for key in keys:
        info = here.model_fields.get(str(key)) if isinstance(key, str) else None
        nested = [t for t in _types_in(info.annotation) if isinstance(t, type) and issubclass(t, Entry)] if info else []
        if nested:
            here = nested[0]
    return [info.alias or name for name, info in here.model_fields.items()]


def _types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _types_in(part)
