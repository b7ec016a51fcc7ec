"""Courses of the week as tables: the value at each ten seconds of local time, Monday first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pearlstream.catalogue.simulation import Day, Profile
from producers.simulator.chance import Floats, Ints

STEP_MS = 10_000
DAY_MS = 86_400_000
PER_DAY = DAY_MS // STEP_MS
PER_WEEK = 7 * PER_DAY
_MONDAY = 3
"""1970-01-01 was a Thursday, three days after a Monday."""


class WeekTable:
    """A profile, ready to be asked for the value at any local time."""

    def __init__(self, profile: Profile) -> None:
        saturday = profile.saturday or profile.weekday
        sunday = profile.sunday or saturday
        self._table = np.concatenate([*[_day(profile.weekday)] * 5, _day(saturday), _day(sunday)])
        self._months = profile.months

    def at(self, local_ms: Ints) -> Floats:
        """The values at local times (ms since 1970 of the city's own clock)."""
        values: Floats = self._table[(local_ms // STEP_MS + _MONDAY * PER_DAY) % PER_WEEK]
        if self._months and len(local_ms):
            first, last = _month(int(local_ms.min())), _month(int(local_ms.max()))
            months = np.asarray(self._months)
            values = values * (months[first] if first == last else months[_month(local_ms)])
        return values


def _month(local_ms: Ints | int) -> Any:
    """January is 0."""
    return np.asarray(local_ms).astype("datetime64[ms]").astype("datetime64[M]").astype(int) % 12


def _day(day: Day) -> Floats:
    """One day's table: smooth steps between the points (around midnight too), and the peaks on top."""
    hours = (np.arange(PER_DAY) + 0.5) * (24 / PER_DAY)
    at = np.array([hour for hour, _ in day.points])
    value = np.array([value for _, value in day.points])
    at, value = np.r_[at[-1] - 24, at, at[0] + 24], np.r_[value[-1], value, value[0]]
    piece: npt.NDArray[np.int64] = np.clip(np.searchsorted(at, hours, side="right") - 1, 0, len(at) - 2)
    length = np.maximum(at[piece + 1] - at[piece], 1e-9)
    curve: Floats = value[piece] + (value[piece + 1] - value[piece]) * smooth_step((hours - at[piece]) / length)
    for hour, width, height in day.peaks:
        away = (hours - hour + 12) % 24 - 12
        curve = curve + height * np.exp(-0.5 * (away / width) ** 2)
    return curve * day.scale


def smooth_step(x: Floats) -> Floats:
    """0 below 0, 1 above 1, and 3x^2 - 2x^3 between."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)
