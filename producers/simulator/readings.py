"""What the devices of one feed report in a stretch of event time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pearlstream.catalogue.simulation import Simulate
from producers.simulator.chance import Ints
from producers.simulator.columns import Column, cut
from producers.simulator.effects import apply_effects, effects_on
from producers.simulator.fleet import Fleet
from producers.simulator.plan import ScenarioAt
from producers.simulator.quantities import Reports, reported, sources
from producers.simulator.rows import Rows


class Readings:
    """The devices of a feed, speaking in turn. Ask for stretches of time in their order, each once."""

    def __init__(
        self, fleet: Fleet, shape: Simulate, scenarios: Sequence[ScenarioAt], seed: int, start_ms: int
    ) -> None:
        self.fleet = fleet
        self._sources = sources(fleet, shape, seed)
        self._effects = effects_on(fleet, scenarios, seed)
        feed = fleet.feed
        made = {quantity.name for quantity, _ in self._sources}
        self._fields = [name for name in feed.fields if name in made or name in fleet.constants or name == "span_s"]
        # the number of the cadence in which each device reports for the first time: its seq 0
        self._first_turn = -((fleet.phase_ms - start_ms) // fleet.cadence_ms)

    def between(self, from_ms: int, until_ms: int) -> Iterator[Rows]:
        """Readings of [from_ms, until_ms) by the devices' true time, in order, one part per cadence touched."""
        cadence, phase = self.fleet.cadence_ms, self.fleet.phase_ms
        while from_ms < until_ms:
            turn = from_ms // cadence
            begin = turn * cadence
            stop = min(until_ms, begin + cadence)
            lo, hi = np.searchsorted(phase, [from_ms - begin, stop - begin])
            if hi > lo:
                yield self._report(int(lo), int(hi), turn)
            from_ms = stop

    def _report(self, lo: int, hi: int, turn: int) -> Rows:
        fleet = self.fleet
        at_ms: Ints = fleet.phase_ms[lo:hi] + turn * fleet.cadence_ms
        reports = Reports(fleet, lo, hi, turn, at_ms)
        reports.columns["span_s"] = np.full(hi - lo, float(fleet.feed.cadence_s))
        for quantity, source in self._sources:
            column = source(reports)
            if quantity.name not in fleet.feed.fields:
                column = apply_effects(self._effects.get(quantity.name, ()), column, reports)
            reports.columns[quantity.name] = column
        values: dict[str, Column] = {}
        for name in self._fields:
            column = apply_effects(self._effects.get(name, ()), reports[name], reports)
            values[name] = reported(fleet.feed, name, column)
        return Rows(
            device=np.arange(lo, hi),
            ts_ms=at_ms,
            seq=turn - self._first_turn[lo:hi],
            arrival_ms=at_ms,
            repeat=np.zeros(hi - lo, dtype=bool),
            values=values,
        )


def cut_columns(columns: dict[str, Column], lo: int, hi: int) -> dict[str, Column]:
    """Rows lo to hi of several columns."""
    return {name: cut(column, lo, hi) for name, column in columns.items()}
