"""Aggregation: the partials of readings by their measures, in NumPy, to the last bit what ClickHouse would compute.

Fields are read once, equal terms computed once, and rows put in order once for all measures that group them alike.
`pearlstream.measures` says what a measure means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from pearlstream.grouping import Codes, Groups, Ints, codes_of_ints, in_order, joined
from pearlstream.measures import MeasureKind, MeasureSpec, PaneOf
from pearlstream.nodes import LIMIT, Node, everywhere, to_number
from pearlstream.partials import PARTIAL, dims_texts
from pearlstream.rows import Bools, Floats, Rows
from pearlstream.terms import Term, all_of


class _Ready(NamedTuple):
    """A measure made ready: what it counts in a row, and whether it does (None: in every row)."""

    spec: MeasureSpec
    value: Node
    asked: Node | None

    @classmethod
    def of(cls, spec: MeasureSpec) -> _Ready:
        asked = [term.node for term in spec.asked]
        return cls(spec, spec.value.as_number().node, all_of(asked) if asked else None)

    def grid(self, rows: Rows) -> Floats:
        """The rows' numbers on the grid of 10^-decimals, half upwards, still as floats; NaN where unknown."""
        scale = 10.0**self.spec.decimals
        return rows.kept((self.value.sql, scale), lambda rows: np.floor(self.value.on(rows) * scale + 0.5))

    def asks(self, rows: Rows) -> Any:
        """The rows that `where` and every required field let through, in a city that counts."""
        asked = np.bool_(True) if self.asked is None else self.asked.on(rows)
        return asked & self._among(rows) if self.spec.city else asked

    def _among(self, rows: Rows) -> Bools:
        def make(rows: Rows) -> Bools:
            words = rows.words(self.spec.city).filled()
            return np.array([word in self.spec.cities for word in words.words], bool)[words.codes]

        return rows.kept((self.spec.city, self.spec.cities), make)

    def counted(self, rows: Rows) -> tuple[Ints, Bools]:
        """What each row adds, and whether it counts; what stands for one that does not changes no result."""
        grid = self.grid(rows)
        counts = (np.abs(grid) <= LIMIT) & self.asks(rows)
        if counts.all():
            return everywhere(grid.astype(np.int64), rows), everywhere(counts, rows)
        whole = np.where(counts, grid, 0.0).astype(np.int64)
        filler = _FILLERS.get(self.spec.kind)
        return everywhere(whole if filler is None else np.where(counts, whole, filler), rows), everywhere(counts, rows)


_FILLERS = {MeasureKind.MIN: np.int64((1 << 63) - 1), MeasureKind.MAX: np.int64(-(1 << 63))}
_REDUCED: Mapping[MeasureKind, Callable[[Groups, Ints], Ints]] = {
    MeasureKind.SUM: Groups.sums,
    MeasureKind.MAP: Groups.sums,
    MeasureKind.MIN: Groups.least,
    MeasureKind.MAX: Groups.greatest,
}


class _Class(NamedTuple):
    """Measures that one grouping can serve: same dimensions, panes, key and city (by column, "" if none)."""

    by: tuple[str, ...]
    pane_len_s: int
    pane_of: PaneOf
    key: Term | None
    edges: tuple[float, ...]
    city: str

    @classmethod
    def of(cls, spec: MeasureSpec) -> _Class:
        return cls(spec.by, spec.pane_len_s, spec.pane_of, spec.key, spec.edges, spec.city)

    def keys(self, rows: Rows) -> Ints | None:
        """The key of each row, `NO_KEY` where it is unknown or beyond +-2^53; None if the measures are no maps."""
        if self.key is None:
            return None
        number = to_number(self.key.node)

        def make(rows: Rows) -> Ints:
            values = everywhere(number.on(rows), rows)
            keys = np.searchsorted(self.edges, values, side="right") if self.edges else np.floor(values)
            usable = ~np.isnan(values) if self.edges else np.abs(keys) <= LIMIT
            return np.where(usable, keys, NO_KEY).astype(np.int64)

        return rows.kept((number.sql, self.edges), make)


NO_KEY = -(1 << 62)
"""Stands for a key that is not known; no key is so small."""


class _Found(NamedTuple):
    """The partials of one measure over some rows, each seen by the first row that counts for it."""

    spec: MeasureSpec
    rows: Rows
    first: Ints
    panes: Ints
    keys: Ints | None
    values: Ints
    counts: Ints


class Plan:
    """Measures of one feed, made ready. `extra` are integer columns that split the partials further.

    A plan keeps nothing of the rows: it may be used again, and from several threads.
    """

    def __init__(self, specs: Iterable[MeasureSpec], extra: Sequence[str] = ()) -> None:
        self.specs, self.extra = tuple(specs), tuple(extra)
        self._classes: dict[_Class, list[_Ready]] = {}
        for spec in self.specs:
            self._classes.setdefault(_Class.of(spec), []).append(_Ready.of(spec))

    def over(self, df: pl.DataFrame) -> Iterator[_Found]:
        """The partials of every measure that counts any row."""
        if df.is_empty():
            return
        rows = Rows(df)
        for group, some in self._classes.items():
            yield from self._reduced(rows, group, some)

    def _reduced(self, rows: Rows, group: _Class, some: Sequence[_Ready]) -> Iterator[_Found]:
        """What is reduced over the groups of one class, measure by measure: the groups in which a row counts."""
        time, length = rows.ints(group.pane_of.column), group.pane_len_s * 1000
        pane = rows.kept((group.pane_of, length), lambda _: time // length)
        panes = rows.kept((group.pane_of, length, Codes), lambda _: codes_of_ints(pane))
        parts = [self._place(rows, group.city or "city", group.by), panes]
        keys, taken = group.keys(rows), None
        if keys is not None:
            taken = np.flatnonzero(keys != NO_KEY)
            if not len(taken):
                return
            parts = [part.taken(taken) for part in parts] + [codes_of_ints(keys[taken])]
        groups = Groups.of(joined(parts), taken)
        for one in some:
            contribution, counts = one.counted(rows)
            sizes = groups.sums(counts)
            used = np.flatnonzero(sizes)
            if not len(used):
                continue
            values = _REDUCED[one.spec.kind](groups, contribution)
            first = groups.first[used]
            key = None if keys is None else keys[first]
            yield _Found(one.spec, rows, first, pane[first] * length, key, values[used], sizes[used])

    def _place(self, rows: Rows, city: str, by: tuple[str, ...]) -> Codes:
        """The codes of everything but pane and key that partials are split by."""

        def make(rows: Rows) -> Codes:
            split = [codes_of_ints(rows.ints(name)) for name in self.extra]
            words = [rows.words(name).filled().as_codes() for name in (city, *by)]
            return joined([*split, codes_of_ints(rows.ints("late").astype(np.int64)), *words])

        return rows.kept((city, by, Codes), make)


def _table(found: Sequence[_Found], extra: Sequence[str]) -> pl.DataFrame:
    """Partials as rows in order: what they are grouped by is read off the first row of each group."""
    if not found:
        return pl.Schema(dict.fromkeys(extra, pl.Int64()) | dict(PARTIAL)).to_frame()
    sizes = [len(one.first) for one in found]
    none = np.zeros(max(sizes), np.int64)
    keys = np.concatenate([none[: len(one.first)] if one.keys is None else one.keys for one in found])
    feeds = {name: at for at, name in enumerate(dict.fromkeys(one.spec.feed for one in found))}
    names, rank = _in_order([one.spec.name for one in found])
    split = {name: np.concatenate([one.rows.ints(name)[one.first] for one in found]) for name in extra}
    late = np.concatenate([one.rows.ints("late")[one.first] for one in found])
    cities, city = _texts([(one.first, _cities(one.rows, one.spec)) for one in found])
    dims, dim = _texts([(one.first, _dims(one.rows, one.spec.by)) for one in found])
    feed = np.repeat([feeds[one.spec.feed] for one in found], sizes)
    panes = np.concatenate([one.panes for one in found])
    lengths = np.repeat([one.spec.pane_len_s for one in found], sizes)
    measure = np.repeat(rank, sizes)
    by = [*split.values(), feed, city, dim, panes, lengths, measure, keys, late.astype(np.int64)]
    codes = joined([codes_of_ints(column) for column in by])
    order, _ = in_order(codes.values, codes.size)
    keyed = np.repeat([one.keys is not None for one in found], sizes)[order]
    key = pl.Series(keys[order])
    columns = [pl.Series(name, values[order]) for name, values in split.items()] + [
        pl.Series("feed", list(feeds), pl.String)[feed[order]],
        pl.Series("city", cities, pl.String)[city[order]],
        pl.Series("dims", dims, pl.String)[dim[order]],
        pl.Series("pane_ms", panes[order]),
        pl.Series("pane_len_s", lengths[order]),
        pl.Series("measure", names, pl.String)[measure[order]],
        (key if keyed.all() else key.set(pl.Series(~keyed), None)).alias("key"),
        pl.Series("value", np.concatenate([one.values for one in found])[order]),
        pl.Series("n", np.concatenate([one.counts for one in found])[order]),
        pl.Series("late", late[order]),
    ]
    return pl.DataFrame(columns)


def _cities(rows: Rows, spec: MeasureSpec) -> tuple[Ints, list[str]]:
    """Each row's city as a place among texts."""
    words = rows.words(spec.city or "city").filled()
    return words.codes, words.words


def _dims(rows: Rows, by: tuple[str, ...]) -> tuple[Ints, list[str]]:
    """Each row's dimensions as a place among texts."""

    def make(rows: Rows) -> tuple[Ints, list[str]]:
        words = {name: rows.words(name).filled() for name in sorted(by)}
        if not words:
            return np.zeros(len(rows), np.int64), [""]
        codes = joined([one.as_codes() for one in words.values()]).values
        _, first, place = np.unique(codes, return_index=True, return_inverse=True)
        used = {name: [one.words[at] for at in one.codes[first].tolist()] for name, one in words.items()}
        return place, dims_texts(used)

    return rows.kept(("dims", by), make)


def _texts(parts: Sequence[tuple[Ints, tuple[Ints, list[str]]]]) -> tuple[list[str], Ints]:
    """The texts that occur, in order, and the place among them of the rows of every part."""
    lists = {id(texts): texts for _, (_, texts) in parts}
    found = sorted(set().union(*lists.values()))
    place = {text: at for at, text in enumerate(found)}
    tables = {key: np.array([place[text] for text in texts], np.int64) for key, texts in lists.items()}
    return found, np.concatenate([tables[id(texts)][codes[first]] for first, (codes, texts) in parts])


def _in_order(names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Distinct names in order, and the place among them of each."""
    found = sorted(set(names))
    place = {name: at for at, name in enumerate(found)}
    return found, [place[name] for name in names]


@lru_cache(maxsize=1024)
def _plan(specs: tuple[MeasureSpec, ...], extra: tuple[str, ...]) -> Plan:
    return Plan(specs, extra)


def aggregate(df: pl.DataFrame, specs: Iterable[MeasureSpec], extra: Sequence[str] = ()) -> pl.DataFrame:
    """Partials of measures over the rows of one feed; see `aggregate_feeds`."""
    return aggregate_feeds([(df, specs)], extra)


def aggregate_feeds(
    feeds: Iterable[tuple[pl.DataFrame, Iterable[MeasureSpec]]], extra: Sequence[str] = ()
) -> pl.DataFrame:
    """Partials of the measures of several feeds, each over its rows: the columns `extra`, then PARTIAL.

    Rows hold `city`, `ts` (Int64 ms, or `clock` for panes by arrival) and `late` (Boolean), without nulls, and the
    feed's columns. `extra` are Int64 columns that split the partials further (a tick's number, say). What comes out
    is in the order of `extra`, of the feeds as given, and of IDENTITY.
    """
    more = tuple(extra)
    return _table([found for df, specs in feeds for found in _plan(tuple(specs), more).over(df)], more)


def unusable(df: pl.DataFrame, specs: Iterable[MeasureSpec]) -> dict[str, int]:
    """Per measure, the rows that it asked for but could not use: no number within the grid's range, or no key."""
    rows, lost = Rows(df), {}
    for one in map(_Ready.of, specs):
        keys = _Class.of(one.spec).keys(rows)
        used = one.counted(rows)[1] if keys is None else one.counted(rows)[1] & (keys != NO_KEY)
        lost[one.spec.name] = int(np.count_nonzero(everywhere(one.asks(rows), rows) & ~used))
    return lost
