"""What scenarios do to the readings: an envelope in time, weights in space, one quantity each.

An effect on a latent quantity is felt by everything that is computed from it. An effect on a measured field
changes what is reported and nothing else, after all quantities have been computed, so that a scenario can
say of each field what is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pearlstream.catalogue.models import Effect, Envelope
from producers.simulator.chance import Bools, Floats, Ints, key_of, quota
from producers.simulator.columns import Coded, Column
from producers.simulator.fleet import Fleet
from producers.simulator.formula import compile_formula
from producers.simulator.plan import ScenarioAt
from producers.simulator.profiles import smooth_step
from producers.simulator.quantities import Reports

MINUTE_MS = 60_000


def envelope_at(envelope: Envelope, minutes: Floats) -> Floats:
    """How strong an effect is (0 to 1) so many minutes after the scenario's start."""
    since = minutes - envelope.start
    left = envelope.rise + envelope.hold + envelope.fall - since
    rise = smooth_step(since / envelope.rise) if envelope.rise else (since >= 0).astype(float)
    fall = smooth_step(left / envelope.fall) if envelope.fall else (left > 0).astype(float)
    strength: Floats = np.minimum(rise, fall)
    return strength


def length_min(envelope: Envelope) -> float:
    """Minutes from the scenario's start until the effect is over."""
    return envelope.start + envelope.rise + envelope.hold + envelope.fall


@dataclass(frozen=True)
class Active:
    """An effect laid over one fleet: the weight and the start (ms) of each device, and when anything happens."""

    effect: Effect
    weight: Floats
    start_ms: Ints
    from_ms: int
    until_ms: int

    def on(self, column: Column, reports: Reports) -> Column:
        """The column as the effect leaves it."""
        lo, hi = reports.lo, reports.hi
        if isinstance(column, Coded) or not self.touches(reports.at_ms):
            return column
        minutes = (reports.at_ms - self.start_ms[lo:hi]) / MINUTE_MS
        strength = envelope_at(self.effect.envelope, minutes) * self.weight[lo:hi]
        amount = self.effect.amount
        match self.effect.op:
            case "multiply":
                return column * (1 + (amount - 1) * strength)
            case "add":
                return column + amount * strength
            case "set":
                return np.where(strength >= 0.5, amount, column)

    def touches(self, at_ms: Ints) -> bool:
        """Whether anything happens at these times."""
        return bool(len(at_ms)) and self.from_ms <= int(at_ms[-1]) and int(at_ms[0]) < self.until_ms


def effects_on(fleet: Fleet, scenarios: Iterable[ScenarioAt], seed: int) -> dict[str, list[Active]]:
    """The effects that touch a fleet, by the quantity that they act on, in order of declaration."""
    found: dict[str, list[Active]] = {}
    for at in scenarios:
        for index, effect in enumerate(at.scenario.effect):
            if effect.feed != fleet.feed.id:
                continue
            active = _lay(fleet, effect, at.start_ms, key_of(seed, at.scenario.id, index))
            if active is not None:
                found.setdefault(effect.field, []).append(active)
    return found


def _lay(fleet: Fleet, effect: Effect, start_ms: int, key: int) -> Active | None:
    weights = np.array([effect.cities.get(city.id, effect.elsewhere) for city in fleet.cities])
    lags = np.array([effect.lag.get(city.id, 0.0) for city in fleet.cities])
    weight = weights[fleet.city] * _chosen(fleet, effect, key)
    if not weight.any():
        return None
    start = start_ms + (lags[fleet.city] * MINUTE_MS).astype(np.int64)
    touched = start[weight != 0]
    first = int(touched.min() + effect.envelope.start * MINUTE_MS)
    last = int(touched.max() + length_min(effect.envelope) * MINUTE_MS)
    return Active(effect, weight, start, first, last)


def _chosen(fleet: Fleet, effect: Effect, key: int) -> Bools:
    """The devices that an effect touches: those that `where` names, of these a fixed `share` of each city."""
    eligible: Bools = np.ones(len(fleet), dtype=bool)
    if effect.where:
        where = compile_formula(effect.where)
        named: Mapping[str, Column] = {**fleet.constants, "device": Coded(np.arange(len(fleet)), tuple(fleet.ids))}
        eligible = np.broadcast_to(np.asarray(where(named), dtype=bool), (len(fleet),)).copy()
    if effect.share < 1:
        some = np.flatnonzero(eligible)
        # by order of device, not of phase, so that the choice does not hang on the cadence
        order = some[np.lexsort((fleet.number[some], fleet.city[some]))]
        eligible[order] = quota(key, fleet.city[order]) < effect.share
    return eligible


def apply_effects(effects: Sequence[Active], column: Column, reports: Reports) -> Column:
    """The column after each effect in turn."""
    for active in effects:
        column = active.on(column, reports)
    return column
