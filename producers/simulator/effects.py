"""What scenarios do to the readings: an envelope in time, weights in space, one quantity each.

An effect on a latent quantity is felt by everything that is computed from it. An effect on a measured field
changes what is reported and nothing else, after all quantities have been computed, so that a scenario can
say of each field what is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pearlstream.catalogue.models import Feed
from pearlstream.catalogue.scenario import Effect, Envelope, Scenario
from pearlstream.expression import parse_expression
from producers.simulator.chance import Bools, Floats, Ints, hashed, key_of
from producers.simulator.columns import Coded, Column
from producers.simulator.drivers import MINUTE_MS, Drivers, known_of, numbers
from producers.simulator.fleet import Fleet
from producers.simulator.formula import Compiled, compile_formula
from producers.simulator.plan import ScenarioAt
from producers.simulator.profiles import smooth_step
from producers.simulator.reports import Reports

DAY_MIN = 1440.0


def envelope_at(envelope: Envelope, minutes: Floats) -> Floats:
    """How strong an effect is (0 to 1) so many minutes after the scenario's start."""
    since = minutes - envelope.start
    left = envelope.rise + envelope.hold + envelope.fall - since
    rise = smooth_step(since / envelope.rise) if envelope.rise else (since >= 0).astype(float)
    fall = smooth_step(left / envelope.fall) if envelope.fall else (left > 0).astype(float)
    strength: Floats = np.minimum(rise, fall)
    return strength


def spans_min(effect: Effect, scenario: Scenario) -> list[tuple[float, float]]:
    """When the effect is on, in minutes from the scenario's start, before any lag: once, or once each day."""
    length, envelope = scenario.length_s / 60, effect.envelope
    if envelope is None:
        return [(0.0, length)]
    begin, lasts = envelope.start, envelope.rise + envelope.hold + envelope.fall
    days = np.arange(0.0, max(length - begin, DAY_MIN), DAY_MIN) if effect.daily else np.zeros(1)
    return [(begin + float(day), begin + float(day) + lasts) for day in days]


@dataclass(frozen=True)
class Amount:
    """How much an effect does: a number, a term, or a word that is set."""

    number: float = 0.0
    term: Compiled | None = None
    word: str = ""

    def at(self, drivers: Drivers, reports: Reports) -> Floats | float:
        """The number for each report, or for all of them."""
        return self.number if self.term is None else numbers(self.term, drivers, reports)


def amount_of(effect: Effect) -> Amount:
    """What the effect's `amount` declares."""
    if not isinstance(effect.amount, str):
        return Amount(number=effect.amount)
    tree = parse_expression(effect.amount, "term")
    if tree.args.get("is_string"):
        return Amount(word=str(tree.this))
    return Amount(term=compile_formula(effect.amount))


@dataclass(frozen=True)
class Active:
    """An effect laid over one fleet: the weight and the start (ms) of each device, and when it is on.

    `spans`: minutes from the start; `end_ms`: when an effect without envelope is over wherever it lags.
    """

    effect: Effect
    amount: Amount
    drivers: Drivers
    weight: Floats
    start_ms: Ints
    spans: tuple[tuple[float, float], ...]
    from_ms: int
    until_ms: int
    end_ms: int

    def on(self, column: Column, reports: Reports) -> Column:
        """The column as the effect leaves it."""
        if not self.touches(reports.at_ms):
            return column
        strength = self._strength(reports)
        if self.amount.word:
            return _put(column, strength >= 0.5, self.amount.word, reports.fleet.feed, self.effect.field)
        if isinstance(column, Coded):
            return column
        amount = self.amount.at(self.drivers, reports)
        match self.effect.op:
            case "multiply":
                return column * (1 + (amount - 1) * strength)
            case "add":
                return column + amount * strength
            case "set":
                return np.where(strength >= 0.5, amount, column)
            case "at_least":
                return np.where(strength >= 0.5, np.maximum(column, amount), column)
            case "at_most":
                return np.where(strength >= 0.5, np.minimum(column, amount), column)

    def touches(self, at_ms: Ints) -> bool:
        """Whether anything happens at these times."""
        return bool(len(at_ms)) and self.from_ms <= int(at_ms.max()) and int(at_ms.min()) < self.until_ms

    def _strength(self, reports: Reports) -> Floats:
        """Envelope times weight, for each report."""
        weight, envelope = self.weight[reports.rows], self.effect.envelope
        minutes = (reports.at_ms - self.start_ms[reports.rows]) / MINUTE_MS
        if envelope is None:
            return weight * ((minutes >= 0) & (reports.at_ms < self.end_ms))
        first, last = float(minutes.min()), float(minutes.max())
        shifts = [begin - envelope.start for begin, end in self.spans if begin <= last and first < end]
        strength = np.zeros(len(minutes))
        for shift in shifts:
            strength = np.maximum(strength, envelope_at(envelope, minutes - shift))
        return weight * strength


def _put(column: Column, where: Bools, word: str, feed: Feed, name: str) -> Column:
    """A column of words, or of codes of a field's words, with one word put in some places."""
    if not isinstance(column, Coded):
        return np.where(where, feed.fields[name].values.index(word), column)
    words = column.words if word in column.words else (*column.words, word)
    return Coded(np.where(where, words.index(word), column.codes), words)


def effects_on(fleet: Fleet, scenarios: Iterable[ScenarioAt], seed: int) -> dict[str, list[Active]]:
    """The effects that touch a fleet, by the quantity that they act on, in order of declaration."""
    found: dict[str, list[Active]] = {}
    for at in scenarios:
        drivers = Drivers(fleet, at)
        for index, effect in enumerate(at.scenario.effect):
            if effect.feed != fleet.feed.id:
                continue
            active = _lay(fleet, effect, at, drivers, key_of(seed, at.scenario.id, effect.group or index))
            if active is not None:
                found.setdefault(effect.field, []).append(active)
    return found


def _lay(fleet: Fleet, effect: Effect, at: ScenarioAt, drivers: Drivers, key: int) -> Active | None:
    weights = np.array([effect.cities.get(city.id, effect.elsewhere) for city in fleet.cities])
    lags = np.array([effect.lag.get(city.id, 0.0) for city in fleet.cities])
    weight = weights[fleet.city] * chosen(fleet, effect.where, effect.share, key)
    if not weight.any():
        return None
    start = at.start_ms + (lags[fleet.city] * MINUTE_MS).astype(np.int64)
    touched = start[weight != 0]
    spans = spans_min(effect, at.scenario)
    end = at.start_ms + at.scenario.length_s * 1000
    last = end if effect.envelope is None else int(touched.max() + spans[-1][1] * MINUTE_MS)
    first = int(touched.min() + spans[0][0] * MINUTE_MS)
    return Active(effect, amount_of(effect), drivers, weight, start, tuple(spans), first, last, end)


def chosen(fleet: Fleet, where: str, share: float, key: int) -> Bools:
    """The devices that `where` names, of these a fixed `share` of each city, drawn by `key`.

    Which device is drawn first hangs on its city and number alone, so that the same key draws the same ones.
    """
    eligible: Bools = np.ones(len(fleet), dtype=bool)
    if where:
        named = np.asarray(compile_formula(where)(known_of(fleet)), dtype=bool)
        eligible = np.broadcast_to(named, (len(fleet),)).copy()
    if share < 1:
        some = np.flatnonzero(eligible)
        eligible[some] = _rank(fleet, some, key) < share
    return eligible


def _rank(fleet: Fleet, some: Ints, key: int) -> Floats:
    """A rank in (0, 1) for each of these devices within its city, evenly spread."""
    names = np.array([key_of("city", city.id) for city in fleet.cities], dtype=np.uint64)
    city = fleet.city[some]
    order = np.lexsort((hashed(key, names[city], fleet.number[some]), city))
    starts = np.searchsorted(city[order], city[order], side="left")
    counts = np.bincount(city, minlength=len(fleet.cities))
    rank = np.empty(len(some))
    rank[order] = (np.arange(len(some)) - starts + 0.5) / counts[city[order]]
    return rank


def apply_effects(effects: Sequence[Active], column: Column, reports: Reports) -> Column:
    """The column after each effect in turn."""
    for active in effects:
        column = active.on(column, reports)
    return column
