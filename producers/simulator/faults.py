"""Sensor faults: what makes a device report something else than it measured, or nothing.

They apply to what is reported, after scenarios and before transport. Whether a device has a fault at a moment is a
function of seed, feed, device and moment, so that no fault shifts another and a step's length changes nothing. A
device's counter runs on while it is silent, because it goes on sampling: its silence leaves a gap in `seq`. What is
not sent shows no other fault; a value that stands still shows no outlier.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pearlstream.catalogue.simulation import Sensor, Simulate
from producers.simulator.afflictions import CALIBRATION_MS, afflictions, chosen
from producers.simulator.chance import Floats, Ints, hashed, key_of
from producers.simulator.columns import Column
from producers.simulator.fleet import DAY_MS, Fleet
from producers.simulator.labels import Label
from producers.simulator.noise import ordinary_noise
from producers.simulator.plan import Plan
from producers.simulator.quantities import reported
from producers.simulator.rows import Rows
from producers.simulator.spells import NEVER_MS, Begun, Found, identities

MONTH_MS = 30 * DAY_MS
LEAST, MOST = 5.0, 15.0
"""How many times its ordinary noise a value jumps."""
UNITS = (10.0, 0.1)
NOTES = {
    "outlier": "{field} jumps",
    "stuck": "{field} stands still",
    "unit": "{field} in a wrong unit",
    "dropout": "silent",
    "counter_reset": "seq starts again at 0",
    "calibration": "zero, then span values",
}


class SensorFaults:
    """The sensor faults of one fleet. Give it what is reported, in order of time."""

    def __init__(self, fleet: Fleet, shape: Simulate, sensor: Sensor, plan: Plan) -> None:
        self.fleet = fleet
        self.lost = {"dropout": 0, "dead": 0}
        seed, start_ms = plan.seed, plan.start_ms
        self._sensor, self._start_ms, self._end_ms = sensor, start_ms, plan.end_ms
        self._fields = touched_fields(fleet, shape, sensor)
        self._noise = {
            name: ordinary_noise(shape, name, 10.0**-decimals) for name, decimals in _decimals(fleet, self._fields)
        }
        kinds = afflictions(fleet, sensor, seed)
        needs_field = {"outlier", "stuck", "unit", "calibration"}
        self._kinds = {kind: spells for kind, spells in kinds.items() if self._fields or kind not in needs_field}
        who = identities(fleet)

        def lot(purpose: str) -> Floats:
            return hashed(key_of(seed, fleet.feed.id, "sensor", purpose), who)

        self._dead = lot("dead") < sensor.dead
        drifting = (lot("drift") < sensor.drift) & chosen(fleet, sensor.drift_where) & bool(self._fields)
        self._per_month = np.where(drifting, (1.5 * lot("gain") - 0.5) * sensor.drift_per_month, 0.0)
        self._calibrated_ms = fleet.calibrated_ms(start_ms, seed)
        # before this moment a device has no fault that comes and goes, and its rows need no look
        self._quiet_until = np.full(len(fleet), NEVER_MS)
        self._held_from = np.full(len(fleet), NEVER_MS)
        self._held = np.zeros(len(fleet))
        self._reset_ms = np.full(len(fleet), start_ms - 1)
        self._seq_base = np.zeros(len(fleet), dtype=np.int64)

    def on(self, rows: Rows) -> Rows:
        """What is sent of some readings, as the faults leave it."""
        if self._sensor.dead:
            dead = self._dead[rows.device]
            if dead.any():
                self.lost["dead"] += int(dead.sum())
                rows = rows.take(~dead)
        rows = self._drifted(rows)
        if "counter_reset" in self._kinds:
            seq = rows.seq - self._seq_base[rows.device]
            rows = Rows(rows.device, rows.ts_ms, seq, rows.arrival_ms, rows.repeat, rows.values)
        hot = np.flatnonzero(rows.ts_ms >= self._quiet_until[rows.device])
        return self._afflicted(rows, hot) if hot.size and self._kinds else rows

    def labels(self, from_ms: int, until_ms: int) -> Iterator[Label]:
        """The episodes that begin in [from_ms, until_ms) of the run."""
        until_ms = min(until_ms, self._end_ms)
        if from_ms < until_ms and len(self.fleet):
            for kind, spells in self._kinds.items():
                yield from self._labels(kind, spells.begun(from_ms, until_ms))

    def first_labels(self) -> Iterator[Label]:
        """The episodes that last when the run begins."""
        for device in np.flatnonzero(self._dead):
            yield self._label("dead", int(device), self._start_ms, self._end_ms, "silent for the whole run")
        for device in np.flatnonzero(self._per_month):
            note = f"{', '.join(self._fields)} {self._per_month[device]:+.2%} a month since calibration"
            yield self._label("drift", int(device), self._start_ms, self._end_ms, note)
        if len(self.fleet):
            for kind, spells in self._kinds.items():
                begun = spells.begun(self._start_ms - spells.slot_ms - spells.longest_ms, self._start_ms)
                yield from self._labels(kind, begun.some(begun.until_ms > self._start_ms))

    def _labels(self, kind: str, begun: Begun) -> Iterator[Label]:
        fields = self._pick(kind, begun.device, begun.slot)
        columns = (begun.device.tolist(), begun.from_ms.tolist(), begun.until_ms.tolist(), fields.tolist())
        for device, from_ms, until_ms, field in zip(*columns, strict=True):
            if kind == "counter_reset":
                until_ms = from_ms + self.fleet.cadence_ms
            note = NOTES[kind].format(field=self._fields[field] if self._fields else "")
            yield self._label(kind, device, from_ms, until_ms, note)

    def _label(self, kind: str, device: int, from_ms: int, until_ms: int, note: str) -> Label:
        name, city = str(self.fleet.ids[device]), self.fleet.cities[self.fleet.city[device]].id
        return Label(kind, f"{name}@{from_ms}", city, self.fleet.feed.id, name, from_ms, until_ms, note)

    def _pick(self, kind: str, device: Ints, slot: Ints) -> Ints:
        """Which field each episode befalls."""
        picked: Ints = (self._kinds[kind].lot("field", device, slot) * len(self._fields)).astype(np.int64)
        return picked

    def _drifted(self, rows: Rows) -> Rows:
        """Gain that grows since the day of calibration."""
        per_month = self._per_month[rows.device]
        if not per_month.any():
            return rows
        gain = 1 + per_month * (rows.ts_ms - self._calibrated_ms[rows.device]) / MONTH_MS
        values = dict(rows.values)
        for name in self._fields:
            values[name] = reported(self.fleet.feed, name, np.asarray(values[name]) * gain)
        return Rows(rows.device, rows.ts_ms, rows.seq, rows.arrival_ms, rows.repeat, values)

    def _afflicted(self, rows: Rows, hot: Ints) -> Rows:
        """The rows after the episodes that some of them are in; `hot` are the rows to look at."""
        device, ts_ms = rows.device[hot], rows.ts_ms[hot]
        found = {kind: spells.at(device, ts_ms) for kind, spells in self._kinds.items() if kind != "counter_reset"}
        quiet = np.min([spells.quiet_until(device, ts_ms) for spells in self._kinds.values()], axis=0)
        ailing = np.any([spell.hit for spell in found.values()], axis=0) if found else np.zeros(len(hot), dtype=bool)
        self._quiet_until[device] = np.where(ailing, ts_ms, quiet)
        if "counter_reset" in self._kinds:
            self._restart(rows, hot)
        patient = _Patient(self.fleet, rows, hot)
        for kind, change in (
            ("unit", self._unit),
            ("outlier", self._outlier),
            ("stuck", self._stuck),
            ("calibration", self._calibration),
        ):
            if kind in found and found[kind].hit.any():
                change(patient, found[kind])
        return self._silenced(patient.rows(), hot, found.get("dropout"))

    def _silenced(self, rows: Rows, hot: Ints, dropout: Found | None) -> Rows:
        if dropout is None or not dropout.hit.any():
            return rows
        self.lost["dropout"] += int(dropout.hit.sum())
        sent = np.ones(len(rows), dtype=bool)
        sent[hot[dropout.hit]] = False
        return rows.take(sent)

    def _restart(self, rows: Rows, hot: Ints) -> None:
        """Count from the first reading after each reset; `rows.seq` is written to."""
        device = rows.device[hot]
        reset = self._kinds["counter_reset"].latest(device, rows.ts_ms[hot])
        fresh = np.flatnonzero(reset.hit & (reset.from_ms > self._reset_ms[device]))
        if not fresh.size:
            return
        first, which = _first_of_spell(device[fresh], reset.from_ms[fresh])
        base = rows.seq[hot[fresh[first]]]
        rows.seq[hot[fresh]] -= base[which]
        # a device that was reset twice goes on from the later one
        restarted = device[fresh[first]]
        self._seq_base[restarted] = self._seq_base[restarted] + base
        self._reset_ms[restarted] = reset.from_ms[fresh[first]]

    def _unit(self, patient: _Patient, spell: Found) -> None:
        """Ten times the value, or a tenth."""
        lot = self._kinds["unit"].lot("unit", patient.device, spell.slot)
        factor = np.where(lot < 0.5, *UNITS)
        for name, some in self._by_field("unit", patient, spell):
            patient.put(name, some, patient.value(name, some) * factor[some])

    def _outlier(self, patient: _Patient, spell: Found) -> None:
        """A jump up or down; the other way where it would leave the field's range, and no farther than that."""
        spells, feed = self._kinds["outlier"], self.fleet.feed
        size = LEAST + (MOST - LEAST) * spells.lot("size", patient.device, spell.slot)
        down = spells.lot("sign", patient.device, spell.slot) < 0.5
        for name, some in self._by_field("outlier", patient, spell):
            value, spec = patient.value(name, some), feed.fields[name]
            low = -np.inf if spec.min is None else spec.min
            high = np.inf if spec.max is None else spec.max
            jump = size[some] * self._noise[name].of(value)
            falls = np.where(down[some], (value - jump >= low) | (value + jump > high), value + jump > high)
            patient.put(name, some, np.clip(np.where(falls, value - jump, value + jump), low, high))

    def _stuck(self, patient: _Patient, spell: Found) -> None:
        """The value of the episode's first reading."""
        for name, some in self._by_field("stuck", patient, spell):
            device, from_ms = patient.device[some], spell.from_ms[some]
            first, which = _first_of_spell(device, from_ms)
            begun, at_ms = device[first], from_ms[first]
            held = np.where(self._held_from[begun] == at_ms, self._held[begun], patient.value(name, some)[first])
            self._held[begun], self._held_from[begun] = held, at_ms
            patient.put(name, some, held[which])

    def _calibration(self, patient: _Patient, spell: Found) -> None:
        """Zero in the first half, then a part of the range."""
        some = np.flatnonzero(spell.hit)
        late = patient.ts_ms[some] - spell.from_ms[some] >= CALIBRATION_MS // 2
        for name in self._fields:
            spec = self.fleet.feed.fields[name]
            low, high = max(spec.min or 0.0, 0.0), spec.max if spec.max is not None else 0.0
            patient.put(name, some, np.where(late, self._sensor.calibration_span * high, low))

    def _by_field(self, kind: str, patient: _Patient, spell: Found) -> Iterator[tuple[str, Ints]]:
        """The rows in an episode by the field that it befalls."""
        picked = self._pick(kind, patient.device, spell.slot)
        for index, name in enumerate(self._fields):
            some = np.flatnonzero(spell.hit & (picked == index))
            if some.size:
                yield name, some


class _Patient:
    """Some rows under treatment: columns are copied when they are first changed."""

    def __init__(self, fleet: Fleet, rows: Rows, hot: Ints) -> None:
        self.device, self.ts_ms = rows.device[hot], rows.ts_ms[hot]
        self._feed, self._rows, self._hot = fleet.feed, rows, hot
        self._changed: dict[str, Column] = {}

    def value(self, name: str, some: Ints) -> Floats:
        """What a field says now, in some of the rows."""
        column = self._changed.get(name, self._rows.values[name])
        value: Floats = np.asarray(column)[self._hot[some]].astype(np.float64)
        return value

    def put(self, name: str, some: Ints, value: Floats) -> None:
        """Let a field say something else in some of the rows, on its grid."""
        if name not in self._changed:
            self._changed[name] = np.array(self._rows.values[name])
        column = self._changed[name]
        assert isinstance(column, np.ndarray)
        column[self._hot[some]] = reported(self._feed, name, value)

    def rows(self) -> Rows:
        """All rows, as they are now."""
        rows = self._rows
        if not self._changed:
            return rows
        return Rows(rows.device, rows.ts_ms, rows.seq, rows.arrival_ms, rows.repeat, rows.values | self._changed)


def _first_of_spell(device: Ints, from_ms: Ints) -> tuple[Ints, Ints]:
    """The first row of each spell, a device's spells in order of time, and for each row the place of its spell there.

    Rows are in order of time; a spell is known by its device and begin.
    """
    order = np.lexsort((from_ms, device))
    head = np.r_[True, (np.diff(device[order]) != 0) | (np.diff(from_ms[order]) != 0)]
    which = np.empty(len(device), dtype=np.int64)
    which[order] = np.cumsum(head) - 1
    return order[head], which


def touched_fields(fleet: Fleet, shape: Simulate, sensor: Sensor) -> tuple[str, ...]:
    """The fields that faults touch: those declared, else all float fields that a quantity makes."""
    made = {quantity.name for quantity in shape.quantity}
    floats = tuple(name for name, spec in fleet.feed.fields.items() if spec.type == "float" and name in made)
    return sensor.fields or floats


def _decimals(fleet: Fleet, fields: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    for name in fields:
        spec = fleet.feed.fields[name]
        yield name, spec.decimals if spec.type == "float" else 0
