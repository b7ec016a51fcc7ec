"""What `admit` asks of a reading that could be decoded: is its time believable, are its values plausible?

Everything here looks at whole columns; a message is only written for a row that fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pearlstream.catalogue.models import FieldSpec
from pearlstream.quality import Quality

MINUTE_MS = 60_000
DAY_MS = 86_400_000
YEAR_2015_MS = 1_420_070_400_000
"""Older times come from clocks that were never set."""
AHEAD_MS = 2 * MINUTE_MS
FUTURE_MS = 10 * MINUTE_MS
ZONE_SLACK_MS = 5 * MINUTE_MS
LATEST_MS = 4_102_444_800_000
"""Start of 2100: larger numbers are microseconds or finer."""

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass
class Verdicts:
    """Row by row: why a reading is set aside (0: it is not), and its quality flags."""

    rows: int
    reason: NDArray[np.uint8] = field(init=False)
    qc: NDArray[np.uint32] = field(init=False)
    words: list[str] = field(default_factory=lambda: [""])
    messages: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reason = np.zeros(self.rows, np.uint8)
        self.qc = np.zeros(self.rows, np.uint32)

    def set_aside(self, mask: Mask, reason: str, message: str = "") -> None:
        """Give the rows of `mask` that nothing has been said about a reason, and a message for all of them."""
        fresh = mask & (self.reason == 0)
        if fresh.any():
            self.reason[fresh] = self._code(reason)
            for row in np.flatnonzero(fresh):
                self.messages[int(row)] = message

    def set_aside_row(self, row: int, reason: str, message: str) -> None:
        """The same for one row."""
        if self.reason[row] == 0:
            self.reason[row] = self._code(reason)
            self.messages[row] = message

    def _code(self, reason: str) -> int:
        if reason not in self.words:
            self.words.append(reason)
        return self.words.index(reason)

    def reasons(self, start: int, stop: int) -> Iterator[tuple[str, Ints]]:
        """For a stretch of rows: each reason with its row numbers, counted from `start`."""
        part = self.reason[start:stop]
        for code in np.unique(part[part > 0]):
            yield self.words[int(code)], np.flatnonzero(part == code)


def check_times(v: Verdicts, feed: str, ts: Ints, clock: Ints, offset_ms: Ints) -> None:
    """Judge device times against the clock of arrival (ms; -1 before the first tick) and the city's zone."""
    old = ts < YEAR_2015_MS
    far = ts > LATEST_MS
    if old.any() or far.any():
        for scale, name, factor in ((1_000, "seconds", "1000"), (1e-3, "microseconds", "0.001"), (1e-6, "ns", "1e-6")):
            scaled = ts * scale
            fits = (old | far) & (scaled >= YEAR_2015_MS) & (scaled <= LATEST_MS)
            v.set_aside(fits, "time_unit", f"{feed}/ts: looks like {name}; send milliseconds (x{factor} fits)")
        v.set_aside(old, "time_unset", f"{feed}/ts: lies before 2015; set the device's clock")
        v.set_aside(far, "future", f"{feed}/ts: lies beyond 2100; set the device's clock")
    known = clock >= 0
    ahead = np.where(known, ts - clock, 0)
    if (ahead > AHEAD_MS).any():
        zone = (offset_ms != 0) & (np.abs(ahead - offset_ms) <= ZONE_SLACK_MS) & known
        v.set_aside(zone, "time_zone_suspect", f"{feed}/ts: a whole time zone ahead, looks like local time; send UTC")
        for row in np.flatnonzero((ahead > FUTURE_MS) & (v.reason == 0)):
            message = f"{feed}/ts: the device's clock is {ahead[row] // 1000} s ahead; set it"
            v.set_aside_row(int(row), "future", message)
        v.qc[(ahead > AHEAD_MS) & (ahead <= FUTURE_MS)] |= np.uint32(Quality.CLOCK_AHEAD)
    stale = known & (ahead < -DAY_MS)
    if stale.any():
        v.set_aside(stale, "too_late", f"{feed}/ts: more than 24 h behind the clock; import it as history instead")


def flag_zone_behind(v: Verdicts, unbroken: Mask, ts: Ints, clock: Ints, offset_ms: Ints) -> None:
    """Flag readings a whole time zone behind in an unbroken sequence: local time of a zone west, sent as UTC."""
    behind = (clock >= 0) & (offset_ms != 0) & (np.abs(clock - ts - np.abs(offset_ms)) <= ZONE_SLACK_MS)
    v.qc[behind & unbroken] |= np.uint32(Quality.TIME_ZONE_SUSPECT)


def check_ranges(v: Verdicts, feed: str, fields: Mapping[str, FieldSpec], columns: Mapping[str, NDArray[Any]]) -> None:
    """Judge numeric columns (NaN is null) against the plausible range of their field."""
    for name, spec in fields.items():
        if spec.min is None and spec.max is None:
            continue
        low = -np.inf if spec.min is None else spec.min
        high = np.inf if spec.max is None else spec.max
        column = columns[name]
        outside = (column < low) | (column > high)
        if not outside.any():
            continue
        if spec.hard:
            for row in np.flatnonzero(outside):
                message = f"{feed}/{name}: {column[row]} is outside {low:g}..{high:g} {spec.unit}; check the sensor"
                v.set_aside_row(int(row), "range", message)
        else:
            v.qc[outside] |= np.uint32(Quality.RANGE)
