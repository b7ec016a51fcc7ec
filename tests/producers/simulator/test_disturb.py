"""Disturbances of the telemetry: what is measured stays as it is, arrives later, and is labelled."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from simulator_kit import MINUTE_MS

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.scenario import Disturbance, Scenario
from producers.simulator.plan import Plan, ScenarioAt, instant_ms
from producers.simulator.run import Simulation

START = "2026-06-03T15:00:00+08:00"
ROADS = "traffic.flow"
Arrived = dict[tuple[str, int], list[tuple[int, float, int]]]
"""By device and seq: time stamp, speed, and the tick after which it was sent, for each time that it was sent."""


def plan_of(catalogue: Catalogue, *disturbances: Disturbance, minutes: int = 30, faults: bool = False) -> Plan:
    """The roads of two cities under these disturbances."""
    scenario = Scenario(
        id="SCX",
        alias="silence-x",
        name=catalogue.scenarios["SC02"].name,
        start=START,
        length_s=minutes * 60,
        disturb=disturbances,
    )
    start = instant_ms(START)
    return Plan(
        catalogue=catalogue,
        seed=1,
        start_ms=start,
        duration_ms=minutes * MINUTE_MS,
        scenarios=(ScenarioAt(scenario, start),),
        faults=faults,
        feeds=(ROADS,),
        cities=("441900", "440600"),
    )


def outage(**changes: Any) -> Disturbance:
    """Dongguan's gateways cut off from minute 5 to 15, the backlog within 2 minutes, nothing sent twice."""
    values = {"start": 5, "minutes": 10, "flush_min": 2, "duplicates": 0.0, "cities": ("441900",), "feeds": (ROADS,)}
    return Disturbance.model_validate({"kind": "outage", **values, **changes})


def sent(plan: Plan) -> tuple[Simulation, Arrived]:
    """The simulation after its run, and what it sent."""
    simulation = Simulation(plan)
    found: Arrived = defaultdict(list)
    for step in simulation.steps():
        for frame in step.frames:
            columns = (frame.batch.column(name).to_pylist() for name in ("device", "seq", "ts", "speed_kmh"))
            for device, seq, ts, speed in zip(*columns, strict=True):
                found[device, seq].append((ts, speed, step.clock_ms - plan.tick_ms))
    return simulation, found


def measured(arrived: Arrived) -> dict[tuple[str, int], tuple[int, float]]:
    """Every reading once, without when it came."""
    return {key: copies[0][:2] for key, copies in arrived.items()}


@pytest.mark.parametrize("faults", [False, True])
def test_behind_an_outage_the_same_readings_come_later(catalogue: Catalogue, faults: bool) -> None:
    plan = plan_of(catalogue, outage(duplicates=0.03), faults=faults)
    simulation, disturbed = sent(plan)
    _, calm = sent(replace(plan, scenarios=()))
    assert measured(disturbed) == measured(calm)
    back_ms = plan.start_ms + 15 * MINUTE_MS
    held = {
        key: copies
        for key, copies in calm.items()
        if "-441900-" in key[0] and plan.start_ms + 5 * MINUTE_MS <= copies[0][2] < back_ms - plan.tick_ms
    }
    assert held
    for key in held:
        assert all(back_ms - plan.tick_ms <= clock < back_ms + 2.2 * MINUTE_MS for _, _, clock in disturbed[key])
    twice = sum(len(copies) > 1 for copies in (disturbed[key] for key in held))
    assert twice / len(held) == pytest.approx(0.03, abs=0.015)
    assert simulation.lost() == Simulation(replace(plan, scenarios=())).lost() or faults
    others = [key for key in calm if "-441900-" not in key[0]]
    assert all(disturbed[key] == calm[key] for key in others)


def test_a_backlog_comes_shuffled_over_the_whole_flush(catalogue: Catalogue) -> None:
    plan = plan_of(catalogue, outage())
    _, arrived = sent(plan)
    back_ms = plan.start_ms + 15 * MINUTE_MS
    backlog = [copies[0] for copies in arrived.values() if copies[0][0] < back_ms <= copies[0][2] + plan.tick_ms]
    assert {(clock - back_ms) // 30_000 for _, _, clock in backlog} == {0, 1, 2, 3}
    stamps = [ts for ts, _, _ in backlog]
    assert stamps != sorted(stamps)
    assert all(late - early < 3 * MINUTE_MS for early, late in pairwise(stamps))


def test_devices_that_do_not_buffer_lose_what_they_measure_meanwhile(catalogue: Catalogue) -> None:
    plan = plan_of(catalogue, outage(lost=0.25))
    simulation, disturbed = sent(plan)
    _, calm = sent(replace(plan, scenarios=()))
    missing = set(calm) - set(disturbed)
    assert simulation.lost()["gateway_outage"] == len(missing)
    devices = {device for device, _ in calm if "-441900-" in device}
    silent = {device for device, _ in missing}
    assert silent < devices
    assert len(silent) / len(devices) == pytest.approx(0.25, abs=0.02)
    assert all(sum(device == d for d, _ in missing) == 10 for device in silent)


@pytest.mark.parametrize(
    "later",
    [{"start": 8, "minutes": 12}, {"start": 6, "minutes": 3}, {"start": 5}, {"start": 16, "minutes": 5}],
    ids=["ends later", "within", "the same", "during the flush"],
)
def test_outages_that_overlap_lose_nothing(catalogue: Catalogue, later: dict[str, float]) -> None:
    plan = plan_of(catalogue, outage(), outage(**later))
    simulation, disturbed = sent(plan)
    _, calm = sent(replace(plan, scenarios=()))
    assert measured(disturbed) == measured(calm)
    assert set(simulation.lost().values()) == {0}
    begin, end = later["start"], later["start"] + later.get("minutes", 10)
    quiet = range(plan.start_ms + int(begin * MINUTE_MS), plan.start_ms + int(end * MINUTE_MS) - plan.tick_ms)
    clocks = {clock for key, copies in disturbed.items() if "-441900-" in key[0] for _, _, clock in copies}
    assert not any(clock in quiet for clock in clocks)


def test_clocks_of_a_share_of_the_devices_are_off_meanwhile(catalogue: Catalogue) -> None:
    wrong = Disturbance(kind="clock", feeds=(ROADS,), cities=("440600",), start=2, minutes=5, share=0.25, offset_s=420)
    plan = plan_of(catalogue, wrong, minutes=10)
    _, disturbed = sent(plan)
    _, calm = sent(replace(plan, scenarios=()))
    assert set(disturbed) == set(calm)
    moved: dict[str, set[int]] = defaultdict(set)
    for key, copies in calm.items():
        [(ts, speed, clock)], [(read, same_speed, same_clock)] = copies, disturbed[key]
        assert (speed, clock) == (same_speed, same_clock)
        if read != ts:
            assert read - ts == 420_000
            assert plan.start_ms + 2 * MINUTE_MS <= ts < plan.start_ms + 7 * MINUTE_MS
            moved[key[0]].add(key[1])
    devices = {device for device, _ in calm if "-440600-" in device}
    assert set(moved) < devices
    assert len(moved) / len(devices) == pytest.approx(0.25, abs=0.02)
    assert {len(seqs) for seqs in moved.values()} == {5}
    labels = [label for step in Simulation(plan).steps() for label in step.labels if label.kind == "clock_wrong"]
    assert {label.device for label in labels} == set(moved)
    assert {label.city for label in labels} == {"440600"}


def test_outages_of_a_scenario_are_labelled_by_gateway(catalogue: Catalogue) -> None:
    plan = plan_of(catalogue, outage(), minutes=10)
    labels = [label for step in Simulation(plan).steps() for label in step.labels if label.kind == "gateway_outage"]
    fleet = Simulation(plan).fleets[ROADS]
    assert {label.device for label in labels} == {
        name for name, at in fleet.gateways if fleet.cities[at].id == "441900"
    }
    for label in labels:
        span = (label.from_ms - plan.start_ms) / MINUTE_MS, (label.until_ms - plan.start_ms) / MINUTE_MS
        assert (label.city, label.feed, *span) == ("441900", ROADS, 5, 15)
        assert "SCX" in label.note
