"""Terms: one formula over the fields of a reading, computed alike by NumPy and by ClickHouse.

A term is SQL text from a short whitelist: columns, numbers, `+ - *`, division by something that has a column
in it, comparison, `AND OR NOT`, `IS [NOT] NULL`, `IN`, `CASE WHEN`, `floor abs sqrt greatest least`; text only
as a column compared with `=`, `<>`, `IN`. Each rule of the whitelist builds both engines' expression in one
place, from the parsed tree, so that they can be compared line by line.

Why the two agree to the last bit:

- Every number is a finite Float64. A field that is null, NaN, infinite or beyond +-2^53 is null; the size of
  every result is bounded when the term is parsed, so no operation can reach infinity or NaN: NaN is free to stand
  for null in NumPy. What is left, `+ - * /`, `floor`, `abs`, `sqrt` of finite doubles, is exact by IEEE 754 in
  both. Integers up to 2^53 stay exact, so it does not matter whether a column is stored as Int64 or Float64, and no
  integer overflows.
- A divisor nearer to zero than 1e-9, and the root of a negative number, give null, not infinity or NaN.
- Whether -0.0 or 0.0 comes out of `greatest(-0.0, 0)` differs, and cannot be seen: nothing divides by zero
  and the grid makes both the integer 0.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from typing import Any, NoReturn

import numpy as np
from sqlglot import exp

from pearlstream.errors import TermError
from pearlstream.expression import parse_expression, plain_name, unknown_name
from pearlstream.nodes import (
    LIMIT,
    MIN_DIVISOR,
    Leaf,
    Node,
    column_node,
    everywhere,
    guarded,
    is_null,
    literal,
    merged,
    text,
    to_number,
    truth,
)
from pearlstream.nodes import ColumnType as ColumnType
from pearlstream.nodes import Kind as Kind
from pearlstream.rows import Bools, Floats, Rows

_Combine = Callable[[Any, Any], Any]
_MAX_BOUND = 1e290
_MAX_GUARDS = 3  # a guard writes its operand twice, so nested guards double the expression each time


@dataclass(frozen=True)
class Term:
    """A parsed term. `text` is as declared, `types` the columns that it was parsed against, `node` what came of it."""

    text: str
    types: Mapping[str, ColumnType] = field(repr=False, hash=False)
    node: Node = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, columns: Mapping[str, ColumnType] | Collection[str]) -> Term:
        """Parse `text` over the columns of a feed (with their types, or names alone: types then follow use).

        Raises TermError with the offending part and its remedy if anything is outside the whitelist.
        """
        types = dict(columns) if isinstance(columns, Mapping) else dict.fromkeys(columns, ColumnType.ANY)
        return _parsed(text, tuple(types.items()))

    @property
    def columns(self) -> frozenset[str]:
        """Columns that the term reads."""
        return frozenset(leaf.name for leaf in self.node.leaves)

    @property
    def kind(self) -> Kind:
        """Number or condition."""
        return self.node.kind

    def numbers(self, rows: Rows) -> Floats:
        """The term in each row, NaN where it is unknown; a condition counts as 1 or 0."""
        values: Floats = everywhere(to_number(self.node).on(rows), rows)
        return values

    def holds(self, rows: Rows) -> Bools:
        """Whether the condition holds in each row, which it does not where it is unknown. Raises TermError if it is
        no condition."""
        found: Bools = everywhere(self.as_condition().node.on(rows), rows)
        return found

    def clickhouse(self) -> str:
        """The term for ClickHouse: Nullable Float64 or UInt8, null if unknown; safe inside any expression."""
        return self.node.sql

    def as_number(self) -> Term:
        """The term as a number; a condition counts as 1 or 0 (null stays null)."""
        return Term(self.text, self.types, to_number(self.node))

    def as_condition(self) -> Term:
        """The term as a condition. Raises TermError if it yields a number."""
        if self.node.kind is not Kind.CONDITION:
            raise TermError(f"term {self.text!r} gives a number where a condition is needed", remedy="compare it")
        return self

    def known(self, column: str) -> Term:
        """The condition that a column of the same feed has a usable value. Raises TermError if it has none such."""
        if column not in self.types:
            raise unknown_name(self.text, column, self.types)
        # Any type can be read as text; a column of unknown type may well not be a number.
        kind = self.types[column]
        leaf = Leaf(column, ColumnType.TEXT if kind is ColumnType.ANY else kind)
        return Term(f"{column} IS NOT NULL", self.types, is_null(column_node(leaf), negate=True))


def _apart(a: Any, b: Any) -> Any:
    """Where two numbers differ; not where one is unknown."""
    return np.logical_or(np.less(a, b), np.greater(a, b))


# Sign, where it holds, where it does not. Neither is true of NaN.
_COMPARE: dict[type[exp.Expr], tuple[str, _Combine, _Combine]] = {
    exp.EQ: ("=", np.equal, _apart),
    exp.NEQ: ("!=", _apart, np.equal),
    exp.LT: ("<", np.less, np.greater_equal),
    exp.LTE: ("<=", np.less_equal, np.greater),
    exp.GT: (">", np.greater, np.less_equal),
    exp.GTE: (">=", np.greater_equal, np.less),
}
_UNARY: dict[type[exp.Expr], tuple[str, Callable[[Any], Any]]] = {
    exp.Neg: ("-", np.negative),
    exp.Floor: ("floor", np.floor),
    exp.Abs: ("abs", np.abs),
}
# NumPy's fmax and fmin pass over NaN as ClickHouse passes over NULL.
_EXTREME: dict[type[exp.Expr], tuple[str, _Combine]] = {
    exp.Greatest: ("greatest", np.fmax),
    exp.Least: ("least", np.fmin),
}
_ARGUMENTS: dict[type[exp.Expr], frozenset[str]] = {
    exp.Case: frozenset({"ifs", "default"}),
    exp.If: frozenset({"this", "true"}),
    exp.In: frozenset({"this", "expressions"}),
    exp.Greatest: frozenset({"this", "expressions", "ignore_nulls"}),
    exp.Least: frozenset({"this", "expressions", "ignore_nulls"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Div: frozenset({"this", "expression", "typed", "safe"}),
}
_PLAIN = frozenset({"this", "expression"})
ALLOWED = "columns, numbers, + - * /, comparison, AND OR NOT, IS NULL, IN, CASE WHEN, floor, abs, sqrt, greatest, least"


@lru_cache(maxsize=4096)
def _parsed(text: str, columns: tuple[tuple[str, ColumnType], ...]) -> Term:
    """Made once for all who ask: a catalogue says the same things in many places."""
    types = dict(columns)
    return Term(text, types, _Compiler(text, types).compile(parse_expression(text, "term")))


def _arithmetic(combine: _Combine, sign: str, a: Node, b: Node, bound: float) -> Node:
    """Two numbers made one; NaN spreads as null does."""
    return merged(Kind.NUMBER, lambda rows: combine(a.on(rows), b.on(rows)), f"({a.sql} {sign} {b.sql})", bound, a, b)


def all_of(parts: Sequence[Node]) -> Node:
    """The condition that all of some hold: it fails where any fails, and is unknown otherwise."""
    return _joined("AND", np.logical_and, np.logical_or, parts)


def _either(parts: Sequence[Node]) -> Node:
    """The condition that at least one of some holds: it fails where all fail, and is unknown otherwise."""
    return _joined("OR", np.logical_or, np.logical_and, parts)


def _joined(word: str, holds: _Combine, fails: _Combine, parts: Sequence[Node]) -> Node:
    return merged(
        Kind.CONDITION,
        lambda rows: reduce(holds, (part.on(rows) for part in parts)),
        "(" + f" {word} ".join(part.sql for part in parts) + ")",
        1.0,
        *parts,
        deny=lambda rows: reduce(fails, (part.fails_on(rows) for part in parts)),
    )


def _same_text(a: Node, b: Node, *, negate: bool) -> Node:
    """The condition that two texts, at least one of them a column, are the same; unknown where one is."""
    if not a.leaves:
        return replace(_same_text(b, a, negate=negate), sql=f"({a.sql} {'!=' if negate else '='} {b.sql})")

    def same(rows: Rows) -> Bools:
        return a.on(rows).equal(b.on(rows))  # type: ignore[no-any-return]

    def differ(rows: Rows) -> Any:
        texts = (a.on(rows), b.on(rows))
        known = reduce(np.logical_and, (one.known for one in texts if not isinstance(one, str)))
        return np.logical_and(known, ~same(rows))

    sql = f"({a.sql} {'!=' if negate else '='} {b.sql})"
    holds, fails = (differ, same) if negate else (same, differ)
    return merged(Kind.CONDITION, holds, sql, 1.0, a, b, deny=fails)


class _Compiler:
    """Walks the tree of one term; whatever is not named here is refused."""

    def __init__(self, text: str, types: Mapping[str, ColumnType]) -> None:
        self.text = text
        self.types = types

    def compile(self, tree: exp.Expr) -> Node:
        """The whole term. Raises TermError if it is text, or outside the whitelist."""
        node = self._any(tree)
        if node.kind is Kind.TEXT:
            self._refuse(tree, "is text, which can be compared but not counted", "write it as column = 'value'")
        return node

    def _refuse(self, tree: exp.Expr, why: str, remedy: str) -> NoReturn:
        raise TermError(f"term {self.text!r}: {tree.sql()!r} {why}", remedy=remedy)

    def _any(self, tree: exp.Expr, wanted: Kind = Kind.NUMBER) -> Node:
        """Compile by exact class; `wanted` says only how a column of unknown type is meant."""
        method = self._METHODS.get(type(tree))
        extra = {name for name, value in tree.args.items() if value} - _ARGUMENTS.get(type(tree), _PLAIN)
        if isinstance(tree, exp.Column):
            return self._column(tree, wanted)
        if method is None or extra:
            self._refuse(tree, "is not allowed in a term", f"allowed: {ALLOWED}")
        return method(self, tree)

    def _column(self, tree: exp.Column, wanted: Kind) -> Node:
        name = plain_name(self.text, tree)
        if name not in self.types:
            raise unknown_name(self.text, name, self.types)
        kind = self.types[name]
        if kind is ColumnType.ANY and wanted is not Kind.NUMBER:
            kind = ColumnType.BOOLEAN if wanted is Kind.CONDITION else ColumnType.TEXT
        return column_node(Leaf(name, kind))

    def _number(self, tree: exp.Expr) -> Node:
        node = self._any(tree)
        if node.kind is Kind.TEXT:
            self._refuse(tree, "is text where a number is needed", "text can only be compared with =, <>, IN")
        return to_number(node)

    def _condition(self, tree: exp.Expr) -> Node:
        node = self._any(tree, Kind.CONDITION)
        if node.kind is not Kind.CONDITION:
            self._refuse(tree, "is a number where a condition is needed", "compare it, for example with > 0")
        return node

    def _paren(self, tree: exp.Expr) -> Node:
        return self._any(tree.this)

    def _literal(self, tree: exp.Expr) -> Node:
        if tree.args.get("is_string"):
            return text(str(tree.this))
        number = float(tree.this)
        if not number <= LIMIT:
            self._refuse(tree, "is too big", f"numbers up to {LIMIT:.0f}")
        return literal(number)

    def _boolean(self, tree: exp.Expr) -> Node:
        return truth(bool(tree.this))

    # ------------------------------------------------------------ arithmetic

    def _bounded(self, tree: exp.Expr, node: Node) -> Node:
        if node.bound > _MAX_BOUND:
            self._refuse(tree, "could overflow", "fewer factors: each field may be as large as 9e15")
        if node.guards > _MAX_GUARDS:
            self._refuse(tree, "nests divisors or roots too deeply", f"at most {_MAX_GUARDS} inside each other")
        return node

    def _add(self, tree: exp.Expr) -> Node:
        a, b = self._number(tree.this), self._number(tree.expression)
        minus = type(tree) is exp.Sub
        combine, sign = (operator.sub, "-") if minus else (operator.add, "+")
        return self._bounded(tree, _arithmetic(combine, sign, a, b, a.bound + b.bound))

    def _multiply(self, tree: exp.Expr) -> Node:
        a, b = self._number(tree.this), self._number(tree.expression)
        return self._bounded(tree, _arithmetic(operator.mul, "*", a, b, a.bound * b.bound))

    def _divide(self, tree: exp.Expr) -> Node:
        a, b = self._number(tree.this), self._number(tree.expression)
        if not b.leaves:
            self._refuse(tree, "divides by a constant", "multiply, or scale in the indicator's formula")
        b = guarded(b, lambda values: np.abs(values) >= MIN_DIVISOR, f"abs({b.sql}) >= {MIN_DIVISOR!r}")
        return self._bounded(tree, _arithmetic(operator.truediv, "/", a, b, a.bound / MIN_DIVISOR))

    def _unary(self, tree: exp.Expr) -> Node:
        a = self._number(tree.this)
        sign, apply = _UNARY[type(tree)]
        return merged(Kind.NUMBER, lambda rows: apply(a.on(rows)), f"{sign}({a.sql})", a.bound + 1, a)

    def _sqrt(self, tree: exp.Expr) -> Node:
        a = self._number(tree.this)
        a = guarded(a, lambda values: values >= 0.0, f"{a.sql} >= 0.0")
        node = merged(Kind.NUMBER, lambda rows: np.sqrt(a.on(rows)), f"sqrt({a.sql})", math.sqrt(a.bound) + 1, a)
        return self._bounded(tree, node)

    def _extreme(self, tree: exp.Expr) -> Node:
        parts = [self._number(part) for part in (tree.this, *tree.expressions)]
        if len(parts) < 2:
            self._refuse(tree, "compares nothing", "give two or more arguments")
        name, combine = _EXTREME[type(tree)]
        sql = f"{name}({', '.join(part.sql for part in parts)})"
        bound = max(part.bound for part in parts)
        return merged(Kind.NUMBER, lambda rows: reduce(combine, (p.on(rows) for p in parts)), sql, bound, *parts)

    def _case(self, tree: exp.Expr) -> Node:
        """Conditions in turn; one that is null does not hold; null if none holds and there is no ELSE."""
        arms = [(self._condition(arm.this), self._number(arm.args["true"])) for arm in tree.args["ifs"]]
        default = tree.args.get("default")
        last = [self._number(default)] if default and type(default) is not exp.Null else []

        def make(rows: Rows) -> Any:
            values = last[0].on(rows) if last else np.float64(np.nan)
            for condition, value in reversed(arms):
                values = np.where(condition.on(rows), value.on(rows), values)
            return values

        pieces = [piece.sql for arm in arms for piece in arm] + ([last[0].sql] if last else ["NULL"])
        parts = [piece for arm in arms for piece in arm] + last
        bound = max(value.bound for value in [arm[1] for arm in arms] + last)
        return merged(Kind.NUMBER, make, f"multiIf({', '.join(pieces)})", bound, *parts)

    # ------------------------------------------------------------ conditions

    def _compare(self, tree: exp.Expr) -> Node:
        if any(type(side) in _COMPARE for side in (tree.this, tree.expression)):
            self._refuse(tree, "compares a comparison", "write a < b AND b < c")
        a, b = self._any(tree.this), self._any(tree.expression)
        if Kind.TEXT in (a.kind, b.kind):
            if type(tree) not in (exp.EQ, exp.NEQ):
                self._refuse(tree, "orders text", "text can only be compared with =, <>, IN")
            a, b = (self._any(side, Kind.TEXT) for side in (tree.this, tree.expression))
            if a.kind is not b.kind or not (a.leaves or b.leaves):
                self._refuse(tree, "compares text with something else", "compare a text column with 'text'")
            return _same_text(a, b, negate=type(tree) is exp.NEQ)
        a, b = to_number(a), to_number(b)
        sign, holds, fails = _COMPARE[type(tree)]
        return merged(
            Kind.CONDITION,
            lambda rows: holds(a.on(rows), b.on(rows)),
            f"({a.sql} {sign} {b.sql})",
            1.0,
            a,
            b,
            deny=lambda rows: fails(a.on(rows), b.on(rows)),
        )

    def _in(self, tree: exp.Expr) -> Node:
        """One of some constants, written out as equalities: ClickHouse's IN has its own rules for null."""
        if not isinstance(tree.this, exp.Column) or not tree.expressions:
            self._refuse(tree, "is not 'column IN (constants)'", "name a column and list constants")
        equal = [self._compare(exp.EQ(this=tree.this, expression=value)) for value in tree.expressions]
        if any(node.leaves != equal[0].leaves or len(node.leaves) != 1 for node in equal):
            self._refuse(tree, "lists something that is not a constant", "list constants")
        return _either(equal)

    def _and(self, tree: exp.Expr) -> Node:
        return all_of([self._condition(tree.this), self._condition(tree.expression)])

    def _or(self, tree: exp.Expr) -> Node:
        return _either([self._condition(tree.this), self._condition(tree.expression)])

    def _not(self, tree: exp.Expr) -> Node:
        a = self._condition(tree.this)
        return merged(Kind.CONDITION, a.fails_on, f"(NOT {a.sql})", 1.0, a, deny=a.on)

    def _is(self, tree: exp.Expr) -> Node:
        if type(tree.expression) is not exp.Null:
            self._refuse(tree, "is not allowed in a term", "write IS NULL, IS NOT NULL, or a comparison")
        return is_null(self._any(tree.this, Kind.TEXT), negate=False)

    _METHODS: Mapping[type[exp.Expr], Callable[[_Compiler, exp.Expr], Node]] = {
        exp.Paren: _paren,
        exp.Literal: _literal,
        exp.Boolean: _boolean,
        exp.Add: _add,
        exp.Sub: _add,
        exp.Mul: _multiply,
        exp.Div: _divide,
        exp.Sqrt: _sqrt,
        exp.Greatest: _extreme,
        exp.Least: _extreme,
        exp.Case: _case,
        exp.In: _in,
        exp.And: _and,
        exp.Or: _or,
        exp.Not: _not,
        exp.Is: _is,
        **dict.fromkeys(_UNARY, _unary),
        **dict.fromkeys(_COMPARE, _compare),
    }
