"""Drivers of a scenario: what moves its effects, for each device and moment.

Values are computed on a grid of time for the whole fleet, in order, and drawn out straight between. Only the rows
of the grid that somebody may still ask for are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pearlstream.catalogue.scenario import Driver, Track
from producers.simulator.chance import Floats, Ints
from producers.simulator.columns import Coded, Column, take
from producers.simulator.fleet import KM_PER_DEGREE, Fleet
from producers.simulator.formula import Compiled, compile_formula
from producers.simulator.plan import ScenarioAt
from producers.simulator.reports import HOUR_MS, TOGETHER_MS, Reports

STEP_MS = 300_000
"""Time between two rows of the grid."""
MINUTE_MS = 60_000
Field = Callable[[float], Floats]
"""A field's value at each device, so many hours after the scenario's start."""


class Drivers:
    """The drivers of one scenario over one fleet. Ask in order of time, back by two cadences or what is computed
    together at most."""

    def __init__(self, fleet: Fleet, at: ScenarioAt) -> None:
        scenario = at.scenario
        tracks = {track.id: track for track in scenario.track}
        self.names = tuple(driver.name for driver in scenario.driver)
        self._start_ms = at.start_ms
        self._fleet = fleet
        self.known = known_of(fleet)
        self._makers = [self._maker(driver, tracks) for driver in scenario.driver]
        self._rows: dict[str, dict[int, Floats]] = {name: {} for name in self.names}
        self._next = 0
        lag_ms = max((driver.lag for driver in scenario.driver), default=0.0) * MINUTE_MS
        # events lie up to a cadence before the report that brings them, which lies up to one before the latest
        back_ms = 2 * fleet.cadence_ms + TOGETHER_MS
        self._kept = math.ceil((back_ms + lag_ms) / STEP_MS) + 2

    def at(self, name: str, reports: Reports) -> Floats:
        """The values of one driver where and when the reports are made; before the start, those of the start."""
        since = np.maximum(reports.at_ms - self._start_ms, 0)
        step = since // STEP_MS
        first, last = int(step.min()), int(step.max()) + 1
        self._advance(last)
        rows = self._rows[name]
        table = np.stack([rows[index] for index in range(first, last + 1)])
        return _between(table, step - first, reports.devices, since % STEP_MS / STEP_MS)

    def _advance(self, last: int) -> None:
        """Compute the rows up to `last`, and forget those that are too old."""
        while self._next <= last:
            for name, maker in zip(self.names, self._makers, strict=True):
                self._rows[name][self._next] = maker(self._next)
                self._rows[name].pop(self._next - self._kept, None)
            self._next += 1

    def _maker(self, driver: Driver, tracks: Mapping[str, Track]) -> Callable[[int], Floats]:
        """What computes a row of a driver from its number, given the rows of those before it."""
        factor = kind_factor(self._fleet, driver)
        value = self._value(driver) if driver.value else self._field(driver, tracks.get(driver.track))
        hours = STEP_MS / HOUR_MS
        fades = math.exp(-hours / driver.memory_h) if driver.memory_h else 0.0

        def make(index: int) -> Floats:
            row = factor * value(index * hours - driver.lag / 60)
            before = self._rows[driver.name].get(index - 1)
            return remembered(row, before * fades) if fades and before is not None else row

        return make

    def _field(self, driver: Driver, track: Track | None) -> Field:
        return field_of(driver, track, self._fleet.x_km, self._fleet.y_km)

    def _value(self, driver: Driver) -> Field:
        term = compile_formula(driver.value)
        earlier = self.names[: self.names.index(driver.name)]

        def value(hour: float) -> Floats:
            step = max(0.0, hour * HOUR_MS / STEP_MS)
            columns: dict[str, Column] = {name: self._row_at(name, step) for name in earlier}
            found: Floats = np.asarray(term({**self.known, **columns}), dtype=float)
            return found if found.ndim else np.full(len(self._fleet), float(found))

        return value

    def _row_at(self, name: str, step: float) -> Floats:
        rows, first = self._rows[name], math.floor(step)
        part = step - first
        return rows[first] * (1 - part) + rows[first + 1] * part if part else rows[first]


class Sight:
    """What the amount of an effect sees: drivers of its scenario, quantities computed so far, registry columns."""

    def __init__(self, drivers: Drivers, reports: Reports) -> None:
        self._drivers = drivers
        self._reports = reports

    def __getitem__(self, name: str) -> Column:
        if name in self._drivers.names:
            return self._drivers.at(name, self._reports)
        if name == "device":
            return take(self._drivers.known["device"], self._reports.devices)
        return self._reports[name]


def known_of(fleet: Fleet) -> Mapping[str, Column]:
    """What terms on the devices of a fleet may name: registry columns and constants."""
    return {**fleet.constants, "device": Coded(np.arange(len(fleet)), tuple(fleet.ids))}


def numbers(term: Compiled, drivers: Drivers, reports: Reports) -> Floats:
    """A term's values, one for each report, or one for all."""
    found: Floats = np.asarray(term(Sight(drivers, reports)), dtype=float)
    return found


def kind_factor(fleet: Fleet, driver: Driver) -> Floats:
    """The driver's factor for the kind of city in which each device is."""
    factors = [driver.coast if city.coast else driver.inland for city in fleet.cities]
    by_device: Floats = np.array(factors, dtype=float)[fleet.city]
    return by_device


def field_of(driver: Driver, track: Track | None, x_km: Floats, y_km: Floats) -> Field:
    """A field on the plane of `Fleet.x_km` and `y_km`; without a place it is the same everywhere."""
    hours, factors = zip(*(driver.course or ((0.0, 1.0),)), strict=True)
    points: Sequence[tuple[float, float, float]] = track.points if track is not None else ()
    if driver.at is not None:
        points = ((0.0, *driver.at),)

    def field(hour: float) -> Floats:
        strength = driver.amount * float(np.interp(hour, hours, factors))
        if not points:
            return np.full(len(x_km), strength)
        when, lon, lat = zip(*points, strict=True)
        x, y = on_plane(float(np.interp(hour, when, lon)), float(np.interp(hour, when, lat)))
        return strength * shape_at(driver, np.hypot(x_km - x, y_km - y))

    return field


def on_plane(lon: float, lat: float) -> tuple[float, float]:
    """A place as kilometres east and north, as the fleet has them."""
    return lon * KM_PER_DEGREE * math.cos(math.radians(23.0)), lat * KM_PER_DEGREE


def shape_at(driver: Driver, away_km: Floats) -> Floats:
    """The part of a field's strength that is felt at these distances from its centre."""
    relative = away_km / driver.radius_km
    match driver.shape:
        case "vortex":
            outside: Floats = np.maximum(relative, 1.0) ** -driver.exponent
            return np.where(relative < 1.0, relative, outside)
        case "gauss":
            return np.exp(-(relative**2))
        case "even":
            return (relative <= 1.0).astype(float)


def remembered(row: Floats, before: Floats) -> Floats:
    """The value now, or what is left of an earlier one if that is larger in magnitude."""
    return np.where(np.abs(row) >= np.abs(before), row, before)


def _between(table: Floats, step: Ints, column: Ints, part: Floats) -> Floats:
    """Straight lines between the rows of a table, at places in some of its columns."""
    values: Floats = table[step, column] * (1 - part) + table[step + 1, column] * part
    return values
