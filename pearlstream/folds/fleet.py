"""How many samples a fleet owes: what coverage and completeness divide by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pearlstream.grouping import Ints
from pearlstream.program import IndicatorProgram
from pearlstream.registry import Registry
from pearlstream.rows import Floats, Rows

_EARLIEST, _LATEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@dataclass(frozen=True)
class Members:
    """Devices that count together: seconds between samples, the time they are in service (ms), and static fields
    that something grows with (NaN where a device's is not known)."""

    cadence_s: Floats
    from_ms: Ints
    until_ms: Ints
    units: Mapping[str, Floats] = field(default_factory=dict)

    def serving(self, at_ms: int) -> Members:
        """Those that are in service at an instant."""
        some = (self.from_ms <= at_ms) & (self.until_ms > at_ms)
        units = {name: values[some] for name, values in self.units.items()}
        return Members(self.cadence_s[some], self.from_ms[some], self.until_ms[some], units)

    def total(self, name: str) -> float:
        """The sum of a static field over the devices that have it, NaN if none has; exact, whatever the order."""
        values = self.units.get(name, _NONE)
        known = values[~np.isnan(values)]
        return math.fsum(known.tolist()) if len(known) else math.nan


_NONE = np.empty(0)
NOBODY = Members(_NONE, np.empty(0, np.int64), np.empty(0, np.int64))


class Owed(NamedTuple):
    """What groups of devices owe in a stretch of time: samples (NaN where nobody can be expected), and how many
    devices are in service."""

    samples: Floats
    devices: Ints


class Roll:
    """Groups of devices side by side: what each owes, group by group."""

    def __init__(self, groups: Sequence[Members]) -> None:
        self._groups = groups
        self._first = np.array([one.from_ms.max(initial=_EARLIEST) for one in groups], np.int64)
        self._last = np.array([one.until_ms.min(initial=_LATEST) for one in groups], np.int64)
        every = np.concatenate([_NONE, *(one.cadence_s for one in groups)])
        self._cadences, place = np.unique(every, return_inverse=True)
        sizes = np.array([len(one.cadence_s) for one in groups], np.int64)
        self._counts = self._counted(place, np.repeat(np.arange(len(groups)), sizes), len(groups))
        self._totals: dict[str, Floats] = {}

    def _counted(self, cadence: Ints, group: Ints, groups: int) -> Ints:
        """Devices by group and cadence."""
        width = len(self._cadences)
        return np.bincount(group * width + cadence, minlength=groups * width).reshape(groups, width)

    def _partly(self, start_ms: int) -> list[int]:
        """The groups of which not every device is in service: few, as a rule."""
        return np.flatnonzero((self._first > start_ms) | (self._last <= start_ms)).tolist()

    def owed(self, start_ms: int, length_ms: int) -> Owed:
        """What those in service at `start_ms` owe in `length_ms`. A device slower than that owes nothing in it."""
        counts = self._counts
        if partly := self._partly(start_ms):
            counts = counts.copy()
            for at in partly:
                place = np.searchsorted(self._cadences, self._groups[at].serving(start_ms).cadence_s)
                counts[at] = self._counted(place, np.zeros(len(place), np.int64), 1)[0]
        samples = np.zeros(len(counts))
        for at, cadence_s in enumerate(self._cadences.tolist()):
            if cadence_s * 1000 <= length_ms:
                samples += length_ms / (1000 * cadence_s) * counts[:, at]
        return Owed(np.where(samples > 0, samples, np.nan), counts.sum(axis=1))

    def totals(self, name: str, start_ms: int) -> Floats:
        """The sum of a static field over the devices in service at `start_ms`, NaN where none has it."""
        if name not in self._totals:
            self._totals[name] = np.array([one.total(name) for one in self._groups], np.float64)
        totals = self._totals[name]
        if partly := self._partly(start_ms):
            totals = totals.copy()
            for at in partly:
                totals[at] = self._groups[at].serving(start_ms).total(name)
        return totals


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
    part = part.with_columns(pl.col("until_ms").fill_null(_LATEST), pl.col(count.units).fill_null(math.nan))
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
