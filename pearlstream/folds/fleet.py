"""How many samples a fleet owes: what coverage and completeness divide by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pearlstream.program import IndicatorProgram
from pearlstream.registry import Registry
from pearlstream.rows import Rows

_LENGTHS = 4
"""How many lengths of time are remembered with what is owed in them: open windows are of any length."""


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
            return _owed(_counted(self.cadence_s[serving]), length_ms)
        found = self._owed_by_all.get(length_ms)
        if found is None:
            if len(self._owed_by_all) >= _LENGTHS:
                self._owed_by_all.clear()
            found = self._owed_by_all[length_ms] = _owed(cadences, length_ms)
        return found

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
    def _owed_by_all(self) -> dict[int, Owed]:
        """What all of them owe, by length: settled windows of an indicator are all equally long."""
        return {}

    @cached_property
    def _totals(self) -> dict[str, float | None]:
        return {name: _sum(values) for name, values in self.units.items()}

    @cached_property
    def _all(self) -> tuple[int, int, list[tuple[float, int]]]:
        """From when to when all of them are in service (the common case), and how many there are by cadence."""
        if not len(self.from_ms):
            return 0, 0, []
        return int(self.from_ms.max()), int(self.until_ms.min()), _counted(self.cadence_s)


def _owed(cadences: Sequence[tuple[float, int]], length_ms: int) -> Owed:
    samples = sum(length_ms / (1000 * s) * count for s, count in cadences if s * 1000 <= length_ms)
    return Owed(samples or None, sum(count for _, count in cadences))


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


class _Count(NamedTuple):
    """What of a program decides whom it counts, and how: programs that agree in it share their fleets."""

    feeds: tuple[str, ...]
    any_feed: bool
    fleet: tuple[str, ...]
    among: str | None
    units: tuple[str, ...]
    dims: tuple[str, ...]
    each: tuple[str, ...]

    @classmethod
    def of(cls, program: IndicatorProgram) -> _Count:
        """How a program counts."""
        return cls(
            feeds=program.feeds,
            any_feed=program.any_feed,
            fleet=program.fleet,
            among=program.among.text if program.among is not None else None,
            units=tuple(sorted({base.units for base in program.bases.values() if base.units})),
            dims=program.dims,
            each=tuple(sorted({r.declared.each for r in program.reductions})),
        )


@dataclass
class Fleets:
    """The fleets of the indicators in one version of the registry, each made once."""

    registry: Registry
    _made: dict[tuple[_Count, tuple[str, ...]], Fleet | None] = field(default_factory=dict)

    def of(self, program: IndicatorProgram, cities: Sequence[str]) -> Fleet | None:
        """The fleet of an indicator in these cities together, None unless every feed of it (or any, over all feeds)
        has a device there."""
        key = (_Count.of(program), tuple(cities))
        if key not in self._made:
            part = self._counted(program, cities)
            self._made[key] = None if part is None else _fleet(part, key[0])
        return self._made[key]

    def _counted(self, program: IndicatorProgram, cities: Sequence[str]) -> pl.DataFrame | None:
        """The devices that count, with `_city`."""
        found = {feed: [_in(self.registry, feed, city) for city in cities] for feed in program.feeds}
        present = {feed: some for feed, all_ in found.items() if (some := [part for part in all_ if part is not None])}
        if not present or (len(present) < len(found) and not program.any_feed):
            return None
        counted = [part for feed in program.fleet for part in present.get(feed, [])]
        if not counted:
            return None
        if program.among is not None:
            counted = [part.filter(program.among.holds(Rows(part))) for part in counted]
        shared = [name for name in counted[0].columns if all(name in part.columns for part in counted)]
        units = pl.col(_Count.of(program).units).cast(pl.Float64)
        return pl.concat([part.select(shared).with_columns(units) for part in counted])


def _fleet(part: pl.DataFrame, count: _Count) -> Fleet:
    part = part.with_columns(
        pl.col("until_ms").fill_null(np.iinfo(np.int64).max), pl.col(count.units).fill_null(math.nan)
    )
    names = ("cadence_s", "from_ms", "until_ms", *count.units)
    everybody = _members([part[name].to_numpy() for name in names], count)
    dims = [name for name in count.dims if name in part.columns]
    each_of = sorted(set(count.each) & set(part.columns))
    if not dims and not each_of:
        return Fleet(everybody, {"": everybody}, {})
    text = [pl.concat_str([pl.lit(f"{name}="), pl.col(name).cast(pl.String).fill_null("")]) for name in dims]
    part = part.with_columns((pl.concat_str(text, separator=",") if text else pl.lit("")).alias("_dims"))
    by_dims = {"": everybody}
    if dims:
        by_dims = {dim: _members(own, count) for (dim,), own in _grouped(part, ["_dims"], names)}
    by_member = {
        (each, dim, city, member): _members(own, count)
        for each in each_of
        for (dim, city, member), own in _grouped(part, ["_dims", "_city", each], names)
    }
    return Fleet(everybody, by_dims, by_member)


def _members(columns: Sequence[NDArray[Any]], count: _Count) -> Members:
    cadence_s, from_ms, until_ms, *units = columns
    return Members(cadence_s, from_ms, until_ms, dict(zip(count.units, units, strict=True)))


def _grouped(
    part: pl.DataFrame, keys: Sequence[str], names: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], list[NDArray[Any]]]]:
    """The columns `names` of the rows that agree in `keys`, with what they agree in as text."""
    if part.is_empty():
        return
    groups = part.group_by(*keys, maintain_order=True).agg(names)
    ends = np.cumsum(groups[names[0]].list.len().to_numpy())[:-1]
    cut = [np.split(groups[name].explode().to_numpy(), ends) for name in names]
    for row, *columns in zip(groups.select(keys).rows(), *cut, strict=True):
        yield tuple(map(str, row)), columns


def _in(registry: Registry, feed: str, city: str) -> pl.DataFrame | None:
    """The devices of a feed in a city with the column `_city`, None if there are none."""
    part = registry.devices(feed, city)
    return part.with_columns(pl.lit(city).alias("_city")) if part is not None and len(part) else None
