"""Maps: quantiles with their error bound, distinct keys, and how evenly shares lie."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.errors import TermError
from pearlstream.maps import Histogram, distinct, effective, evenness, hhi, quantile, quantile_bound

EDGES = (0.0, 1.0, 2.0, 5.0, 10.0, 100.0)


def histogram(values: list[float]) -> Histogram:
    return Histogram(EDGES, Counter(bisect_right(EDGES, value) for value in values))


@given(values=st.lists(st.floats(-50, 200), min_size=1, max_size=60), q=st.floats(0, 1))
def test_a_quantile_is_no_further_from_the_true_one_than_its_bound(values: list[float], q: float) -> None:
    counted = histogram(values)
    true = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    estimate, bound = quantile(counted, q), quantile_bound(counted, q)
    assert estimate is not None
    assert bound is not None
    assert abs(estimate - true) <= bound


@given(values=st.lists(st.floats(-50, 200), min_size=1, max_size=60))
def test_quantiles_ascend_with_q(values: list[float]) -> None:
    found = [quantile(histogram(values), q / 10) for q in range(11)]
    assert found == sorted(found, key=lambda one: -math.inf if one is None else one)


@pytest.mark.parametrize(
    ("counts", "q", "estimate", "bound"),
    [
        ({1: 4}, 0.5, 0.5, 0.5),
        ({1: 4}, 0.25, 0.25, 0.75),
        ({1: 2, 4: 2}, 0.5, 1.0, 1.0),
        ({1: 2, 4: 2}, 0.75, 7.5, 2.5),
        ({3: 1}, 0.0, 2.0, 3.0),
        ({3: 1}, 1.0, 5.0, 3.0),
        ({0: 3}, 0.5, 0.0, math.inf),
        ({6: 3}, 0.5, 100.0, math.inf),
        ({1: 0, 2: 5, 3: -1}, 0.5, 1.5, 0.5),
    ],
)
def test_a_quantile_is_a_straight_line_inside_its_bucket(
    counts: dict[int, int], q: float, estimate: float, bound: float
) -> None:
    assert quantile(Histogram(EDGES, counts), q) == estimate
    assert quantile_bound(Histogram(EDGES, counts), q) == bound


def test_nothing_counted_has_no_quantile() -> None:
    assert quantile(Histogram(EDGES, {}), 0.5) is None
    assert quantile_bound(Histogram(EDGES, {1: 0}), 0.5) is None


@pytest.mark.parametrize("edges", [(), (1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_edges_must_ascend(edges: tuple[float, ...]) -> None:
    with pytest.raises(TermError, match="do not ascend"):
        Histogram(edges, {})


@given(st.dictionaries(st.integers(), st.integers(-5, 10**12), max_size=20), st.randoms())
def test_the_order_of_keys_does_not_matter(counts: dict[int, int], random: Random) -> None:
    items = list(counts.items())
    random.shuffle(items)
    for function in (distinct, hhi, effective, lambda one: evenness(one, 20)):
        assert function(counts) == function(dict(items))


@pytest.mark.parametrize(
    ("counts", "keys", "index", "number", "even"),
    [
        ({}, 0.0, None, None, None),
        ({1: 0, 2: -3}, 0.0, None, None, None),
        ({1: 7}, 1.0, 1.0, 1.0, 0.0),
        ({1: 5, 2: 5, 3: 5, 4: 5}, 4.0, 0.25, 4.0, 1.0),
        ({1: 9, 2: 1}, 2.0, 0.82, 100 / 82, 0.23449779679464),
    ],
)
def test_shares_are_summed_up(
    counts: dict[int, int], keys: float, index: float | None, number: float | None, even: float | None
) -> None:
    assert distinct(counts) == keys
    assert hhi(counts) == index
    assert effective(counts) == number
    assert evenness(counts, 4) == (None if even is None else pytest.approx(even))
