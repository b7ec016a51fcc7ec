"""The memory of measures: whatever way partials come in, what is merged is the same."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.folds.windows import SPARE_SPOTS, Chunk, Grains, Spot, Spots, counted, summed
from pearlstream.measures import MeasureKind

HOP = 60_000
LINES = 4
amounts = st.integers(-(2**40), 2**40)
entry = st.tuples(st.integers(0, 3), st.integers(0, LINES - 1), st.integers(-3, 3), amounts, st.integers(1, 9))
entries = st.lists(entry, max_size=40)
"""Grain, line, key, value and readings of partials. The spot of a line is its number."""


def chunk(some: list[tuple[int, int, int, int, int]], *, of_map: bool = False) -> Chunk:
    spots, keys, values, rows = (np.array(column, np.int64) for column in list(zip(*some, strict=True))[1:])
    return Chunk(spots, keys if of_map else None, values, rows)


def grains(kind: MeasureKind, some: list[tuple[int, int, int, int, int]], seed: int) -> Grains:
    """Partials put in one by one or several at once, in any order, looked at in between."""
    rng, kept = random.Random(seed), Grains(kind)
    some = rng.sample(some, len(some))
    while some:
        size = rng.randint(1, 3)
        head, some = some[:size], some[size:]
        for grain in {entry[0] for entry in head}:
            kept.put(grain * HOP, chunk([e for e in head if e[0] == grain], of_map=kind is MeasureKind.MAP))
        if rng.random() < 0.3:
            kept.over(range(0, 4 * HOP, HOP))
    return kept


@pytest.mark.parametrize("kind", [MeasureKind.SUM, MeasureKind.MIN, MeasureKind.MAX])
@given(some=entries, seed=st.integers(0, 99), until=st.integers(0, 4))
def test_numbers_merge_line_by_line(
    kind: MeasureKind, some: list[tuple[int, int, int, int, int]], seed: int, until: int
) -> None:
    found = grains(kind, some, seed).over(range(0, until * HOP, HOP))
    sums = summed(kind, found, np.empty(0, np.int64) if found is None else found.spots, LINES)
    plain = {MeasureKind.SUM: sum, MeasureKind.MIN: min, MeasureKind.MAX: max}[kind]
    for line in range(LINES):
        mine = [(value, rows) for grain, at, _, value, rows in some if at == line and grain < until]
        assert sums.some[line] == bool(mine)
        assert sums.rows[line] == sum(rows for _, rows in mine)
        if mine:
            assert sums.values[line] == plain(value for value, _ in mine)


@given(some=entries, seed=st.integers(0, 99))
def test_maps_merge_key_by_key(some: list[tuple[int, int, int, int, int]], seed: int) -> None:
    found = grains(MeasureKind.MAP, some, seed).over(range(0, 4 * HOP, HOP))
    expected: dict[int, Counter[int]] = defaultdict(Counter)
    for _, line, key, value, _ in some:
        expected[line][key] += value
    lines = np.empty(0, np.int64) if found is None else found.spots
    assert counted(found, lines, LINES) == [dict(expected[line]) for line in range(LINES)]


def test_a_grain_that_is_forgotten_is_gone_and_the_next_one_is_not() -> None:
    kept = Grains(MeasureKind.SUM)
    for grain in range(3):
        kept.put(grain * HOP, chunk([(grain, 0, 0, 1, 1)]))
    kept.forget(2 * HOP)
    assert list(kept.chunks) == [2 * HOP]


def test_equal_spots_have_one_number_whichever_way_they_come() -> None:
    spots = Spots()
    cities, dims = (np.array([0, 1, 0, 0]), ["440300", "440100"]), (np.array([0, 0, 1, 0]), ["", "sector=chips"])
    first, other, third, again = spots.numbers(cities, dims).tolist()
    assert (first, len({first, other, third})) == (again, 3)
    assert spots.number(Spot("440300", "sector=chips")) == third
    assert spots.known[other] == Spot("440100", "")


def test_numbers_in_nobodys_use_are_given_up_once_they_are_most_of_all() -> None:
    spots, kept = Spots(), Grains(MeasureKind.SUM)
    for number in range(2 * SPARE_SPOTS):
        spots.number(Spot("440300", f"n={number}"))
    some = [(0, number, 0, number, 1) for number in (5, 1500, 1999)]
    kept.put(0, chunk(some))
    assert spots.tidy([kept])
    (left,) = kept.chunks[0]
    assert [(spots.known[spot].dims, value) for spot, value in zip(left.spots, left.values, strict=True)] == [
        ("n=5", 5), ("n=1500", 1500), ("n=1999", 1999),
    ]  # fmt: skip
    assert spots.number(Spot("440300", "n=1500")) == left.spots[1]
    assert not spots.tidy([kept])
