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

Sums wrap modulo 2^64 in Polars, ClickHouse and here alike. With contributions up to 2^53 that takes more than
a thousand rows of the greatest size.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, reduce
from operator import and_
from typing import NamedTuple

import numpy as np
import polars as pl

from pearlstream.errors import CatalogueError
from pearlstream.grouping import Codes, Groups, Ints, codes_of, codes_of_ints, joined
from pearlstream.nodes import LIMIT, PREPARED_ZEROS, ZEROS, prepared_columns, sql_number, sql_text
from pearlstream.partials import ESCAPES, dims_text
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
"""ClickHouse settings under which a measure's text means what it means in Polars."""


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


# ---------------------------------------------------------------- Polars


class Columns(NamedTuple):
    """A measure over rows, as Polars expressions: Int64 on the grid, Boolean, Int64 or None."""

    contribution: pl.Expr
    keep: pl.Expr
    key: pl.Expr | None


def polars_columns(spec: MeasureSpec) -> Columns:
    """The row's integer, whether it counts, and its key. `keep` is never null; the others may be where it is false."""
    grid = _on_grid(spec.value.as_number().polars(), spec.decimals)
    contribution = pl.when(grid.abs() <= LIMIT).then(grid).cast(pl.Int64)
    keep = contribution.is_not_null()
    for term in _asked(spec):
        keep = keep & term.polars().fill_null(False)
    if spec.key is None:
        return Columns(contribution, keep, None)
    key = _key(spec.key.as_number().polars() + ZEROS, spec.edges)
    return Columns(contribution, keep & key.is_not_null(), key)


def _on_grid(value: pl.Expr, decimals: int) -> pl.Expr:
    """A number on the grid of 10^-decimals, half upwards, still as a float."""
    return (value * 10.0**decimals + 0.5).floor()


def _key(value: pl.Expr, edges: tuple[float, ...]) -> pl.Expr:
    """The key of a map as Int64: whole part or bucket; null if unknown or beyond +-2^53.

    `value` must be as long as the frame, and hold no -0.0, hence the zeros that callers add.
    """
    if not edges:
        return pl.when(value.floor().abs() <= LIMIT).then(value.floor()).cast(pl.Int64)
    bucket = pl.lit(pl.Series(edges, dtype=pl.Float64)).search_sorted(value, side="right")
    return pl.when(value.is_not_null()).then(bucket.cast(pl.Int64))


def _asked(spec: MeasureSpec) -> list[Term]:
    """The conditions that say whether a row is asked for: `where`, and every required field known."""
    asked = [] if spec.where is None else [spec.where.as_condition()]
    return asked + [spec.value.known(column) for column in sorted(spec.required)]


class _Class(NamedTuple):
    """Measures that one group_by can serve: same dimensions, panes, key and city (by column, "" if none)."""

    by: tuple[str, ...]
    pane_len_s: int
    pane_of: PaneOf
    key: str
    city: str


class _Partials(NamedTuple):
    """The partials of one measure: the first row, the pane, the value and the number of rows of each."""

    group: _Class
    number: int
    first: Ints
    panes: Ints
    values: Ints
    counts: Ints


class Plan:
    """Measures of one feed, compiled: fields are prepared once, equal terms computed once, one group_by a class.

    `extra` are columns beyond `city` that split the partials further (a tick's number, say) and come first in the
    output. A plan keeps nothing of the rows: it may be used again, and from several threads.
    """

    def __init__(self, specs: Iterable[MeasureSpec], extra: Sequence[str] = ()) -> None:
        self.specs, self.extra = tuple(specs), tuple(extra)
        self._cells: dict[tuple[object, ...], pl.Expr] = {}
        self._counted: list[pl.Expr] = []
        self._classes: dict[_Class, list[int]] = {}
        for number, spec in enumerate(self.specs):
            self._add(number, spec)
        times = sorted({spec.pane_of.column for spec in self.specs})
        by = sorted({name for spec in self.specs for name in spec.by})
        cities = sorted({spec.city for spec in self.specs if spec.city})
        terms = [term for spec in self.specs for term in (spec.value, spec.key, *_asked(spec)) if term is not None]
        columns = [*self.extra, "city", "late", *times]
        self._inputs = [
            *map(pl.col, columns),
            *(_dimension(name) for name in by),
            *(_city(name) for name in cities),
            *prepared_columns(term.fast for term in terms),
        ]
        self._index = [pl.col(name) for name in (*columns, *map(_by, by), *map(_of, cities))]

    def _cell(self, expr: pl.Expr, *what: object) -> pl.Expr:
        """The intermediate column for `expr`; the same one for the same `what`."""
        name = f"cell {list(self._cells).index(what) if what in self._cells else len(self._cells)}"
        self._cells.setdefault(what, expr.alias(name))
        return pl.col(name)

    def _add(self, number: int, spec: MeasureSpec) -> None:
        value = self._cell(_on_grid(spec.value.as_number().fast.polars, spec.decimals), spec.value, spec.decimals)
        counts = value.abs() <= LIMIT
        asked = [term.fast.polars for term in _asked(spec)]
        if asked:
            counts = counts & self._cell(reduce(and_, asked), "asked", *_asked(spec))
        if spec.city:
            counts = counts & self._cell(pl.col(_of(spec.city)).is_in(spec.cities), "city", spec.city, spec.cities)
        key = ""
        if spec.key is not None:
            term = spec.key.as_number().fast.polars + pl.col(PREPARED_ZEROS)
            column = self._cell(_key(term, spec.edges), "key", spec.key, spec.edges)
            counts, key = counts & column.is_not_null(), column.meta.output_name()
        filler = _FILLERS.get(spec.kind, 0)
        self._counted += [
            pl.when(counts).then(value).cast(pl.Int64).fill_null(filler).alias(f"c{number}"),
            counts.fill_null(False).alias(f"k{number}"),
        ]
        self._classes.setdefault(_Class(spec.by, spec.pane_len_s, spec.pane_of, key, spec.city), []).append(number)

    def apply(self, df: pl.DataFrame) -> pl.DataFrame:
        """Partials of all measures over the rows of one feed: the extra columns, then PARTIAL, in fixed order.

        `df` holds `city`, `ts` (Int64 ms, or `clock` for panes by arrival), `late` (Boolean), without nulls, and
        the feed's columns.
        """
        schema = pl.Schema({name: df.schema[name] for name in self.extra} | dict(PARTIAL))
        if df.is_empty() or not self.specs:
            return schema.to_frame()
        keys = {group.key for group in self._classes if group.key}
        rows = df.select(self._inputs).select(*self._index, *self._cells.values())
        rows = rows.select(*self._index, *map(pl.col, sorted(keys)), *self._counted)
        names = [*self.extra, "city", "late", *(_by(n) for s in self.specs for n in s.by)]
        codes = {name: codes_of(rows[name]) for name in {*names, *(_of(s.city) for s in self.specs if s.city)}}
        found: dict[tuple[str, tuple[str, ...]], list[_Partials]] = {}
        for group in self._classes:
            found.setdefault((group.city, group.by), []).extend(self._partials(rows, codes, group))
        parts = [self._frame(rows, city, by, some) for (city, by), some in found.items() if some]
        if not parts:
            return schema.to_frame()
        return pl.concat(parts).select(schema.names()).sort([*self.extra, *IDENTITY])

    def _partials(self, rows: pl.DataFrame, codes: Mapping[str, Codes], group: _Class) -> Iterator[_Partials]:
        """What is reduced over the groups of one class, measure by measure: the groups in which a row counts."""
        time, length = rows[group.pane_of.column], group.pane_len_s * 1000
        panes = (time - time % length).to_numpy()
        city = _of(group.city) if group.city else "city"
        parts = [*(codes[n] for n in (*self.extra, city, "late", *map(_by, group.by))), codes_of_ints(panes // length)]
        taken: Ints | None = None
        if group.key:
            parts.append(codes_of(rows[group.key]))
            if rows[group.key].null_count():
                taken = np.flatnonzero(rows[group.key].is_not_null().to_numpy())
                if not len(taken):
                    return
                parts = [part.taken(taken) for part in parts]
        groups = Groups.of(joined(parts), taken)
        for number in self._classes[group]:
            counts = groups.sums(rows[f"k{number}"].to_numpy())
            some = np.flatnonzero(counts)
            values = _REDUCED[self.specs[number].kind](groups, rows[f"c{number}"].to_numpy())
            first = groups.first[some]
            yield _Partials(group, number, first, panes[first], values[some], counts[some])

    def _frame(self, rows: pl.DataFrame, city: str, by: Sequence[str], parts: Sequence[_Partials]) -> pl.DataFrame:
        """Partials as rows: what they are grouped by is read off the first row of each group."""
        first = np.concatenate([part.first for part in parts])
        sizes = [len(part.first) for part in parts]
        keys = [rows[p.group.key].to_numpy()[p.first] if p.group.key else np.zeros(len(p.first)) for p in parts]
        keyed = np.repeat([bool(part.group.key) for part in parts], sizes)
        specs = [self.specs[part.number] for part in parts]
        measures = pl.Series([spec.name for spec in specs], dtype=pl.String)
        return rows[[column.meta.output_name() for column in self._index]][first].select(
            *map(pl.col, self.extra),
            pl.col(_of(city) if city else "city").alias("city"),
            "late",
            dims_text({name: _by(name) for name in by}).alias("dims"),
            pl.lit(specs[0].feed).alias("feed"),
            pl.Series("pane_ms", np.concatenate([part.panes for part in parts])),
            pl.Series("pane_len_s", np.repeat([spec.pane_len_s for spec in specs], sizes)),
            measures[np.repeat(np.arange(len(parts)), sizes)].alias("measure"),
            pl.when(pl.Series(keyed)).then(pl.Series(np.concatenate(keys).astype(np.int64))).alias("key"),
            pl.Series("value", np.concatenate([part.values for part in parts])),
            pl.Series("n", np.concatenate([part.counts for part in parts])),
        )


_FILLERS = {MeasureKind.MIN: (1 << 63) - 1, MeasureKind.MAX: -(1 << 63)}
"""What stands for a row that does not count, so that it changes no result; 0 in a sum."""
_REDUCED: Mapping[MeasureKind, Callable[[Groups, Ints], Ints]] = {
    MeasureKind.SUM: Groups.sums,
    MeasureKind.MAP: Groups.sums,
    MeasureKind.MIN: Groups.least,
    MeasureKind.MAX: Groups.greatest,
}


def _by(name: str) -> str:
    return f"by {name}"


def _of(name: str) -> str:
    return f"of {name}"


def _city(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).fill_null("").alias(_of(name))


def _dimension(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).fill_null("").alias(_by(name))


@lru_cache(maxsize=256)
def _plan(specs: tuple[MeasureSpec, ...], extra: tuple[str, ...]) -> Plan:
    return Plan(specs, extra)


def aggregate(df: pl.DataFrame, specs: Iterable[MeasureSpec], group_cols: Sequence[str] = ("city",)) -> pl.DataFrame:
    """`Plan.apply` with a plan made (and remembered) for these measures; `group_cols` beyond `city` are its `extra`."""
    return _plan(tuple(specs), tuple(name for name in group_cols if name not in PARTIAL)).apply(df)


def unusable(df: pl.DataFrame, specs: Iterable[MeasureSpec]) -> dict[str, int]:
    """Per measure, the rows that it asked for but could not use: no number within the grid's range, or no key."""
    lost = {}
    for spec in specs:
        asked = reduce(and_, (term.polars().fill_null(False) for term in _asked(spec)), pl.lit(True))
        lost[spec.name] = (asked & ~polars_columns(spec).keep).sum()
    return {name: int(count or 0) for name, count in df.select(**lost).to_dicts()[0].items()} if lost else {}


# ---------------------------------------------------------------- ClickHouse


def clickhouse_select(spec: MeasureSpec, source: str, *, where: str = "", time: str = "", late: str = "late") -> str:
    """The same partials from stored readings: a SELECT that yields the columns PARTIAL, sorted by IDENTITY.

    `source` is what stands after FROM (a table, a view, or a SELECT in brackets) and must offer the measure's
    columns by name and `city`; `time` is SQL for the Int64 milliseconds that cut panes (default the column `ts`
    or `clock`), `late` SQL for the flag, `where` SQL that narrows the rows. These four are trusted text of the
    caller. The settings it needs are part of the statement.
    """
    moment = time or f"`{spec.pane_of.column}`"
    asked = [term.clickhouse() for term in _asked(spec)] + ([f"({where})"] if where else [])
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
    """As `dims_text`."""
    pairs = []
    for name in sorted(by):
        value = f"ifNull(toString(`{name}`), '')"
        for raw, code in ESCAPES:
            value = f"replaceAll({value}, {sql_text(raw)}, {sql_text(code)})"
        pairs.append(f"'{name}=', {value}")
    return "concat(" + ", ',', ".join(pairs) + ")" if pairs else "''"
