"""Measures: integers on a grid that add up, whatever the order, the batch cut, the engine or the merge.

A measure turns each reading into one integer and adds (or takes the least or greatest of) them per pane, city
and dimensions. The integer is `floor(value * 10^decimals + 0.5)`: sums of floats would change with the order
of rows and the cut of batches, sums of integers cannot. What comes out are *partials*; partials of the same
place and pane merge by the same rule, so an indicator is always arithmetic over merged measures and never an
average of averages.

A row counts for a measure if its `where` holds, every `required` column has a usable value (`greatest(NULL,
3)` is 3 in both engines, so a term alone cannot see that a field is missing), and the contribution (and the
key of a map) is a number within +-2^53 of the grid. Rows that fail only the last are *unusable*: they are left
out in both engines alike, and `unusable` counts them.

Sums wrap modulo 2^64 in both engines alike. With contributions up to 2^53 that takes more than
a thousand rows of the greatest size.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pearlstream.errors import CatalogueError
from pearlstream.nodes import LIMIT, sql_number, sql_text
from pearlstream.partials import ESCAPES
from pearlstream.partials import IDENTITY as IDENTITY
from pearlstream.partials import PARTIAL as PARTIAL
from pearlstream.partials import MeasureKind as MeasureKind
from pearlstream.partials import merge as merge
from pearlstream.partials import parse_dims as parse_dims
from pearlstream.terms import Term

MAX_DECIMALS = 9
"""Finest grid, 10^-9."""
MAX_EDGES = 255
"""Most bucket edges of a histogram."""

SETTINGS = {
    "cast_keep_nullable": "1",
    "aggregate_functions_null_for_empty": "1",
    "least_greatest_legacy_null_behavior": "0",  # older servers: greatest(NULL, 3) was NULL
    "compile_expressions": "0",  # no difference seen, but a compiler may fuse multiply and add, which rounds once
}
"""ClickHouse settings under which a measure's text means what it means in NumPy."""


_DIMENSION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class PaneOf(StrEnum):
    """The time that a pane is cut by: the reading's own, or the clock when it arrived."""

    EVENT = "event"
    ARRIVAL = "arrival"

    @property
    def column(self) -> str:
        """The column of milliseconds that holds it."""
        return "ts" if self is PaneOf.EVENT else "clock"


@dataclass(frozen=True)
class MeasureSpec:
    """One declared measure of one feed. Terms are parsed over that feed's columns.

    `name` is `<indicator>.<name>` or `<feed>.rows`; `key` is for maps only: the term whose whole part (`floor`)
    is the key or, with `edges` (ascending), the term whose bucket is: bucket 0 lies below the first edge, bucket
    i in `[edges[i-1], edges[i])`, the last at or above the last edge. `required` columns must have a usable
    value, `by` are the dimensions (text or integer columns). `city`: the text column that names the city a row counts
    for, if it is one of `cities`; empty: the city that the frame came from. Raises CatalogueError if the parts do not
    fit.
    """

    name: str
    feed: str
    kind: MeasureKind
    value: Term
    where: Term | None = None
    key: Term | None = None
    edges: tuple[float, ...] = ()
    decimals: int = 3
    required: frozenset[str] = frozenset()
    by: tuple[str, ...] = ()
    pane_len_s: int = 10
    pane_of: PaneOf = PaneOf.EVENT
    city: str = ""
    cities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.key is not None) is not (self.kind is MeasureKind.MAP):
            raise self._wrong("a map needs a key, other kinds have none", "set kind = 'map' and key, or neither")
        if not 0 <= self.decimals <= MAX_DECIMALS:
            raise self._wrong(f"decimals = {self.decimals}", f"0 to {MAX_DECIMALS}")
        if self.pane_len_s < 1:
            raise self._wrong(f"pane_len_s = {self.pane_len_s}", "a pane lasts at least 1 s")
        if self.edges and (self.key is None or len(self.edges) > MAX_EDGES or not _ascending(self.edges)):
            raise self._wrong("edges do not fit", f"1 to {MAX_EDGES} ascending numbers, on a map")
        if len(set(self.by)) != len(self.by) or not all(_DIMENSION.match(name) for name in self.by):
            raise self._wrong(f"by = {self.by}", "plain column names, each once")
        if self.where is not None:
            self.where.as_condition()
        if self.city and not _DIMENSION.match(self.city):
            raise self._wrong(f"city = {self.city!r}", "a plain column name")
        for column in self.required:
            self.value.known(column)

    def _wrong(self, what: str, remedy: str) -> CatalogueError:
        return CatalogueError(f"measure {self.name!r} of {self.feed}: {what}", remedy=remedy)

    @property
    def asked(self) -> list[Term]:
        """The conditions that say whether a row is asked for: `where`, and every required field known."""
        asked = [] if self.where is None else [self.where.as_condition()]
        return asked + [self.value.known(column) for column in sorted(self.required)]

    @property
    def columns(self) -> frozenset[str]:
        """Columns of the feed that it reads, dimensions included; `city`, `ts`, `clock` and `late` apart."""
        terms = [term for term in (self.value, self.where, self.key) if term is not None]
        place = [self.city] if self.city else []
        return self.required.union(self.by, place, *(term.columns for term in terms))


def rows_measure(feed: str) -> MeasureSpec:
    """The built-in measure `<feed>.rows`: one per reading, no condition, no dimensions."""
    return MeasureSpec(f"{feed}.rows", feed, MeasureKind.SUM, Term.parse("1", ()), decimals=0)


def _ascending(edges: Sequence[float]) -> bool:
    fine = all(math.isfinite(edge) and abs(edge) <= LIMIT for edge in edges)
    return fine and all(low < high for low, high in itertools.pairwise(edges))


# ---------------------------------------------------------------- ClickHouse


def clickhouse_select(spec: MeasureSpec, source: str, *, where: str = "", time: str = "", late: str = "late") -> str:
    """The same partials from stored readings: a SELECT that yields the columns PARTIAL, sorted by IDENTITY.

    `source` is what stands after FROM (a table, a view, or a SELECT in brackets) and must offer the measure's
    columns by name and `city`; `time` is SQL for the Int64 milliseconds that cut panes (default the column `ts`
    or `clock`), `late` SQL for the flag, `where` SQL that narrows the rows. These four are trusted text of the
    caller. The settings it needs are part of the statement.
    """
    moment = time or f"`{spec.pane_of.column}`"
    asked = [term.clickhouse() for term in spec.asked] + ([f"({where})"] if where else [])
    if spec.city:
        asked.append(f"ifNull(toString(`{spec.city}`), '') IN ({', '.join(map(sql_text, spec.cities)) or 'NULL'})")
    key = "NULL" if spec.key is None else spec.key.as_number().clickhouse()
    value = f"floor({spec.value.as_number().clickhouse()} * {10.0**spec.decimals!r} + 0.5)"
    # Names of our own start with __, so that none hides a field of the feed.
    inner = (
        f"SELECT toString(`{spec.city or 'city'}`) AS __city, {_sql_dims(spec.by)} AS __dims,",
        f"toInt64({moment}) AS __time,",
        f"toBool({late}) AS __late, {value} AS __value, {key} AS __key",
        f"FROM {source} WHERE {' AND '.join(asked) or 'true'}",
    )
    rows = (
        f"SELECT *, if(abs(__value) <= {LIMIT!r}, toInt64(__value), NULL) AS __whole, {_sql_key(spec)} AS __bucket",
        f"FROM ({' '.join(inner)})",
    )
    function = {MeasureKind.MIN: "min", MeasureKind.MAX: "max"}.get(spec.kind, "sum")
    usable = "__whole IS NOT NULL" + ("" if spec.key is None else " AND __bucket IS NOT NULL")
    outer = (
        f"SELECT {sql_text(spec.feed)} AS feed, __city AS city, __dims AS dims,",
        f"__time - positiveModulo(__time, {spec.pane_len_s * 1000}) AS pane_ms,",
        f"toInt64({spec.pane_len_s}) AS pane_len_s, {sql_text(spec.name)} AS measure, __bucket AS key,",
        f"{function}(assumeNotNull(__whole)) AS value, toInt64(count()) AS n, __late AS late",
        f"FROM ({' '.join(rows)}) WHERE {usable} GROUP BY city, dims, pane_ms, key, late",
        "ORDER BY city, dims, pane_ms, key NULLS FIRST, late",
        "SETTINGS " + ", ".join(f"{name} = {setting}" for name, setting in SETTINGS.items()),
    )
    return " ".join(outer)


def _sql_key(spec: MeasureSpec) -> str:
    if spec.key is None:
        return "CAST(NULL AS Nullable(Int64))"
    if spec.edges:
        edges = ", ".join(sql_number(edge) for edge in spec.edges)
        return f"if(__key IS NULL, NULL, toInt64(arrayCount(edge -> edge <= assumeNotNull(__key), [{edges}])))"
    return f"if(abs(floor(__key)) <= {LIMIT!r}, toInt64(floor(__key)), NULL)"


def _sql_dims(by: Sequence[str]) -> str:
    """As `dims_texts`."""
    pairs = []
    for name in sorted(by):
        value = f"ifNull(toString(`{name}`), '')"
        for raw, code in ESCAPES:
            value = f"replaceAll({value}, {sql_text(raw)}, {sql_text(code)})"
        pairs.append(f"'{name}=', {value}")
    return "concat(" + ", ',', ".join(pairs) + ")" if pairs else "''"
