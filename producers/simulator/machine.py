"""Semi-Markov machines: a state lasts a random time, then another follows; off by plan whatever the state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pearlstream.catalogue.simulation import States, Stay
from producers.simulator.chance import Floats, Ints, hashed, key_of, normal_of, quota
from producers.simulator.columns import Coded
from producers.simulator.fleet import Fleet
from producers.simulator.profiles import WeekTable

Codes = npt.NDArray[np.int8]


class Machine:
    """The states of all devices of a fleet. Draws belong to a device and the number of its change, not to a call."""

    def __init__(self, fleet: Fleet, spec: States, words: tuple[str, ...], off: WeekTable | None, seed: int) -> None:
        self.words = words
        self._fleet = fleet
        self._key = key_of(seed, fleet.feed.id, spec.name, "states")
        self._stays = {words.index(word): stay for word, stay in spec.stay.items()}
        self._next = {code: _followers(stay, words) for code, stay in self._stays.items()}
        self._off = off
        self._planned = words.index(spec.planned) if spec.planned else -1
        self._first_off = quota(key_of(seed, fleet.feed.id, spec.name, "off"), fleet.city)
        self._changes = np.zeros(len(fleet), dtype=np.int64)
        self._code = self._first_states()
        self._until_ms: Ints | None = None

    def at(self, lo: int, hi: int, at_ms: Ints, local_ms: Ints, override: Floats | None) -> Coded:
        """The states of devices lo to hi at those times, which never go back for a device."""
        if self._until_ms is None:
            self._until_ms = int(at_ms[0]) + self._first_rest() if len(at_ms) else None
        if self._until_ms is None:
            return Coded(self._code[lo:hi].copy(), self.words)
        over = np.flatnonzero(self._until_ms[lo:hi] <= at_ms)
        while over.size:
            self._change(over + lo)
            over = over[self._until_ms[over + lo] <= at_ms[over]]
        codes = self._code[lo:hi].copy()
        if self._off is not None:
            codes[self._first_off[lo:hi] < self._off.at(local_ms)] = self._planned
        if override is not None and (forced := override >= 0).any():
            codes[forced] = override[forced].astype(np.int8)
        return Coded(codes, self.words)

    def _change(self, devices: Ints) -> None:
        assert self._until_ms is not None
        self._changes[devices] += 1
        lot = self._lot("next", devices)
        before = self._code[devices]  # a copy: what changes below must not change a second time
        for code in np.unique(before):
            some = before == code
            edges, followers = self._next[int(code)]
            self._code[devices[some]] = followers[np.searchsorted(edges[:-1], lot[some], side="right")]
        self._until_ms[devices] += self._durations(devices, self._lot("stay", devices))

    def _lot(self, purpose: str, devices: Ints) -> Floats:
        device = (self._fleet.city[devices] << 32) + self._fleet.number[devices]
        return hashed(self._key ^ key_of(purpose), device, self._changes[devices])

    def _durations(self, devices: Ints, lot: Floats) -> Ints:
        seconds = np.zeros(len(devices))
        for code in np.unique(self._code[devices]):
            some = self._code[devices] == code
            seconds[some] = _quantile(self._stays[int(code)], lot[some])
        return np.maximum(1, (seconds * 1000).astype(np.int64))

    def _first_states(self) -> Codes:
        """States in proportion to the time that machines spend in them."""
        share = _time_shares(self._stays, self._next)
        order = sorted(share)
        edges = np.cumsum([share[code] for code in order])
        rank = quota(self._key ^ key_of("first"), self._fleet.city)
        found: Codes = np.array(order, dtype=np.int8)[np.searchsorted(edges[:-1], rank, side="right")]
        return found

    def _first_rest(self) -> Ints:
        """What is left of the stay that the run begins in: longer stays are met more often, at a random moment."""
        every = np.arange(len(self._fleet))
        lot, part = self._lot("first stay", every), self._lot("first part", every)
        seconds = np.zeros(len(every))
        for code, stay in self._stays.items():
            some = self._code == code
            if stay.mean_s is not None:  # an exponential stay has no memory
                seconds[some] = _quantile(stay, lot[some])
            else:
                seconds[some] = _quantile(stay, lot[some]) * np.exp(stay.sigma**2) * part[some]
        rest: Ints = np.maximum(1, (seconds * 1000).astype(np.int64))
        return rest


def _followers(stay: Stay, words: tuple[str, ...]) -> tuple[Floats, Codes]:
    weights = np.array(list(stay.next.values()), dtype=float)
    return np.cumsum(weights / weights.sum()), np.array([words.index(w) for w in stay.next], dtype=np.int8)


def _quantile(stay: Stay, lot: Floats) -> Floats:
    if stay.mean_s is not None:
        return -stay.mean_s * np.log(lot)
    assert stay.median_s is not None
    return stay.median_s * np.exp(stay.sigma * normal_of(lot))


def _mean_s(stay: Stay) -> float:
    if stay.mean_s is not None:
        return stay.mean_s
    assert stay.median_s is not None
    return float(stay.median_s * np.exp(stay.sigma**2 / 2))


def _time_shares(stays: dict[int, Stay], following: dict[int, tuple[Floats, Codes]]) -> dict[int, float]:
    """The share of time in each state: visits of the embedded chain, by power iteration, times mean stays."""
    visits = dict.fromkeys(stays, 1 / len(stays))
    for _ in range(200):
        fresh = dict.fromkeys(stays, 0.0)
        for code, weight in visits.items():
            edges, followers = following[code]
            for follower, chance in zip(followers, np.diff(np.r_[0.0, edges]), strict=True):
                fresh[int(follower)] += weight * float(chance)
        # half a step, because chains that alternate (RUN, else, RUN) never settle with whole ones
        visits = {code: 0.5 * visits[code] + 0.5 * fresh[code] for code in stays}
    times = {code: visits[code] * _mean_s(stay) for code, stay in stays.items()}
    total = sum(times.values())
    return {code: time / total for code, time in times.items()}
