"""What a device's past says about its readings: values that jump or stand still, a clock or a unit that is off.

`admit` keeps for each device the last few values of the fields that declare `spike`, `stuck_after` or `comparable`,
and since when its readings have come with a delay that no live link has. The verdicts are quality flags. They follow
from the accepted readings in the order of the log, however that is cut into batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pearlstream.catalogue.models import Feed, FieldSpec
from pearlstream.folds.order import DeviceOrder
from pearlstream.folds.scale import CADENCES, PERIOD_MS, Scale
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


@dataclass(frozen=True)
class Line:
    """One field's values laid out by device, each stretch after the last values before it.

    `heads` (one row a device), `tails`: where the values of before and those to remember lie; `places`: where each
    reading lies, in the order of `by_device`; `size`: of the whole.
    """

    by_device: DeviceOrder
    places: Ints
    heads: Ints
    tails: Ints
    size: int

    @classmethod
    def of(cls, at: DeviceOrder) -> Line:
        """The layout for readings in this order."""
        places = np.arange(len(at.device)) + LAST * (at.group + 1)
        heads = (at.starts + LAST * np.arange(len(at.starts)))[:, None] + np.arange(LAST)
        tails = places[at.ends][:, None] + np.arange(1 - LAST, 1)
        return cls(at, places, heads, tails, len(at.device) + LAST * len(at.starts))


def _jumps(values: Floats, places: Ints, spike: float) -> Ints:
    """Numbers of the readings that lie further than `spike` from the median of the last values before them.

    Further from a median of five means further from at least three of the five, so from one of the last three: only
    such readings are looked at closely.
    """
    far = np.zeros(len(values), bool)
    for back in (1, 2, 3):
        far[back:] |= np.abs(values[back:] - values[:-back]) > spike
    some = np.flatnonzero(far[places])
    if not len(some):
        return some
    at = places[some]
    before = np.sort(values[at[:, None] + np.arange(-LAST, 0)], axis=1)
    away = np.abs(values[at] - before[:, LAST // 2])
    found: Ints = some[~np.isnan(before[:, -1]) & (away > spike)]
    return found


@dataclass
class Watch:
    """The pasts of the devices of one feed; grows with the device table."""

    fields: Mapping[str, FieldSpec] = field(default_factory=dict)
    size: int = 64
    period_ms: int = PERIOD_MS
    """How often values are held against those of neighbours."""
    scale: Scale = field(init=False)
    pasts: dict[str, Past] = field(init=False)
    off_delay: Ints = field(init=False)
    """The delay (ms) with which a steady wrong delay began, by device."""
    off_since: Ints = field(init=False)
    """The clock (ms) at which it began; -1: the device's time is right."""

    def __post_init__(self) -> None:
        self.pasts = {
            name: Past(np.full((self.size, LAST), np.nan), np.zeros(self.size, np.int64)) for name in self.fields
        }
        comparable = {name: spec for name, spec in self.fields.items() if spec.comparable}
        self.scale = Scale(comparable, self.period_ms, self.size)
        self.off_delay = np.zeros(self.size, np.int64)
        self.off_since = np.full(self.size, -1, np.int64)

    @classmethod
    def of(cls, feed: Feed) -> Watch:
        """What the fields of a feed ask for."""
        wanted = {
            n: s for n, s in feed.fields.items() if s.spike is not None or s.stuck_after is not None or s.comparable
        }
        return cls(wanted, period_ms=max(PERIOD_MS, CADENCES * round(feed.cadence_s * 1000)))

    def settle(self, devices: Ints | slice, city: Ints | int) -> None:
        """Say in which cities some devices are: a number that those of one city share."""
        self.scale.city[devices] = city

    def grow(self, size: int) -> None:
        """Make room for so many devices."""
        more = size - self.size
        if more <= 0:
            return
        self.size = size
        for past in self.pasts.values():
            past.values = np.concatenate([past.values, np.full((more, LAST), np.nan)])
            past.equal = np.concatenate([past.equal, np.zeros(more, np.int64)])
        self.scale.grow(size)
        self.off_delay = np.concatenate([self.off_delay, np.zeros(more, np.int64)])
        self.off_since = np.concatenate([self.off_since, np.full(more, -1, np.int64)])

    def flags(
        self, device: Ints, ts: Ints, clock: Ints, columns: Mapping[str, Floats], by_device: DeviceOrder | None = None
    ) -> NDArray[np.uint32]:
        """Judge accepted readings in the order of the log, and remember them. Null values are NaN.

        `by_device`: the order of `device`, if it is known.
        """
        found = np.zeros(len(device), np.uint32)
        everybody = by_device or DeviceOrder.of(device)
        for period, here in self.scale.stretches(clock):
            self.scale.turn(period, {name: self.pasts[name].values for name in self.scale.fields})
            own = device[here]
            order = everybody if len(own) == len(device) else DeviceOrder.of(own)
            found[here] = self._values(order, own, {name: columns[name][here] for name in self.fields})
        found[self._clock_off(everybody, device, ts, clock)] |= np.uint32(Quality.CLOCK_OFF)
        return found

    def _values(self, everybody: DeviceOrder, device: Ints, columns: Mapping[str, Floats]) -> NDArray[np.uint32]:
        """What the values of some readings of one period give them for flags."""
        found = np.zeros(len(device), np.uint32)
        lines: dict[bytes, Line] = {}
        for name, spec in self.fields.items():
            known = ~np.isnan(columns[name])
            if known.any():
                pattern = known.tobytes() if not known.all() else b""
                line = lines.get(pattern) or lines.setdefault(pattern, Line.of(everybody.only(known)))
                value = columns[name] if not pattern else columns[name][known]
                jumps, still = self._judge(name, spec, line, value)
                rows = np.flatnonzero(known) if pattern else slice(None)
                found[rows] |= jumps * np.uint32(Quality.SPIKE) | still * np.uint32(Quality.STUCK)
                if spec.comparable:
                    suspicion = self.scale.found[name]
                    suspicion.fresh[line.by_device.devices] = True
                    if suspicion.suspect.any():
                        found[rows] |= suspicion.suspect[device[rows]] * np.uint32(Quality.SCALE_SUSPECT)
        return found

    def _judge(
        self, name: str, spec: FieldSpec, line: Line, value: Floats
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Which of one field's values jump (1, else 0), and which have stood still for too long."""
        past, at = self.pasts[name], line.by_device
        values = np.empty(line.size)
        values[line.heads] = past.values[at.devices]
        values[line.places] = value[at.order]
        jumps, still = np.zeros(len(value), np.uint32), np.zeros(len(value), np.uint32)
        if spec.spike is not None:
            jumps[at.order[_jumps(values, line.places, spec.spike)]] = 1
        if spec.stuck_after is not None:
            same = values[line.places] == values[line.places - 1]
            if same.any():
                equal = self._equal(past, at.devices, at.head, at.group, same)
                still[at.order] = equal >= spec.stuck_after
            else:  # each value is the first of its row
                past.equal[at.devices] = 1
                still[:] = spec.stuck_after <= 1
        past.values[at.devices] = values[line.tails]
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

    def _clock_off(self, by_device: DeviceOrder, device: Ints, ts: Ints, clock: Ints) -> Ints:
        """The readings of devices whose delay has been steady and wrong for a while. Few devices are looked at."""
        delay = np.where(clock >= 0, clock - ts, 0)
        wrong = np.abs(delay) > OFF_MS
        watched = by_device.devices[self.off_since[by_device.devices] >= 0]
        if wrong.any():
            watched = np.union1d(device[wrong], watched)
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
        columns |= {f"scale/{name}": column for name, column in self.scale.pack(size).items()}
        return columns

    def unpack(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Inverse of `pack`, into a fresh watch."""
        size = len(columns["off_since"])
        self.grow(size)
        self.off_delay[:size], self.off_since[:size] = columns["off_delay"], columns["off_since"]
        for name, past in self.pasts.items():
            past.values[:size] = columns[f"past/{name}"].reshape(size, LAST)
            past.equal[:size] = columns[f"equal/{name}"]
        self.scale.unpack({name[6:]: column for name, column in columns.items() if name.startswith("scale/")})
