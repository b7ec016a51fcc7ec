"""Freshness: milliseconds from a gateway sending a frame to its rows being visible in the store."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

_STEP = 1.05
_BUCKETS = 400
"""Up to 1.05^400 ms, or four days."""


class Freshness:
    """A histogram of bounded size: percentiles are right to 5 %."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)

    def add(self, delays_ms: Iterable[float]) -> None:
        """Note delays; negative ones (clocks apart) count as 0."""
        delays = np.maximum(np.fromiter(delays_ms, float), 1.0)
        if len(delays):
            at = np.minimum((np.log(delays) / math.log(_STEP)).astype(np.int64), _BUCKETS - 1)
            np.add.at(self._counts, at, 1)

    @property
    def count(self) -> int:
        """How many delays were noted."""
        return int(self._counts.sum())

    def percentile(self, share: float) -> float | None:
        """The delay that a share (0..1) of the frames did not exceed, in ms; None if there were none."""
        total = self.count
        if not total:
            return None
        at = int(np.searchsorted(np.cumsum(self._counts), max(1, math.ceil(share * total))))
        return float(round(_STEP ** (at + 0.5), 1))
