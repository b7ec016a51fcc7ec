"""Merged measures by window grain: the memory of `indicate`.

A window moves by hops, so all it ever needs are sums per hop: partials are put to the *grain* (one hop long) that
their pane lies in, and a window is the merge of its grains. Sums are integers and extremes merge, so nothing is
lost by that.

Partials are kept as columns, in the order they came; many of one grain are merged when somebody looks at them.
What they are about, a city and dimensions, is a number, their *spot*, so that all the cities of an indicator are
merged in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from pearlstream.grouping import Codes, Groups, Ints, codes_of_ints
from pearlstream.measures import MeasureKind
from pearlstream.rows import Bools

CHUNKS = 8
"""More chunks of one grain are merged into one when somebody looks at them; fewer cost less as they are."""
SPARE_SPOTS = 1000
"""So many numbers may be in nobody's use before they are given up."""


class Spot(NamedTuple):
    """What partials are about: a city, and dimensions as canonical text."""

    city: str
    dims: str


@dataclass
class Spots:
    """Spots by number."""

    known: list[Spot] = field(default_factory=list)
    _number: dict[Spot, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._number = {spot: number for number, spot in enumerate(self.known)}

    def number(self, spot: Spot) -> int:
        """The number of a spot, a new one if it was not known."""
        found = self._number.get(spot)
        if found is None:
            found = self._number[spot] = len(self.known)
            self.known.append(spot)
        return found

    def numbers(self, cities: tuple[Ints, Sequence[str]], dims: tuple[Ints, Sequence[str]]) -> Ints:
        """The numbers of many spots; cities and dimensions as places among words."""
        (city, towns), (dim, texts) = cities, dims
        _, first, place = np.unique(city * len(texts) + dim, return_index=True, return_inverse=True)
        pairs = zip(city[first].tolist(), dim[first].tolist(), strict=True)
        return np.array([self.number(Spot(towns[c], texts[d])) for c, d in pairs], np.int64)[place]

    def tidy(self, kept: Sequence[Grains]) -> bool:
        """Give up the numbers that no partial in `kept` has any more, if they are most of them; says whether it did."""
        chunks = [some for grains in kept for some in grains.chunks.values()]
        used = np.zeros(len(self.known), bool)
        for some in chunks:
            for chunk in some:
                used[chunk.spots] = True
        if np.count_nonzero(used) * 2 + SPARE_SPOTS > len(used):
            return False
        number = np.cumsum(used) - 1
        self.known[:] = [spot for spot, alive in zip(self.known, used.tolist(), strict=True) if alive]
        self.__post_init__()
        for some in chunks:
            some[:] = [chunk._replace(spots=number[chunk.spots]) for chunk in some]
        return True


class Chunk(NamedTuple):
    """Some partials of one measure. `keys`: of a map; `rows`: readings behind each."""

    spots: Ints
    keys: Ints | None
    values: Ints
    rows: Ints

    @classmethod
    def joined(cls, chunks: Sequence[Chunk]) -> Chunk:
        """Several end to end."""
        spots, keys, values, rows = zip(*chunks, strict=True)
        together = None if keys[0] is None else np.concatenate(keys)
        return cls(np.concatenate(spots), together, np.concatenate(values), np.concatenate(rows))

    def merged(self, kind: MeasureKind) -> Chunk:
        """One partial for each spot, or for each spot and key."""
        codes = codes_of_ints(self.spots)
        groups = Groups.of(codes if self.keys is None else codes & codes_of_ints(self.keys))
        keys = None if self.keys is None else self.keys[groups.first]
        return Chunk(self.spots[groups.first], keys, _REDUCED[kind](groups, self.values), groups.sums(self.rows))


_REDUCED: Mapping[MeasureKind, Callable[[Groups, Ints], Ints]] = {
    MeasureKind.SUM: Groups.sums,
    MeasureKind.MAP: Groups.sums,
    MeasureKind.MIN: Groups.least,
    MeasureKind.MAX: Groups.greatest,
}


@dataclass
class Grains:
    """One measure of one program, by grain start (ms)."""

    kind: MeasureKind
    chunks: dict[int, list[Chunk]] = field(default_factory=dict)

    def put(self, start_ms: int, chunk: Chunk) -> None:
        """Add partials of the grain that starts at `start_ms`."""
        self.chunks.setdefault(start_ms, []).append(chunk)

    def over(self, starts: Iterable[int]) -> Chunk | None:
        """All that is known of the grains that start at `starts`, None if that is nothing."""
        found = []
        for start in starts:
            chunks = self.chunks.get(start)
            if chunks is None:
                continue
            if len(chunks) > CHUNKS:
                chunks[:] = [Chunk.joined(chunks).merged(self.kind)]
            found += chunks
        return Chunk.joined(found) if len(found) > 1 else found[0] if found else None

    def forget(self, before_ms: int) -> None:
        """Drop the grains that start before an instant; one that was begun late goes when those begun before it do."""
        drop_until(self.chunks, before_ms - 1)


class Sums(NamedTuple):
    """A measure merged line by line: the value on its grid (counts only where `some` came), and the rows behind it."""

    values: Ints
    rows: Ints
    some: Bools


_IDLE: Mapping[MeasureKind, int] = {
    MeasureKind.SUM: 0,
    MeasureKind.MAP: 0,
    MeasureKind.MIN: np.iinfo(np.int64).max,
    MeasureKind.MAX: np.iinfo(np.int64).min,
}
_ONTO: Mapping[MeasureKind, Any] = {
    MeasureKind.SUM: np.add,
    MeasureKind.MAP: np.add,
    MeasureKind.MIN: np.minimum,
    MeasureKind.MAX: np.maximum,
}


def summed(kind: MeasureKind, chunk: Chunk | None, lines: Ints, count: int) -> Sums:
    """Partials merged by line. `lines`: the line, below `count`, that each belongs to; of the keys of a map, all."""
    values = np.full(count, _IDLE[kind], np.int64)
    rows, some = np.zeros(count, np.int64), np.zeros(count, bool)
    if chunk is not None:
        _ONTO[kind].at(values, lines, chunk.values)
        np.add.at(rows, lines, chunk.rows)
        some[lines] = True
    return Sums(values, rows, some)


def counted(chunk: Chunk | None, lines: Ints, count: int) -> list[dict[int, int]]:
    """The partials of a map merged by line: sums by key."""
    found: list[dict[int, int]] = [{} for _ in range(count)]
    if chunk is not None:
        assert chunk.keys is not None
        groups = Groups.of(Codes(lines, count) & codes_of_ints(chunk.keys))
        first = groups.first
        sums = zip(lines[first].tolist(), chunk.keys[first].tolist(), groups.sums(chunk.values).tolist(), strict=True)
        for line, key, value in sums:
            found[line][key] = value
    return found


@dataclass
class Store:
    """The measures of one program, by name."""

    grains: dict[str, Grains] = field(default_factory=dict)

    def of(self, measure: str, kind: MeasureKind) -> Grains:
        """A measure's grains, made if they were not there."""
        found = self.grains.get(measure)
        if found is None:
            found = self.grains[measure] = Grains(kind)
        return found

    def forget(self, before_ms: int) -> None:
        """Drop grains before an instant."""
        for grains in self.grains.values():
            grains.forget(before_ms)

    def __iter__(self) -> Iterator[tuple[str, Grains]]:
        return iter(self.grains.items())


def narrowed(dims: str, names: tuple[str, ...]) -> str:
    """The part of canonical dimensions that concerns `names`, canonical again."""
    return ",".join(pair for pair in dims.split(",") if pair.split("=", 1)[0] in names) if dims and names else ""


def drop_until(kept: dict[int, Any], last: int) -> None:
    """Drop entries up to `last` from the front of what grows in order of time: as much work as there is to drop."""
    for at in list(takewhile(lambda at: at <= last, kept)):
        del kept[at]
