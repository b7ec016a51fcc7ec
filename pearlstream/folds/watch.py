"""What a device's own past says about its readings: values that jump or stand still, and a clock that is off.

`admit` keeps for each device the last few values of the fields that declare `spike` or `stuck_after`, and since
when its readings have come with a delay that no live link has. The verdicts are quality flags. They follow from the
accepted readings in the order of the log, however that is cut into batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pearlstream.catalogue.models import Feed, FieldSpec
from pearlstream.quality import Quality

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]

LAST = 5
"""A jump is measured against the median of so many values before it, which two wrong ones cannot move far."""
OFF_MS = 90_000
"""A reading that is earlier or later than this does not come from a good clock over a live link: a minute, and half a
minute more because arrival is known to the tick only."""
STEADY_MS = 90_000
"""The delay of a wrong clock stays within this; that of a buffer being emptied does not."""
PERSISTS_MS = 120_000
"""So long a delay must have been steady before it is called a wrong clock."""


@dataclass
class Past:
    """The last values of one field, by device: `values` oldest first (NaN: none yet), `equal` readings in a row."""

    values: Floats
    equal: Ints


@dataclass
class Watch:
    """The pasts of the devices of one feed; grows with the device table."""

    fields: Mapping[str, FieldSpec] = field(default_factory=dict)
    size: int = 64
    pasts: dict[str, Past] = field(init=False)
    off_delay: Ints = field(init=False)
    """The delay (ms) with which a steady wrong delay began, by device."""
    off_since: Ints = field(init=False)
    """The clock (ms) at which it began; -1: the device's time is right."""

    def __post_init__(self) -> None:
        self.pasts = {
            name: Past(np.full((self.size, LAST), np.nan), np.zeros(self.size, np.int64)) for name in self.fields
        }
        self.off_delay = np.zeros(self.size, np.int64)
        self.off_since = np.full(self.size, -1, np.int64)

    @classmethod
    def of(cls, feed: Feed) -> Watch:
        """What the fields of a feed ask for."""
        wanted = {n: s for n, s in feed.fields.items() if s.spike is not None or s.stuck_after is not None}
        return cls(wanted)

    def grow(self, size: int) -> None:
        """Make room for so many devices."""
        more = size - self.size
        if more <= 0:
            return
        self.size = size
        for past in self.pasts.values():
            past.values = np.concatenate([past.values, np.full((more, LAST), np.nan)])
            past.equal = np.concatenate([past.equal, np.zeros(more, np.int64)])
        self.off_delay = np.concatenate([self.off_delay, np.zeros(more, np.int64)])
        self.off_since = np.concatenate([self.off_since, np.full(more, -1, np.int64)])

    def flags(self, device: Ints, ts: Ints, clock: Ints, columns: Mapping[str, Floats]) -> NDArray[np.uint32]:
        """Judge accepted readings in the order of the log, and remember them. Null values are NaN."""
        found = np.zeros(len(device), np.uint32)
        for name, spec in self.fields.items():
            known = np.flatnonzero(~np.isnan(columns[name]))
            if known.size:
                jumps, still = self._judge(name, spec, device[known], columns[name][known])
                found[known[jumps]] |= np.uint32(Quality.SPIKE)
                found[known[still]] |= np.uint32(Quality.STUCK)
        found[self._clock_off(device, ts, clock)] |= np.uint32(Quality.CLOCK_OFF)
        return found

    def _judge(
        self, name: str, spec: FieldSpec, device: Ints, value: Floats
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of one field's values jump, and which have stood still for too long."""
        past = self.pasts[name]
        order = np.argsort(device, kind="stable")
        owner = device[order]
        head = np.r_[True, owner[1:] != owner[:-1]]
        group = np.cumsum(head) - 1
        mine = owner[head]
        at = np.arange(len(owner)) + LAST * (group + 1)
        line = np.empty(len(owner) + LAST * len(mine))
        starts = np.flatnonzero(head) + LAST * np.arange(len(mine))
        line[starts[:, None] + np.arange(LAST)] = past.values[mine]
        line[at] = value[order]
        jumps, still = np.zeros(len(device), bool), np.zeros(len(device), bool)
        if spec.spike is not None:
            before = np.sort(np.lib.stride_tricks.sliding_window_view(line, LAST)[at - LAST], axis=1)
            away = np.abs(line[at] - before[:, LAST // 2])
            jumps[order] = ~np.isnan(before[:, -1]) & (away > spec.spike)
        if spec.stuck_after is not None:
            equal = self._equal(past, mine, head, group, line[at] == line[at - 1])
            still[order] = equal >= spec.stuck_after
        ends = np.r_[np.flatnonzero(head)[1:], len(owner)] - 1
        past.values[mine] = line[at[ends][:, None] + np.arange(1 - LAST, 1)]
        return jumps, still

    @staticmethod
    def _equal(past: Past, mine: Ints, head: NDArray[np.bool_], group: Ints, same: NDArray[np.bool_]) -> Ints:
        """How many equal values in a row each reading ends; notes the last of each device."""
        place = np.arange(len(group))
        broken = np.maximum.accumulate(np.where(same, -1, place))
        first = np.flatnonzero(head)[group]
        whole = broken < first  # no break since the device's first reading of the batch: what was before counts on
        equal = np.where(whole, past.equal[mine][group] + place - first + 1, place - broken + 1)
        past.equal[mine] = equal[np.r_[np.flatnonzero(head)[1:], len(group)] - 1]
        return equal

    def _clock_off(self, device: Ints, ts: Ints, clock: Ints) -> Ints:
        """The readings of devices whose delay has been steady and wrong for a while. Few devices are looked at."""
        delay = np.where(clock >= 0, clock - ts, 0)
        wrong = np.abs(delay) > OFF_MS
        watched = np.union1d(device[wrong], np.unique(device)[self.off_since[np.unique(device)] >= 0])
        found = []
        if watched.size:
            for at in np.flatnonzero(np.isin(device, watched)).tolist():
                row, now = int(device[at]), int(clock[at])
                if not wrong[at]:
                    self.off_since[row] = -1
                elif self.off_since[row] < 0 or abs(int(delay[at]) - int(self.off_delay[row])) > STEADY_MS:
                    self.off_since[row], self.off_delay[row] = now, delay[at]
                elif now - self.off_since[row] >= PERSISTS_MS:
                    found.append(at)
        return np.array(found, np.int64)

    def pack(self, size: int) -> Columns:
        """The first `size` devices as columns, for the snapshot."""
        columns: Columns = {"off_delay": self.off_delay[:size], "off_since": self.off_since[:size]}
        for name, past in self.pasts.items():
            columns[f"past/{name}"] = past.values[:size].ravel()
            columns[f"equal/{name}"] = past.equal[:size]
        return columns

    def unpack(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Inverse of `pack`, into a fresh watch."""
        size = len(columns["off_since"])
        self.grow(size)
        self.off_delay[:size], self.off_since[:size] = columns["off_delay"], columns["off_since"]
        for name, past in self.pasts.items():
            past.values[:size] = columns[f"past/{name}"].reshape(size, LAST)
            past.equal[:size] = columns[f"equal/{name}"]
