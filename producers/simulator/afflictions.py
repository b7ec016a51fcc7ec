"""The faults that come and go: how long each kind lasts, how often it comes, and whom it befalls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pearlstream.catalogue.simulation import Sensor
from producers.simulator.chance import Bools, Floats, Ints, key_of, normal_of
from producers.simulator.drivers import MINUTE_MS, known_of
from producers.simulator.fleet import DAY_MS, Fleet
from producers.simulator.formula import compile_formula
from producers.simulator.reports import HOUR_MS
from producers.simulator.spells import Spells, identities

SIGMA = 1.0
"""Width of the lognormal lengths of episodes."""
LONGEST_MS = DAY_MS
"""Nobody lets a device stand still or be silent for longer."""
MOST_SAMPLES = 3
"""An outlier lasts one to so many samples, each as likely: two on average."""
CALIBRATION_DAYS = 3
CALIBRATION_MS = 30 * MINUTE_MS
CALIBRATION_HOUR = 2

Shape = Callable[[Floats, Floats], tuple[Ints, Ints]]


def afflictions(fleet: Fleet, sensor: Sensor, seed: int) -> dict[str, Spells]:
    """The kinds of episodes that a fleet can have, by name, none that cannot occur."""
    who = identities(fleet)
    midnight = -fleet.utc_offset_ms

    def spells(kind: str, slot_ms: int, origin_ms: Ints, chance: float | Floats, shape: Shape, longest: int) -> Spells:
        key = key_of(seed, fleet.feed.id, "sensor", kind)
        return Spells(key, who, slot_ms, origin_ms, np.broadcast_to(chance, len(fleet)), shape, longest)

    found: dict[str, Spells] = {}
    if sensor.outlier:
        samples = max(MOST_SAMPLES + 1, round(0.2 / sensor.outlier))
        cadence = fleet.cadence_ms
        chance = min(1.0, sensor.outlier * samples * 2 / (1 + MOST_SAMPLES))
        found["outlier"] = spells("outlier", samples * cadence, fleet.phase_ms, chance, _samples(samples, cadence), 0)
    for kind, per_day, median_ms in (
        ("stuck", sensor.stuck_per_day, sensor.stuck_median_h * HOUR_MS),
        ("dropout", sensor.dropout_per_day, sensor.dropout_median_min * MINUTE_MS),
        ("counter_reset", sensor.reset_per_day, 0.0),
    ):
        if per_day:
            slots = int(np.ceil(per_day))
            slot_ms = DAY_MS // slots
            found[kind] = spells(
                kind, slot_ms, np.zeros_like(midnight), per_day / slots, _lognormal(slot_ms, median_ms), LONGEST_MS
            )
    if sensor.unit:
        found["unit"] = spells("unit", DAY_MS, midnight, sensor.unit, _fixed(0, DAY_MS), 0)
    if sensor.calibration:
        # stations take turns, so that not all of a city are away in the same night
        turn = (who % np.uint64(CALIBRATION_DAYS)).astype(np.int64) * DAY_MS
        shape = _fixed(CALIBRATION_HOUR * HOUR_MS, CALIBRATION_MS)
        chance_each = chosen(fleet, sensor.calibration_where).astype(float)
        found["calibration"] = spells("calibration", CALIBRATION_DAYS * DAY_MS, midnight + turn, chance_each, shape, 0)
    return found


def chosen(fleet: Fleet, where: str) -> Bools:
    """The devices for which a condition holds; all if there is none."""
    if not where:
        return np.ones(len(fleet), dtype=bool)
    return np.broadcast_to(np.asarray(compile_formula(where)(known_of(fleet)), dtype=bool), (len(fleet),))


def _samples(slot: int, cadence_ms: int) -> Shape:
    """One to `MOST_SAMPLES` samples somewhere in a slot of so many."""

    def shape(begin: Floats, length: Floats) -> tuple[Ints, Ints]:
        first = (begin * (slot - MOST_SAMPLES + 1)).astype(np.int64)
        return first * cadence_ms, (1 + (length * MOST_SAMPLES).astype(np.int64)) * cadence_ms

    return shape


def _lognormal(slot_ms: int, median_ms: float) -> Shape:
    """Any moment of a slot, and a lognormal length; none where the median is 0."""

    def shape(begin: Floats, length: Floats) -> tuple[Ints, Ints]:
        lasts = np.minimum(median_ms * np.exp(SIGMA * normal_of(length)), LONGEST_MS)
        return (begin * slot_ms).astype(np.int64), lasts.astype(np.int64)

    return shape


def _fixed(begin_ms: int, length_ms: int) -> Shape:
    """The same part of every slot."""
    return lambda begin, _: (np.full(len(begin), begin_ms), np.full(len(begin), length_ms))
