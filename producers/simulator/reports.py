"""Reports: the devices that speak now, as a mapping of columns that terms and effects read."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from producers.simulator.chance import Ints
from producers.simulator.columns import Coded, Column, Numbers, cut, take
from producers.simulator.fleet import DAY_MS, Fleet
from producers.simulator.formula import Compiled

HOUR_MS = 3_600_000
_MONDAY = 3
"""1970-01-01 was a Thursday, three days after a Monday."""


@dataclass
class Reports:
    """The devices `lo` to `hi` of a fleet that report in the cadence number `turn`, counted from the epoch.

    Reads like a mapping of columns: quantities computed so far, `span_s`, `turn`, `hour` and `dow` on the city's
    clock, and the device's constants. There is one row per report at first, and after `events` one per event: then
    `origin` is the report of each row in `of`, and `at_ms` the moment of the event.
    """

    fleet: Fleet
    lo: int
    hi: int
    turn: int
    at_ms: Ints
    columns: dict[str, Column] = field(default_factory=dict)
    of: Reports | None = None
    origin: Ints | None = None

    def __len__(self) -> int:
        return len(self.at_ms)

    @cached_property
    def devices(self) -> Ints:
        """Index in the fleet of each row's device; rises from row to row."""
        every = np.arange(self.lo, self.hi)
        return every if self.origin is None else every[self.origin]

    @property
    def rows(self) -> slice | Ints:
        """What cuts the rows' devices out of an array of the fleet: a slice where there is one row per device."""
        return slice(self.lo, self.hi) if self.origin is None else self.devices

    def __getitem__(self, name: str) -> Column:
        found = self.columns.get(name)
        if found is None:
            found = self.columns[name] = self._make(name)
        return found

    def _make(self, name: str) -> Column:
        match name:
            case "turn":
                return np.full(len(self), float(self.turn))
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
        return cut(self.fleet.constants[name], self.lo, self.hi)

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
