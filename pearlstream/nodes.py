"""Nodes: the pieces that terms are compiled from, each with its NumPy and its ClickHouse form side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from pearlstream.rows import LIMIT as LIMIT
from pearlstream.rows import Floats, Rows, Words

MIN_DIVISOR = 1e-9
"""A divisor nearer to zero than this counts as zero: the quotient is null."""


class ColumnType(StrEnum):
    """What a column holds, as far as a term must know. ANY (no types given) takes the type of its use."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    ANY = "any"


class Kind(StrEnum):
    """What a term yields: a number (Float64, finite or null), a condition (three-valued), or text."""

    NUMBER = "number"
    CONDITION = "condition"
    TEXT = "text"


class Leaf(NamedTuple):
    """A column as a term uses it. One of type ANY may be used in several ways."""

    name: str
    kind: ColumnType


OnRows = Callable[[Rows], Any]


@dataclass(frozen=True)
class Node:
    """One compiled expression in both engines.

    `make` computes it over rows. Number: Float64, NaN where it is null (no other number is NaN, and NaN spreads as
    null does). Condition: where it holds; `deny` computes where it does not, and where neither is true it is null.
    Text: `Words`, or one text for all rows. A constant may be one value in place of an array. `sql` is ClickHouse's
    form and the node's identity: nodes of the same text are computed once for the same rows. `bound` is the greatest
    absolute value that it can take.
    """

    kind: Kind
    make: OnRows
    sql: str
    bound: float = 1.0
    leaves: frozenset[Leaf] = frozenset()
    guards: int = 0
    deny: OnRows | None = None
    _denied: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "_denied", f"NOT {self.sql}")

    def on(self, rows: Rows) -> Any:
        """The number, where the condition holds, or the text."""
        return rows.kept(self.sql, self.make)

    def fails_on(self, rows: Rows) -> Any:
        """Where a condition does not hold, known for certain."""
        assert self.deny is not None
        return rows.kept(self._denied, self.deny)


def literal(value: float) -> Node:
    """A number that stands in the text."""
    number = np.float64(value)
    return Node(Kind.NUMBER, lambda _: number, sql_number(value), abs(value))


def truth(value: bool) -> Node:
    """`true` or `false` that stands in the text."""
    yes, no = np.bool_(value), np.bool_(not value)
    return Node(Kind.CONDITION, lambda _: yes, "true" if value else "false", deny=lambda _: no)


def text(value: str) -> Node:
    """A text that stands in the text."""
    return Node(Kind.TEXT, lambda _: value, sql_text(value))


def sql_number(value: float) -> str:
    """A double as ClickHouse reads it back bit by bit (shortest form that does)."""
    return repr(float(value)) if value >= 0 else f"({float(value)!r})"


def sql_text(value: str) -> str:
    """A string literal of ClickHouse, where backslash escapes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def column_node(leaf: Leaf) -> Node:
    """A column as number (also if its type is ANY), condition or text."""
    name, kind = leaf
    sql, leaves = f"`{name}`", frozenset({leaf})
    if kind is ColumnType.TEXT:
        return Node(Kind.TEXT, lambda rows: rows.words(name), f"toString({sql})", leaves=leaves)
    sql = f"toFloat64({sql})"
    if kind is ColumnType.BOOLEAN:
        condition = Node(Kind.CONDITION, lambda rows: rows.truths(name)[0], f"({sql} != 0.0)", leaves=leaves)
        return replace(condition, deny=lambda rows: rows.truths(name)[1])
    usable = f"if(abs({sql}) <= {LIMIT!r}, {sql}, NULL)"
    return Node(Kind.NUMBER, lambda rows: rows.numbers(name), usable, LIMIT, leaves)


def to_number(node: Node) -> Node:
    """A condition as 1 or 0; a number as it is."""
    if node.kind is Kind.NUMBER:
        return node

    def make(rows: Rows) -> Floats:
        return np.where(node.on(rows), 1.0, np.where(node.fails_on(rows), 0.0, np.nan))

    return merged(Kind.NUMBER, make, f"toFloat64({node.sql})", 1.0, node)


def _null(node: Node, rows: Rows) -> Any:
    if node.kind is Kind.NUMBER:
        return np.isnan(node.on(rows))
    if node.kind is Kind.CONDITION:
        return np.logical_not(np.logical_or(node.on(rows), node.fails_on(rows)))
    words: Words | str = node.on(rows)
    return np.zeros(len(rows), bool) if isinstance(words, str) else ~words.known


def is_null(node: Node, *, negate: bool) -> Node:
    """The condition that a value is unknown (or, negated, known); never unknown itself."""
    null = merged(Kind.CONDITION, lambda rows: _null(node, rows), f"({node.sql} IS NULL)", 1.0, node)
    null = replace(null, deny=lambda rows: np.logical_not(null.on(rows)))
    if not negate:
        return null
    known = merged(Kind.CONDITION, null.fails_on, f"({node.sql} IS NOT NULL)", 1.0, node)
    return replace(known, deny=null.on)


def merged(kind: Kind, make: OnRows, sql: str, bound: float, *parts: Node, deny: OnRows | None = None) -> Node:
    """A node made from others."""
    leaves = frozenset[Leaf]().union(*(part.leaves for part in parts))
    return Node(kind, make, sql, bound, leaves, max((part.guards for part in parts), default=0), deny)


def guarded(node: Node, keep: Callable[[Any], Any], sql_keep: str) -> Node:
    """A number where `keep` says so of it, else null."""

    def make(rows: Rows) -> Floats:
        values = node.on(rows)
        return np.where(keep(values), values, np.nan)

    return replace(node, make=make, sql=f"if({sql_keep}, {node.sql}, NULL)", guards=node.guards + 1)


def everywhere(values: Any, rows: Rows) -> Any:
    """An array as long as the rows, also of a constant."""
    return values if getattr(values, "ndim", 0) else np.full(len(rows), values)
