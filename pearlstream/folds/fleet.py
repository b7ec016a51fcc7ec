"""How many samples a fleet owes: what coverage and completeness divide by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """Devices that count together: seconds between samples, and the time they are in service (ms)."""

    cadence_s: NDArray[np.float64]
    from_ms: NDArray[np.int64]
    until_ms: NDArray[np.int64]

    def owed(self, start_ms: int, length_ms: int) -> Owed:
        """What those in service at `start_ms` owe in `length_ms`. A device slower than that owes nothing in it."""
        first, last, cadences = self._all
        if not first <= start_ms < last:
            serving = (self.from_ms <= start_ms) & (self.until_ms > start_ms)
            cadences = _counted(self.cadence_s[serving])
        samples = sum(length_ms / (1000 * s) * count for s, count in cadences if s * 1000 <= length_ms)
        return Owed(samples or None, sum(count for _, count in cadences))

    @cached_property
    def _all(self) -> tuple[int, int, list[tuple[float, int]]]:
        """From when to when all of them are in service (the common case), and how many there are by cadence."""
        if not len(self.from_ms):
            return 0, 0, []
        return int(self.from_ms.max()), int(self.until_ms.min()), _counted(self.cadence_s)


def _counted(cadence_s: NDArray[np.float64]) -> list[tuple[float, int]]:
    cadences, counts = np.unique(cadence_s, return_counts=True)
    return list(zip(cadences.tolist(), counts.tolist(), strict=True))


NOBODY = Members(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class Fleet:
    """The devices that an indicator of a city is about: all, by dimensions of its rows, and by member."""

    all: Members
    by_dims: Mapping[str, Members]
    by_member: Mapping[tuple[str, str, str], Members]
    """Key: the reduction's dimension, the dimensions of the row, the member."""


def fleet_of(program: IndicatorProgram, registry: Registry, city: str) -> Fleet | None:
    """The fleet of an indicator in a city, None unless every feed of it has a device there."""
    parts = [registry.devices(feed, city) for feed in program.feeds]
    if any(part is None or not len(part) for part in parts):
        return None
    part = registry.devices(program.coverage.feed, city)
    assert part is not None
    if program.among is not None:
        part = part.filter(program.among.as_condition().polars())
    dims = [name for name in sorted(program.indicator.dims) if name in part.columns]
    text = [pl.concat_str([pl.lit(f"{name}="), pl.col(name).cast(pl.String).fill_null("")]) for name in dims]
    part = part.with_columns((pl.concat_str(text, separator=",") if text else pl.lit("")).alias("_dims"))
    by_dims = {str(key[0]): _members(some) for key, some in part.partition_by("_dims", as_dict=True).items()}
    by_member: dict[tuple[str, str, str], Members] = {}
    for each in {r.declared.each for r in program.reductions} & set(part.columns):
        for (dim, member), some in part.partition_by("_dims", each, as_dict=True).items():
            by_member[each, str(dim), str(member)] = _members(some)
    return Fleet(_members(part), by_dims if dims else {"": _members(part)}, by_member)


def _members(part: pl.DataFrame) -> Members:
    until = part["until_ms"].fill_null(np.iinfo(np.int64).max)
    return Members(part["cadence_s"].to_numpy(), part["from_ms"].to_numpy(), until.to_numpy())
