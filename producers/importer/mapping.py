"""The mapping: how foreign files are read as readings of one feed. Written in TOML, checked before a file is opened.

A *text* of the mapping (`device`, `city`, entries of `[registry]`) may name columns of the file in braces, or
groups of the file name's pattern: `device = "BJ-{station}"`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from producers.importer.problems import MappingError

MAX_BYTES = 1 << 20
MISSING = ("", "-", "NA", "N/A", "null")
"""Cells that stand for nothing, unless the mapping lists others."""

FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Value = bool | int | float | str
_NAMED = re.compile(r"\{([^{}]+)\}")


class Entry(BaseModel):
    """A table of the mapping: unknown keys are errors, so that a misspelt key is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Dialect(Entry):
    """How the files are written; what is not said is looked for in the file (and confirmed if unusual).

    `names`: the columns of files without a header line. `missing`: cells that stand for nothing.
    """

    delimiter: Literal[",", ";", "\t", "|", ""] = ""
    decimal: Literal[".", ",", ""] = ""
    encoding: str = ""
    quote: str = Field('"', max_length=1)
    names: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING


class TimeSpec(Entry):
    """Where a reading's time stands: in one `column`, in several `columns` (joined by a blank), or in `parts`.

    `format`: `iso` (`2016-01-31 18:05`, `2016-01-31T18:05:00+08:00`), `unix` or `unix_ms` (since 1970 UTC), or
    directives as of strptime (`%d.%m.%Y %H:%M`). `zone`: an IANA name or a fixed offset (`+08:00`); times that
    carry their own offset need none. `shift_s` is added: -3600 turns the end of an hour into its start.
    """

    column: str = ""
    columns: tuple[str, ...] = ()
    parts: dict[Literal["year", "month", "day", "hour", "minute", "second"], str] = Field(default_factory=dict)
    format: str = "iso"
    zone: str = ""
    shift_s: float = 0.0

    @model_validator(mode="after")
    def _one_way(self) -> TimeSpec:
        if sum(map(bool, (self.column, self.columns, self.parts))) != 1:
            raise ValueError("give exactly one of `column`, `columns` and `parts`")
        if self.parts and not {"year", "month", "day"} <= set(self.parts):
            raise ValueError("`parts` needs at least year, month and day")
        if self.parts and self.format != "iso":
            raise ValueError("`parts` are numbers and need no `format`")
        if self.format not in ("iso", "unix", "unix_ms") and "%" not in self.format:
            raise ValueError("`format` is iso, unix, unix_ms, or has directives such as %Y-%m-%d %H:%M")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(self.parts.values()) or self.columns or (self.column,)


class FieldSource(Entry):
    """Where a field's value comes from: a `column` or a `constant`.

    `unit`: the unit in the file, if not the field's own. `factor`, `offset`: value * factor + offset, for what no
    unit can say (ppb of ozone to ug/m3: 1.96). `words`: the file's words for those of an enumeration or for
    true and false. `missing`: further cells that stand for nothing (-999).
    """

    column: str = ""
    constant: Value | None = None
    unit: str = ""
    factor: float = 1.0
    offset: float = 0.0
    words: dict[str, str | bool] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """`pm25 = "PM2.5"` is short for `pm25 = { column = "PM2.5" }`."""
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> FieldSource:
        if bool(self.column) == (self.constant is not None):
            raise ValueError("give either `column` or `constant`")
        if self.unit and (self.factor != 1 or self.offset != 0):
            raise ValueError("give either `unit` or `factor` and `offset`")
        return self


Fields = dict[FieldName, FieldSource]


class FilePattern(Entry):
    """Files whose name is matched as a whole by the regular expression `match`.

    Its named groups may be used in texts. `fields` adds to those of the mapping.
    """

    match: str
    fields: Fields = Field(default_factory=dict)

    @model_validator(mode="after")
    def _compiles(self) -> FilePattern:
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f"`match` is no regular expression: {error}") from None
        return self


class DeviceEntry(Entry):
    """What the registry should know of one device; each value may be a text that names columns.

    `attrs`: the feed's static fields. `calibrated`: ISO 8601 with offset.
    """

    zone: str | None = None
    site: str | None = None
    lon: float | str | None = None
    lat: float | str | None = None
    cadence_s: float | None = Field(None, gt=0)
    calibrated: str | None = None
    attrs: dict[FieldName, Value] = Field(default_factory=dict)


class RegistryTable(DeviceEntry):
    """What holds for all devices; `device` has what differs, by device id."""

    device: dict[str, DeviceEntry] = Field(default_factory=dict)


class Mapping(Entry):
    """One mapping file. `name` names the import; `cadence_s` is measured in the files if it is not given.

    `overlay`: catalogue folders to lay over the shipped one, relative to this file. `join`: rows of one device
    and time in several files are one reading.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,23}$")
    feed: str
    city: str
    device: str
    cadence_s: float | None = Field(None, gt=0)
    overlay: tuple[Path, ...] = ()
    join: bool = False
    dialect: Dialect = Dialect()
    time: TimeSpec
    fields: Fields = Field(default_factory=dict)
    file: tuple[FilePattern, ...] = ()
    registry: RegistryTable = RegistryTable()

    @model_validator(mode="after")
    def _some_field(self) -> Mapping:
        if not self.fields and not any(pattern.fields for pattern in self.file):
            raise ValueError("no field is mapped: fill the table [fields]")
        return self

    @property
    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text that may name columns, with its key."""
        yield "city", self.city
        yield "device", self.device
        yield from _registry_texts("registry", self.registry)
        for device, entry in self.registry.device.items():
            yield from _registry_texts(f"registry.device.{device}", entry)


def _registry_texts(key: str, entry: DeviceEntry) -> Iterator[tuple[str, str]]:
    for name in ("zone", "site", "lon", "lat"):
        value = getattr(entry, name)
        if isinstance(value, str):
            yield f"{key}.{name}", value
    for name, value in entry.attrs.items():
        if isinstance(value, str):
            yield f"{key}.attrs.{name}", value


def names_in(text: str) -> tuple[str, ...]:
    """The names in braces of a text of the mapping."""
    return tuple(_NAMED.findall(text))


def pieces_of(text: str) -> list[tuple[bool, str]]:
    """A text cut into its pieces: (True, name) for what stood in braces, (False, characters) for the rest."""
    parts = _NAMED.split(text)
    return [(bool(at % 2), part) for at, part in enumerate(parts) if part]


def load_mapping(path: Path) -> Mapping:
    """Read a mapping file. Raises MappingError naming file, key and remedy. Overlays are made absolute."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MappingError(f"{path}: larger than {MAX_BYTES} bytes", remedy="a mapping is a page, not data")
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise MappingError(f"{path}: {error.strerror}", remedy="give the mapping's path with --map") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: not TOML in UTF-8: {error}", remedy="mend the line that is named") from None
    if isinstance(data.get("overlay"), str):
        data["overlay"] = [data["overlay"]]
    mapping = parse_mapping(data, str(path))
    return mapping.model_copy(update={"overlay": tuple((path.parent / folder).resolve() for folder in mapping.overlay)})


def parse_mapping(data: dict[str, Any], where: str = "mapping") -> Mapping:
    """A mapping from its parsed TOML. Raises MappingError; `where` names the file in it."""
    try:
        return Mapping.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(key) for key in first["loc"] if key != "[key]"]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            message, remedy = "this key is missing", f"add {keys[-1]} = ..."
        elif first["type"] == "extra_forbidden":
            message, remedy = "there is no such key", _nearest(keys[-1], _keys_at(keys[:-1]))
        else:
            remedy = f"got {str(first.get('input'))[:60]!r}"
        raise MappingError(f"{where}: {'.'.join(keys) or 'the mapping'}: {message}", remedy=remedy) from None


def _nearest(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"


def _keys_at(keys: Sequence[str]) -> list[str]:
    """The known keys of the table that a path of keys leads to."""
    here: type[Entry] = Mapping
    for key in keys:
        info = here.model_fields.get(key)
        nested = [t for t in _types_in(info.annotation) if isinstance(t, type) and issubclass(t, Entry)] if info else []
        here = nested[0] if nested else here
    return list(here.model_fields)


def _types_in(annotation: Any) -> Iterable[Any]:
    yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _types_in(part)
