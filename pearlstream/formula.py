"""Formulas: the arithmetic of an indicator over its merged measures.

A formula is SQL text like a term (names, numbers, `+ - * /`, comparison, `AND OR NOT`, `IS NULL`, `CASE WHEN`,
`floor abs sqrt greatest least`), where names are the indicator's measures and division by a literal is fine,
with six functions more. Over a map (integer key to integer sum): `quantile(map, q)`, `distinct(map)`,
`hhi(map)`, `effective(map)`, `evenness(map, n)`; over numbers: `geomean(a, b, ...)`.

It is evaluated in plain Python floats, in the order of the text, once per window: this is the one place where a
division makes an indicator. Null (None) goes through arithmetic; division by zero, and whatever is not a finite
number, is null; `greatest` and `least` skip nulls. So a formula never raises over data.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn, TypeAlias

from sqlglot import exp

from pearlstream.errors import TermError
from pearlstream.expression import parse_expression, plain_name, unknown_name
from pearlstream.maps import Histogram as Histogram
from pearlstream.maps import distinct, effective, evenness, hhi
from pearlstream.maps import quantile as quantile
from pearlstream.maps import quantile_bound as quantile_bound
from pearlstream.partials import MeasureKind

Scalar: TypeAlias = float | int | None
Value: TypeAlias = Scalar | Mapping[int, int] | Histogram
"""A merged measure: a number in its unit (off the grid), null, or a map, with its edges if it has any."""
Values: TypeAlias = Mapping[str, Value]
_Number: TypeAlias = Callable[[Values], float | None]
_Condition: TypeAlias = Callable[[Values], bool | None]
_Cell: TypeAlias = Callable[[Values], float | bool | None]


class _Node(NamedTuple):
    """A compiled piece; `condition` tells truth values from numbers, `finite` that it gives finite floats or None."""

    run: _Cell
    condition: bool = False
    finite: bool = False


@dataclass(frozen=True)
class Formula:
    """A parsed formula. `scalars`, `maps` and `histograms` are the measures that it uses as such."""

    text: str
    scalars: frozenset[str]
    maps: frozenset[str]
    histograms: frozenset[str]
    _run: _Number = field(repr=False, compare=False)
    _ratio: tuple[str, str] | None = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, names: Mapping[str, MeasureKind] | Collection[str]) -> Formula:
        """Parse `text` over the measures of an indicator (with their kinds, if maps and numbers shall be told apart).

        Raises TermError with the offending part and its remedy if anything is outside the whitelist.
        """
        # DISTINCT is a keyword that sqlglot does not take for a function.
        tree = parse_expression(re.sub(r"\bdistinct\s*\(", f"{_DISTINCT}(", text, flags=re.IGNORECASE), "formula")
        compiler = _Compiler(text, names)
        run = compiler.number(tree)
        scalars, maps, histograms = (frozenset(used) for used in compiler.used)
        return cls(text, scalars, maps, histograms, run, _plain_ratio(tree))

    @property
    def names(self) -> frozenset[str]:
        """All measures that the formula uses."""
        return self.scalars | self.maps | self.histograms

    def evaluate(self, values: Values) -> float | None:
        """The indicator's value, or None if there is none. A measure that is absent counts as null.

        Raises TypeError if a measure is a map where a number is needed, or the other way round.
        """
        return self._run(values)

    def ratio(self) -> tuple[str, str] | None:
        """Numerator and denominator if the formula is one plain measure over another, literal factors aside."""
        return self._ratio


def off_grid(value: int | None, decimals: int) -> float | None:
    """A merged sum, minimum or maximum in its unit: the grid's integer divided by 10^decimals, rounded once."""
    return None if value is None else value / 10**decimals


def _geomean(numbers: list[float]) -> float | None:
    """Geometric mean of numbers that are not negative."""
    if min(numbers) <= 0:
        return 0.0 if min(numbers) == 0 else None
    return math.exp(math.fsum(map(math.log, numbers)) / len(numbers))


# ---------------------------------------------------------------- compiling

_DISTINCT = "count_of_distinct"
_MAPS: dict[str, Callable[[Mapping[int, int]], float | None]] = {
    _DISTINCT: distinct,
    "hhi": hhi,
    "effective": effective,
}
_UNARY: dict[type[exp.Expr], Callable[[float], float | None]] = {
    exp.Neg: operator.neg,
    exp.Floor: math.floor,
    exp.Abs: abs,
    exp.Sqrt: lambda a: math.sqrt(a) if a >= 0 else None,
}
_BINARY: dict[type[exp.Expr], Callable[[float, float], float | None]] = {
    exp.Add: operator.add,
    exp.Sub: operator.sub,
    exp.Mul: operator.mul,
    exp.Div: lambda a, b: a / b if b else None,
}
_COMPARE: dict[type[exp.Expr], Callable[[float, float], bool]] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
}
_EXTREME: dict[type[exp.Expr], Callable[[list[float]], float]] = {exp.Greatest: max, exp.Least: min}
_ARGUMENTS: dict[type[exp.Expr], frozenset[str]] = {
    exp.Case: frozenset({"ifs", "default"}),
    exp.Greatest: frozenset({"this", "expressions", "ignore_nulls"}),
    exp.Least: frozenset({"this", "expressions", "ignore_nulls"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Div: frozenset({"this", "expression", "typed", "safe"}),
    exp.Anonymous: frozenset({"this", "expressions"}),
    exp.Quantile: frozenset({"this", "quantile"}),
}
_PLAIN = frozenset({"this", "expression"})
ALLOWED = (
    "measures, numbers, + - * /, comparison, AND OR NOT, IS NULL, CASE WHEN, floor, abs, sqrt, greatest, least, "
    "geomean, quantile(map, q), distinct(map), hhi(map), effective(map), evenness(map, n)"
)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _mapping(value: Value, name: str) -> Mapping[int, int] | None:
    """The counts of a map, whether or not it has edges."""
    counts = value.counts if isinstance(value, Histogram) else value
    if counts is not None and not isinstance(counts, Mapping):
        raise TypeError(f"measure {name!r} is a number where the formula needs a map")
    return counts


class _Compiler:
    """Turns the tree of one formula into closures; whatever is not named here is refused."""

    def __init__(self, text: str, names: Mapping[str, MeasureKind] | Collection[str]) -> None:
        self.text = text
        self.names = names
        self.used: tuple[set[str], set[str], set[str]] = (set(), set(), set())

    def _refuse(self, tree: exp.Expr, why: str, remedy: str) -> NoReturn:
        part = tree.sql().replace(_DISTINCT.upper(), "DISTINCT")
        raise TermError(f"formula {self.text!r}: {part!r} {why}", remedy=remedy)

    def _any(self, tree: exp.Expr) -> _Node:
        extra = {name for name, value in tree.args.items() if value} - _ARGUMENTS.get(type(tree), _PLAIN)
        method = self._METHODS.get(type(tree))
        if isinstance(tree, exp.Column):
            return _Node(self._scalar(self._name(tree, as_map=False)), finite=True)
        if method is None or extra:
            self._refuse(tree, "is not allowed in a formula", f"allowed: {ALLOWED}")
        return method(self, tree)

    def number(self, tree: exp.Expr) -> _Number:
        """A piece as a number; a condition counts as 1 or 0. Never gives anything but a finite float or None."""
        node = self._any(tree)
        run = node.run
        if node.finite:
            return run

        def finite(values: Values) -> float | None:
            return _finite(run(values))

        return finite

    def _condition(self, tree: exp.Expr) -> _Condition:
        node = self._any(tree)
        if not node.condition:
            self._refuse(tree, "is a number where a condition is needed", "compare it, for example with > 0")
        run = node.run

        def truth(values: Values) -> bool | None:
            held = run(values)
            return None if held is None else bool(held)

        return truth

    def _name(self, tree: exp.Expr, *, as_map: bool) -> str:
        if not isinstance(tree, exp.Column):
            self._refuse(tree, "is not the name of a map", "name a measure of kind map")
        name = plain_name(self.text, tree)
        if name not in self.names:
            raise unknown_name(self.text, name, self.names)
        kind = self.names[name] if isinstance(self.names, Mapping) else None
        if kind is not None and (kind is MeasureKind.MAP) is not as_map:
            remedy = "use quantile, distinct, hhi, effective or evenness on it" if not as_map else "use it as a number"
            self._refuse(tree, f"is of kind {kind}", remedy)
        return name

    def _scalar(self, name: str) -> _Number:
        self.used[0].add(name)

        def look_up(values: Values) -> float | None:
            value = values.get(name)
            if value is None or isinstance(value, float | int):
                return _finite(value)
            raise TypeError(f"measure {name!r} is a map where the formula needs a number")

        return look_up

    def _literal_value(self, tree: exp.Expr, low: float, high: float) -> float:
        if not isinstance(tree, exp.Literal) or tree.is_string or not low <= float(tree.this) <= high:
            self._refuse(tree, "does not fit here", f"write a number from {low:g} to {high:g}")
        return float(tree.this)

    def _paren(self, tree: exp.Expr) -> _Node:
        return self._any(tree.this)

    def _literal(self, tree: exp.Expr) -> _Node:
        value = self._literal_value(tree, 0, 1e300)
        return _Node(lambda _values: value, finite=True)

    def _boolean(self, tree: exp.Expr) -> _Node:
        value = bool(tree.this)
        return _Node(lambda _values: value, condition=True)

    # ------------------------------------------------------------ arithmetic and conditions

    def _apply(self, function: Callable[..., float | bool | None], *trees: exp.Expr) -> _Cell:
        """`function` over numbers; null if one of them is."""
        parts = [self.number(tree) for tree in trees]

        def run(values: Values) -> float | bool | None:
            numbers = [part(values) for part in parts]
            return None if None in numbers else function(*numbers)

        return run

    def _unary(self, tree: exp.Expr) -> _Node:
        return _Node(self._apply(_UNARY[type(tree)], tree.this))

    def _both(self, function: Callable[[float, float], float | bool | None], tree: exp.Expr) -> _Cell:
        """`function` over the two sides; null if one of them is. Most of all arithmetic, so without a list."""
        left, right = self.number(tree.this), self.number(tree.expression)

        def run(values: Values) -> float | bool | None:
            a = left(values)
            b = right(values)
            return None if a is None or b is None else function(a, b)

        return run

    def _binary(self, tree: exp.Expr) -> _Node:
        return _Node(self._both(_BINARY[type(tree)], tree))

    def _compare(self, tree: exp.Expr) -> _Node:
        if any(type(side) in _COMPARE for side in (tree.this, tree.expression)):
            self._refuse(tree, "compares a comparison", "write a < b AND b < c")
        return _Node(self._both(_COMPARE[type(tree)], tree), condition=True)

    def _logic(self, tree: exp.Expr) -> _Node:
        """AND, OR over three values: what decides alone (false, true) wins over null."""
        left, right = self._condition(tree.this), self._condition(tree.expression)
        decides = type(tree) is exp.Or

        def run(values: Values) -> bool | None:
            sides = (left(values), right(values))
            return decides if decides in sides else None if None in sides else not decides

        return _Node(run, condition=True)

    def _not(self, tree: exp.Expr) -> _Node:
        inner = self._condition(tree.this)

        def run(values: Values) -> bool | None:
            held = inner(values)
            return None if held is None else not held

        return _Node(run, condition=True)

    def _is(self, tree: exp.Expr) -> _Node:
        if type(tree.expression) is not exp.Null:
            self._refuse(tree, "is not allowed in a formula", "write IS NULL, IS NOT NULL, or a comparison")
        inner = self.number(tree.this)
        return _Node(lambda values: inner(values) is None, condition=True)

    def _extreme(self, tree: exp.Expr) -> _Node:
        parts = [self.number(part) for part in (tree.this, *tree.expressions)]
        choose = _EXTREME[type(tree)]
        if len(parts) < 2:
            self._refuse(tree, "compares nothing", "give two or more arguments")

        def run(values: Values) -> float | None:
            numbers = [number for part in parts if (number := part(values)) is not None]
            return choose(numbers) if numbers else None

        return _Node(run)

    def _case(self, tree: exp.Expr) -> _Node:
        arms = [(self._condition(arm.this), self.number(arm.args["true"])) for arm in tree.args["ifs"]]
        default = tree.args.get("default")
        last = self.number(default) if default and type(default) is not exp.Null else None

        def run(values: Values) -> float | None:
            for condition, value in arms:
                if condition(values):
                    return value(values)
            return last(values) if last else None

        return _Node(run)

    # ------------------------------------------------------------ functions

    def _quantile(self, tree: exp.Expr) -> _Node:
        name, q = self._name(tree.this, as_map=True), self._literal_value(tree.args["quantile"], 0, 1)
        self.used[2].add(name)

        def run(values: Values) -> float | None:
            value = values.get(name)
            if value is not None and not isinstance(value, Histogram):
                raise TypeError(f"measure {name!r} has no edges, which quantile needs")
            return None if value is None else quantile(value, q)

        return _Node(run)

    def _function(self, tree: exp.Expr) -> _Node:
        """The functions that SQL does not know."""
        function, arguments = str(tree.this).lower(), tree.expressions
        if function == "geomean" and arguments:
            return _Node(self._apply(lambda *numbers: _geomean(list(numbers)), *arguments))
        over = _MAPS.get(function)
        if function == "evenness" and len(arguments) == 2:
            n = self._literal_value(arguments[1], 2, 1e9)
            return self._over_map(arguments[0], lambda counts: evenness(counts, n))
        if over is None or len(arguments) != 1:
            self._refuse(tree, "is not allowed in a formula", f"allowed: {ALLOWED}")
        return self._over_map(arguments[0], over)

    def _over_map(self, tree: exp.Expr, function: Callable[[Mapping[int, int]], float | None]) -> _Node:
        name = self._name(tree, as_map=True)
        self.used[1].add(name)

        def run(values: Values) -> float | None:
            counts = _mapping(values.get(name), name)
            return None if counts is None else function(counts)

        return _Node(run)

    _METHODS: Mapping[type[exp.Expr], Callable[[_Compiler, exp.Expr], _Node]] = {
        exp.Paren: _paren,
        exp.Literal: _literal,
        exp.Boolean: _boolean,
        exp.And: _logic,
        exp.Or: _logic,
        exp.Not: _not,
        exp.Is: _is,
        exp.Case: _case,
        exp.Quantile: _quantile,
        exp.Anonymous: _function,
        **dict.fromkeys(_UNARY, _unary),
        **dict.fromkeys(_BINARY, _binary),
        **dict.fromkeys(_COMPARE, _compare),
        **dict.fromkeys(_EXTREME, _extreme),
    }


def _plain_ratio(tree: exp.Expr) -> tuple[str, str] | None:
    """Names above and below the line if there is one of each and all else are literal factors."""
    above, below = _factors(tree)
    names = [[factor for factor in side if not isinstance(factor, exp.Literal)] for side in (above, below)]
    if all(len(side) == 1 and isinstance(side[0], exp.Column) for side in names):
        return str(names[0][0].name), str(names[1][0].name)
    return None


def _factors(tree: exp.Expr) -> tuple[list[exp.Expr], list[exp.Expr]]:
    """The factors of a product above and below its line."""
    if isinstance(tree, exp.Paren):
        return _factors(tree.this)
    if type(tree) not in (exp.Mul, exp.Div):
        return [tree], []
    above, below = _factors(tree.this)
    more, less = _factors(tree.expression)
    if type(tree) is exp.Div:
        more, less = less, more
    return above + more, below + less
