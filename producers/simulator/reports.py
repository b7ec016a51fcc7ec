"""Reports: the devices that speak now, as a mapping of columns that terms and effects read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from producers.simulator.chance import Ints
from producers.simulator.columns import Coded, Column, Numbers, cut, take
from producers.simulator.fleet import DAY_MS, Fleet
from producers.simulator.formula import Compiled

HOUR_MS = 3_600_000
TOGETHER_MS = 1_800_000
"""Reports of so much time at most are computed together."""
_MONDAY = 3
"""1970-01-01 was a Thursday, three days after a Monday."""


@dataclass
class Reports:
    """The devices `lo` to `hi` of a fleet that report in the cadences `turns`, counted from the epoch: cadence after
    cadence, and within one device after device.

    Reads like a mapping of columns: quantities computed so far, `span_s`, `turn`, `hour` and `dow` on the city's
    clock, and the device's constants. There is one row per report at first, and after `events` one per event: then
    `origin` is the report of each row in `of`, and `at_ms` the moment of the event.
    """

    fleet: Fleet
    lo: int
    hi: int
    turns: range
    at_ms: Ints
    columns: dict[str, Column] = field(default_factory=dict)
    of: Reports | None = None
    origin: Ints | None = None
    cut_from: tuple[Reports, slice] | None = None
    """Whose rows these are some of; see `each_turn`."""

    def __len__(self) -> int:
        return len(self.at_ms)

    @cached_property
    def devices(self) -> Ints:
        """Index in the fleet of each row's device; rises from row to row within a cadence."""
        if self.of is not None and self.origin is not None:
            return self.of.devices[self.origin]
        return np.tile(np.arange(self.lo, self.hi), len(self.turns))

    @property
    def rows(self) -> slice | Ints:
        """What cuts the rows' devices out of an array of the fleet: a slice where there is one row per device."""
        return slice(self.lo, self.hi) if self.origin is None and len(self.turns) == 1 else self.devices

    @cached_property
    def turn(self) -> Ints:
        """The cadence of each row's report."""
        if self.of is not None and self.origin is not None:
            return self.of.turn[self.origin]
        return np.repeat(np.arange(self.turns.start, self.turns.stop), self.hi - self.lo)

    def each_turn(self) -> Iterator[Reports]:
        """The reports of one cadence after the other, for what remembers the one before."""
        if len(self.turns) == 1:
            yield self
            return
        width = self.hi - self.lo
        for number, turn in enumerate(self.turns):
            some = slice(number * width, (number + 1) * width)
            yield Reports(self.fleet, self.lo, self.hi, range(turn, turn + 1), self.at_ms[some], cut_from=(self, some))

    def __getitem__(self, name: str) -> Column:
        found = self.columns.get(name)
        if found is None:
            found = self.columns[name] = self._make(name)
        return found

    def _make(self, name: str) -> Column:
        if self.cut_from is not None:
            whole, some = self.cut_from
            return cut(whole[name], some.start, some.stop)
        match name:
            case "turn":
                return self.turn.astype(np.float64)
            case "hour":
                return self.local_ms() % DAY_MS / HOUR_MS
            case "dow":
                return (self.local_ms() // DAY_MS + _MONDAY) % 7 + 1.0
            case "device":
                return Coded(self.devices, tuple(self.fleet.ids))
            case "span_s":
                return np.full(len(self), float(self.fleet.feed.cadence_s))
        if self.of is not None and self.origin is not None:
            return take(self.of[name], self.origin)
        constant = self.fleet.constants[name]
        return cut(constant, self.lo, self.hi) if len(self.turns) == 1 else take(constant, self.devices)

    def local_ms(self) -> Ints:
        """The time of each row on the clock of its city."""
        return self.at_ms + self.fleet.utc_offset_ms[self.rows]

    def column(self, formula: Compiled) -> Column:
        """A term's values, numbers or words; a constant is repeated."""
        value = formula(self)
        if isinstance(value, str):
            value = Coded(np.zeros(len(self), dtype=np.int8), (value,))
        if isinstance(value, Coded):
            return value if np.ndim(value.codes) else Coded(np.full(len(self), value.codes), value.words)
        array: Numbers = np.asarray(value)
        return array if array.ndim else np.full(len(self), array)

    def compute(self, formula: Compiled) -> Numbers:
        """A term's values as numbers; words become their codes."""
        value = self.column(formula)
        return value.codes if isinstance(value, Coded) else value
