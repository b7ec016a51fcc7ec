"""Terms in NumPy: the same text that Polars and ClickHouse compute for measures, for columns without nulls.

Measures must agree to the last bit between two engines and therefore go through `pearlstream.terms`; here only
speed counts. What may stand in a term is checked there all the same, when the catalogue is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Protocol

import numpy as np
from sqlglot import exp

from pearlstream.errors import TermError
from pearlstream.expression import parse_expression
from producers.simulator.columns import Coded, Column, Numbers, one_vocabulary


class Values(Protocol):
    """Columns by name."""

    def __getitem__(self, name: str, /) -> Column: ...


Compiled = Callable[[Values], Any]

_BINARY: Mapping[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.Add: np.add,
    exp.Sub: np.subtract,
    exp.Mul: np.multiply,
    exp.LT: np.less,
    exp.LTE: np.less_equal,
    exp.GT: np.greater,
    exp.GTE: np.greater_equal,
    exp.And: np.logical_and,
    exp.Or: np.logical_or,
}
_UNARY: Mapping[type[exp.Expr], Callable[[Any], Any]] = {
    exp.Neg: np.negative,
    exp.Floor: np.floor,
    exp.Abs: np.abs,
    exp.Not: np.logical_not,
}
_EXTREME: Mapping[type[exp.Expr], Callable[[Any, Any], Any]] = {exp.Greatest: np.maximum, exp.Least: np.minimum}


def compile_formula(text: str) -> Compiled:
    """A function from columns by name to the term's values (an array, or a scalar if no column is named)."""
    return _compile(parse_expression(text, "term"), text)


def _compile(tree: exp.Expr, text: str) -> Compiled:
    kind = type(tree)
    if kind is exp.Paren:
        return _compile(tree.this, text)
    if kind is exp.Column:
        name = str(tree.name)
        return lambda values: values[name]
    if kind is exp.Literal:
        constant = str(tree.this) if tree.args.get("is_string") else float(tree.this)
        return lambda _values: constant
    if kind is exp.Boolean:
        truth = bool(tree.this)
        return lambda _values: truth
    if kind in _UNARY:
        unary, inner = _UNARY[kind], _compile(tree.this, text)
        return lambda values: unary(inner(values))
    if kind is exp.Sqrt:
        inner = _compile(tree.this, text)
        return lambda values: np.sqrt(np.maximum(inner(values), 0.0))
    if kind in _EXTREME:
        pick, parts = _EXTREME[kind], [_compile(part, text) for part in (tree.this, *tree.expressions)]
        return lambda values: reduce(pick, (part(values) for part in parts))
    if kind is exp.Case:
        return _case(tree, text)
    if kind is exp.In:
        return _in(tree, text)
    if kind in _BINARY or kind in (exp.EQ, exp.NEQ, exp.Div):
        return _binary(tree, text)
    raise TermError(f"term {text!r}: {tree.sql()!r} cannot be simulated", remedy="use what terms of measures allow")


def _binary(tree: exp.Expr, text: str) -> Compiled:
    kind, a, b = type(tree), _compile(tree.this, text), _compile(tree.expression, text)
    if kind is exp.Div:
        return lambda values: _divide(a(values), b(values))
    if kind is exp.EQ:
        return lambda values: _equal(a(values), b(values))
    if kind is exp.NEQ:
        return lambda values: np.logical_not(_equal(a(values), b(values)))
    combine = _BINARY[kind]
    return lambda values: combine(a(values), b(values))


def _case(tree: exp.Expr, text: str) -> Compiled:
    arms = [(_compile(arm.this, text), _compile(arm.args["true"], text)) for arm in tree.args["ifs"]]
    default = tree.args.get("default")
    last = _compile(default, text) if default is not None else lambda _values: 0.0

    def case(values: Values) -> Any:
        result = last(values)
        for condition, value in reversed(arms):
            result = _choose(condition(values), value(values), result)
        return result

    return case


def _choose(condition: Any, value: Any, other: Any) -> Any:
    """`value` where the condition holds, else `other`; words of both become one vocabulary."""
    if not isinstance(value, Coded | str) and not isinstance(other, Coded | str):
        return np.where(condition, value, other)
    (codes, other_codes), words = one_vocabulary((_coded(value), _coded(other)))
    return Coded(np.where(condition, codes, other_codes), words)


def _coded(value: Any) -> Coded:
    """Words as they are, a single word as a column of its own, and anything else as no word."""
    if isinstance(value, Coded):
        return value
    return Coded(np.zeros((), dtype=np.int64), (value if isinstance(value, str) else "",))


def _in(tree: exp.Expr, text: str) -> Compiled:
    column, options = _compile(tree.this, text), [_compile(option, text) for option in tree.expressions]
    return lambda values: reduce(np.logical_or, (_equal(column(values), option(values)) for option in options))


def _equal(a: Any, b: Any) -> Any:
    """Equality; words are compared by their codes."""
    if isinstance(b, Coded) and not isinstance(a, Coded):
        a, b = b, a
    if not isinstance(a, Coded):
        return np.equal(a, b)
    if isinstance(b, Coded):
        (a_codes, b_codes), _ = one_vocabulary((a, b))
        return a_codes == b_codes
    return a.codes == a.words.index(b) if b in a.words else np.zeros(np.shape(a.codes), dtype=bool)


def _divide(a: Any, b: Any) -> Numbers:
    """a / b, and 0 where b is next to zero."""
    a, b = np.broadcast_arrays(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    quotient: Numbers = np.divide(a, b, out=np.zeros(a.shape), where=np.abs(b) >= 1e-9)
    return quotient
