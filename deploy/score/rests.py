"""At which ticks the stages behind `admit` look up: where a window can settle, and not in between.

Readings are admitted tick by tick. Their partials only add up, and nothing is said of a settled window before the
clock has passed its end and its hold; so the partials of several ticks may come as one, at the next tick that can
settle anything. Settled rows are the same to the last digit; corrections come together that would have come one by
one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from pearlstream.program import Program
from producers.simulator.plan import Plan

HOUR_MS = 3_600_000


class Rests(NamedTuple):
    """How many ticks it is to the next of them, by the number of a tick modulo the length of the tuple."""

    ahead: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, program: Program, plan: Plan) -> Rests:
        """Every tick, unless windows settle only at some of every so many."""
        tick_ms = plan.tick_ms
        offsets = [round(city.utc_offset_h * HOUR_MS) for city in program.catalogue.cities.values()]
        step_ms = math.gcd(*(one.hop_ms for one in program.indicators), *offsets)
        if plan.start_ms % tick_ms or step_ms % tick_ms:
            return cls()
        step, start = step_ms // tick_ms, plan.start_ms // tick_ms
        settling = {(-(-one.hold_ms // tick_ms) - start) % step for one in program.indicators}
        return cls(tuple(min((at - number) % step for at in settling) for number in range(step)))

    def at(self, tick: int) -> int:
        """The first of them from `tick` on."""
        return tick + self.ahead[tick % len(self.ahead)]
