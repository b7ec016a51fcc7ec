"""A mapping held against the catalogue: everything that can be wrong before a file is opened is found here."""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed, FieldSpec, StaticSpec
from producers.importer.cells import FieldReader
from producers.importer.dialect import Written
from producers.importer.mapping import DeviceEntry, FieldSource, Mapping, names_in
from producers.importer.problems import MappingError
from producers.importer.times import TimeReader
from producers.importer.units import convertible, remedy_for, unit_named
from producers.importer.zones import Zone

Units = Dict[str, str]
"""Unit by field, as told on the command line."""


@dataclass(frozen=True)
class FileUse:
    """What of the mapping applies to one file: its fields, and the groups of its name."""

    fields: Dict[str, FieldSource]
    groups: Dict[str, str]


@dataclass(frozen=True)
class Resolved:
    """A mapping that fits the catalogue. `where` names its file in errors; `told` are units given by flag."""

    mapping: Mapping
    catalogue: Catalogue
    feed: Feed
    times: TimeReader
    where: str
    told: Units = field(default_factory=dict)

    @property
    def registry_texts(self) -> dict[str, str]:
        """The texts of the registry that name columns, by key (`registry.site`)."""
        return {k: text for k, text in self.mapping.texts if k.startswith("registry.") and names_in(text)}

    def error(self, key: str, message: str, remedy: str) -> MappingError:
        """An error that points at a key of the mapping."""
        return MappingError(f"{self.where}: {key}: {message}", remedy=remedy)

    def use_of(self, path: Path) -> FileUse:
        """What applies to a file, by its name. Raises MappingError if nothing does, or two patterns do."""
        hits = [(pattern, hit) for pattern in self.mapping.file if (hit := re.fullmatch(pattern.match, path.name))]
        if len(hits) > 1:
            both = " and ".join(repr(pattern.match) for pattern, _ in hits[:2])
            raise self.error("file", f"{path.name} is matched by {both}", "make the patterns exclude each other")
        if not hits and self.mapping.file and not self.mapping.fields:
            known = ", ".join(repr(pattern.match) for pattern in self.mapping.file)
            remedy = "leave the file out or add a [[file]]"
            raise self.error("file", f"{path.name} is matched by none of {known}", remedy)
        pattern, hit = hits[0] if hits else (None, None)
        fields = self.mapping.fields | (pattern.fields if pattern else {})
        missing = [name for name, spec in self.feed.fields.items() if spec.required and name not in fields]
        if missing:
            raise self.error("fields", f"the feed requires {missing[0]!r}", "map it, or give it a `constant`")
        return FileUse(fields, {k: v for k, v in (hit.groupdict() if hit else {}).items() if v is not None})

    def columns_for(self, use: FileUse) -> list[str]:
        """The columns that a file must have, each once, in the order of their first use."""
        wanted = [*self.mapping.time.named, *(source.column for source in use.fields.values() if source.column)]
        for _, text in self.mapping.texts:
            wanted += [name for name in names_in(text) if name not in use.groups]
        return list(dict.fromkeys(wanted))

    def readers(self, use: FileUse, written: Written) -> list[FieldReader]:
        """Readers of the file's fields."""
        missing = self.mapping.dialect.missing
        return [
            FieldReader(
                feed=self.feed,
                name=name,
                source=source,
                unit=unit_named(self.told.get(name, source.unit)) or self.feed.fields[name].unit,
                decimal=written.decimal,
                missing=(*missing, *source.missing),
            )
            for name, source in use.fields.items()
        ]


def resolve(mapping: Mapping, catalogue: Catalogue, where: str = "mapping", told: Units | None = None) -> Resolved:
    """Check a mapping against the catalogue. Raises MappingError naming file, key and remedy."""
    feed = catalogue.feeds.get(mapping.feed)
    if feed is None:
        near = get_close_matches(mapping.feed, list(catalogue.feeds), 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(catalogue.feeds)}"
        raise MappingError(f"{where}: feed: there is no feed {mapping.feed!r}", remedy=remedy)
    try:
        zone = Zone.of(mapping.time.zone) if mapping.time.zone else None
    except ValueError as error:
        raise MappingError(
            f"{where}: time.zone: {error}", remedy="an IANA name such as Asia/Shanghai, or an offset such as +08:00"
        ) from None
    resolved = Resolved(mapping, catalogue, feed, TimeReader(mapping.time, zone), where, told or {})
    _check_head(resolved)
    for name, source in mapping.fields.items():
        _check_field(resolved, f"fields.{name}", name, source)
    for number, pattern in enumerate(mapping.file):
        for name, source in pattern.fields.items():
            _check_field(resolved, f"file.{number}.fields.{name}", name, source)
    _check_told(resolved)
    _check_device(resolved, "registry", mapping.registry)
    for device, entry in mapping.registry.device.items():
        _check_device(resolved, f"registry.device.{device}", entry)
    return resolved


def _check_head(r: Resolved) -> None:
    if r.feed.seq == "required":
        raise r.error(
            "feed",
            f"{r.feed.id} needs a sequence number in every reading, and files have none",
            "declare the feed with seq = 'optional' in an overlay if its devices cannot send one",
        )
    city = r.mapping.city
    if not names_in(city) and city not in r.catalogue.cities:
        near = get_close_matches(city, list(r.catalogue.cities), 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise r.error("city", f"there is no city {city!r}", f"{hint}declare it in cities/*.toml of an overlay folder")
    time = r.mapping.time
    if r.times.zone is None and time.format not in ("unix", "unix_ms", "iso") and "z" not in time.format:
        raise r.error("time.zone", "the format has no offset, so a zone is needed", "add zone = 'UTC' or an IANA name")
    if r.times.zone is None and time.parts:
        raise r.error("time.zone", "dates in parts have no offset, so a zone is needed", "add zone = 'Asia/Shanghai'")


def _check_field(r: Resolved, key: str, name: str, source: FieldSource) -> None:
    spec = r.feed.fields.get(name)
    if spec is None:
        if name in r.feed.static:
            raise r.error(key, f"{name!r} is a static field", f"put it under [registry.attrs] as {name} = ...")
        near = get_close_matches(name, list(r.feed.fields), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(r.feed.fields)}"
        raise r.error(key, f"the feed {r.feed.id} has no field {name!r}", hint)
    _check_unit(r, f"{key}.unit", source.unit, spec)
    if (source.factor != 1 or source.offset != 0) and spec.type != "float":
        raise r.error(key, f"{name!r} is of type {spec.type}, which is not scaled", "leave out `factor` and `offset`")
    if source.words and spec.type not in ("enum", "bool"):
        raise r.error(f"{key}.words", f"{name!r} is of type {spec.type}", "`words` is for enumerations and true/false")
    for word, meaning in source.words.items():
        if spec.type == "enum" and meaning not in spec.values:
            known = f"known: {', '.join(spec.values)}"
            raise r.error(f"{key}.words.{word}", f"{meaning!r} is no word of {name}", known)


def _check_unit(r: Resolved, key: str, unit: str, spec: FieldSpec) -> None:
    if not unit:
        return
    named = unit_named(unit)
    wanted = spec.unit or "1"
    if spec.type not in ("float", "int"):
        raise r.error(key, f"a field of type {spec.type} has no unit", "leave it out")
    if named is None or not convertible(named, spec.unit):
        known = "no unit of ours" if named is None else f"not convertible to {wanted!r}"
        raise r.error(key, f"{unit!r} is {known}", remedy_for(unit, spec.unit))
    if spec.type == "int" and named != spec.unit:
        raise r.error(key, f"a whole number is not converted from {unit!r}", f"give it in {wanted!r}")


def _check_told(r: Resolved) -> None:
    for name, unit in r.told.items():
        mapped = set(r.mapping.fields).union(*(pattern.fields for pattern in r.mapping.file))
        if name not in mapped:
            raise MappingError(f"--unit {name}={unit}: the field is not mapped", remedy=f"mapped: {', '.join(mapped)}")
        named, spec = unit_named(unit), r.feed.fields[name]
        if named is None or not convertible(named, spec.unit):
            raise MappingError(
                f"--unit {name}={unit}: not convertible to {spec.unit!r}", remedy=remedy_for(unit, spec.unit)
            )


def _check_device(r: Resolved, key: str, entry: DeviceEntry) -> None:
    for name, value in entry.attrs.items():
        spec = r.feed.static.get(name)
        if spec is None:
            known = ", ".join(r.feed.static) or "none"
            raise r.error(f"{key}.attrs.{name}", f"{r.feed.id} has no static field {name!r}", f"it has: {known}")
        if not (isinstance(value, str) and names_in(value)) and not static_fits(spec, value):
            wanted = f"one of {', '.join(spec.values)}" if spec.values else f"a value of type {spec.type}"
            raise r.error(f"{key}.attrs.{name}", f"{value!r} does not fit", f"give {wanted}")


def static_fits(spec: StaticSpec, value: object) -> bool:
    """Whether a value may stand in a static field."""
    match spec.type:
        case "enum":
            return value in spec.values
        case "text":
            return isinstance(value, str)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, (int, float)) and not isinstance(value, bool)
