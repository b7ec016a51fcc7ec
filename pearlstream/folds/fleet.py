"""How many samples a fleet owes: what coverage and completeness divide by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
        serving = (self.from_ms <= start_ms) & (self.until_ms > start_ms)
        devices = int(np.count_nonzero(serving))
        cadences, counts = np.unique(self.cadence_s[serving], return_counts=True)
        samples = sum(
            length_ms / (1000 * cadence) * int(count)
            for cadence, count in zip(cadences.tolist(), counts.tolist(), strict=True)
            if cadence * 1000 <= length_ms
        )
        return Owed(samples or None, devices)


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
