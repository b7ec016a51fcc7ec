"""Truth labels: what the simulator did on purpose, one record an episode, for scoring and never for feeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import orjson

from pearlstream.catalogue.scenario import Effect
from producers.simulator.drivers import MINUTE_MS
from producers.simulator.effects import spans_min
from producers.simulator.plan import Plan, ScenarioAt


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
    """One label per scenario, and one per effect, city and time that it is on."""
    for at in plan.scenarios:
        scenario, start_ms = at
        until_ms = start_ms + scenario.length_s * 1000
        yield Label("scenario", scenario.id, "", "", "", start_ms, until_ms, scenario.name.en)
        for index, effect in enumerate(scenario.effect):
            yield from _effect_labels(at, f"{scenario.id}/{index}", effect)


def _effect_labels(at: ScenarioAt, name: str, effect: Effect) -> Iterator[Label]:
    """Cities that are not named share a label without a city."""
    amount = effect.amount if isinstance(effect.amount, str) else f"{effect.amount:g}"
    note = f"{effect.field} {effect.op} {amount}" + (f", {effect.note}" if effect.note else "")
    weights = dict(effect.cities) | ({"": effect.elsewhere} if effect.elsewhere else {})
    for city, weight in weights.items():
        lag = effect.lag.get(city, 0.0)
        for begin, end in spans_min(effect, at.scenario):
            from_ms = at.start_ms + int((begin + lag) * MINUTE_MS)
            until_ms = at.start_ms + int((end + (lag if effect.envelope else 0.0)) * MINUTE_MS)
            yield Label("effect", name, city, effect.feed, "", from_ms, until_ms, f"{note}, weight {weight:g}")
