"""Who spoke in the files: what the registry is told, and how often they spoke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from pearlstream.catalogue.models import StaticSpec
from pearlstream.registry import COLUMNS, encode_devices, static_type
from producers.importer.mapping import DeviceEntry
from producers.importer.resolve import Resolved, static_fits

PER_RECORD = 5_000
"""Devices in one registry record."""
MAX_SPACINGS = 10_000
"""Distinct spacings that are counted; the most common ones are met early."""


@dataclass
class Seen:
    """One device: its first and last reading (ms), how many there are, and the registry's texts in its first row."""

    city: str
    first_ms: int
    last_ms: int
    readings: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass
class DeviceBook:
    """Every device met. Fed with readings in order of time."""

    resolved: Resolved
    seen: dict[tuple[str, str], Seen] = field(default_factory=dict)
    spacings: Counter[int] = field(default_factory=Counter)
    """Milliseconds between two readings of a device, by how often they were met."""

    def note(self, frame: pl.DataFrame) -> None:
        """Take in readings in order of time; the cut between two calls does not matter."""
        if not len(frame):
            return
        texts = list(self.resolved.registry_texts)
        grouped = frame.group_by("city", "device", maintain_order=True).agg(
            pl.col("ts").first().alias("first"),
            pl.col("ts").last().alias("last"),
            pl.len().alias("readings"),
            pl.col("ts").diff().drop_nulls().value_counts().alias("spacings"),
            *(pl.col(name).first() for name in texts),
        )
        for row in grouped.iter_rows(named=True):
            key = (row["city"], row["device"])
            old = self.seen.get(key)
            if old is None:
                old = self.seen[key] = Seen(
                    row["city"], row["first"], row["last"], texts={name: row[name] for name in texts}
                )
            else:
                self._spaced(row["first"] - old.last_ms, 1)
            for spacing in row["spacings"]:
                self._spaced(spacing["ts"], spacing["count"])
            old.last_ms, old.readings = row["last"], old.readings + row["readings"]

    def _spaced(self, ms: int, count: int) -> None:
        if ms in self.spacings or len(self.spacings) < MAX_SPACINGS:
            self.spacings[ms] += count

    @property
    def first_ms(self) -> int:
        """The first reading of all."""
        return min(seen.first_ms for seen in self.seen.values())

    @property
    def last_ms(self) -> int:
        """The last reading of all."""
        return max(seen.last_ms for seen in self.seen.values())

    def measured_cadence_s(self) -> float | None:
        """The most common time between two readings of a device, None if none spoke twice."""
        if not self.spacings:
            return None
        most = max(self.spacings.values())
        return min(ms for ms, count in self.spacings.items() if count == most) / 1000

    @property
    def cadence_s(self) -> float:
        """The cadence of devices for which the mapping has no other: told, measured, or the feed's."""
        return self.resolved.mapping.cadence_s or self.measured_cadence_s() or float(self.resolved.feed.cadence_s)

    def cadence_of(self, device: str) -> float:
        """The cadence of one device."""
        registry = self.resolved.mapping.registry
        own = registry.device.get(device)
        return (own.cadence_s if own else None) or registry.cadence_s or self.cadence_s

    @property
    def unheard(self) -> list[str]:
        """Devices that the mapping describes and no file speaks of."""
        heard = {device for _, device in self.seen}
        return [device for device in self.resolved.mapping.registry.device if device not in heard]

    # ------------------------------------------------------------------ registry

    def records(self) -> Iterator[bytes]:
        """Records for the topic `devices`, city by city. Raises MappingError if a static value does not fit."""
        feed = self.resolved.feed
        cities = sorted({city for city, _ in self.seen})
        for city in cities:
            rows = [self._row(city, device, seen) for (c, device), seen in sorted(self.seen.items()) if c == city]
            schema = {**COLUMNS, **{name: static_type(spec.type) for name, spec in feed.static.items()}}
            devices = pl.DataFrame(rows, schema=schema, orient="row")
            for part in devices.iter_slices(PER_RECORD):
                yield encode_devices(feed, city, part)

    def _row(self, city: str, device: str, seen: Seen) -> list[Any]:
        table = self.resolved.mapping.registry
        entries = [(f"registry.device.{device}", table.device.get(device)), ("registry", table)]
        cadence_s = self.cadence_of(device)
        cadence_ms = round(cadence_s * 1000)
        place = self.resolved.catalogue.cities[city]
        found = {name: self._value(entries, name, seen) for name in ("zone", "site", "lon", "lat", "calibrated")}
        attrs = {n: self._attr(entries, n, spec, seen) for n, spec in self.resolved.feed.static.items()}
        return [
            device,
            found["zone"] or "core",
            found["site"] or device,
            self._degrees(found["lon"], "lon", device, place.lon),
            self._degrees(found["lat"], "lat", device, place.lat),
            cadence_s,
            # In service from the start of its first cadence, so that the window that begins there expects it.
            seen.first_ms // cadence_ms * cadence_ms,
            (self.last_ms // cadence_ms + 1) * cadence_ms,
            self._instant(found["calibrated"], device),
            "csv",
            *attrs.values(),
        ]

    def _value(self, entries: Sequence[tuple[str, DeviceEntry | None]], name: str, seen: Seen) -> Any:
        """A value of the registry: of the device's own entry, else of the general one."""
        for key, entry in entries:
            value = getattr(entry, name) if entry is not None else None
            if value is not None:
                return seen.texts.get(f"{key}.{name}", value)
        return None

    def _attr(self, entries: Sequence[tuple[str, DeviceEntry | None]], name: str, spec: StaticSpec, seen: Seen) -> Any:
        for key, entry in entries:
            value = entry.attrs.get(name) if entry is not None else None
            if value is None:
                continue
            text = seen.texts.get(f"{key}.attrs.{name}")
            if text is not None:
                value = _as_type(text, spec)
            if not static_fits(spec, value):
                raise self.resolved.error(f"{key}.attrs.{name}", f"{text!r} is no {spec.type}", "map another column")
            return float(value) if spec.type == "float" else value
        return None

    def _degrees(self, value: Any, name: str, device: str, otherwise: float) -> float:
        if value in (None, ""):
            return otherwise
        try:
            return float(value)
        except ValueError:
            raise self.resolved.error(f"registry.{name}", f"{device}: {value!r} is no number of degrees", "") from None

    def _instant(self, value: Any, device: str) -> int | None:
        if not value:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise self.resolved.error(
                "registry.calibrated", f"{device}: {value!r} is no time with offset", "2016-01-31T00:00:00+08:00"
            )
        return round(moment.timestamp() * 1000)


def _as_type(text: str, spec: StaticSpec) -> Any:
    """A text from a column as a static field wants it; the text itself if it cannot be."""
    try:
        match spec.type:
            case "float":
                return float(text)
            case "int":
                return int(text)
            case "bool":
                return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
            case _:
                return text
    except ValueError:
        return text
