"""The way from a device to its gateway's log: delay, loss, repeats, disorder, wrong clocks, outages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pearlstream.catalogue.simulation import DeviceClock, Faults
from producers.simulator.chance import Floats, Ints, hashed, key_of, normal_of, stream
from producers.simulator.disturb import Skew
from producers.simulator.fleet import DAY_MS, Fleet
from producers.simulator.labels import Label
from producers.simulator.outages import Buffers, Episode
from producers.simulator.rows import Rows, join_rows

Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""
EIGHT_HOURS_MS = 8 * 3_600_000


class Way(NamedTuple):
    """What is wrong with the way of one feed's readings: `faults` of every day, outages, clocks put wrong."""

    faults: bool
    episodes: Sequence[Episode] = ()
    skews: Sequence[Skew] = ()


class Transport:
    """Carries the readings of one feed. Offer the parts of a step, then take what has arrived by its end."""

    def __init__(
        self,
        fleet: Fleet,
        faults: Faults,
        way: Way,
        seed: int,
        start_ms: int,
        tick_ms: int,
    ) -> None:
        self.fleet = fleet
        self.lost = 0
        self._network = faults.network if way.faults else None
        self._start_ms = start_ms
        self._tick_ms = tick_ms
        self._coming: dict[int, list[Rows]] = {}
        self._key = key_of(seed, fleet.feed.id, "transport")
        self._delay = stream(seed, fleet.feed.id, "delay")
        self._fate = stream(seed, fleet.feed.id, "fate")
        self._buffers = Buffers(fleet, faults.outage, way.episodes, seed)
        self.clocks = Clocks(fleet, faults.clock if way.faults else None, way.skews, seed)

    def offer(self, rows: Rows) -> None:
        """Readings as the devices made them, in order."""
        self._sort_in(self._buffers.hold(self._travel(rows)))

    def arrived(self, until_ms: int) -> Rows | None:
        """What arrives before `until_ms`, the end of a step, step by step and in no order within one; None if nothing
        does."""
        for rows in self._buffers.release(until_ms):
            self._sort_in(rows)
        last = self._step(until_ms - 1)
        parts = [part for step in sorted(self._coming) if step <= last for part in self._coming.pop(step)]
        return join_rows(parts) if parts else None

    @property
    def on_the_way(self) -> int:
        """Readings that have not arrived yet."""
        return self._buffers.held + sum(len(rows) for parts in self._coming.values() for rows in parts)

    @property
    def lost_in_outages(self) -> int:
        """Readings that nobody buffered."""
        return self._buffers.lost

    def last_arrival_ms(self, before_ms: int) -> int:
        """The end of the last step until `before_ms` in which something arrives, or 0."""
        ends = [self._start_ms + (step + 1) * self._tick_ms for step in self._coming]
        if self._buffers.first_release_ms < before_ms:
            ends.append(before_ms)  # a flush takes a while, and ends at a time that only the flush knows
        return max((ms for ms in ends if ms <= before_ms), default=0)

    def _step(self, ms: int) -> int:
        return (ms - self._start_ms) // self._tick_ms

    def _sort_in(self, rows: Rows) -> None:
        """Put readings where they belong by their time of arrival."""
        if not len(rows):
            return
        steps = (rows.arrival_ms - self._start_ms) // self._tick_ms
        first = int(steps.min())
        if first == int(steps.max()):
            self._coming.setdefault(first, []).append(rows)
            return
        order = np.argsort(steps, kind="stable")
        numbers, starts = np.unique(steps[order], return_index=True)
        for step, some in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            self._coming.setdefault(step, []).append(rows.take(some))

    def _travel(self, rows: Rows) -> Rows:
        """Delay, loss, repeats, disorder; one lot per reading decides which of them.

        What a source sends with one report travels together, so that its events stay in their order.
        """
        net = self._network
        rows_as_read = rows.stamped(self.clocks.read(rows))
        if net is None:
            return rows_as_read
        sigma = np.log(net.p99_s / net.median_s) / Z99
        normal = self._delay.standard_normal(len(rows))[_first_of_report(rows)]
        delay = np.exp(normal * sigma + np.log(net.median_s * 1000))
        lot = self._fate.random(len(rows))
        arrival: Ints = rows.arrival_ms + delay.astype(np.int64)
        lost = lot < net.loss
        twice = (lot >= net.loss) & (lot < net.loss + net.duplicates)
        held = (lot >= 1 - net.disorder).nonzero()[0]
        arrival[held] += (self._lot("disorder", rows, held) * net.disorder_s * 1000).astype(np.int64)
        sent = rows_as_read.arriving(arrival)
        again = np.flatnonzero(twice)
        self.lost += int(lost.sum())
        if again.size:
            copy = sent.take(again)
            wait = (1_000 + 9_000 * self._lot("again", rows, again)).astype(np.int64)
            copy = copy.arriving(copy.arrival_ms + wait, repeat=True)
            return join_rows([sent.take(~lost), copy])
        return sent.take(~lost) if lost.any() else sent

    def _lot(self, purpose: str, rows: Rows, some: Ints) -> Floats:
        return hashed(self._key ^ key_of(purpose), rows.device[some], rows.seq[some])


def _first_of_report(rows: Rows) -> Ints:
    """For each row the place of the first one that its device sends with it."""
    head = np.r_[True, (np.diff(rows.device) != 0) | (np.diff(rows.arrival_ms) != 0)][: len(rows)]
    return np.maximum.accumulate(np.where(head, np.arange(len(rows)), 0))


class Clocks:
    """How far the clocks of a fleet are off, and which of them are quite wrong.

    Without `spec` they are right but for what scenarios do to them (`skews`).
    """

    def __init__(self, fleet: Fleet, spec: DeviceClock | None, skews: Sequence[Skew], seed: int) -> None:
        self.fleet = fleet
        self._skews = skews
        self._spec = spec
        self.wrong_ms = np.zeros(len(fleet))
        if spec is not None:
            self._draw(spec, seed)

    def _draw(self, spec: DeviceClock, seed: int) -> None:
        fleet = self.fleet

        def lot(purpose: str) -> Floats:
            return hashed(key_of(seed, fleet.feed.id, "clock", purpose), fleet.city, fleet.number)

        self._offset_ms = normal_of(lot("offset")) * spec.offset_s * 1000
        self._drift = normal_of(lot("drift")) * spec.drift_ppm * 1e-6
        # a clock that is never set has run free for thirty days when the run begins
        self._free_ms = np.where(lot("resync") < spec.resync, 0, 30 * DAY_MS)
        self._sync_ms = (lot("moment") * DAY_MS).astype(np.int64)
        wrong = lot("wrong") < spec.wrong
        minutes = np.round((lot("minutes") - 0.5) * 60 + np.where(lot("minutes") < 0.5, -1, 1)) * 60_000
        zone = np.where(lot("sign") < 0.5, -EIGHT_HOURS_MS, EIGHT_HOURS_MS)
        self.wrong_ms = np.where(wrong, np.where(lot("kind") < 0.5, minutes, zone), 0.0)

    def read(self, rows: Rows) -> Ints:
        """What the devices' clocks say at the true times `rows.ts_ms`."""
        read = rows.ts_ms
        if self._spec is not None:
            device = rows.device
            since = (rows.ts_ms - self._sync_ms[device]) % DAY_MS + self._free_ms[device]
            off = self._offset_ms[device] + self._drift[device] * since + self.wrong_ms[device]
            read = read + np.floor(off + 0.5).astype(np.int64)
        for skew in self._skews:
            off_now = (rows.ts_ms >= skew.from_ms) & (rows.ts_ms < skew.until_ms)
            if off_now.any():
                read = read + skew.offset_ms * (off_now & np.isin(rows.device, skew.devices))
        return read

    def labels(self, start_ms: int, end_ms: int) -> Iterator[Label]:
        """A label for each clock that is off by minutes or hours, or that a scenario puts wrong."""
        for device in np.flatnonzero(self.wrong_ms):
            city = self.fleet.cities[self.fleet.city[device]].id
            name, off = str(self.fleet.ids[device]), self.wrong_ms[device] / 60_000
            note = f"clock off by {off:+.0f} min"
            yield Label("clock_wrong", name, city, self.fleet.feed.id, name, start_ms, end_ms, note)
        for skew in self._skews:
            yield from skew.labels(self.fleet)
