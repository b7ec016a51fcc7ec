"""Units that are off by ten: what a device's neighbours say about the size of its values.

Once a period, each device that spoke is held against the others of its city: the median of its last values against
the median of theirs. What is eight to twelve times as large, or as small, speaks for a wrong unit. Three such findings
make the device suspect, and as many ordinary ones clear it. A period ends with the first reading that arrives after
its end by the clock of ticks, so that the verdicts follow from the readings and their clocks, however the log is cut
into batches and whichever cities share a partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pearlstream.catalogue.models import FieldSpec

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Signs = NDArray[np.int8]
"""By device: 1 too large, -1 too small, 0 neither."""
Mask = NDArray[np.bool_]
Columns = dict[str, NDArray[Any]]

PERIOD_MS = 600_000
"""How often devices are compared, unless they speak so seldom that it takes longer to hear from them."""
CADENCES = 3
"""A period is at least so many cadences long, so that a device that misses a turn or two is still compared."""
NEIGHBOURS = 4
"""With fewer others in the city nothing is said of a device."""
STEPS = 20
"""What is typical must be at least so many steps of the field's grid, or a tenth of it could not be told from noise."""
LEAST, MOST = 8, 12
"""So many times larger or smaller is a wrong unit: ten, and what devices of one city differ in."""
LOOSE_LEAST, LOOSE_MOST = 5, 20
"""Within these a finding that was made stands: no ordinary value is so far off, only the unit's would be unusual."""
FINDINGS = 3
"""So many findings make a device suspect; so many against them clear it."""


@dataclass
class Suspicion:
    """What the comparisons of one field have found, by device.

    `findings`: -3..3, the sign says which way the values are off. `suspect`: whether its readings get the flag.
    `fresh`: whether it has reported the field since the last comparison.
    """

    findings: Signs
    suspect: Mask
    fresh: Mask

    @classmethod
    def of(cls, size: int) -> Suspicion:
        """Of devices that have not been compared."""
        return cls(np.zeros(size, np.int8), np.zeros(size, bool), np.zeros(size, bool))

    def grown(self, size: int) -> Suspicion:
        """The same with room for so many devices."""
        own, made = len(self.findings), Suspicion.of(size)
        made.findings[:own], made.suspect[:own], made.fresh[:own] = self.findings, self.suspect, self.fresh
        return made

    def find(self, devices: Ints, hit: Signs, loose: Signs) -> None:
        """Add what a comparison says of some devices."""
        before = self.findings[devices]
        side = np.sign(before)
        against = (hit == 0) & (loose != side)
        now = np.clip(before + np.where(against, -side, hit), -FINDINGS, FINDINGS)
        self.findings[devices] = now
        self.suspect[devices] = (np.abs(now) == FINDINGS) | (self.suspect[devices] & (now != 0))


def compared(value: Ints, city: Ints) -> tuple[Ints, Signs, Signs]:
    """Hold values (steps of their grid) against the median of the others in their city, the lower one of two.

    Gives the places of those that could be compared, and for each which way it is off by a unit, by the strict bounds
    and by the loose ones.
    """
    order = np.lexsort((value, city))
    ranked, owner = value[order], city[order]
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    sizes = np.diff(np.r_[starts, len(owner)])
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    middle = (size - 2) // 2
    typical = ranked[np.minimum(start + middle + (np.arange(len(owner)) - start <= middle), len(owner) - 1)]
    fit = (size > NEIGHBOURS) & (typical >= STEPS)
    mine, others = ranked[fit], typical[fit]
    return order[fit], _way(mine, others, LEAST, MOST), _way(mine, others, LOOSE_LEAST, LOOSE_MOST)


def _way(mine: Ints, others: Ints, least: int, most: int) -> Signs:
    large = (mine >= least * others) & (mine <= most * others)
    small = (others >= least * mine) & (others <= most * mine)
    return large.astype(np.int8) - small.astype(np.int8)


@dataclass
class Scale:
    """The suspicions about the devices of one feed; grows with the device table."""

    fields: Mapping[str, FieldSpec] = field(default_factory=dict)
    """Those that are comparable."""
    period_ms: int = PERIOD_MS
    size: int = 64
    period: int = -1
    """Number of the period that the last reading arrived in; before the first tick it is -1."""
    city: Ints = field(init=False)
    """By device: a number that those of one city share."""
    found: dict[str, Suspicion] = field(init=False)

    def __post_init__(self) -> None:
        self.city = np.zeros(self.size, np.int64)
        self.found = {name: Suspicion.of(self.size) for name in self.fields}

    def grow(self, size: int) -> None:
        """Make room for so many devices, if there is less."""
        if size > self.size:
            self.city = np.concatenate([self.city, np.zeros(size - self.size, np.int64)])
            self.found = {name: one.grown(size) for name, one in self.found.items()}
            self.size = size

    def stretches(self, clock: Ints) -> Iterator[tuple[int, slice]]:
        """The periods in which readings arrive, each with its rows. `clock` (ms) by row, in the order of the log."""
        everything = slice(0, len(clock))
        if not self.fields or not len(clock):
            yield self.period, everything
            return
        first, last = (max(int(end) // self.period_ms, self.period) for end in (clock.min(), clock.max()))
        if first == last:
            yield last, everything
            return
        period = np.maximum.accumulate(np.maximum(clock // self.period_ms, self.period))
        starts = np.flatnonzero(np.r_[True, period[1:] != period[:-1]])
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(clock)], strict=True):
            yield int(period[start]), slice(start, stop)

    def turn(self, period: int, last: Mapping[str, Floats]) -> None:
        """Compare the devices if another period begins. `last`: the last values of each field, a row a device, with
        NaN where there are none yet."""
        if period == self.period:
            return
        self.period = period
        for name, spec in self.fields.items():
            suspicion = self.found[name]
            devices = np.flatnonzero(suspicion.fresh)
            suspicion.fresh[:] = False
            if len(devices) > NEIGHBOURS:
                values = np.sort(last[name][devices], axis=1)
                full = ~np.isnan(values[:, -1])
                steps = values[full, values.shape[1] // 2] * 10.0 ** (spec.decimals if spec.type == "float" else 0)
                devices = devices[full]
                places, hit, loose = compared(np.rint(steps).astype(np.int64), self.city[devices])
                suspicion.find(devices[places], hit, loose)

    def pack(self, size: int) -> Columns:
        """The first `size` devices as columns, for the snapshot. Cities are the device table's to know."""
        columns: Columns = {"period": np.array([self.period], np.int64)}
        for name, one in self.found.items():
            columns |= {
                f"findings/{name}": one.findings[:size],
                f"suspect/{name}": one.suspect[:size],
                f"fresh/{name}": one.fresh[:size],
            }
        return columns

    def unpack(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Inverse of `pack`, into one with room for as many devices."""
        self.period = int(columns["period"][0])
        for name, one in self.found.items():
            for part in ("findings", "suspect", "fresh"):
                column = columns[f"{part}/{name}"]
                getattr(one, part)[: len(column)] = column
