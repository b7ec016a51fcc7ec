"""Local times to UTC, with the hours that exist twice or never."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
BUCKET_MS = 15 * 60_000
"""Clocks are changed at full quarters of an hour, so all times within one have the same offset."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local times have no zone yet
_FIXED = re.compile(r"([+-])(\d{2}):?(\d{2})").fullmatch


@dataclass(frozen=True)
class Offsets:
    """What a zone says about local times: how far east of UTC (ms), and which exist not at all, or twice."""

    ms: Ints
    nonexistent: Mask
    ambiguous: Mask


@dataclass
class Zone:
    """A time zone. Of a time that exists twice the first is meant."""

    name: str
    info: tzinfo
    _known: dict[int, tuple[int, bool, bool]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str) -> Zone:
        """A zone by its IANA name (`Asia/Shanghai`) or fixed offset (`+08:00`). Raises ValueError."""
        fixed = _FIXED(name)
        if fixed:
            minutes = int(fixed[2]) * 60 + int(fixed[3])
            if minutes > 14 * 60:
                raise ValueError(f"the offset {name!r} is larger than any on earth")
            return cls(name, timezone(timedelta(minutes=-minutes if fixed[1] == "-" else minutes)))
        if name.upper() in ("UTC", "Z"):
            return cls(name, UTC)
        try:
            return cls(name, ZoneInfo(name))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {name!r}") from None

    def offsets(self, local_ms: Ints) -> Offsets:
        """For local times, counted in ms as if 1970 had begun in this zone."""
        buckets, where = np.unique(local_ms // BUCKET_MS, return_inverse=True)
        found = [self._at(int(bucket)) for bucket in buckets]
        offset = np.array([one[0] for one in found], np.int64)
        never = np.array([one[1] for one in found], bool)
        twice = np.array([one[2] for one in found], bool)
        return Offsets(offset[where], never[where], twice[where])

    def _at(self, bucket: int) -> tuple[int, bool, bool]:
        """Offset, whether the time never existed, whether it exists twice."""
        known = self._known.get(bucket)
        if known is None:
            known = self._known[bucket] = self._ask(bucket)
        return known

    def _ask(self, bucket: int) -> tuple[int, bool, bool]:
        try:
            local = _EPOCH + timedelta(milliseconds=bucket * BUCKET_MS)
            first = _offset_ms(local.replace(tzinfo=self.info, fold=0))
            second = _offset_ms(local.replace(tzinfo=self.info, fold=1))
        except OverflowError:
            return 0, False, False  # the times before 2015 and after 2100 are refused anyway
        return first, first < second, first > second


def _offset_ms(moment: datetime) -> int:
    offset = moment.utcoffset()
    assert offset is not None
    return round(offset.total_seconds() * 1000)
