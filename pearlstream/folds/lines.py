"""Lines: the rows that a program may say in one window, side by side, and which partials each of them is about.

A *site* is where rows are said: a city, or a group of cities that is one row. A line is a site and, where rows are
kept by dimensions, one group of these. A *seat* is a member of a line that a reduction looks at by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from pearlstream.folds.fleet import NOBODY, Fleet, Members, Roll
from pearlstream.folds.windows import Chunk, Spot, Spots, narrowed
from pearlstream.grouping import Ints
from pearlstream.measures import parse_dims
from pearlstream.program import IndicatorProgram

_NOT_MET, _NOWHERE = -2, -1
_NONE = np.empty(0, np.int64)
Placed: TypeAlias = tuple[Chunk | None, Ints]
"""Partials, and the number of the line or seat that each belongs to."""


class Site(NamedTuple):
    """Where rows are said: `city` as it stands in them, the cities that they are about, with the population and the
    fleet of all these together."""

    city: str
    cities: tuple[str, ...]
    population: int
    fleet: Fleet


class _Places:
    """A number for each spot, asked for when it is first met; `_NOWHERE` if it belongs nowhere."""

    def __init__(self, spots: Spots, place: Callable[[Spot], int]) -> None:
        self._spots, self._place = spots, place
        self._of = _NONE

    def of(self, spots: Ints) -> Ints:
        """The numbers of many spots."""
        if len(self._of) < len(self._spots.known):
            more = np.full(2 * len(self._spots.known) - len(self._of), _NOT_MET)
            self._of = np.concatenate([self._of, more])
        found = self._of[spots]
        if (found == _NOT_MET).any():
            for spot in np.unique(spots[found == _NOT_MET]).tolist():
                self._of[spot] = self._place(self._spots.known[spot])
            found = self._of[spots]
        return found

    def among(self, chunk: Chunk | None) -> Placed:
        """The partials that belong somewhere, and where."""
        if chunk is None:
            return None, _NONE
        numbers = self.of(chunk.spots)
        keep = numbers >= 0
        if keep.all():
            return chunk, numbers
        spots, keys, values, rows = chunk
        kept = Chunk(spots[keep], None if keys is None else keys[keep], values[keep], rows[keep])
        return kept, numbers[keep]


class Seats:
    """The members of all lines, by the dimension `each`."""

    def __init__(self, lines: Lines, spots: Spots, each: str) -> None:
        self.places = _Places(spots, self._place)
        self.lines: list[int] = []
        """The line of each seat."""
        self._owner, self._each = lines, each
        self._number: dict[tuple[int, str, str], int] = {}
        self._members: list[Members] = []
        self._roll = Roll(())
        self._order = _NONE

    def _place(self, spot: Spot) -> int:
        line = self._owner.place(spot)
        if line == _NOWHERE:
            return _NOWHERE
        key = (line, spot.city, _dims(spot.dims).get(self._each, ""))
        found = self._number.get(key)
        if found is None:
            found = self._number[key] = len(self.lines)
            fleet = self._owner.fleet(line)
            group = self._owner.group[line]
            self.lines.append(line)
            self._members.append(fleet.by_member.get((self._each, group, *key[1:]), NOBODY))
        return found

    @property
    def roll(self) -> Roll:
        """What each seat owes."""
        self._refresh()
        return self._roll

    @property
    def order(self) -> Ints:
        """The seats by city and member: in this order floats are added."""
        self._refresh()
        return self._order

    def _refresh(self) -> None:
        if len(self._order) != len(self.lines):
            self._roll = Roll(self._members)
            self._order = np.array([number for _, number in sorted(self._number.items())], np.int64)


class Lines:
    """The lines of a program at some sites: one per site (`whole`), or one per site and group of dimensions."""

    def __init__(self, program: IndicatorProgram, sites: Sequence[Site], spots: Spots, *, whole: bool) -> None:
        self.sites, self.whole = sites, whole
        self._sites: list[int] = []
        self.group: list[str] = []
        """The group of dimensions of each line, as text."""
        self.dims: list[str] = []
        """The dimensions as they stand in rows."""
        self.places = _Places(spots, self.place)
        self._names, self._prefix = program.dims, program.dims_prefix
        self._site_of = {city: number for number, site in enumerate(sites) for city in site.cities}
        self._number: dict[tuple[int, str], int] = {}
        self._members: list[Members] = []
        for number, site in enumerate(sites):
            for group, members in ({"": site.fleet.all} if whole else site.fleet.by_dims).items():
                self._line(number, group, members)
        self._seats = {r.declared.each: Seats(self, spots, r.declared.each) for r in program.reductions}
        self._order = self._site = _NONE
        self._roll = Roll(())

    def _line(self, site: int, group: str, members: Members) -> int:
        found = self._number.get((site, group))
        if found is None:
            found = self._number[site, group] = len(self._sites)
            self._sites.append(site)
            self.group.append(group)
            self.dims.append(_joined(self._prefix, group))
            self._members.append(members)
        return found

    def place(self, spot: Spot) -> int:
        """The line of a spot, made if it was not there; `_NOWHERE` if it is at none of the sites."""
        site = self._site_of.get(spot.city)
        if site is None:
            return _NOWHERE
        return self._line(site, "" if self.whole else narrowed(spot.dims, self._names), NOBODY)

    def fleet(self, line: int) -> Fleet:
        """The fleet at the site of a line."""
        return self.sites[self._sites[line]].fleet

    def seats(self, each: str) -> Seats:
        """The members by a dimension that some reduction goes by."""
        return self._seats[each]

    @property
    def roll(self) -> Roll:
        """What each line owes."""
        self._refresh()
        return self._roll

    @property
    def site(self) -> Ints:
        """The site of each line, by number."""
        self._refresh()
        return self._site

    @property
    def order(self) -> Ints:
        """The lines by site and group: in this order they are said."""
        self._refresh()
        return self._order

    def _refresh(self) -> None:
        if len(self._order) != len(self._sites):
            self._roll = Roll(self._members)
            self._site = np.array(self._sites, np.int64)
            self._order = np.array([number for _, number in sorted(self._number.items())], np.int64)

    def __len__(self) -> int:
        return len(self._sites)


@lru_cache(maxsize=65_536)
def _dims(text: str) -> dict[str, str]:
    return parse_dims(text)


@lru_cache(maxsize=65_536)
def _joined(prefix: str, dims: str) -> str:
    """Two canonical texts as one."""
    return ",".join(sorted(filter(None, (*prefix.split(","), *dims.split(",")))))
