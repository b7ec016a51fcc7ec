"""Scenarios: effects come and go as declared, and SC02 does to the traffic what its truth table claims."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulator_kit import MINUTE_MS, flat, travel_time_index

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.scenario import Effect, Envelope, Scenario
from pearlstream.catalogue.scenario_check import check_effect
from pearlstream.errors import CatalogueError
from producers.simulator.columns import Coded
from producers.simulator.effects import envelope_at
from producers.simulator.plan import Plan, ScenarioAt, make_plan
from producers.simulator.run import Simulation

RUSH = ("440300", "441900", "441300")
BESIDE = ("440100", "440600")


def run_of(hits: np.ndarray, count: int, start: int = 0) -> int | None:  # type: ignore[type-arg]
    """The index of the window that completes `count` hits in a row, from `start` on."""
    row = 0
    for index in range(start, len(hits)):
        row = row + 1 if hits[index] else 0
        if row == count:
            return index
    return None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_rush_raises_and_clears_the_travel_time_index_where_and_when_it_should(
    catalogue: Catalogue, seed: int
) -> None:
    plan = replace(rush(catalogue, seed), duration_ms=300 * MINUTE_MS)
    index, base = travel_time_index(plan), travel_time_index(replace(plan, scenarios=()))
    for city in RUSH:
        series = index.by_city[city]
        raised = run_of(series >= 1.8, 3)
        assert raised is not None
        assert 15 <= (raised + 1) * 5 <= 75
        cleared = run_of(series <= 1.6, 6, raised + 1)
        assert cleared is not None
        assert (cleared + 1) * 5 <= 300
        assert base.by_city[city].max() < 1.6
    for city in BESIDE:
        assert run_of(index.by_city[city] >= 1.8, 3) is None
        assert (index.by_city[city] / base.by_city[city])[12:24].mean() > 1.1
    for city in set(index.by_city) - {*RUSH, *BESIDE}:
        assert (index.by_city[city] == base.by_city[city]).all()


def rush(catalogue: Catalogue, seed: int = 1, feed: str = "traffic.flow") -> Plan:
    """SC02 without faults, one feed."""
    return replace(make_plan(catalogue, [("SC02", 0)], seed=seed, faults=False), feeds=(feed,))


def test_the_crash_touches_its_share_of_the_motorways_and_nothing_else(catalogue: Catalogue) -> None:
    plan = replace(rush(catalogue), duration_ms=80 * MINUTE_MS)
    scenario = plan.scenarios[0].scenario
    calm = scenario.model_copy(update={"effect": tuple(e for e in scenario.effect if not e.share < 1)})
    with_crash, without = (
        flat(Simulation(p), "traffic.flow") for p in (plan, replace(plan, scenarios=(ScenarioAt(calm, plan.start_ms),)))
    )
    changed = with_crash["speed_kmh"] != without["speed_kmh"]
    minutes = (with_crash["ts"] - plan.start_ms) / MINUTE_MS
    assert not changed[minutes < 55].any()
    fleet = Simulation(plan).fleets["traffic.flow"]
    touched = np.unique(with_crash["device"][changed])
    road = fleet.constants["road_class"]
    assert isinstance(road, Coded)
    assert set(road.text()[touched]) == {"motorway"}
    assert {fleet.cities[c].id for c in fleet.city[touched]} == {"440300", "441900"}
    assert len(touched) < 0.35 * sum(fleet.cities[c].id in ("440300", "441900") for c in fleet.city[road.codes == 0])


def test_no2_rises_later_and_in_the_rush_cities_only(catalogue: Catalogue) -> None:
    plan = replace(rush(catalogue, feed="air.quality"), duration_ms=100 * MINUTE_MS)
    ratio = {}
    with_rush, base = (flat(Simulation(p), "air.quality") for p in (plan, replace(plan, scenarios=())))
    fleet = Simulation(plan).fleets["air.quality"]
    late = with_rush["ts"] > plan.start_ms + 60 * MINUTE_MS
    for city in (*RUSH, "440500"):
        here = late & np.isin(with_rush["device"], np.flatnonzero([fleet.cities[c].id == city for c in fleet.city]))
        ratio[city] = with_rush["no2"][here].sum() / base["no2"][here].sum()
    assert all(ratio[city] == pytest.approx(1.4, abs=0.01) for city in RUSH)
    assert ratio["440500"] == 1.0
    assert (with_rush["o3"] == base["o3"]).all()  # a measured field is changed, not what follows from it


def test_effects_of_several_scenarios_multiply(catalogue: Catalogue) -> None:
    once = rush(catalogue)
    once = replace(once, duration_ms=50 * MINUTE_MS)
    twice = replace(once, scenarios=(*once.scenarios, *once.scenarios))
    base, one, two = (
        flat(Simulation(p), "traffic.flow")["flow_vpm"].sum() for p in (replace(once, scenarios=()), once, twice)
    )
    assert base > one > two


def test_an_effect_on_a_latent_quantity_is_felt_by_what_follows_from_it(catalogue: Catalogue) -> None:
    effect = Effect(
        feed="factory.machine",
        field="forced",
        op="set",
        amount=3,
        envelope=Envelope(hold=60),
        cities={"441900": 1.0},
        where="tier = 2",
        share=0.5,
    )
    plan = stopped(catalogue, effect)
    rows = flat(Simulation(plan), "factory.machine")
    fleet = Simulation(plan).fleets["factory.machine"]
    tier = np.asarray(fleet.constants["tier"])[rows["device"]]
    here = np.array([fleet.cities[c].id == "441900" for c in fleet.city])[rows["device"]]
    down = rows["state"] == "DOWN"
    assert down[here & (tier == 2)].mean() > 0.45
    assert down[~here].mean() < 0.1
    assert rows["good_inc"][down].sum() == 0


def stopped(catalogue: Catalogue, effect: Effect) -> Plan:
    """A quarter of an hour of factories under one effect."""
    shipped = catalogue.scenarios["SC02"]
    scenario = Scenario(
        id="SCX", alias="stop", name=shipped.name, start="2026-06-01T10:00:00+08:00", length_s=3600, effect=(effect,)
    )
    plan = make_plan(
        replace(catalogue, scenarios={"SCX": scenario}), [("stop", 0)], duration_ms=15 * MINUTE_MS, faults=False
    )
    return replace(plan, feeds=("factory.machine",))


def test_an_envelope_rises_holds_and_falls() -> None:
    envelope = Envelope(start=10, rise=20, hold=30, fall=40)
    minutes = np.array([9.0, 10.0, 20.0, 30.0, 59.0, 80.0, 100.0, 200.0])
    assert envelope_at(envelope, minutes) == pytest.approx([0, 0, 0.5, 1, 1, 0.5, 0, 0])
    sudden = Envelope(start=5, hold=10)
    assert envelope_at(sudden, np.array([4.9, 5.0, 14.9, 15.0])) == pytest.approx([0, 1, 1, 0])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"field": "speed"}, "speed_kmh"),
        ({"where": "road = 'motorway'"}, "road_class"),
        ({"where": "road_class"}, "text"),
    ],
    ids=["unknown quantity", "unknown column", "no condition"],
)
def test_an_effect_that_does_not_fit_its_feed_is_refused_with_the_nearest_name(
    catalogue: Catalogue, changes: dict[str, str], named: str
) -> None:
    effect = catalogue.scenarios["SC02"].effect[0].model_copy(update=changes)
    with pytest.raises(CatalogueError) as error:
        check_effect(catalogue.feeds["traffic.flow"], effect)
    assert named in str(error.value)
