"""Sensor faults: as often as declared, each with its label, the same for a device whatever else runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulator_kit import MINUTE_MS, SOUND, PlanMaker

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed
from pearlstream.catalogue.simulation import Sensor, simulation_of
from pearlstream.errors import CatalogueError, SettingsError
from producers.simulator.columns import Coded
from producers.simulator.fault_tables import FaultTables, faults_of
from producers.simulator.labels import Label
from producers.simulator.noise import ordinary_noise
from producers.simulator.plan import Plan
from producers.simulator.run import Simulation

HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
Readings = dict[tuple[str, int], dict[str, Any]]


def with_sensor(catalogue: Catalogue, feed: str, **sensor: Any) -> Catalogue:
    """The catalogue with these sensor faults for one feed, and no others."""
    declared = catalogue.feeds[feed].model_dump()
    declared["simulate"].setdefault("faults", {})["sensor"] = SOUND | sensor
    return replace(catalogue, feeds={**catalogue.feeds, feed: Feed.model_validate(declared)})


@pytest.fixture
def ailing(plan: PlanMaker, catalogue: Catalogue) -> Any:
    """A maker of plans of one feed with sensor faults."""

    def make(
        feed: str, minutes: float = 60, tick_ms: int = MINUTE_MS, rate: float | None = None, **sensor: Any
    ) -> Plan:
        made = replace(plan(minutes=minutes), scenarios=(), feeds=(feed,), tick_ms=tick_ms, rate=rate)
        return replace(made, catalogue=with_sensor(catalogue, feed, **sensor))

    return make


def told(plan: Plan) -> tuple[Simulation, Readings]:
    """What the devices of the plan's only feed send, by device and time, before any transport."""
    simulation, (feed,) = Simulation(plan), plan.feeds
    found: Readings = {}
    for until_ms in range(plan.start_ms + plan.tick_ms, plan.end_ms + 1, plan.tick_ms):
        rows = simulation.reported(feed, until_ms - plan.tick_ms, until_ms)
        if rows is not None:
            columns = {name: c.text() if isinstance(c, Coded) else c for name, c in rows.values.items()}
            names, ids = list(columns), simulation.fleets[feed].ids[rows.device]
            cells = zip(*(column.tolist() for column in columns.values()), strict=True)
            for device, ts, seq, cell in zip(ids, rows.ts_ms.tolist(), rows.seq.tolist(), cells, strict=True):
                found[device, ts] = dict(zip(names, cell, strict=True)) | {"seq": seq}
    return simulation, found


def labelled(labels: list[Label], kind: str) -> dict[str, list[Label]]:
    """Labels of one kind by device."""
    found = defaultdict(list)
    for label in labels:
        if label.kind == kind:
            found[label.device].append(label)
    return found


def covered(labels: dict[str, list[Label]], device: str, ts: int) -> list[Label]:
    """The labels of a device at a moment."""
    return [label for label in labels.get(device, ()) if label.from_ms <= ts < label.until_ms]


CHANGES = [
    ("outlier", {"outlier": 0.02}),
    ("stuck", {"stuck_per_day": 4.0, "stuck_median_h": 0.2}),
    ("unit", {"unit": 0.1}),
    ("drift", {"drift": 0.5, "drift_per_month": 0.5}),
]


@pytest.mark.parametrize(("kind", "sensor"), CHANGES)
def test_a_value_differs_from_what_was_measured_only_where_a_label_says_so(
    ailing: Any, kind: str, sensor: dict[str, Any]
) -> None:
    made = ailing("traffic.flow", minutes=40, fields=("speed_kmh",), **sensor)
    simulation, ill = told(made)
    _, well = told(replace(made, faults=False))
    assert ill.keys() == well.keys()
    labels = labelled(list(simulation.labels()), kind)
    changed = missed = 0
    for (device, ts), row in ill.items():
        differs = row != well[device, ts]
        assert not differs or covered(labels, device, ts)
        changed += differs
        missed += bool(covered(labels, device, ts)) and not differs
    assert changed > 50
    assert missed <= changed * (0.25 if kind in ("stuck", "drift") else 0.02)


def test_a_value_that_stands_still_is_that_of_the_first_reading(ailing: Any) -> None:
    simulation, ill = told(ailing("traffic.flow", fields=("speed_kmh",), stuck_per_day=4.0, stuck_median_h=0.3))
    labels = labelled(list(simulation.labels()), "stuck")
    held: dict[str, set[float]] = defaultdict(set)
    for (device, ts), row in ill.items():
        for label in covered(labels, device, ts)[-1:] if len(labels[device]) == 1 else ():
            held[label.id].add(row["speed_kmh"])
    assert len(held) > 20
    assert all(len(values) == 1 for values in held.values())


def test_an_outlier_is_as_large_as_declared_short_and_on_the_grid_of_its_field(ailing: Any) -> None:
    made = ailing("weather.obs", minutes=120, fields=("temp_c",), outlier=0.02)
    _, ill = told(made)
    _, well = told(replace(made, faults=False))
    shape = simulation_of(made.catalogue.feeds["weather.obs"])
    assert shape is not None
    sigma = ordinary_noise(shape, "temp_c", 0.1).least
    jumps = {key: row["temp_c"] - well[key]["temp_c"] for key, row in ill.items() if row != well[key]}
    sizes = np.abs(list(jumps.values())) / sigma
    assert 5 - 0.2 / sigma <= sizes.min() < 6.5
    assert 13.5 < sizes.max() <= 15 + 0.2 / sigma
    assert {round(row["temp_c"], 1) for row in ill.values()} == {row["temp_c"] for row in ill.values()}
    assert {-1.0, 1.0} == set(np.sign(list(jumps.values())))


def test_faults_come_as_often_as_declared(ailing: Any) -> None:
    sensor = {"outlier": 0.01, "dead": 0.03, "unit": 0.02, "dropout_per_day": 2.0, "reset_per_day": 0.5}
    made = ailing("traffic.flow", minutes=360, rate=60.0, fields=("speed_kmh",), **sensor)
    simulation = Simulation(made)
    devices = len(simulation.fleets["traffic.flow"])
    days = made.duration_ms / DAY_MS
    labels = list(simulation.labels())
    begun = Counter(label.kind for label in labels if label.from_ms >= made.start_ms)
    outliers = [label for label in labels if label.kind == "outlier" and label.from_ms >= made.start_ms]
    assert sum(label.until_ms - label.from_ms for label in outliers) / (devices * made.duration_ms) == pytest.approx(
        0.01, rel=0.1
    )
    assert begun["dead"] / devices == pytest.approx(0.03, rel=0.3)
    assert begun["dropout"] / (devices * days) == pytest.approx(2.0, rel=0.1)
    assert begun["counter_reset"] / (devices * days) == pytest.approx(0.5, rel=0.2)
    assert sum(label.kind == "unit" for label in labels) / devices == pytest.approx(0.02, rel=0.3)


def test_a_silent_device_sends_nothing_and_counts_on(ailing: Any) -> None:
    made = ailing("traffic.flow", dropout_per_day=8.0, dropout_median_min=5.0, dead=0.05)
    simulation, ill = told(made)
    _, well = told(replace(made, faults=False))
    labels = list(simulation.labels())
    silent, dead = labelled(labels, "dropout"), labelled(labels, "dead")
    missing = Counter[str]()
    for (device, ts), row in well.items():
        quiet = bool(covered(silent, device, ts)) and device not in dead
        assert ((device, ts) not in ill) == (quiet or device in dead)
        missing["dead"] += device in dead
        missing["dropout"] += quiet
        assert (device, ts) not in ill or ill[device, ts] == row  # the rest as ever, with its seq
    assert min(missing["dead"], missing["dropout"]) > 100
    assert {cause: simulation.lost()[cause] for cause in missing} == missing


def test_a_counter_that_starts_again_counts_from_zero(ailing: Any) -> None:
    simulation, ill = told(ailing("factory.machine", reset_per_day=6.0))
    labels = labelled(list(simulation.labels()), "counter_reset")
    by_device: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for (device, ts), row in ill.items():
        by_device[device].append((ts, row["seq"]))
    resets = 0
    for device, rows in by_device.items():
        for (_, before), (ts, seq) in pairwise(rows):
            reset = bool(covered(labels, device, ts))
            assert seq == (0 if reset else before + 1)
            resets += reset
    assert resets > 50


def test_reference_stations_are_calibrated_at_two_in_turns(ailing: Any) -> None:
    sensor = {"fields": ("pm25", "no2"), "calibration": True, "calibration_where": "grade = 'ref'"}
    made = ailing("air.quality", minutes=3 * 24 * 60, **sensor)
    simulation, ill = told(replace(made, cities=("440300",)))
    fleet = simulation.fleets["air.quality"]
    grade = fleet.constants["grade"]
    assert isinstance(grade, Coded)
    reference = set(fleet.ids[grade.text() == "ref"].tolist())
    labels = labelled([label for label in simulation.labels() if label.from_ms >= made.start_ms], "calibration")
    assert labels.keys() == reference
    assert len({label.from_ms for found in labels.values() for label in found}) == 3
    for device, (label,) in labels.items():
        assert (label.from_ms + 8 * HOUR_MS) % DAY_MS == 2 * HOUR_MS
        values = [(row["pm25"], row["no2"]) for (name, ts), row in ill.items() if covered({device: [label]}, name, ts)]
        assert values == [(0.0, 0.0)] * 3 + [(200.0, 80.0)] * 3


EVERY_KIND = {"outlier", "stuck", "unit", "dropout", "dead", "counter_reset", "drift"}
EVERYTHING = {
    "outlier": 0.02,
    "stuck_per_day": 3.0,
    "stuck_median_h": 0.2,
    "drift": 0.3,
    "dropout_per_day": 3.0,
    "dropout_median_min": 10.0,
    "dead": 0.03,
    "unit": 0.02,
    "reset_per_day": 3.0,
}


SOME = ("440300", "440600")


def test_faults_do_not_depend_on_how_time_is_cut_into_steps(ailing: Any) -> None:
    made = ailing("traffic.flow", minutes=30, **EVERYTHING)
    assert told(made)[1] == told(replace(made, tick_ms=7_500))[1]


def test_a_device_has_the_same_faults_whatever_else_runs(ailing: Any) -> None:
    made = ailing("factory.machine", **EVERYTHING)

    def faults(plan: Plan) -> set[tuple[str, str, str]]:
        labels = [label for label in Simulation(plan).labels() if label.kind in EVERY_KIND and label.city in SOME]
        return {(label.kind, label.device, label.note) for label in labels}

    few, many = faults(replace(made, cities=SOME)), faults(replace(made, feeds=()))
    assert few <= many
    assert {kind for kind, _, _ in few} == EVERY_KIND


def test_one_fault_does_not_shift_another(ailing: Any) -> None:
    many = set(Simulation(ailing("traffic.flow", **EVERYTHING)).labels())
    few = {name: rate for name, rate in EVERYTHING.items() if name != "outlier"}
    rest = {label for label in many if label.kind != "outlier"}
    assert rest < many
    assert set(Simulation(ailing("traffic.flow", **few)).labels()) == rest


def test_labels_come_with_the_step_in_which_their_fault_begins(ailing: Any) -> None:
    made = ailing("traffic.flow", minutes=20, **EVERYTHING)
    steps = [(step.clock_ms, label) for step in Simulation(made).steps() for label in step.labels]
    assert Counter(label for _, label in steps) == Counter(Simulation(made).labels())
    for clock_ms, label in steps:
        assert label.from_ms <= clock_ms
        assert clock_ms == made.start_ms or clock_ms - made.tick_ms < label.from_ms


def test_without_sensor_faults_nothing_is_changed(ailing: Any) -> None:
    made = ailing("traffic.flow", minutes=5)
    assert told(made)[1] == told(replace(made, faults=False))[1]


def test_a_file_changes_fault_tables_for_all_feeds_and_for_one(tmp_path: Path, catalogue: Catalogue) -> None:
    file = tmp_path / "faults.toml"
    file.write_text('[faults.sensor]\noutlier = 0.01\n[feed."traffic.flow".sensor]\ndead = 0.1\n', "utf-8")
    tables = faults_of(str(file), catalogue.feeds)
    assert isinstance(tables, FaultTables)
    shapes = {name: simulation_of(catalogue.feeds[name]) for name in ("traffic.flow", "air.quality")}
    changed = {name: tables.over(name, shape.faults).sensor for name, shape in shapes.items() if shape is not None}
    assert changed["traffic.flow"].outlier == changed["air.quality"].outlier == 0.01
    assert changed["traffic.flow"].dead == 0.1
    assert changed["air.quality"].dead == 0.0
    assert changed["air.quality"].calibration
    assert faults_of("none", ()) is False
    assert faults_of("default", ()) is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[faults.sensor]\noutlyer = 1\n", "faults.sensor.outlyer"),
        ("[faults.sensor]\ndead = 2\n", "faults.sensor.dead"),
        ("[faults.sensors]\ndead = 0.5\n", "faults.sensors"),
        ('[feed."traffic.flaw".sensor]\ndead = 0.5\n', "feed.traffic.flaw"),
        ("faults = 1\n", "faults"),
        ("[faults", "not TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_name_and_the_key(
    tmp_path: Path, catalogue: Catalogue, text: str, said: str
) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as refused:
        faults_of(str(file), catalogue.feeds)
    assert str(file) in refused.value.message
    assert said in refused.value.message


@pytest.mark.parametrize("sensor", [{"fields": ("speed",)}, {"calibration": True, "calibration_where": "grad = 'ref'"}])
def test_a_name_that_does_not_exist_is_refused(ailing: Any, sensor: dict[str, Any]) -> None:
    Sensor.model_validate(sensor)
    with pytest.raises(CatalogueError, match=r"faults\.sensor\."):
        Simulation(ailing("traffic.flow", **sensor))
