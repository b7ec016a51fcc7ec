"""Quantities: what each kind of `[[feed.simulate.quantity]]` computes for the devices that report now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pearlstream.catalogue.models import Feed
from pearlstream.catalogue.simulation import (
    AnyQuantity,
    Binomial,
    Formula,
    Level,
    Pieces,
    Poisson,
    Simulate,
    States,
    words_of,
)
from producers.simulator.chance import Floats, Ints, key_of, normal_of, quota, stream
from producers.simulator.columns import Coded, Column, Numbers, cut
from producers.simulator.fleet import Fleet, by_word
from producers.simulator.formula import Compiled, compile_formula
from producers.simulator.machine import Machine
from producers.simulator.profiles import WeekTable
from producers.simulator.wander import Wander


@dataclass
class Reports:
    """The devices `lo` to `hi` of a fleet that report at `at_ms`, in the cadence number `turn`.

    Reads like a mapping of columns: quantities computed so far, `span_s`, and the device's constants.
    """

    fleet: Fleet
    lo: int
    hi: int
    turn: int
    at_ms: Ints
    columns: dict[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.hi - self.lo

    def __getitem__(self, name: str) -> Column:
        found = self.columns.get(name)
        if found is None:
            found = self.columns[name] = cut(self.fleet.constants[name], self.lo, self.hi)
        return found

    def local_ms(self) -> Ints:
        """The time of each report on the clock of its city."""
        return self.at_ms + self.fleet.utc_offset_ms[self.lo : self.hi]

    def compute(self, formula: Compiled) -> Numbers:
        """A term's values; a constant is repeated, words become their codes."""
        value = formula(self)
        array: Numbers = value.codes if isinstance(value, Coded) else np.asarray(value)
        return array if array.ndim else np.full(len(self), array)


Source = Callable[[Reports], Column]
"""Computes one quantity for some reports. Stateful: called once per stretch of time, in order."""


def sources(fleet: Fleet, shape: Simulate, seed: int) -> list[tuple[AnyQuantity, Source]]:
    """The quantities of a feed with what computes them, in order of declaration."""
    tables = {name: WeekTable(profile) for name, profile in shape.profile.items()}
    return [(quantity, _clipped(quantity, _source(quantity, fleet, tables, seed))) for quantity in shape.quantity]


def _source(quantity: AnyQuantity, fleet: Fleet, tables: Mapping[str, WeekTable], seed: int) -> Source:
    match quantity:
        case Level():
            return _level(quantity, fleet, tables, seed)
        case Formula():
            value = compile_formula(quantity.value)
            return lambda reports: reports.compute(value)
        case Poisson():
            return _poisson(quantity, fleet, seed)
        case Binomial():
            return _binomial(quantity, fleet, seed)
        case Pieces():
            return _pieces(quantity, fleet, seed)
        case States():
            return _states(quantity, fleet, tables, seed)


def _clipped(quantity: AnyQuantity, source: Source) -> Source:
    if quantity.min is None and quantity.max is None:
        return source

    def clipped(reports: Reports) -> Column:
        column = source(reports)
        return column if isinstance(column, Coded) else np.clip(column, quantity.min, quantity.max)

    return clipped


def _level(level: Level, fleet: Fleet, tables: Mapping[str, WeekTable], seed: int) -> Source:
    table = tables.get(level.profile)
    wander = Wander(fleet, level, seed) if level.sigma else None
    fixed = _fixed_part(level, fleet, seed)
    times = level.mode == "multiply"

    def source(reports: Reports) -> Column:
        value = fixed[reports.lo : reports.hi]
        course = table.at(reports.local_ms()) if table is not None else None
        noise = level.sigma * wander.at(reports.lo, reports.hi, reports.turn) if wander is not None else None
        if times:
            value = value * course if course is not None else value
            return value * np.exp(noise - level.sigma**2 / 2) if noise is not None else value.copy()
        value = value + level.amplitude * course if course is not None else value
        return value + noise if noise is not None else value.copy()

    return source


def _fixed_part(level: Level, fleet: Fleet, seed: int) -> Floats:
    """What of a level does not change: base, device spread, factors by word."""
    base = fleet.constants[level.base] if isinstance(level.base, str) else np.full(len(fleet), level.base)
    assert not isinstance(base, Coded)
    spread = level.spread * normal_of(quota(key_of(seed, fleet.feed.id, level.name, "spread"), fleet.city))
    times = level.mode == "multiply"
    value: Floats = base * np.exp(spread) if times else base + spread
    for column, words in level.by.items():
        factor = by_word(fleet.constants[column], words, 1.0 if times else 0.0)
        value = value * factor if times else value + factor
    return value


def _poisson(quantity: Poisson, fleet: Fleet, seed: int) -> Source:
    mean = compile_formula(quantity.mean)
    rng = stream(seed, fleet.feed.id, quantity.name, "poisson")

    def source(reports: Reports) -> Column:
        rate: Floats = np.maximum(reports.compute(mean), 0.0)
        if quantity.k is not None:
            rate = rate * rng.gamma(quantity.k, 1 / quantity.k, len(reports))
        counts: Floats = rng.poisson(rate).astype(np.float64)
        return counts

    return source


def _binomial(quantity: Binomial, fleet: Fleet, seed: int) -> Source:
    number, chance = compile_formula(quantity.n), compile_formula(quantity.p)
    rng = stream(seed, fleet.feed.id, quantity.name, "binomial")

    def source(reports: Reports) -> Column:
        n = reports.compute(number)
        p = np.clip(reports.compute(chance), 0.0, 1.0)
        result = np.zeros(len(reports))
        some = np.flatnonzero(n > 0)
        result[some] = rng.binomial(n[some].astype(np.int64), p[some])
        return result

    return source


def _pieces(quantity: Pieces, fleet: Fleet, seed: int) -> Source:
    amount = compile_formula(quantity.amount)
    left = stream(seed, fleet.feed.id, quantity.name, "pieces").random(len(fleet))

    def source(reports: Reports) -> Column:
        total = left[reports.lo : reports.hi] + reports.compute(amount)
        whole: Floats = np.floor(total)
        left[reports.lo : reports.hi] = total - whole
        return whole

    return source


def _states(quantity: States, fleet: Fleet, tables: Mapping[str, WeekTable], seed: int) -> Source:
    machine = Machine(fleet, quantity, words_of(fleet.feed, quantity), tables.get(quantity.off), seed)

    def source(reports: Reports) -> Column:
        override = reports[quantity.override] if quantity.override else None
        assert not isinstance(override, Coded)
        return machine.at(reports.lo, reports.hi, reports.at_ms, reports.local_ms(), override)

    return source


def reported(feed: Feed, name: str, column: Column) -> Column:
    """A quantity as the field reports it: on the grid of its decimals, whole, true or false, or a word."""
    spec = feed.fields[name]
    if isinstance(column, Coded):
        return column
    if spec.type == "bool":
        return column if column.dtype == np.bool_ else column >= 0.5
    if spec.type == "int":
        return np.floor(column + 0.5).astype(np.int64)
    if spec.type == "enum":
        return Coded(np.clip(column, 0, len(spec.values) - 1).astype(np.int8), spec.values)
    grid = 10.0**spec.decimals
    quantised: Floats = np.floor(column * grid + 0.5) / grid
    return quantised
