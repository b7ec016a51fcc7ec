"""Statistical shapes: what the readings look like over hours, days and cities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulator_kit import MINUTE_MS, TUESDAY, PlanMaker, flat, travel_time_index

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.simulation import Day, Level, Profile
from producers.simulator.plan import Plan, instant_ms, make_plan
from producers.simulator.profiles import WeekTable
from producers.simulator.run import Simulation
from producers.simulator.wander import Wander

HOUR_MS = 60 * MINUTE_MS


def quiet(catalogue: Catalogue, feed: str, start: str = TUESDAY, hours: int = 24, seed: int = 1) -> Plan:
    """An undisturbed stretch of one feed."""
    plan = make_plan(catalogue, seed=seed, start_ms=instant_ms(start), duration_ms=hours * HOUR_MS, faults=False)
    return replace(plan, feeds=(feed,))


def test_traffic_has_two_peaks_and_a_quiet_night(catalogue: Catalogue) -> None:
    plan = quiet(catalogue, "traffic.flow")
    rows = flat(Simulation(plan), "traffic.flow")
    hour = (rows["ts"] - plan.start_ms) // HOUR_MS
    flow = np.array([rows["flow_vpm"][hour == h].mean() for h in range(24)])
    speed = np.array([rows["speed_kmh"][hour == h].mean() for h in range(24)])
    assert flow.argmax() in (7, 8, 17, 18)
    assert flow[3] < 0.2 * flow.max()
    assert flow[13] < 0.75 * flow[8]
    assert speed[3] > 1.2 * speed[8]


def test_the_travel_time_index_peaks_between_1_35_and_1_5(catalogue: Catalogue) -> None:
    plan = quiet(catalogue, "traffic.flow", hours=20)
    cluster = travel_time_index(plan).cluster
    assert 1.3 < cluster[7 * 12 : 9 * 12].max() < 1.5
    assert cluster[3 * 12] == pytest.approx(1.0, abs=0.05)


def test_oee_is_about_0_79_while_machines_work(catalogue: Catalogue) -> None:
    plan = quiet(catalogue, "factory.machine", "2026-06-02T14:00:00+08:00", hours=3)
    rows = flat(Simulation(plan), "factory.machine")
    busy = (rows["span_s"] * (rows["state"] != "PLANNED")).sum()
    running = (rows["span_s"] * (rows["state"] == "RUN")).sum()
    made = rows["good_inc"] + rows["rej_inc"]
    assert running / busy == pytest.approx(0.86, abs=0.03)
    assert (rows["pri_s"] * made).sum() / running == pytest.approx(0.93, abs=0.01)
    assert rows["good_inc"].sum() / made.sum() == pytest.approx(0.985, abs=0.004)


def test_machines_rest_at_lunch_and_some_at_night(catalogue: Catalogue) -> None:
    planned = {}
    for hour in ("02", "10", "12"):
        plan = quiet(catalogue, "factory.machine", f"2026-06-02T{hour}:30:00+08:00", hours=1)
        simulation = Simulation(plan)
        rows = flat(simulation, "factory.machine", plan.start_ms + 3 * MINUTE_MS)
        planned[hour] = (rows["state"] == "PLANNED").mean()
    assert planned["02"] == pytest.approx(0.3, abs=0.03)
    assert planned["10"] < 0.05
    assert planned["12"] > 0.7


def test_ozone_rises_in_the_afternoon_and_air_stays_below_its_limits(catalogue: Catalogue) -> None:
    plan = quiet(catalogue, "air.quality")
    rows = flat(Simulation(plan), "air.quality")
    hour = (rows["ts"] - plan.start_ms) // HOUR_MS
    o3 = np.array([rows["o3"][hour == h].mean() for h in range(24)])
    assert o3.argmax() in (14, 15)
    assert 2.5 < o3.max() / o3.min() < 5
    assert (rows["pm10"] >= rows["pm25"]).all()
    assert rows["pm25"].mean() < 0.7 * 60


def test_values_lie_on_their_grid_and_in_their_range(catalogue: Catalogue) -> None:
    for name, feed in catalogue.feeds.items():
        rows = flat(Simulation(quiet(catalogue, name, "2026-06-02T07:30:00+08:00", hours=1)), name)
        for field, spec in feed.fields.items():
            if spec.type == "float":
                scaled = rows[field] * 10**spec.decimals
                assert np.abs(scaled - np.round(scaled)).max() < 1e-6, field
            if spec.type in ("float", "int"):
                low = -np.inf if spec.min is None else spec.min
                high = np.inf if spec.max is None else spec.max
                assert ((rows[field] >= low) & (rows[field] <= high)).mean() > 0.995, field


def test_a_week_knows_weekdays_saturday_and_sunday() -> None:
    table = WeekTable(
        Profile(weekday=Day(points=((0, 1.0), (12, 3.0))), saturday=Day(points=((0, 5.0),)), sunday=Day(scale=7.0))
    )
    day = 86_400_000
    monday = 4 * day  # 1970-01-05
    at = np.array([monday, monday + day // 2, monday + 5 * day, monday + 6 * day, monday + 7 * day])
    assert table.at(at) == pytest.approx([1.0, 3.0, 5.0, 7.0, 1.0], abs=0.01)
    assert table.at(at[:1] + day // 4) == pytest.approx([2.0], abs=0.01)


def test_neighbours_are_alike_and_the_next_reading_is_like_the_last(plan: PlanMaker) -> None:
    fleet = Simulation(plan(rate=400.0)).fleets["traffic.flow"]
    near = Level(kind="level", name="near", sigma=1, phi=0.9, length_km=6, own=0.2)
    size, turns = len(fleet), 1_500
    wander = Wander(fleet, near, seed=3)
    u = wander.at(0, size, range(turns))
    assert u.mean() == pytest.approx(0.0, abs=0.05)
    assert u.var() == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1] == pytest.approx(0.9, abs=0.03)
    gap = np.hypot(fleet.x_km - fleet.x_km[0], fleet.y_km - fleet.y_km[0])
    alike = np.array([np.corrcoef(u[:, 0], u[:, j])[0, 1] for j in range(1, size)])
    same_city = fleet.city[1:] == fleet.city[0]
    assert alike[(gap[1:] < 3) & same_city].mean() > 0.4
    assert abs(alike[~same_city].mean()) < 0.1
