"""The ordinary noise of a field: what an outlier is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import NamedTuple

from sqlglot import exp

from pearlstream.catalogue.simulation import AnyQuantity, Draw, Formula, Level, Simulate
from pearlstream.expression import parse_expression
from producers.simulator.chance import Floats

SHARE = 0.1
"""The noise of a field behind which no level is found, as a share of its value."""


Quantities = Mapping[str, AnyQuantity]


class Noise(NamedTuple):
    """One standard deviation: `share` of the value, or at least `least`."""

    share: float
    least: float

    def of(self, value: Floats) -> Floats:
        """The noise at a value."""
        found: Floats = abs(value) * self.share
        return found.clip(min=self.least)


def ordinary_noise(shape: Simulate, name: str, grid: float) -> Noise:
    """The noise of a field, never below its `grid`.

    A level that adds has its sigma, one that multiplies its sigma times the value. A sum has the largest sigma of the
    levels that it adds up. Any other formula is as noisy as the noisiest level or lot that multiplies among those it
    is made of. Everything else counts as `SHARE` of the value.
    """
    quantities = {quantity.name: quantity for quantity in shape.quantity}
    quantity = quantities.get(name)
    sigma = _sigma(quantity, quantities)
    if sigma:
        return Noise(0.0, max(sigma, grid))
    return Noise(_share(quantity, quantities) or SHARE, grid)


def _sigma(quantity: AnyQuantity | None, quantities: Quantities) -> float:
    """The largest sigma of what is added up; 0 if nothing is."""
    match quantity:
        case Level():
            return quantity.sigma if quantity.mode == "add" else 0.0
        case Formula():
            before = _before(quantity, quantities)
            names = _added(parse_expression(quantity.value, "term"))
            return max((_sigma(before.get(name), before) for name in names), default=0.0)
    return 0.0


def _added(tree: exp.Expr) -> Iterator[str]:
    """The names that stand alone in a sum."""
    if isinstance(tree, exp.Column):
        yield tree.name
    elif isinstance(tree, exp.Add | exp.Sub):
        yield from _added(tree.this)
        yield from _added(tree.expression)


def _share(quantity: AnyQuantity | None, quantities: Quantities) -> float:
    """The largest sigma of what multiplies; 0 if there is none."""
    match quantity:
        case Level():
            return quantity.sigma if quantity.mode == "multiply" else 0.0
        case Draw():
            return quantity.sigma if quantity.dist == "lognormal" else 0.0
        case Formula():
            before = _before(quantity, quantities)
            names = {column.name for column in parse_expression(quantity.value, "term").find_all(exp.Column)}
            return max((_share(before.get(name), before) for name in names), default=0.0)
    return 0.0


def _before(quantity: Formula, quantities: Quantities) -> Quantities:
    """What a formula may name: the quantities declared before it."""
    return dict(takewhile(lambda item: item[0] != quantity.name, quantities.items()))
