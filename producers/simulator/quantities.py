"""Quantities: what each kind of `[[feed.simulate.quantity]]` computes for the devices that report now."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pearlstream.catalogue.models import Feed
from pearlstream.catalogue.simulation import (
    Accrue,
    AnyQuantity,
    Binomial,
    Chance,
    Draw,
    Events,
    Formula,
    Level,
    Pick,
    Pieces,
    Poisson,
    Quantity,
    Queue,
    Serial,
    Simulate,
    States,
    words_of,
)
from producers.simulator.chance import Floats, key_of, normal_of, quota, stream
from producers.simulator.columns import Coded, Column, join
from producers.simulator.constants import by_word
from producers.simulator.fleet import Fleet
from producers.simulator.formula import compile_formula
from producers.simulator.lots import Source, binomial, chance, draw, pick, poisson, serial
from producers.simulator.machine import Machine
from producers.simulator.profiles import WeekTable
from producers.simulator.reports import Reports
from producers.simulator.wander import Wander


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
            return lambda reports: reports.column(value)
        case Events():
            mean = compile_formula(quantity.mean)
            return lambda reports: reports.compute(mean)
        case Pieces():
            return _turn_by_turn(_pieces(quantity, fleet, seed))
        case Queue():
            return _turn_by_turn(_queue(quantity, fleet), _before(quantity))
        case Accrue():
            return _turn_by_turn(_accrue(quantity, fleet, seed), _before(quantity))
        case States():
            return _turn_by_turn(_states(quantity, fleet, tables, seed))
        case _:
            return _lot(quantity, fleet, seed)


def _lot(quantity: Poisson | Binomial | Chance | Draw | Serial | Pick, fleet: Fleet, seed: int) -> Source:
    match quantity:
        case Poisson():
            return poisson(quantity, fleet, seed)
        case Binomial():
            return binomial(quantity, fleet, seed)
        case Chance():
            return chance(quantity, fleet, seed)
        case Draw():
            return draw(quantity, fleet, seed)
        case Serial():
            return serial(quantity, fleet, seed)
        case Pick():
            return pick(quantity, fleet, seed)


def _turn_by_turn(source: Source, aside: str = "") -> Source:
    """A source that remembers the report before, asked for one cadence after the other. `aside`: a column that it
    leaves behind besides its own."""

    def each(reports: Reports) -> Column:
        turns = list(reports.each_turn())
        column = join([source(turn) for turn in turns])
        if aside and len(turns) > 1:
            reports.columns[aside] = join([turn[aside] for turn in turns])
        return column

    return each


def _before(quantity: Queue | Accrue) -> str:
    """The name under which terms find what was carried over from the report before."""
    return f"{quantity.name}_before"


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
        value = fixed[reports.rows]
        course = table.at(reports.local_ms()) if table is not None else None
        noise = level.sigma * _noise(wander, reports) if wander is not None else None
        if times:
            value = value * course if course is not None else value
            return value * np.exp(noise - level.sigma**2 / 2) if noise is not None else value.copy()
        value = value + level.amplitude * course if course is not None else value
        return value + noise if noise is not None else value.copy()

    return source


def _noise(wander: Wander, reports: Reports) -> Floats:
    """What wanders goes from report to report; events have no memory and no neighbours."""
    if reports.origin is not None:
        return wander.at(0, len(reports), reports.turns[-1:]).ravel()
    return wander.at(reports.lo, reports.hi, reports.turns).ravel()


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


def _pieces(quantity: Pieces, fleet: Fleet, seed: int) -> Source:
    amount = compile_formula(quantity.amount)
    left = stream(seed, fleet.feed.id, quantity.name, "pieces").random(len(fleet))

    def source(reports: Reports) -> Column:
        total = left[reports.lo : reports.hi] + reports.compute(amount)
        whole: Floats = np.floor(total)
        left[reports.lo : reports.hi] = total - whole
        return whole

    return source


def _queue(quantity: Queue, fleet: Fleet) -> Source:
    arrivals, capacity = compile_formula(quantity.arrivals), compile_formula(quantity.capacity)
    length = np.zeros(len(fleet))

    def source(reports: Reports) -> Column:
        before = length[reports.lo : reports.hi].copy()
        reports.columns[_before(quantity)] = before
        after = np.maximum(before + reports.compute(arrivals) - reports.compute(capacity), 0.0)
        length[reports.lo : reports.hi] = after = _bounded(quantity, after)
        return after

    return source


def _accrue(quantity: Accrue, fleet: Fleet, seed: int) -> Source:
    add, reset = compile_formula(quantity.add), compile_formula(quantity.reset)
    amount = quantity.first * quota(key_of(seed, fleet.feed.id, quantity.name, "first"), fleet.city)

    def source(reports: Reports) -> Column:
        before = amount[reports.lo : reports.hi].copy()
        reports.columns[_before(quantity)] = before
        after = np.where(reports.compute(reset), 0.0, _bounded(quantity, before + reports.compute(add)))
        amount[reports.lo : reports.hi] = after
        return after

    return source


def _bounded(quantity: Quantity, value: Floats) -> Floats:
    """A value that is carried over to the next report, within the bounds of its quantity."""
    low = -np.inf if quantity.min is None else quantity.min
    high = np.inf if quantity.max is None else quantity.max
    return np.clip(value, low, high)


def _states(quantity: States, fleet: Fleet, tables: Mapping[str, WeekTable], seed: int) -> Source:
    machine = Machine(fleet, quantity, words_of(fleet.feed, quantity), tables.get(quantity.off), seed)

    def source(reports: Reports) -> Column:
        override = reports[quantity.override] if quantity.override else None
        assert not isinstance(override, Coded)
        return machine.at(reports, override)

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
