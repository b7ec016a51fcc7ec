"""Formulas: the arithmetic of an indicator over its merged measures.

A formula is SQL text like a term (names, numbers, `+ - * /`, comparison, `AND OR NOT`, `IS NULL`, `CASE WHEN`,
`floor abs sqrt greatest least`), where names are the indicator's measures and division by a literal is fine,
with six functions more. Over a map (integer key to integer sum): `quantile(map, q)`, `distinct(map)`,
`hhi(map)`, `effective(map)`, `evenness(map, n)`; over numbers: `geomean(a, b, ...)`.

It is evaluated in doubles, in the order of the text, for all rows of a window at once: this is the one place where a
division makes an indicator. Null (NaN) goes through arithmetic; division by zero, and whatever is not a finite
number, is null; `greatest` and `least` skip nulls. So a formula never raises over data. Only what IEEE 754 rounds one
way is left to NumPy: its logarithms differ between processors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from sqlglot import exp

from pearlstream.errors import TermError
from pearlstream.expression import parse_expression, plain_name, unknown_name
from pearlstream.maps import Histogram as Histogram
from pearlstream.maps import distinct, effective, evenness, hhi
from pearlstream.maps import quantile as quantile
from pearlstream.maps import quantile_bound as quantile_bound
from pearlstream.partials import MeasureKind
from pearlstream.rows import Bools, Floats

Map: TypeAlias = Mapping[int, int] | Histogram | None
"""A merged map, with its edges if it has any; None where nothing is known."""
Column: TypeAlias = Floats | float | Sequence[Map]
"""A merged measure row by row: numbers in their unit (off the grid), NaN for null, one for all rows; or maps."""
Columns: TypeAlias = Mapping[str, Column]
_Number: TypeAlias = Callable[[Columns], Any]
"""Doubles, or one for all rows: finite, or NaN for null."""


class _Truth(NamedTuple):
    """Where a condition holds and where it does not; where neither is so, it is null."""

    holds: Bools
    fails: Bools

    def number(self) -> Floats:
        """1, 0 or NaN."""
        return np.where(self.holds, 1.0, np.where(self.fails, 0.0, np.nan))


_Condition: TypeAlias = Callable[[Columns], _Truth]


class _Node(NamedTuple):
    """A compiled piece: a number or a condition."""

    number: _Number
    condition: _Condition | None = None

    @classmethod
    def of(cls, condition: _Condition) -> _Node:
        """A condition, which counts as 1 or 0 where a number is wanted."""
        return cls(lambda values: condition(values).number(), condition)


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

    def over(self, columns: Columns, rows: int) -> Floats:
        """The value of each of so many rows, NaN where there is none. A measure that is absent counts as null.

        Raises TypeError if a measure is a map where a number is needed, or the other way round.
        """
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(self._run(columns), np.float64), (rows,))

    def ratio(self) -> tuple[str, str] | None:
        """Numerator and denominator if the formula is one plain measure over another, literal factors aside."""
        return self._ratio


def _geomean(numbers: Sequence[float]) -> float:
    """Geometric mean of numbers that are not negative; of others, or where one is null, it is null."""
    if any(number != number for number in numbers) or min(numbers) < 0:
        return math.nan
    return math.exp(math.fsum(map(math.log, numbers)) / len(numbers)) if min(numbers) > 0 else 0.0


# ---------------------------------------------------------------- compiling

_DISTINCT = "count_of_distinct"
_MAPS: dict[str, Callable[[Mapping[int, int]], float | None]] = {
    _DISTINCT: distinct,
    "hhi": hhi,
    "effective": effective,
}
_UNARY: dict[type[exp.Expr], Callable[[Any], Any]] = {
    exp.Neg: np.negative,
    exp.Floor: np.floor,
    exp.Abs: np.abs,
    exp.Sqrt: np.sqrt,
}
_BINARY: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.Add: np.add,
    exp.Sub: np.subtract,
    exp.Mul: np.multiply,
    exp.Div: np.divide,
}
_COMPARE: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.EQ: np.equal,
    exp.NEQ: np.not_equal,
    exp.LT: np.less,
    exp.LTE: np.less_equal,
    exp.GT: np.greater,
    exp.GTE: np.greater_equal,
}
_EXTREME: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {exp.Greatest: np.greater, exp.Least: np.less}
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


def _finite(values: Any) -> Any:
    """The same with null for what is no finite number."""
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, np.nan)


def _maps(column: Column, name: str) -> Sequence[Map]:
    if isinstance(column, np.ndarray | float | int):
        raise TypeError(f"measure {name!r} is a number where the formula needs a map")
    return column


def _numbers(found: Iterable[float | None]) -> Floats:
    return np.array([math.nan if number is None else number for number in found], np.float64)


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
            return _Node(self._scalar(self._name(tree, as_map=False)))
        if method is None or extra:
            self._refuse(tree, "is not allowed in a formula", f"allowed: {ALLOWED}")
        return method(self, tree)

    def number(self, tree: exp.Expr) -> _Number:
        """A piece as a number; a condition counts as 1 or 0."""
        return self._any(tree).number

    def _condition(self, tree: exp.Expr) -> _Condition:
        node = self._any(tree)
        if node.condition is None:
            self._refuse(tree, "is a number where a condition is needed", "compare it, for example with > 0")
        return node.condition

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

        def look_up(values: Columns) -> Any:
            column = values.get(name, math.nan)
            if isinstance(column, np.ndarray | float | int):
                return _finite(column)
            raise TypeError(f"measure {name!r} is a map where the formula needs a number")

        return look_up

    def _literal_value(self, tree: exp.Expr, low: float, high: float) -> float:
        if not isinstance(tree, exp.Literal) or tree.is_string or not low <= float(tree.this) <= high:
            self._refuse(tree, "does not fit here", f"write a number from {low:g} to {high:g}")
        return float(tree.this)

    def _paren(self, tree: exp.Expr) -> _Node:
        return self._any(tree.this)

    def _literal(self, tree: exp.Expr) -> _Node:
        value = np.float64(self._literal_value(tree, 0, 1e300))
        return _Node(lambda _values: value)

    def _boolean(self, tree: exp.Expr) -> _Node:
        truth = _Truth(np.array(bool(tree.this)), np.array(not tree.this))
        return _Node.of(lambda _values: truth)

    # ------------------------------------------------------------ arithmetic and conditions

    def _unary(self, tree: exp.Expr) -> _Node:
        inner, function = self.number(tree.this), _UNARY[type(tree)]
        return _Node(lambda values: _finite(function(inner(values))))

    def _binary(self, tree: exp.Expr) -> _Node:
        left, right = self.number(tree.this), self.number(tree.expression)
        function = _BINARY[type(tree)]
        return _Node(lambda values: _finite(function(left(values), right(values))))

    def _compare(self, tree: exp.Expr) -> _Node:
        if any(type(side) in _COMPARE for side in (tree.this, tree.expression)):
            self._refuse(tree, "compares a comparison", "write a < b AND b < c")
        left, right = self.number(tree.this), self.number(tree.expression)
        function = _COMPARE[type(tree)]

        def run(values: Columns) -> _Truth:
            a, b = left(values), right(values)
            known, met = ~(np.isnan(a) | np.isnan(b)), function(a, b)
            return _Truth(known & met, known & ~met)

        return _Node.of(run)

    def _logic(self, tree: exp.Expr) -> _Node:
        """AND, OR over three values: what decides alone (false, true) wins over null."""
        left, right = self._condition(tree.this), self._condition(tree.expression)
        either = type(tree) is exp.Or

        def run(values: Columns) -> _Truth:
            a, b = left(values), right(values)
            if either:
                return _Truth(a.holds | b.holds, a.fails & b.fails)
            return _Truth(a.holds & b.holds, a.fails | b.fails)

        return _Node.of(run)

    def _not(self, tree: exp.Expr) -> _Node:
        inner = self._condition(tree.this)
        return _Node.of(lambda values: _Truth(*reversed(inner(values))))

    def _is(self, tree: exp.Expr) -> _Node:
        if type(tree.expression) is not exp.Null:
            self._refuse(tree, "is not allowed in a formula", "write IS NULL, IS NOT NULL, or a comparison")
        inner = self.number(tree.this)

        def run(values: Columns) -> _Truth:
            null = np.isnan(inner(values))
            return _Truth(null, ~null)

        return _Node.of(run)

    def _extreme(self, tree: exp.Expr) -> _Node:
        parts = [self.number(part) for part in (tree.this, *tree.expressions)]
        beyond = _EXTREME[type(tree)]
        if len(parts) < 2:
            self._refuse(tree, "compares nothing", "give two or more arguments")

        def run(values: Columns) -> Any:
            first, *others = (part(values) for part in parts)
            for other in others:
                first = np.where(np.isnan(first) | beyond(other, first), other, first)
            return first

        return _Node(run)

    def _case(self, tree: exp.Expr) -> _Node:
        arms = [(self._condition(arm.this), self.number(arm.args["true"])) for arm in tree.args["ifs"]]
        default = tree.args.get("default")
        last = self.number(default) if default and type(default) is not exp.Null else None

        def run(values: Columns) -> Any:
            chosen = np.float64(np.nan) if last is None else last(values)
            for condition, value in reversed(arms):
                chosen = np.where(condition(values).holds, value(values), chosen)
            return chosen

        return _Node(run)

    # ------------------------------------------------------------ functions

    def _quantile(self, tree: exp.Expr) -> _Node:
        name, q = self._name(tree.this, as_map=True), self._literal_value(tree.args["quantile"], 0, 1)
        self.used[2].add(name)

        def one(value: Map) -> float | None:
            if value is not None and not isinstance(value, Histogram):
                raise TypeError(f"measure {name!r} has no edges, which quantile needs")
            return None if value is None else quantile(value, q)

        return self._each_map(name, one)

    def _function(self, tree: exp.Expr) -> _Node:
        """The functions that SQL does not know."""
        function, arguments = str(tree.this).lower(), tree.expressions
        if function == "geomean" and arguments:
            return self._geomean(arguments)
        over = _MAPS.get(function)
        if function == "evenness" and len(arguments) == 2:
            n = self._literal_value(arguments[1], 2, 1e9)
            return self._over_map(arguments[0], lambda counts: evenness(counts, n))
        if over is None or len(arguments) != 1:
            self._refuse(tree, "is not allowed in a formula", f"allowed: {ALLOWED}")
        return self._over_map(arguments[0], over)

    def _geomean(self, trees: Sequence[exp.Expr]) -> _Node:
        parts = [self.number(tree) for tree in trees]

        def run(values: Columns) -> Floats:
            columns = np.broadcast_arrays(*(part(values) for part in parts))
            rows = zip(*(column.ravel().tolist() for column in columns), strict=True)
            return np.array([_geomean(row) for row in rows], np.float64).reshape(columns[0].shape)

        return _Node(run)

    def _over_map(self, tree: exp.Expr, function: Callable[[Mapping[int, int]], float | None]) -> _Node:
        name = self._name(tree, as_map=True)
        self.used[1].add(name)

        def one(value: Map) -> float | None:
            counts = value.counts if isinstance(value, Histogram) else value
            return None if counts is None else function(counts)

        return self._each_map(name, one)

    @staticmethod
    def _each_map(name: str, function: Callable[[Map], float | None]) -> _Node:
        """`function` over the map of every row."""

        def run(values: Columns) -> Any:
            column = values.get(name)
            return np.float64(np.nan) if column is None else _finite(_numbers(map(function, _maps(column, name))))

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
