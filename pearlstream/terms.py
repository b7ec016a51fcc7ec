"""Terms: one formula over the fields of a reading, computed alike by Polars and by ClickHouse.

A term is SQL text from a short whitelist: columns, numbers, `+ - *`, division by something that has a column
in it, comparison, `AND OR NOT`, `IS [NOT] NULL`, `IN`, `CASE WHEN`, `floor abs sqrt greatest least`; text only
as a column compared with `=`, `<>`, `IN`. Each rule of the whitelist builds both engines' expression in one
place, from the parsed tree (never from Polars' own SQL reader), so that they can be compared line by line.

Why the two agree to the last bit:

- Every number is a finite Float64. A field that is null, NaN, infinite or beyond +-2^53 is null; the size of
  every result is bounded when the term is parsed, so no operation can reach infinity or NaN, about which the
  engines differ (Polars: NaN equals NaN and is greater than all; ClickHouse: IEEE). What is left, `+ - * /`,
  `floor`, `abs`, `sqrt` of finite doubles, is exact by IEEE 754 in both. Integers up to 2^53 stay exact, so
  it does not matter whether a column is stored as Int64 or Float64, and no integer overflows.
- A divisor nearer to zero than 1e-9, and the root of a negative number, give null, not infinity or NaN.
- Whether -0.0 or 0.0 comes out of `greatest(-0.0, 0)` differs, and cannot be seen: nothing divides by zero
  and the grid makes both the integer 0.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from typing import NoReturn

import polars as pl
from sqlglot import exp

from pearlstream.errors import TermError
from pearlstream.expression import parse_expression, plain_name, unknown_name
from pearlstream.nodes import (
    LIMIT,
    MIN_DIVISOR,
    PREPARED_ZEROS,
    ZEROS,
    Leaf,
    Node,
    column_node,
    guarded,
    is_null,
    literal,
    merged,
    sql_text,
    to_number,
)
from pearlstream.nodes import ColumnType as ColumnType
from pearlstream.nodes import Kind as Kind

_Combine = Callable[[pl.Expr, pl.Expr], pl.Expr]
_MAX_BOUND = 1e290
_MAX_GUARDS = 3  # a guard writes its operand twice, so nested guards double the expression each time


@dataclass(frozen=True)
class Term:
    """A parsed term. `text` is as declared, `types` the columns that it was parsed against.

    `node` is the term over raw columns; `fast` the same over columns that `prepared_columns` made, so that the
    terms of many measures share the work on their fields.
    """

    text: str
    types: Mapping[str, ColumnType] = field(repr=False, hash=False)
    node: Node = field(repr=False, compare=False)
    fast: Node = field(repr=False, compare=False)

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

    def polars(self) -> pl.Expr:
        """The term for Polars: Float64 (number) or Boolean (condition), null if unknown."""
        return self.node.polars

    def clickhouse(self) -> str:
        """The term for ClickHouse: Nullable Float64 or UInt8, null if unknown; safe inside any expression."""
        return self.node.sql

    def as_number(self) -> Term:
        """The term as a number; a condition counts as 1 or 0 (null stays null)."""
        return Term(self.text, self.types, to_number(self.node), to_number(self.fast))

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
        nodes = (is_null(column_node(leaf, prepared), negate=True) for prepared in (False, True))
        return Term(f"{column} IS NOT NULL", self.types, *nodes)


_COMPARE: dict[type[exp.Expr], tuple[str, _Combine, _Combine]] = {  # sign, Polars, Polars with sides swapped
    exp.EQ: ("=", operator.eq, operator.eq),
    exp.NEQ: ("!=", operator.ne, operator.ne),
    exp.LT: ("<", operator.lt, operator.gt),
    exp.LTE: ("<=", operator.le, operator.ge),
    exp.GT: (">", operator.gt, operator.lt),
    exp.GTE: (">=", operator.ge, operator.le),
}
_UNARY: dict[type[exp.Expr], tuple[str, Callable[[pl.Expr], pl.Expr]]] = {
    exp.Neg: ("-", lambda a: -a),
    exp.Floor: ("floor", lambda a: a.floor()),
    exp.Abs: ("abs", lambda a: a.abs()),
}
_EXTREME: dict[type[exp.Expr], tuple[str, Callable[..., pl.Expr]]] = {
    exp.Greatest: ("greatest", pl.max_horizontal),
    exp.Least: ("least", pl.min_horizontal),
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
    types, tree = dict(columns), parse_expression(text, "term")
    node, fast = (_Compiler(text, types, prepared).compile(tree) for prepared in (False, True))
    return Term(text, types, node, fast)


class _Compiler:
    """Walks the tree of one term; whatever is not named here is refused."""

    def __init__(self, text: str, types: Mapping[str, ColumnType], prepared: bool) -> None:
        self.text = text
        self.types = types
        self.prepared = prepared
        self.zeros = pl.col(PREPARED_ZEROS) if prepared else ZEROS

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
        return column_node(Leaf(name, kind), self.prepared)

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
            value = str(tree.this)
            return Node(Kind.TEXT, pl.lit(value), sql_text(value))
        number = float(tree.this)
        if not number <= LIMIT:
            self._refuse(tree, "is too big", f"numbers up to {LIMIT:.0f}")
        return literal(number)

    def _boolean(self, tree: exp.Expr) -> Node:
        return Node(Kind.CONDITION, pl.lit(bool(tree.this)), "true" if tree.this else "false")

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
        polars, sign = (a.polars - b.polars, "-") if minus else (a.polars + b.polars, "+")
        return self._bounded(tree, merged(Kind.NUMBER, polars, f"({a.sql} {sign} {b.sql})", a.bound + b.bound, a, b))

    def _multiply(self, tree: exp.Expr) -> Node:
        a, b = self._number(tree.this), self._number(tree.expression)
        node = merged(Kind.NUMBER, a.polars * b.polars, f"({a.sql} * {b.sql})", a.bound * b.bound, a, b)
        return self._bounded(tree, node)

    def _divide(self, tree: exp.Expr) -> Node:
        """Division by a full column, whatever the divisor is (`ZEROS` says why)."""
        a, b = self._number(tree.this), self._number(tree.expression)
        if not b.leaves:
            self._refuse(tree, "divides by a constant", "multiply, or scale in the indicator's formula")
        b = guarded(b, b.polars.abs() >= MIN_DIVISOR, f"abs({b.sql}) >= {MIN_DIVISOR!r}")
        polars = a.polars / (b.polars + self.zeros)
        node = merged(Kind.NUMBER, polars, f"({a.sql} / {b.sql})", a.bound / MIN_DIVISOR, a, b)
        return self._bounded(tree, node)

    def _unary(self, tree: exp.Expr) -> Node:
        a = self._number(tree.this)
        sign, apply = _UNARY[type(tree)]
        return merged(Kind.NUMBER, apply(a.polars), f"{sign}({a.sql})", a.bound + 1, a)

    def _sqrt(self, tree: exp.Expr) -> Node:
        a = self._number(tree.this)
        a = guarded(a, a.polars >= 0.0, f"{a.sql} >= 0.0")
        node = merged(Kind.NUMBER, a.polars.sqrt(), f"sqrt({a.sql})", math.sqrt(a.bound) + 1, a)
        return self._bounded(tree, node)

    def _extreme(self, tree: exp.Expr) -> Node:
        parts = [self._number(part) for part in (tree.this, *tree.expressions)]
        if len(parts) < 2:
            self._refuse(tree, "compares nothing", "give two or more arguments")
        name, combine = _EXTREME[type(tree)]
        sql = f"{name}({', '.join(part.sql for part in parts)})"
        polars = combine(*(part.polars for part in parts))
        return merged(Kind.NUMBER, polars, sql, max(part.bound for part in parts), *parts)

    def _case(self, tree: exp.Expr) -> Node:
        """Conditions in turn; one that is null does not hold; null if none holds and there is no ELSE."""
        arms = [(self._condition(arm.this), self._number(arm.args["true"])) for arm in tree.args["ifs"]]
        default = tree.args.get("default")
        last = [self._number(default)] if default and type(default) is not exp.Null else []
        polars = last[0].polars if last else pl.lit(None, dtype=pl.Float64)
        for condition, value in reversed(arms):
            polars = pl.when(condition.polars).then(value.polars).otherwise(polars)
        pieces = [piece.sql for arm in arms for piece in arm] + ([last[0].sql] if last else ["NULL"])
        parts = [piece for arm in arms for piece in arm] + last
        bound = max(value.bound for value in [arm[1] for arm in arms] + last)
        return merged(Kind.NUMBER, polars + self.zeros, f"multiIf({', '.join(pieces)})", bound, *parts)

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
        else:
            a, b = to_number(a), to_number(b)
        sign, compare, mirrored = _COMPARE[type(tree)]
        # Polars 2.1 gives one row, not n, for a literal on the left of n rows that are all one value.
        polars = compare(a.polars, b.polars) if a.leaves else mirrored(b.polars, a.polars)
        return merged(Kind.CONDITION, polars, f"({a.sql} {sign} {b.sql})", 1.0, a, b)

    def _in(self, tree: exp.Expr) -> Node:
        """One of some constants, written out as equalities: ClickHouse's IN has its own rules for null."""
        if not isinstance(tree.this, exp.Column) or not tree.expressions:
            self._refuse(tree, "is not 'column IN (constants)'", "name a column and list constants")
        equal = [self._compare(exp.EQ(this=tree.this, expression=value)) for value in tree.expressions]
        if any(node.leaves != equal[0].leaves or len(node.leaves) != 1 for node in equal):
            self._refuse(tree, "lists something that is not a constant", "list constants")
        return self._join(operator.or_, "OR", equal)

    def _join(self, combine: _Combine, word: str, parts: list[Node]) -> Node:
        polars = reduce(combine, (part.polars for part in parts))
        return merged(Kind.CONDITION, polars, "(" + f" {word} ".join(part.sql for part in parts) + ")", 1.0, *parts)

    def _and(self, tree: exp.Expr) -> Node:
        return self._join(operator.and_, "AND", [self._condition(tree.this), self._condition(tree.expression)])

    def _or(self, tree: exp.Expr) -> Node:
        return self._join(operator.or_, "OR", [self._condition(tree.this), self._condition(tree.expression)])

    def _not(self, tree: exp.Expr) -> Node:
        a = self._condition(tree.this)
        return merged(Kind.CONDITION, ~a.polars, f"(NOT {a.sql})", 1.0, a)

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
