"""What `admit` remembers of every device of a feed: which readings it has sent, and in which panes it spoke.

Columns over devices, so that the common case (each device sends its next number) is a handful of NumPy
passes over a batch; only devices with a gap, a repeat or a restart in the batch are walked row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pearlstream.catalogue.models import Feed
from pearlstream.folds.order import DeviceOrder, shuffled
from pearlstream.folds.ranges import MAX_GAPS, Ranges, Seen
from pearlstream.folds.recent import Recent
from pearlstream.folds.watch import Watch

DAY_MS = 86_400_000
MAX_REPEATS_IN_A_ROW = 50
"""After so many repeats in a row a device is suspected of having restarted unseen; more are set aside."""

NEW, REPEAT, FORGOTTEN, SUSPECT, RESTART = range(5)
"""Verdicts about the identity of a reading; RESTART is new, and the first of a run."""

Ints = NDArray[np.int64]


class OldRun(NamedTuple):
    """A run that a restart ended: readings before `until_ms` still belong to it."""

    run: int
    until_ms: int
    ranges: Ranges


@dataclass
class Irregular:
    """What a device needs beyond its columns once it was not strictly in order."""

    ranges: Ranges
    old: list[OldRun] = field(default_factory=list)
    repeats: int = 0
    boots: dict[str, int] = field(default_factory=dict)
    """The run of each life of the device that it has named."""


class Identity(NamedTuple):
    """The verdict per row, and the run that each accepted row belongs to."""

    verdict: NDArray[np.uint8]
    run: NDArray[np.uint32]
    unbroken: NDArray[np.bool_]
    """Whether the reading is the very next of its device's sequence."""


class _Batch(NamedTuple):
    """The readings that are judged, and the verdicts on them."""

    seq: Ints
    ts: Ints
    clock: Ints
    boots: Sequence[str | None] | None
    verdict: NDArray[np.uint8]
    runs: NDArray[np.uint32]
    unbroken: NDArray[np.bool_]


def _grown(array: NDArray[Any], size: int, fill: int) -> NDArray[Any]:
    out = np.full(max(size, 2 * len(array)), fill, dtype=array.dtype)
    out[: len(array)] = array
    return out


@dataclass
class DeviceTable:
    """The devices of one feed in one source partition. A device is (city, name); `index` gives its row."""

    pane_lengths: tuple[int, ...] = ()
    """Pane lengths (ms) for which the first reading of a device is marked."""
    index: dict[str, dict[str, int]] = field(default_factory=dict)
    names: list[tuple[str, str]] = field(default_factory=list)
    top: Ints = field(default_factory=lambda: np.full(64, -1, np.int64))
    base: Ints = field(default_factory=lambda: np.zeros(64, np.int64))
    """The first sequence number met; what lies below is missing, not received."""
    ts_top: Ints = field(default_factory=lambda: np.full(64, -1, np.int64))
    run: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(64, np.uint32))
    irregular: dict[int, Irregular] = field(default_factory=dict)
    stamps: dict[int, set[int]] = field(default_factory=dict)
    """Times seen in the last day, for devices that send no sequence number."""
    pane_top: list[Ints] = field(default_factory=list)
    pane_base: list[Ints] = field(default_factory=list)
    pane_gaps: list[dict[int, Ranges]] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    recent: Recent = field(default_factory=Recent)

    @classmethod
    def of(cls, feed: Feed, pane_lengths_s: Sequence[int]) -> DeviceTable:
        """The table of a feed before anything has been met."""
        return cls(tuple(s * 1000 for s in pane_lengths_s), watch=Watch.of(feed))

    def __post_init__(self) -> None:
        if not self.pane_top:
            self.pane_top = [np.full(64, -1, np.int64) for _ in self.pane_lengths]
            self.pane_base = [np.zeros(64, np.int64) for _ in self.pane_lengths]
            self.pane_gaps = [{} for _ in self.pane_lengths]

    def rows_of(self, city: str, names: Sequence[str]) -> Ints:
        """The row of each device, -1 for one that has not been met."""
        known = self.index.get(city)
        if known is None:
            return np.full(len(names), -1, np.int64)
        get = known.get
        return np.fromiter((get(name, -1) for name in names), np.int64, len(names))

    def add(self, city: str, names: Iterable[str]) -> None:
        """Give rows to devices met for the first time, in the order given."""
        known = self.index.setdefault(city, {})
        met = len(self.names)
        for name in names:
            if name not in known:
                known[name] = len(self.names)
                self.names.append((city, name))
        if len(self.names) > len(self.top):
            size = len(self.names)
            self.top = _grown(self.top, size, -1)
            self.base = _grown(self.base, size, 0)
            self.ts_top = _grown(self.ts_top, size, -1)
            self.run = _grown(self.run, size, 0)
            self.pane_top = [_grown(column, size, -1) for column in self.pane_top]
            self.pane_base = [_grown(column, size, 0) for column in self.pane_base]
            self.watch.grow(len(self.top))
            self.recent.grow(len(self.top))
        if len(self.names) > met:
            self.watch.settle(slice(met, len(self.names)), next(iter(known.values())))

    def identify(
        self,
        rows: Ints,
        seq: Ints,
        ts: Ints,
        clock: Ints,
        boots: Sequence[str | None] | None = None,
        by_device: DeviceOrder | None = None,
    ) -> Identity:
        """Judge readings in the order of the log and note those that it accepts.

        `seq` is -1 where there is none. `boots`: per reading, the life of the device if it names one; nothing is
        guessed then. `by_device`: the order of `rows`, if it is known.
        """
        verdict = np.zeros(len(rows), np.uint8)
        runs = self.run[rows]
        unbroken = np.ones(len(rows), bool)
        at = by_device or DeviceOrder.of(rows)
        number, when = seq[at.order], ts[at.order]
        before = at.before(number, self.top[at.devices])
        newest = at.before(when, self.ts_top[at.devices])
        contact = at.head & (before == -1)
        odd = ((number != before + 1) & ~contact) | (number < 0) | (when <= newest)
        if boots is not None:
            odd |= np.array([boots[place] is not None for place in at.order.tolist()], bool)
        self.base[at.device[contact]] = number[contact]
        unbroken[at.order[contact]] = False
        special = self._special(at, odd, number, when, unbroken, named=boots is not None)
        plain = ~special
        if plain.any():
            self.top[at.devices[plain]] = np.maximum.reduceat(number, at.starts)[plain]
            self.ts_top[at.devices[plain]] = np.maximum.reduceat(when, at.starts)[plain]
        if special.any():
            self._walk(at, odd, special, _Batch(seq, ts, clock, boots, verdict, runs, unbroken))
        return Identity(verdict, runs, unbroken)

    def _special(
        self,
        at: DeviceOrder,
        odd: NDArray[np.bool_],
        number: Ints,
        when: Ints,
        unbroken: NDArray[np.bool_],
        named: bool,
    ) -> NDArray[np.bool_]:
        """Which devices have to be walked row by row: the odd ones, but for those that only sent the next numbers in
        another order."""
        special = np.logical_or.reduceat(odd, at.starts) if len(odd) else np.empty(0, bool)
        if named or not special.any():
            return special
        tried = special & (self.top[at.devices] >= 0) & (np.add.reduceat(odd, at.starts, dtype=np.int64) < MAX_GAPS - 1)
        tried[tried] = [row not in self.irregular for row in at.devices[tried].tolist()]
        if not tried.any():
            return special
        places = np.flatnonzero(tried[at.group])
        group = (np.cumsum(tried) - 1)[at.group[places]]
        own = at.devices[tried]
        good, next_in_line = shuffled(number[places], when[places], group, self.top[own], self.ts_top[own])
        mine = good[group]
        unbroken[at.order[places[mine]]] = next_in_line[mine]
        special[tried] = ~good
        return special

    def _walk(self, at: DeviceOrder, odd: NDArray[np.bool_], special: NDArray[np.bool_], batch: _Batch) -> None:
        """Judge the readings of special devices one by one, but for those that plainly follow on the one before."""
        seq, ts, clock, boots, verdict, runs, unbroken = batch
        for start, stop in _stretches(odd | at.head, special[at.group]):
            for place in range(start, stop):
                one = int(at.order[place])
                row, number, when, now = int(at.device[place]), int(seq[one]), int(ts[one]), int(clock[one])
                unbroken[one] = number == self.top[row] + 1 and self.top[row] >= 0
                boot = boots[one] if boots is not None else None
                if number < 0:
                    verdict[one] = self._by_time(row, when, now)
                elif boot is not None:
                    verdict[one], runs[one] = self._by_boot(row, number, when, now, boot)
                else:
                    verdict[one], runs[one] = self._by_seq(row, number, when, now)
                if self._leads(row, number, when):
                    last = int(at.order[stop - 1])
                    runs[at.order[place:stop]] = self.run[row]
                    self.top[row], self.ts_top[row] = seq[last], ts[last]
                    break

    def _leads(self, row: int, seq: int, ts: int) -> bool:
        """Whether this reading is the newest in every way, so that those that follow on it are plainly new."""
        if self.top[row] != seq or self.ts_top[row] != ts:
            return False
        state = self.irregular.get(row)
        return state is None or all(old.until_ms <= ts for old in state.old)

    def _by_seq(self, row: int, seq: int, ts: int, clock: int) -> tuple[int, int]:
        state = self._state(row)
        for old in state.old:
            if ts < old.until_ms:
                return _verdict(state, old.ranges.take(seq)), old.run
        if seq <= state.ranges.top and ts > self.ts_top[row]:
            return self._restart(row, state, seq, ts, clock)
        return self._in_run(row, state, seq, ts)

    def _by_boot(self, row: int, seq: int, ts: int, clock: int, boot: str) -> tuple[int, int]:
        """As `_by_seq`, for a device that names its life. The first name it gives is that of the run it is in."""
        state = self._state(row)
        current = int(self.run[row])
        run = state.boots.setdefault(boot, current if not state.boots else current + 1)
        if run == current:
            return self._in_run(row, state, seq, ts)
        if run > current:
            return self._restart(row, state, seq, ts, clock)
        old = next((old for old in state.old if old.run == run), None)
        return (_verdict(state, old.ranges.take(seq)) if old is not None else FORGOTTEN), run

    def _state(self, row: int) -> Irregular:
        """The device's ranges, brought up to what the columns have taken in since."""
        state = self.irregular.get(row)
        if state is None:
            state = self.irregular[row] = Irregular(_ranges(int(self.top[row]), int(self.base[row])))
        if self.top[row] > state.ranges.top:
            state.ranges.top, state.repeats = int(self.top[row]), 0
        return state

    def _restart(self, row: int, state: Irregular, seq: int, ts: int, clock: int) -> tuple[int, int]:
        state.old = [old for old in state.old if old.until_ms > clock - DAY_MS]
        state.old.append(OldRun(int(self.run[row]), ts, state.ranges))
        state.ranges, state.repeats = _ranges(seq, seq), 0
        self.run[row] += 1
        self.top[row], self.base[row], self.ts_top[row] = seq, seq, ts
        return RESTART, int(self.run[row])

    def _in_run(self, row: int, state: Irregular, seq: int, ts: int) -> tuple[int, int]:
        verdict = _verdict(state, state.ranges.take(seq))
        if verdict == NEW:
            self.top[row] = state.ranges.top
            self.ts_top[row] = max(int(self.ts_top[row]), ts)
        base = int(self.base[row])
        whole = not state.ranges.gaps or state.ranges.gaps == [(0, base - 1)]
        if whole and state.ranges.forgotten < 0 and not (state.repeats or state.old or state.boots):
            del self.irregular[row]
            self.base[row] = base if state.ranges.gaps else 0
        return verdict, int(self.run[row])

    def _by_time(self, row: int, ts: int, clock: int) -> int:
        seen = self.stamps.setdefault(row, set())
        if ts in seen:
            return REPEAT
        size = len(seen)
        if size >= 64 and size & (size - 1) == 0:
            horizon = min(clock if clock >= 0 else ts, ts) - DAY_MS
            seen -= {old for old in seen if old < horizon}
        seen.add(ts)
        self.ts_top[row] = max(int(self.ts_top[row]), ts)
        return NEW

    def first_in_pane(self, which: int, rows: Ints, panes: Ints, by_device: DeviceOrder | None = None) -> Ints:
        """1 for each reading that is its device's first in its pane, else 0; `which` counts `pane_lengths`.

        `panes` are pane numbers (time divided by the length). Notes what it has seen.
        """
        top, base, gaps = self.pane_top[which], self.pane_base[which], self.pane_gaps[which]
        at = by_device or DeviceOrder.of(rows)
        pane = panes[at.order]
        before = at.before(pane, top[at.devices])
        contact = at.head & (before == -1)
        odd = (pane != before) & (pane != before + 1) & ~contact
        first = np.empty(len(rows), np.int64)
        first[at.order] = pane != before
        special = np.logical_or.reduceat(odd, at.starts) if len(odd) else odd
        base[at.device[contact]] = pane[contact]
        plain = ~special
        top[at.devices[plain]] = pane[at.ends[plain]]
        for start, stop in _stretches(odd | at.head, special[at.group]) if special.any() else ():
            for place in range(start, stop):
                one, row = int(at.order[place]), int(at.device[place])
                seen = gaps.get(row)
                if seen is None:
                    seen = gaps[row] = _ranges(int(top[row]), int(base[row]))
                seen.top = max(seen.top, int(top[row]))
                first[one] = seen.take(int(panes[one])) == Seen.NEW
                top[row] = seen.top
                if top[row] == panes[one]:
                    top[row] = pane[stop - 1]  # the rest follows pane by pane, and is marked above
                    break
        return first


def _stretches(breaks: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Of rows in device order: where each stretch in which a row follows on the one before begins and ends.

    `breaks`: rows that begin one; only stretches of `wanted` rows are given. One row decides for its stretch, so
    that a gap in an hour of readings costs two looks and not one at every reading.
    """
    starts = np.flatnonzero(breaks)
    ends = np.append(starts[1:], len(breaks))
    some = wanted[starts]
    return zip(starts[some].tolist(), ends[some].tolist(), strict=True)


def _ranges(top: int, base: int) -> Ranges:
    """Ranges in which base..top were received; before first contact (`top` -1) nothing is missing yet."""
    if top < 0:
        return Ranges(base - 1, [(0, base - 1)] if base > 0 else [])
    return Ranges(top, [(0, base - 1)] if base > 0 else [])


def _verdict(state: Irregular, seen: Seen) -> int:
    if seen is Seen.NEW:
        state.repeats = 0
        return NEW
    if seen is Seen.FORGOTTEN:
        return FORGOTTEN
    state.repeats += 1
    return SUSPECT if state.repeats > MAX_REPEATS_IN_A_ROW else REPEAT
