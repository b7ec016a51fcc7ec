"""What the devices of one feed report in a stretch of event time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pearlstream.catalogue.simulation import Events, Simulate
from producers.simulator.chance import Ints, stream
from producers.simulator.columns import Column
from producers.simulator.effects import apply_effects, effects_on
from producers.simulator.fleet import Fleet
from producers.simulator.formula import compile_formula
from producers.simulator.lots import counter
from producers.simulator.plan import ScenarioAt
from producers.simulator.quantities import reported, sources
from producers.simulator.reports import TOGETHER_MS, Reports
from producers.simulator.rows import Rows

TOGETHER_ROWS = 1 << 17
"""About so many reports are computed together at most, so that their columns stay small."""


class Readings:
    """The devices of a feed, speaking in turn. Ask for stretches of time in their order, each once.

    What they say does not depend on how long the stretches are.
    """

    def __init__(
        self, fleet: Fleet, shape: Simulate, scenarios: Sequence[ScenarioAt], seed: int, start_ms: int
    ) -> None:
        self.fleet = fleet
        self._start_ms = start_ms
        self._sources = sources(fleet, shape, seed)
        self._effects = effects_on(fleet, scenarios, seed)
        feed = fleet.feed
        made = {quantity.name for quantity, _ in self._sources}
        self._fields = [name for name in feed.fields if name in made or name in fleet.constants or name == "span_s"]
        # the number of the cadence in which each device reports for the first time: its seq 0
        self._first_turn = -((fleet.phase_ms - start_ms) // fleet.cadence_ms)
        self._silent = compile_formula(shape.silent) if shape.silent else None
        events = next((quantity for quantity in shape.quantity if isinstance(quantity, Events)), None)
        if events is not None:
            self._count = counter(fleet, events.name, events.k, seed)
            self._moment = stream(seed, feed.id, events.name, "moment")
        self._counted = events is not None or self._silent is not None
        self._sent = np.zeros(len(fleet) if self._counted else 0, dtype=np.int64)

    def between(self, from_ms: int, until_ms: int) -> Iterator[Rows]:
        """What is reported in [from_ms, until_ms) of the devices' true time, one part after the other.

        Rows are in the order of their reports; events of one report in the order in which they happened.
        """
        cadence, phase = self.fleet.cadence_ms, self.fleet.phase_ms
        while from_ms < until_ms:
            turn = from_ms // cadence
            begin = turn * cadence
            whole = self._whole_turns(from_ms, until_ms)
            if whole:
                turns, lo, hi = range(turn, turn + whole), 0, len(phase)
                from_ms += whole * cadence
            else:
                stop = min(until_ms, begin + cadence)
                turns = range(turn, turn + 1)
                lo, hi = map(int, np.searchsorted(phase, [from_ms - begin, stop - begin]))
                from_ms = stop
            if hi > lo:
                rows = self._report(lo, hi, turns)
                if len(rows):
                    yield rows

    def _whole_turns(self, from_ms: int, until_ms: int) -> int:
        """How many cadences from `from_ms` on are computed together; 0 if none is whole."""
        cadence = self.fleet.cadence_ms
        if from_ms % cadence:
            return 0
        most = max(1, min(TOGETHER_MS // cadence, TOGETHER_ROWS // max(1, len(self.fleet))))
        return min((until_ms - from_ms) // cadence, most)

    def _report(self, lo: int, hi: int, turns: range) -> Rows:
        fleet = self.fleet
        begins = np.arange(turns.start, turns.stop) * fleet.cadence_ms
        report_ms: Ints = (begins[:, None] + fleet.phase_ms[lo:hi]).ravel()
        reports = Reports(fleet, lo, hi, turns, report_ms)
        for quantity, source in self._sources:
            column = source(reports)
            if quantity.name not in fleet.feed.fields:
                column = apply_effects(self._effects.get(quantity.name, ()), column, reports)
            reports.columns[quantity.name] = column
            if isinstance(quantity, Events):
                reports = self._events(reports, quantity.name)
                if not len(reports):
                    return self._rows(reports, report_ms, {})
        values: dict[str, Column] = {}
        for name in self._fields:
            column = apply_effects(self._effects.get(name, ()), reports[name], reports)
            values[name] = reported(fleet.feed, name, column)
        return self._rows(reports, report_ms, values)

    def _events(self, reports: Reports, name: str) -> Reports:
        """A row for each event since the device's last report, in order of time within a report."""
        cadence = self.fleet.cadence_ms
        counts = self._count(reports.compute(lambda columns: columns[name]))
        report = np.repeat(np.arange(len(reports)), counts)
        # sorting the sums sorts the moments within each report, which the whole parts keep apart
        moment = np.sort(report + self._moment.random(len(report))) - report
        at_ms = reports.at_ms[report] - cadence + np.minimum(moment * cadence, cadence - 1).astype(np.int64)
        if len(at_ms) and reports.at_ms[0] - cadence < self._start_ms:
            in_time = at_ms >= self._start_ms  # what happened before the run began is not told
            report, at_ms = report[in_time], at_ms[in_time]
        return Reports(self.fleet, reports.lo, reports.hi, reports.turns, at_ms, of=reports, origin=report)

    def _rows(self, reports: Reports, report_ms: Ints, values: dict[str, Column]) -> Rows:
        device = reports.devices
        arrival_ms = report_ms if reports.origin is None else report_ms[reports.origin]
        none_before = np.zeros(len(device), dtype=bool)
        seq = reports.turn - self._first_turn[device] if not self._counted else np.zeros(len(device), dtype=np.int64)
        rows = Rows(device, reports.at_ms, seq, arrival_ms, none_before, values)
        if not self._counted or not len(rows):
            return rows
        if self._silent is not None:
            rows = rows.take(~reports.compute(self._silent).astype(bool))
        return self._numbered(rows)

    def _numbered(self, rows: Rows) -> Rows:
        """The rows with the next numbers of their devices."""
        order = np.argsort(rows.device, kind="stable")
        counts = np.bincount(rows.device, minlength=len(self.fleet))
        seq = np.empty(len(rows), dtype=np.int64)
        seq[order] = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows.device[order]]
        seq += self._sent[rows.device]
        self._sent += counts
        return Rows(rows.device, rows.ts_ms, seq, rows.arrival_ms, rows.repeat, rows.values)
