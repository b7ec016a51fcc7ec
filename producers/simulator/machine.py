"""Semi-Markov machines: a state lasts a random or a fixed time, then another follows; off by plan whatever the state.

A stay covers the times from its beginning until just before its end, so that a stay as long as the cadence is seen
by exactly one report of its device, whatever the moment at which the device reports.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pearlstream.catalogue.simulation import States, Stay
from producers.simulator.chance import Floats, Ints, hashed, key_of, normal_of, quota
from producers.simulator.columns import Coded
from producers.simulator.fleet import Fleet
from producers.simulator.formula import Compiled, compile_formula
from producers.simulator.profiles import WeekTable
from producers.simulator.reports import Reports

Codes = npt.NDArray[np.int8]
_SQUARINGS = 30


class Machine:
    """The states of all devices of a fleet. Draws belong to a device and the number of its change, not to a call."""

    def __init__(self, fleet: Fleet, spec: States, words: tuple[str, ...], off: WeekTable | None, seed: int) -> None:
        self.words = words
        self._device = (fleet.city << 32) + fleet.number
        self._key = key_of(seed, fleet.feed.id, spec.name, "states")
        self._stays = {words.index(word): stay for word, stay in spec.stay.items()}
        self._next = {code: _Followers(stay, words) for code, stay in self._stays.items()}
        self._off = off
        self._planned = words.index(spec.planned) if spec.planned else -1
        self._first_off = quota(key_of(seed, fleet.feed.id, spec.name, "off"), fleet.city)
        self._first_rank = quota(self._key ^ key_of("first"), fleet.city)
        self._changes = np.zeros(len(fleet), dtype=np.int64)
        self._code: Codes = np.zeros(len(fleet), dtype=np.int8)
        self._until_ms = np.zeros(len(fleet), dtype=np.int64)
        self._idle = np.ones(len(fleet), dtype=bool)
        self._waiting = len(fleet)

    def at(self, reports: Reports, override: Floats | None) -> Coded:
        """The states of the devices that report; their times never go back."""
        lo, hi, at_ms = reports.lo, reports.hi, reports.at_ms
        if self._waiting and self._idle[lo:hi].any():
            self._begin(reports)
        over = np.flatnonzero(self._until_ms[lo:hi] <= at_ms)
        while over.size:
            self._change(over + lo, reports)
            over = over[self._until_ms[over + lo] <= at_ms[over]]
        codes = self._code[lo:hi].copy()
        if self._off is not None:
            codes[self._first_off[lo:hi] < self._off.at(reports.local_ms())] = self._planned
        if override is not None and (forced := override >= 0).any():
            codes[forced] = override[forced].astype(np.int8)
        return Coded(codes, self.words)

    def _change(self, devices: Ints, reports: Reports) -> None:
        self._changes[devices] += 1
        lot = self._lot("next", devices)
        before = self._code[devices]  # a copy: what changes below must not change a second time
        for code, followers in self._next.items():
            some = np.flatnonzero(before == code)
            if some.size:
                chosen = devices[some]
                self._code[chosen] = followers.choose(code, lot[some], reports, chosen - reports.lo)
        self._until_ms[devices] += self._durations(devices, self._lot("stay", devices))

    def _lot(self, purpose: str, devices: Ints) -> Floats:
        return hashed(self._key ^ key_of(purpose), self._device[devices], self._changes[devices])

    def _durations(self, devices: Ints, lot: Floats) -> Ints:
        lasting = np.zeros(len(devices), dtype=np.int64)
        now = self._code[devices]
        for code, stay in self._stays.items():
            some = now == code
            if some.any():
                lasting[some] = _whole_ms(_quantile(stay, lot[some]))
        return lasting

    def _begin(self, reports: Reports) -> None:
        """Give devices that report for the first time a state, and what is left of the stay that they are in."""
        new = np.flatnonzero(self._idle[reports.lo : reports.hi])
        devices = new + reports.lo
        order, share = _time_shares(self._stays, self._next, reports, new)
        passed = np.cumsum(share, axis=1)[:, :-1] <= self._first_rank[devices, None]
        self._code[devices] = np.array(order, dtype=np.int8)[passed.sum(axis=1)]
        self._until_ms[devices] = reports.at_ms[new] + self._first_rest(devices)
        self._idle[devices] = False
        self._waiting -= len(devices)

    def _first_rest(self, devices: Ints) -> Ints:
        """What is left of the stay that the run begins in: longer stays are met more often, at a random moment."""
        lot, part = self._lot("first stay", devices), self._lot("first part", devices)
        rest = np.zeros(len(devices), dtype=np.int64)
        for code, stay in self._stays.items():
            some = self._code[devices] == code
            seconds = _quantile(stay, lot[some])
            if stay.mean_s is None:  # an exponential stay has no memory
                seconds = seconds * np.exp(stay.sigma**2) * part[some]
            rest[some] = _whole_ms(seconds)
        return rest


class _Followers:
    """What may follow a state: codes, each with a weight that is a number or a term."""

    def __init__(self, stay: Stay, words: tuple[str, ...]) -> None:
        self.codes: Codes = np.array([words.index(word) for word in stay.next], dtype=np.int8)
        self._fixed = np.array([0.0 if isinstance(weight, str) else weight for weight in stay.next.values()])
        self._terms: list[tuple[int, Compiled]] = [
            (index, compile_formula(weight))
            for index, weight in enumerate(stay.next.values())
            if isinstance(weight, str)
        ]

    @property
    def depend(self) -> bool:
        """Whether a weight is a term."""
        return bool(self._terms)

    def weights(self, reports: Reports, rows: Ints) -> Floats:
        """The weight of each follower: one line for each of the rows if any is a term, else one for all."""
        if not self._terms:
            return self._fixed[None, :]
        weights = np.repeat(self._fixed[None, :], len(rows), axis=0)
        for index, term in self._terms:
            weights[:, index] = np.maximum(reports.compute(term)[rows], 0.0)
        return weights

    def choose(self, code: int, lot: Floats, reports: Reports, rows: Ints) -> Codes:
        """The follower for each lot; the state itself where nothing has any weight."""
        edges = np.cumsum(self.weights(reports, rows), axis=1)
        passed = (edges[:, :-1] <= lot[:, None] * edges[:, -1:]).sum(axis=1)
        chosen: Codes = self.codes[passed]
        return np.where(edges[:, -1] > 0, chosen, np.int8(code))


def _whole_ms(seconds: Floats) -> Ints:
    return np.maximum(1, np.rint(seconds * 1000).astype(np.int64))


def _quantile(stay: Stay, lot: Floats) -> Floats:
    if stay.fixed_s is not None:
        return np.full(len(lot), stay.fixed_s)
    if stay.mean_s is not None:
        return -stay.mean_s * np.log(lot)
    assert stay.median_s is not None
    return stay.median_s * np.exp(stay.sigma * normal_of(lot))


def _mean_s(stay: Stay) -> float:
    if stay.fixed_s is not None:
        return stay.fixed_s
    if stay.mean_s is not None:
        return stay.mean_s
    assert stay.median_s is not None
    return float(stay.median_s * np.exp(stay.sigma**2 / 2))


def _time_shares(
    stays: Mapping[int, Stay], following: Mapping[int, _Followers], reports: Reports, rows: Ints
) -> tuple[list[int], Floats]:
    """The states in order of code, and for each row the share of time in each: visits of the chain times mean stays."""
    order = sorted(stays)
    place = {code: index for index, code in enumerate(order)}
    size = len(rows) if any(followers.depend for followers in following.values()) else 1
    step = np.zeros((size, len(order), len(order)))
    for code, followers in following.items():
        weights = followers.weights(reports, rows)
        total = weights.sum(axis=1, keepdims=True)
        shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        for column, follower in enumerate(followers.codes):
            step[:, place[code], place[int(follower)]] += shares[:, column]
        step[:, place[code], place[code]] += (total[:, 0] <= 0).astype(float)
    # half a step, because chains that alternate (RUN, else, RUN) never settle with whole ones
    step = 0.5 * (step + np.eye(len(order)))
    for _ in range(_SQUARINGS):
        step = step @ step
        step /= step.sum(axis=2, keepdims=True)
    times = step.mean(axis=1) * np.array([_mean_s(stays[code]) for code in order])
    return order, np.broadcast_to(times / times.sum(axis=1, keepdims=True), (len(rows), len(order)))
