"""Truth labels: what the simulator did on purpose, one record an episode, for scoring and never for feeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import orjson

from producers.simulator.effects import MINUTE_MS, length_min
from producers.simulator.plan import Plan


class Label(NamedTuple):
    """One episode. `kind`: scenario, effect, gateway_outage or clock_wrong; empty texts where nothing applies."""

    kind: str
    id: str
    city: str
    feed: str
    device: str
    from_ms: int
    until_ms: int
    note: str

    def value(self) -> bytes:
        """The record's value."""
        return orjson.dumps(self._asdict())


def scenario_labels(plan: Plan) -> Iterator[Label]:
    """One label per scenario, and one per effect and city."""
    for scenario, start_ms in plan.scenarios:
        until_ms = start_ms + scenario.length_s * 1000
        yield Label("scenario", scenario.id, "", "", "", start_ms, until_ms, scenario.name.en)
        for index, effect in enumerate(scenario.effect):
            note = f"{effect.field} {effect.op} {effect.amount:g}" + (f", {effect.note}" if effect.note else "")
            for city, weight in effect.cities.items():
                begin = start_ms + (effect.lag.get(city, 0) + effect.envelope.start) * MINUTE_MS
                end = start_ms + (effect.lag.get(city, 0) + length_min(effect.envelope)) * MINUTE_MS
                yield Label(
                    "effect",
                    f"{scenario.id}/{index}",
                    city,
                    effect.feed,
                    "",
                    int(begin),
                    int(end),
                    f"{note}, weight {weight:g}",
                )
