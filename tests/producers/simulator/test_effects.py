"""Effects: every operation, when it is on, which devices it touches; and that it touches nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_kit import MINUTE_MS, flat

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.scenario import Driver, Effect, Scenario
from pearlstream.catalogue.scenario_check import check_effect
from pearlstream.errors import CatalogueError
from producers.simulator.effects import chosen, effects_on, spans_min
from producers.simulator.labels import scenario_labels
from producers.simulator.plan import Plan, ScenarioAt, instant_ms
from producers.simulator.run import Simulation

START = "2026-06-03T08:00:00+08:00"
ROADS = "traffic.flow"


def scenario_of(
    catalogue: Catalogue, *effects: Effect, name: str = "SCX", length_min: int = 10, **more: Any
) -> Scenario:
    """A scenario of these effects."""
    return Scenario(
        id=name,
        alias=f"{name.lower()}-x",
        name=catalogue.scenarios["SC02"].name,
        start=START,
        length_s=length_min * 60,
        effect=effects,
        **more,
    )


def plan_of(catalogue: Catalogue, *scenarios: Scenario, feed: str = ROADS, minutes: int = 4) -> Plan:
    """A few minutes of one feed in two cities, with these scenarios from the start, without faults."""
    start = instant_ms(START)
    return Plan(
        catalogue=catalogue,
        seed=1,
        start_ms=start,
        duration_ms=minutes * MINUTE_MS,
        scenarios=tuple(ScenarioAt(scenario, start) for scenario in scenarios),
        faults=False,
        feeds=(feed,),
        cities=("440300", "441900"),
    )


def readings(plan: Plan) -> dict[str, Any]:
    """What is reported."""
    return flat(Simulation(plan), plan.feeds[0])


def effect(field: str, op: str, amount: float | str, **changes: Any) -> Effect:
    """An effect on the roads of Shenzhen unless said otherwise."""
    values = {"feed": ROADS, "cities": {"440300": 1.0}, **changes}
    return Effect.model_validate({"field": field, "op": op, "amount": amount, **values})


@pytest.fixture(scope="module")
def base(catalogue: Catalogue) -> dict[str, Any]:
    """The roads when nothing happens."""
    return readings(plan_of(catalogue))


@pytest.fixture(scope="module")
def here(catalogue: Catalogue, base: dict[str, Any]) -> Any:
    """Which of these readings come from Shenzhen."""
    fleet = Simulation(plan_of(catalogue)).fleets[ROADS]
    return np.array([city.id == "440300" for city in fleet.cities])[fleet.city][base["device"]]


@pytest.mark.parametrize(
    ("op", "amount"),
    [("multiply", 1), ("add", 0), ("at_least", -1e9), ("at_most", 1e9), ("set", "speed_kmh"), ("add", "calm * 7")],
)
def test_an_effect_that_is_the_identity_changes_no_reading(
    catalogue: Catalogue, base: dict[str, Any], op: str, amount: float | str
) -> None:
    same = effect("speed_kmh", op, amount, elsewhere=1.0)
    scenario = scenario_of(catalogue, same, driver=(Driver(name="calm", amount=0),))
    changed = readings(plan_of(catalogue, scenario))
    assert all((changed[name] == base[name]).all() for name in base)


def test_a_scenario_changes_what_it_names_and_shifts_no_draw_of_anything_else(
    catalogue: Catalogue, base: dict[str, Any], here: Any
) -> None:
    changed = readings(plan_of(catalogue, scenario_of(catalogue, effect("speed_kmh", "multiply", 0.5))))
    assert (changed["speed_kmh"][here] != base["speed_kmh"][here]).mean() > 0.9
    assert (changed["speed_kmh"][~here] == base["speed_kmh"][~here]).all()
    assert all((changed[name] == base[name]).all() for name in set(base) - {"speed_kmh"})


def test_what_follows_from_a_quantity_changes_with_it_and_nothing_else_does(catalogue: Catalogue) -> None:
    gale = effect("wind", "at_least", 30.0, feed="weather.obs")
    plan = plan_of(catalogue, scenario_of(catalogue, gale), feed="weather.obs")
    changed, before = readings(plan), readings(replace(plan, scenarios=()))
    fleet = Simulation(plan).fleets["weather.obs"]
    here = np.array([city.id == "440300" for city in fleet.cities])[fleet.city][before["device"]]
    assert (changed["wind_ms"][here] >= 30).all()
    assert (changed["gust_ms"][here] > before["gust_ms"][here]).all()
    assert all((changed[name][~here] == before[name][~here]).all() for name in before)
    assert all((changed[name] == before[name]).all() for name in set(before) - {"wind_ms", "gust_ms"})


@pytest.mark.parametrize(
    ("op", "amount", "expected"),
    [
        ("set", 33.0, lambda speed: 33.0),
        ("at_least", 40.0, lambda speed: np.maximum(speed, 40.0)),
        ("at_most", 40.0, lambda speed: np.minimum(speed, 40.0)),
        ("add", 5.0, lambda speed: speed + 5.0),
        ("add", "push * 2 + 1", lambda speed: speed + 7.0),
        ("set", "freeflow_kmh", None),
    ],
)
def test_operations(
    catalogue: Catalogue, base: dict[str, Any], here: Any, op: str, amount: float | str, expected: Any
) -> None:
    scenario = scenario_of(catalogue, effect("speed_kmh", op, amount), driver=(Driver(name="push", amount=3),))
    plan = plan_of(catalogue, scenario)
    changed = readings(plan)["speed_kmh"][here]
    free = np.asarray(Simulation(plan).fleets[ROADS].constants["freeflow_kmh"])[base["device"]][here]
    assert changed == pytest.approx(expected(base["speed_kmh"][here]) if expected else free, abs=0.051)


def test_what_is_set_or_bounded_needs_half_of_the_effects_strength(
    catalogue: Catalogue, base: dict[str, Any], here: Any
) -> None:
    for weight, holds in ((0.5, True), (0.49, False)):
        weak = effect("speed_kmh", "set", 33.0, cities={"440300": weight})
        changed = readings(plan_of(catalogue, scenario_of(catalogue, weak)))["speed_kmh"]
        assert (changed[here] == 33.0).all() == holds


def test_a_state_can_be_set_to_a_word(catalogue: Catalogue) -> None:
    stop = effect("state", "set", "'DOWN'", feed="factory.machine", share=0.5)
    plan = plan_of(catalogue, scenario_of(catalogue, stop), feed="factory.machine")
    found, before = readings(plan), readings(replace(plan, scenarios=()))
    fleet = Simulation(plan).fleets["factory.machine"]
    here = np.array([city.id == "440300" for city in fleet.cities])[fleet.city][found["device"]]
    down = found["state"] == "DOWN"
    assert down[here].mean() >= 0.5
    assert (found["state"][~down] == before["state"][~down]).all()
    assert (found["state"][~here] == before["state"][~here]).all()


def test_an_effect_without_envelope_lasts_as_long_as_the_scenario(
    catalogue: Catalogue, base: dict[str, Any], here: Any
) -> None:
    short = scenario_of(catalogue, effect("speed_kmh", "set", 33.0, lag={"440300": 1}), length_min=3)
    plan = plan_of(catalogue, short)
    minutes = (base["ts"] - plan.start_ms) / MINUTE_MS
    on = (minutes >= 1) & (minutes < 3) & here
    changed = readings(plan)["speed_kmh"]
    assert (changed[on] == 33.0).all()
    assert (changed[~on] == base["speed_kmh"][~on]).all()
    labels = [label for label in scenario_labels(plan) if label.kind == "effect"]
    assert [(label.from_ms - plan.start_ms, label.until_ms - plan.start_ms) for label in labels] == [(60_000, 180_000)]


def test_a_daily_envelope_comes_again_each_day_that_the_scenario_lasts(catalogue: Catalogue) -> None:
    nightly = effect("speed_kmh", "add", 1.0, daily=True, envelope={"start": 1320, "rise": 60, "hold": 120})
    scenario = scenario_of(catalogue, nightly, length_min=3 * 1440)
    assert spans_min(nightly, scenario) == [(1320.0, 1500.0), (2760.0, 2940.0), (4200.0, 4380.0)]
    plan = plan_of(catalogue, scenario)
    assert len([label for label in scenario_labels(plan) if label.kind == "effect"]) == 3
    begin = plan.start_ms + 1500 * MINUTE_MS
    shifted = replace(plan, start_ms=begin - 2 * MINUTE_MS, scenarios=(ScenarioAt(scenario, plan.start_ms),))
    added = readings(shifted)["speed_kmh"] - readings(replace(shifted, scenarios=()))["speed_kmh"]
    late = readings(shifted)["ts"] >= begin
    assert added[late] == pytest.approx(0)
    assert added[~late].max() == pytest.approx(1.0, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.05, 0.95), key=st.integers(0, 2**60))
def test_a_share_is_met_in_every_city_and_nested(catalogue: Catalogue, share: float, key: int) -> None:
    fleet = Simulation(plan_of(catalogue)).fleets[ROADS]
    some, more = chosen(fleet, "", share, key), chosen(fleet, "", min(1.0, share + 0.05), key)
    assert not (some & ~more).any()
    for city in range(len(fleet.cities)):
        of_city = fleet.city == city
        assert abs(some[of_city].sum() - share * of_city.sum()) <= 0.51


def test_effects_of_one_group_touch_the_same_devices_and_others_do_not(catalogue: Catalogue) -> None:
    halves = [
        effect("speed_kmh", "set", 33.0, share=0.5, group="crash"),
        effect("flow_vpm", "set", 0.0, share=0.5, group="crash"),
        effect("occ_pct", "set", 0.0, share=0.5),
    ]
    plan = plan_of(catalogue, scenario_of(catalogue, *halves))
    found = effects_on(Simulation(plan).fleets[ROADS], plan.scenarios, plan.seed)
    speed, flow, occupancy = (found[name][0].weight for name in ("speed_kmh", "flow_vpm", "occ_pct"))
    assert (speed == flow).all()
    assert (speed != occupancy).any()


def test_two_scenarios_together_do_what_each_of_them_does(catalogue: Catalogue, base: dict[str, Any]) -> None:
    slow = scenario_of(catalogue, effect("speed_kmh", "set", 33.0), name="SCA")
    empty = scenario_of(catalogue, effect("flow_vpm", "set", 0.0, cities={"441900": 1.0}), name="SCB")
    both = readings(plan_of(catalogue, slow, empty))
    one, other = readings(plan_of(catalogue, slow)), readings(plan_of(catalogue, empty))
    for name in base:
        changed = np.where(one[name] != base[name], one[name], other[name])
        assert (both[name] == changed).all()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"amount": "gale * 2"}, "gale"),
        ({"amount": "'FAST'", "op": "set"}, "number"),
        ({"daily": True, "envelope": None}, "envelope"),
        ({"feed": "factory.machine", "field": "state", "op": "set", "amount": "'BROKEN'"}, "DOWN"),
        ({"feed": "factory.machine", "field": "state", "op": "add", "amount": 1}, "word"),
    ],
    ids=["unknown driver", "word for a number", "daily without a day", "unknown word", "states do not add"],
)
def test_an_amount_that_does_not_fit_is_refused(catalogue: Catalogue, changes: dict[str, Any], named: str) -> None:
    wrong = effect("speed_kmh", "add", 1.0).model_copy(update=changes)
    with pytest.raises(CatalogueError) as error:
        check_effect(catalogue.feeds[wrong.feed], wrong)
    assert named in f"{error.value.message} {error.value.remedy}"
