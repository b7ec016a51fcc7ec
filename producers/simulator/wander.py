"""What makes neighbours alike and the next reading like the last: AR(1) in time, exp(-d / l) in space."""

from __future__ import annotations

import numpy as np

from pearlstream.catalogue.simulation import Level
from producers.simulator.chance import Floats, stream
from producers.simulator.fleet import Fleet

LOCAL_KM = 40.0
"""Below this length cities have factors of their own; above it the whole cluster shares them."""
LOCAL_WAVES = 2
WIDE_WAVES = 5


class Wander:
    """A standard normal number per reading, correlated in time and space as a level declares.

    In space it is a sum of random plane waves whose lengths follow the spectrum of exp(-d / l), which needs a few
    shared factors instead of a matrix of all pairs. A share `own` of the variance belongs to each device alone.
    """

    def __init__(self, fleet: Fleet, level: Level, seed: int) -> None:
        name = (fleet.feed.id, level.name)
        self.phi = level.phi
        self.fresh = float(np.sqrt(1 - level.phi**2))
        shared = level.length_km > 0 and level.own < 1
        self.own = float(np.sqrt(level.own if shared else 1.0))
        self._own = stream(seed, *name, "own")
        self._state = stream(seed, *name, "first").standard_normal(len(fleet)) if level.phi else None
        self._waves = self._factors = None
        if shared:
            self._shared = stream(seed, *name, "shared")
            self._waves = _waves(fleet, level.length_km, np.sqrt(1 - level.own), stream(seed, *name, "waves"))
            wide = level.length_km >= LOCAL_KM
            self._group = None if wide else fleet.city
            self._factors = self._shared.standard_normal((len(self._waves), 1 if wide else len(fleet.cities)))
        self._turn: int | None = None

    def at(self, lo: int, hi: int, turns: range) -> Floats:
        """Numbers for the reports of devices lo to hi in some cadences, one row each; call in order of time."""
        u = self._own.standard_normal((len(turns), hi - lo))
        if self._state is not None:
            u *= self.fresh
            last = self._state[lo:hi]
            for row in u:
                row += self.phi * last
                last = row
            self._state[lo:hi] = last
        if self._waves is None or self._factors is None:
            return u
        factors = np.stack([self._advanced(turn) for turn in turns])
        u = u * self.own
        for number, wave in enumerate(self._waves):
            factor = factors[:, number]
            u += wave[lo:hi] * (factor if self._group is None else factor[:, self._group[lo:hi]])
        return u

    def _advanced(self, turn: int) -> Floats:
        """The shared factors after one AR(1) step for each cadence that has begun."""
        assert self._factors is not None
        if self._turn is None:
            self._turn = turn
        while self._turn < turn:
            self._turn += 1
            self._factors = self.phi * self._factors + self.fresh * self._shared.standard_normal(self._factors.shape)
        return self._factors


def _waves(fleet: Fleet, length_km: float, scale: float, rng: np.random.Generator) -> Floats:
    """Cosine and sine of some plane waves at each device's place; squares sum to scale^2 everywhere."""
    count = WIDE_WAVES if length_km >= LOCAL_KM else LOCAL_WAVES
    number = np.sqrt(1 / (1 - rng.random(count)) ** 2 - 1) / length_km  # wave numbers of exp(-d / l) on a plane
    angle = 2 * np.pi * rng.random(count)
    phase = np.outer(number * np.cos(angle), fleet.x_km) + np.outer(number * np.sin(angle), fleet.y_km)
    waves: Floats = np.concatenate([np.cos(phase), np.sin(phase)]) * (scale / np.sqrt(count))
    return waves
