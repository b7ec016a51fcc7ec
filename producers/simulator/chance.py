"""Chance by name: every random number follows from the seed and what it is for.

*Streams* are for what is drawn for every reading in turn; *hashed* numbers are for what belongs to a device or
a rare event, so that they do not depend on how many draws came before.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)


@lru_cache(maxsize=4096)
def key_of(*purpose: str | int) -> int:
    """A 64-bit number that stands for a purpose."""
    text = "\x1f".join(str(part) for part in purpose)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator of its own for (seed, purpose). SFC64 is NumPy's fastest."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, key_of(*purpose)])))


def hashed(key: int, first: npt.NDArray[Any], second: npt.NDArray[Any] | int = 0) -> Floats:
    """Uniform numbers in (0, 1) that depend on `key` and one or two integers alone (splitmix64)."""
    with np.errstate(over="ignore"):
        x = np.asarray(first).astype(np.uint64) * _STEP + np.uint64(key)
        for word in (np.asarray(second).astype(np.uint64), np.uint64(0)):
            x = (x ^ (x >> np.uint64(30))) * _MIX1
            x = (x ^ (x >> np.uint64(27))) * _MIX2
            x = (x ^ (x >> np.uint64(31))) + word * _STEP + _STEP
    return ((x >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def quota(key: int, group: npt.NDArray[Any]) -> Floats:
    """A rank in (0, 1) for each member of each group, evenly spread, in an order that `key` shuffles.

    Members below `share` are that share of every group, as nearly as whole members allow.
    """
    size = len(group)
    ranks = np.empty(size)
    if not size:
        return ranks
    order = np.lexsort((hashed(key, np.arange(size)), group))
    ordered = np.asarray(group)[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[starts, size])
    within = np.arange(size) - np.repeat(starts, counts)
    ranks[order] = (within + 0.5) / np.repeat(counts, counts)
    return ranks


def normal_of(p: Floats) -> Floats:
    """The standard normal quantile of `p` (Acklam's approximation, relative error below 1.2e-9)."""
    a = (
        -39.69683028665376,
        220.9460984245205,
        -275.9285104469687,
        138.357751867269,
        -30.66479806614716,
        2.506628277459,
    )
    b = (-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572, 1.0)
    c = (
        -0.007784894002430,
        -0.3223964580411365,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141465,
        2.9381639826988,
    )
    d = (0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1.0)
    tail = np.minimum(p, 1 - p)
    q = np.sqrt(-2 * np.log(tail))
    outer = np.polyval(c, q) / np.polyval(d, q)
    centre = p - 0.5
    r = centre * centre
    inner = np.polyval(a, r) * centre / np.polyval(b, r)
    return np.where(tail < 0.02425, np.where(p < 0.5, outer, -outer), inner)
