"""Nodes: the pieces that terms are compiled from, each with its Polars and its ClickHouse form side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import polars as pl

LIMIT = 2.0**53
"""Fields and literals beyond this are unknown (fields) or refused (literals): integers up to it are exact."""
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

    @property
    def prepared(self) -> str:
        """Name of the column that `prepared_columns` makes of it."""
        return f"__{self.kind}_{self.name}"


@dataclass(frozen=True)
class Node:
    """One compiled expression in both engines. `bound` is the greatest absolute value that it can take."""

    kind: Kind
    polars: pl.Expr
    sql: str
    bound: float = 1.0
    leaves: frozenset[Leaf] = frozenset()
    guards: int = 0


def literal(value: float) -> Node:
    """A number that stands in the text."""
    return Node(Kind.NUMBER, pl.lit(value, dtype=pl.Float64), sql_number(value), abs(value))


def sql_number(value: float) -> str:
    """A double as ClickHouse reads it back bit by bit (shortest form that does)."""
    return repr(float(value)) if value >= 0 else f"({float(value)!r})"


def sql_text(value: str) -> str:
    """A string literal of ClickHouse, where backslash escapes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def column_node(leaf: Leaf, prepared: bool = False) -> Node:
    """A column as number (also if its type is ANY), condition or text; from its prepared column if asked."""
    name, kind = leaf
    raw, sql, leaves = pl.col(name), f"`{name}`", frozenset({leaf})
    if kind is ColumnType.TEXT:
        # Enum and Categorical become text first: ClickHouse refuses to compare an Enum with a foreign value.
        node = Node(Kind.TEXT, raw.cast(pl.String), f"toString({sql})", leaves=leaves)
    elif kind is ColumnType.BOOLEAN:
        node = Node(Kind.CONDITION, raw.cast(pl.Float64) != 0.0, f"(toFloat64({sql}) != 0.0)", leaves=leaves)
    else:
        value, sql = raw.cast(pl.Float64), f"toFloat64({sql})"
        expr = pl.when(value.abs() <= LIMIT).then(value)
        node = Node(Kind.NUMBER, expr, f"if(abs({sql}) <= {LIMIT!r}, {sql}, NULL)", LIMIT, leaves)
    return replace(node, polars=pl.col(leaf.prepared)) if prepared else node


def prepared_columns(nodes: Iterable[Node]) -> list[pl.Expr]:
    """The prepared columns that some nodes read, each made once, with their names."""
    leaves = frozenset[Leaf]().union(*(node.leaves for node in nodes))
    return [ZEROS.alias(PREPARED_ZEROS), *(column_node(leaf).polars.alias(leaf.prepared) for leaf in sorted(leaves))]


def to_number(node: Node) -> Node:
    """A condition as 1 or 0; a number as it is."""
    if node.kind is Kind.NUMBER:
        return node
    return merged(Kind.NUMBER, node.polars.cast(pl.Float64), f"toFloat64({node.sql})", 1.0, node)


def is_null(node: Node, *, negate: bool) -> Node:
    """The condition that a value is unknown (or, negated, known); never unknown itself."""
    expr = node.polars.is_not_null() if negate else node.polars.is_null()
    return merged(Kind.CONDITION, expr, f"({node.sql} IS {'NOT ' if negate else ''}NULL)", 1.0, node)


def merged(kind: Kind, polars: pl.Expr, sql: str, bound: float, *parts: Node) -> Node:
    """A node made from others."""
    leaves = frozenset[Leaf]().union(*(part.leaves for part in parts))
    return Node(kind, polars, sql, bound, leaves, max((part.guards for part in parts), default=0))


def guarded(node: Node, keep: pl.Expr, sql_keep: str) -> Node:
    """`node` where the condition holds, else null."""
    polars, sql = pl.when(keep).then(node.polars), f"if({sql_keep}, {node.sql}, NULL)"
    return replace(node, polars=polars, sql=sql, guards=node.guards + 1)


ZEROS = pl.int_range(pl.len()).cast(pl.Float64) * 0.0
"""A column of zeros as long as the frame; added to every divisor.

Polars divides a column by a single value as `x * (1 / value)`, which differs in the last bit in half of the
rows. Single values are not only literals (refused as divisors) but also columns made from one
(`with_columns(pl.lit(60.0))`), and a `CASE` whose condition happens to hold in all rows of this batch: the
result would depend on how the rows were batched.
"""
PREPARED_ZEROS = "__zeros"
