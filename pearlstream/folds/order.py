"""Readings of a batch put together by device, so that what a device sent is a stretch of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pearlstream.grouping import in_order

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class DeviceOrder:
    """Row numbers by device, in the order of the log within each; `device` holds the device of each in that order."""

    order: Ints
    device: Ints

    @classmethod
    def of(cls, device: Ints) -> DeviceOrder:
        """The order of readings, each given by its device's row in the device table (0 or more)."""
        size = int(device.max()) + 1 if len(device) else 1
        order, owner = in_order(device, size)
        return cls(order, owner)

    def only(self, kept: Mask) -> DeviceOrder:
        """The order of some of the readings, counted anew. `kept`: which, in the order of the log."""
        if kept.all():
            return self
        here = kept[self.order]
        return DeviceOrder((np.cumsum(kept) - 1)[self.order[here]], self.device[here])

    @cached_property
    def head(self) -> Mask:
        """Whether a place holds the first reading of its device."""
        head = np.empty(len(self.device), bool)
        head[:1] = True
        np.not_equal(self.device[1:], self.device[:-1], out=head[1:])
        return head

    @cached_property
    def starts(self) -> Ints:
        """The place at which each device begins."""
        return np.flatnonzero(self.head)

    @cached_property
    def ends(self) -> Ints:
        """The place of the last reading of each device."""
        return np.append(self.starts[1:], len(self.device))[: len(self.starts)] - 1

    @cached_property
    def sizes(self) -> Ints:
        """How many readings each device has."""
        return self.ends - self.starts + 1

    @cached_property
    def devices(self) -> Ints:
        """The devices, each once."""
        return self.device[self.starts]

    @cached_property
    def group(self) -> Ints:
        """The number of the device that a place belongs to, counted in this order."""
        return np.repeat(np.arange(len(self.starts)), self.sizes)

    def before(self, values: Ints, initial: Ints) -> Ints:
        """By place: the device's value before. `values` by place; `initial` by device as in `devices`."""
        shifted = np.empty_like(values)
        shifted[1:] = values[:-1]
        shifted[self.starts] = initial
        return shifted


def shuffled(number: Ints, ts: Ints, group: Ints, top: Ints, ts_top: Ints) -> tuple[Mask, Mask]:
    """Which devices sent just the next numbers, only not in their order; and which readings were next in line.

    By place: number and time (ms) of each reading and its group; by group, what was highest so far. Time must grow
    with the numbers: a low number with a late time is another life of the device. The second mask is right where
    the first holds.
    """
    order = np.lexsort((number, group))
    owner, ranked, times = group[order], number[order], ts[order]
    head = np.ones(len(order), bool)
    head[1:] = owner[1:] != owner[:-1]
    before, earlier = np.roll(ranked, 1), np.roll(times, 1)
    before[head], earlier[head] = top[owner[head]], ts_top[owner[head]]
    good = np.ones(len(top), bool)
    good[owner[(ranked != before + 1) | (times <= earlier)]] = False
    rise = np.where(good[group], number - top[group], 0)  # from 1 to the number of rows where it is good
    line = group * (len(number) + 1)
    highest = np.maximum.accumulate(line + rise)
    so_far = np.empty_like(highest)
    so_far[:1] = 0
    so_far[1:] = highest[:-1]
    return good, line + rise == np.maximum(so_far, line) + 1
