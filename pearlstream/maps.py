"""What an indicator can read off a map: quantiles of a histogram, distinct keys, and how evenly shares lie.

A map goes from integer keys to integer sums. Only positive sums count, and all functions but `evenness` (which
takes logarithms) are exact up to their one division, whatever the order of the keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from pearlstream.errors import TermError


@dataclass(frozen=True)
class Histogram:
    """A map whose keys are buckets of declared ascending `edges`, in the unit of what was measured.

    Bucket 0 lies below `edges[0]`, bucket i in `[edges[i-1], edges[i])`, bucket `len(edges)` at or above the last.
    `counts` are sums on the measure's grid; only their proportions matter.
    """

    edges: tuple[float, ...]
    counts: Mapping[int, int]

    def __post_init__(self) -> None:
        if not _ascend(self.edges):
            raise TermError(f"edges {self.edges} do not ascend", remedy="declare at least one, each above the last")


@lru_cache
def _ascend(edges: tuple[float, ...]) -> bool:
    """Whether there are any, each above the last; asked of the same few edges again and again."""
    return bool(edges) and all(low < high for low, high in pairwise((-math.inf, *edges, math.inf)))


def quantile(histogram: Histogram, q: float) -> float | None:
    """The q-quantile, straight lines assumed inside a bucket; None if nothing was counted.

    Meant is the least value that a share of at least q does not exceed. It lies in the same bucket as the
    estimate, so the error is at most `quantile_bound`. The outer buckets are open: their inner edge is returned.
    """
    place = _place(histogram, q)
    return None if place is None else place[0]


def quantile_bound(histogram: Histogram, q: float) -> float | None:
    """Greatest possible distance between `quantile` and the true one; infinite in an outer bucket, None if empty."""
    place = _place(histogram, q)
    return None if place is None else max(place[0] - place[1], place[2] - place[0])


def _place(histogram: Histogram, q: float) -> tuple[float, float, float] | None:
    """Estimate, lower and upper end of the bucket that holds the q-quantile."""
    counts = {key: count for key, count in histogram.counts.items() if count > 0}
    rank, below, edges = q * sum(counts.values()), 0, histogram.edges
    for key in sorted(counts):
        if below + counts[key] >= rank:
            low = edges[key - 1] if key > 0 else -math.inf
            high = edges[key] if key < len(edges) else math.inf
            if key <= 0 or key >= len(edges):
                return (edges[0] if key <= 0 else edges[-1]), low, high
            return low + (rank - below) / counts[key] * (high - low), low, high
        below += counts[key]
    return None


def _shares(counts: Mapping[int, int]) -> list[int]:
    return [count for count in counts.values() if count > 0]


def distinct(counts: Mapping[int, int]) -> float | None:
    """How many keys occurred."""
    return float(len(_shares(counts)))


def hhi(counts: Mapping[int, int]) -> float | None:
    """Herfindahl-Hirschman index, the sum of squared shares: 1/n if n are equal, 1 if there is one. None if empty."""
    parts = _shares(counts)
    return sum(part * part for part in parts) / sum(parts) ** 2 if parts else None


def effective(counts: Mapping[int, int]) -> float | None:
    """Effective number of keys, 1 / hhi: how many equal ones would be as diverse. None if empty."""
    parts = _shares(counts)
    return sum(parts) ** 2 / sum(part * part for part in parts) if parts else None


def evenness(counts: Mapping[int, int], n: float) -> float | None:
    """Shannon evenness over n possible keys: 1 if all have the same share, 0 if one has it all. None if empty."""
    parts = _shares(counts)
    total = sum(parts)
    return math.fsum(part / total * math.log(total / part) for part in parts) / math.log(n) if parts else None
