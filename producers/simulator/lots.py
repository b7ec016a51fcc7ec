"""Quantities that are drawn by lot for each row alone: counts, words, sizes, yes or no.

A stream of random numbers serves one purpose only, so that what is drawn does not depend on how many rows are
computed at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from pearlstream.catalogue.simulation import Binomial, Chance, Draw, Pick, Poisson, Serial, picked_words
from producers.simulator.chance import Floats, Ints, stream
from producers.simulator.columns import Coded, Column, as_numbers
from producers.simulator.fleet import Fleet
from producers.simulator.formula import Compiled, compile_formula
from producers.simulator.reports import Reports

Source = Callable[[Reports], Column]
"""Computes one quantity for some reports. Stateful: called once per stretch of time, in order."""

SERIAL_BITS = 48


def counter(fleet: Fleet, name: str, k: float | None, seed: int) -> Callable[[Floats], Ints]:
    """Draws counts with the given means, over-dispersed (negative binomial) by `k`."""
    rng = stream(seed, fleet.feed.id, name, "poisson")
    excess = stream(seed, fleet.feed.id, name, "excess")

    def counts(mean: Floats) -> Ints:
        rate: Floats = np.maximum(mean, 0.0)
        if k is not None:
            rate = rate * (excess.standard_gamma(k, len(rate)) / k)
        return rng.poisson(rate)

    return counts


def poisson(quantity: Poisson, fleet: Fleet, seed: int) -> Source:
    """Counts of what happens at a rate."""
    mean = compile_formula(quantity.mean)
    counts = counter(fleet, quantity.name, quantity.k, seed)
    return lambda reports: counts(reports.compute(mean)).astype(np.float64)


def binomial(quantity: Binomial, fleet: Fleet, seed: int) -> Source:
    """How many of some happen."""
    number, chance_of = compile_formula(quantity.n), compile_formula(quantity.p)
    rng = stream(seed, fleet.feed.id, quantity.name, "binomial")

    def source(reports: Reports) -> Column:
        n = reports.compute(number)
        p = np.clip(reports.compute(chance_of), 0.0, 1.0)
        result = np.zeros(len(reports))
        some = np.flatnonzero(n > 0)
        result[some] = rng.binomial(n[some].astype(np.int64), p[some])
        return result

    return source


def chance(quantity: Chance, fleet: Fleet, seed: int) -> Source:
    """Yes or no."""
    p = compile_formula(quantity.p)
    rng = stream(seed, fleet.feed.id, quantity.name, "chance")
    return lambda reports: rng.random(len(reports)) < reports.compute(p)


def draw(quantity: Draw, fleet: Fleet, seed: int) -> Source:
    """Sizes and durations."""
    scale = compile_formula(quantity.scale)
    rng = stream(seed, fleet.feed.id, quantity.name, "draw")
    unit = _unit(quantity, rng)
    if quantity.dist == "normal":
        return lambda reports: reports.compute(scale) + unit(len(reports))
    return lambda reports: reports.compute(scale) * unit(len(reports))


def _unit(quantity: Draw, rng: np.random.Generator) -> Callable[[int], Floats]:
    """Draws of scale one; of a normal distribution, of mean zero."""
    match quantity.dist:
        case "lognormal":
            return lambda size: np.exp(quantity.sigma * rng.standard_normal(size))
        case "normal":
            return lambda size: quantity.sigma * rng.standard_normal(size)
        case "exponential":
            return lambda size: rng.standard_exponential(size)
        case "gamma":
            return lambda size: rng.standard_gamma(quantity.k, size) / quantity.k
        case "uniform":
            return lambda size: rng.random(size)
        case "rayleigh":
            return lambda size: np.sqrt(2.0 * rng.standard_exponential(size))


def serial(quantity: Serial, fleet: Fleet, seed: int) -> Source:
    """Names of things, as numbers."""
    rng = stream(seed, fleet.feed.id, quantity.name, "serial")
    return lambda reports: rng.integers(0, 1 << SERIAL_BITS, len(reports)).astype(np.float64)


def pick(quantity: Pick, fleet: Fleet, seed: int) -> Source:
    """One word for each row: first those whose weight may differ from row to row, then the rest from a table."""
    field = fleet.feed.fields.get(quantity.name)
    numeric = quantity.of == "words" and (field is None or field.type in ("int", "float"))
    words = picked_words(fleet.feed, quantity, [city.id for city in fleet.everywhere])
    rng = stream(seed, fleet.feed.id, quantity.name, "pick")
    fixed = _fixed_weights(quantity, words, fleet)
    edges, last = np.cumsum(fixed), int(np.max(np.flatnonzero(fixed), initial=0))
    moving = _moving_weights(quantity, words, fleet)

    def source(reports: Reports) -> Column:
        weights = [(code(reports), np.maximum(reports.compute(weight), 0.0)) for code, weight in moving]
        left = rng.random(len(reports)) * (edges[-1] + sum(weight for _, weight in weights))
        codes = np.full(len(reports), -1)
        for code, weight in weights:
            codes = np.where((codes < 0) & (left < weight), code, codes)
            left = left - weight
        rest = np.minimum(np.searchsorted(edges, np.maximum(left, 0.0), side="right"), last)
        column = Coded(np.where(codes < 0, rest, codes), words)
        return as_numbers(column) if numeric else column

    return source


def _fixed_weights(quantity: Pick, words: tuple[str, ...], fleet: Fleet) -> Floats:
    """The weight of each word that is a number, and the others' share of `others`."""
    weights = np.zeros(len(words))
    people: Mapping[str, int] = {city.id: city.population for city in fleet.everywhere}
    for code, word in enumerate(words):
        given = quantity.weights.get(word)
        if isinstance(given, float | int):
            weights[code] = given
    if quantity.of == "cities":
        others = [code for code, word in enumerate(words) if word in people and word not in quantity.weights]
        size = np.array([people[words[code]] / 1e6 for code in others]) ** quantity.exponent
        weights[others] = quantity.others * size / size.sum() if others else 0.0
    return weights


_Codes = Callable[[Reports], npt.NDArray[np.int64] | int]


def _moving_weights(quantity: Pick, words: tuple[str, ...], fleet: Fleet) -> list[tuple[_Codes, Compiled]]:
    """Weights that are terms, and that of the source's own city: which code they speak for, and their term."""
    found: list[tuple[_Codes, Compiled]] = []
    if quantity.of == "cities" and quantity.own:
        index = {word: code for code, word in enumerate(words)}
        home = np.array([index[city.id] for city in fleet.cities], dtype=np.int64)[fleet.city]
        found.append((lambda reports: home[reports.rows], compile_formula(str(quantity.own))))
    for code, word in enumerate(words):
        given = quantity.weights.get(word)
        if isinstance(given, str):
            found.append((_always(code), compile_formula(given)))
    return found


def _always(code: int) -> _Codes:
    return lambda _reports: code
