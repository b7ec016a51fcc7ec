"""How many samples a fleet owes: what coverage and completeness divide by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pearlstream.program import IndicatorProgram
from pearlstream.registry import Registry


@dataclass(frozen=True)
class Owed:
    """What some devices owe in a stretch of time: samples (None if nobody can be expected), and who is in service."""

    samples: float | None
    devices: int


@dataclass(frozen=True)
class Members:
    """Devices that count together: seconds between samples, the time they are in service (ms), and static fields
    that something grows with (NaN where a device's is not known)."""

    cadence_s: NDArray[np.float64]
    from_ms: NDArray[np.int64]
    until_ms: NDArray[np.int64]
    units: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def owed(self, start_ms: int, length_ms: int) -> Owed:
        """What those in service at `start_ms` owe in `length_ms`. A device slower than that owes nothing in it."""
        first, last, cadences = self._all
        if not first <= start_ms < last:
            serving = (self.from_ms <= start_ms) & (self.until_ms > start_ms)
            cadences = _counted(self.cadence_s[serving])
        samples = sum(length_ms / (1000 * s) * count for s, count in cadences if s * 1000 <= length_ms)
        return Owed(samples or None, sum(count for _, count in cadences))

    def total(self, name: str, start_ms: int) -> float | None:
        """The sum of a static field over the devices in service at `start_ms` that have it, None if none has."""
        values = self.units.get(name)
        if values is None:
            return None
        first, last, _ = self._all
        if first <= start_ms < last:
            return self._totals[name]
        return _sum(values[(self.from_ms <= start_ms) & (self.until_ms > start_ms)])

    @cached_property
    def _totals(self) -> dict[str, float | None]:
        return {name: _sum(values) for name, values in self.units.items()}

    @cached_property
    def _all(self) -> tuple[int, int, list[tuple[float, int]]]:
        """From when to when all of them are in service (the common case), and how many there are by cadence."""
        if not len(self.from_ms):
            return 0, 0, []
        return int(self.from_ms.max()), int(self.until_ms.min()), _counted(self.cadence_s)


def _counted(cadence_s: NDArray[np.float64]) -> list[tuple[float, int]]:
    cadences, counts = np.unique(cadence_s, return_counts=True)
    return list(zip(cadences.tolist(), counts.tolist(), strict=True))


def _sum(values: NDArray[np.float64]) -> float | None:
    """The exact sum, whatever the order, of what is known."""
    known = values[~np.isnan(values)]
    return math.fsum(known.tolist()) if len(known) else None


NOBODY = Members(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class Fleet:
    """The devices that a row of an indicator is about: all, by dimensions of its rows, and by member."""

    all: Members
    by_dims: Mapping[str, Members]
    by_member: Mapping[tuple[str, str, str, str], Members]
    """Key: the reduction's dimension, the dimensions of the row, the city, the member."""


EMPTY_FLEET = Fleet(NOBODY, {}, {})


def fleet_of(program: IndicatorProgram, registry: Registry, cities: Sequence[str]) -> Fleet | None:
    """The fleet of an indicator in these cities together, None unless every feed of it (or any, over all feeds) has a
    device there."""
    found = {feed: [_in(registry, feed, city) for city in cities] for feed in program.feeds}
    present = {feed: some for feed, parts in found.items() if (some := [part for part in parts if part is not None])}
    if not present or (len(present) < len(found) and not program.any_feed):
        return None
    counted = [part for feed in program.fleet for part in present.get(feed, [])]
    if not counted:
        return None
    if program.among is not None:
        counted = [part.filter(program.among.as_condition().polars()) for part in counted]
    units = sorted({base.units for base in program.bases.values() if base.units})
    shared = [name for name in counted[0].columns if all(name in part.columns for part in counted)]
    counted = [part.select(shared).with_columns(pl.col(units).cast(pl.Float64)) for part in counted]
    part = pl.concat(counted) if len(counted) > 1 else counted[0]
    dims = [name for name in sorted(program.indicator.dims) if name in part.columns]
    text = [pl.concat_str([pl.lit(f"{name}="), pl.col(name).cast(pl.String).fill_null("")]) for name in dims]
    part = part.with_columns((pl.concat_str(text, separator=",") if text else pl.lit("")).alias("_dims"))
    by_dims = {str(key[0]): _members(own, units) for key, own in part.partition_by("_dims", as_dict=True).items()}
    by_member: dict[tuple[str, str, str, str], Members] = {}
    for each in {r.declared.each for r in program.reductions} & set(part.columns):
        for (dim, city, member), own in part.partition_by("_dims", "_city", each, as_dict=True).items():
            by_member[each, str(dim), str(city), str(member)] = _members(own, units)
    return Fleet(_members(part, units), by_dims if dims else {"": _members(part, units)}, by_member)


def _in(registry: Registry, feed: str, city: str) -> pl.DataFrame | None:
    """The devices of a feed in a city with the column `_city`, None if there are none."""
    part = registry.devices(feed, city)
    return part.with_columns(pl.lit(city).alias("_city")) if part is not None and len(part) else None


def _members(part: pl.DataFrame, units: Sequence[str]) -> Members:
    until = part["until_ms"].fill_null(np.iinfo(np.int64).max)
    values = {name: part[name].fill_null(math.nan).to_numpy() for name in units}
    return Members(part["cadence_s"].to_numpy(), part["from_ms"].to_numpy(), until.to_numpy(), values)
