"""Drivers: a typhoon's wind where it was reckoned by hand, straight lines in time, memory, lag, terms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.scenario import Driver, Scenario, Track
from producers.simulator.drivers import HOUR_MS, STEP_MS, Drivers, field_of, on_plane, remembered, shape_at
from producers.simulator.fleet import Fleet
from producers.simulator.plan import ScenarioAt, make_plan
from producers.simulator.reports import Reports
from producers.simulator.run import Simulation

START_MS = 1_790_000_000_000 // STEP_MS * STEP_MS


@pytest.fixture(scope="module")
def fleet(catalogue: Catalogue) -> Fleet:
    """The weather stations of the delta."""
    plan = replace(make_plan(catalogue, [("SC01", 0)], duration_ms=60_000), feeds=("weather.obs",))
    return Simulation(plan).fleets["weather.obs"]


def story(catalogue: Catalogue, *drivers: Driver, tracks: tuple[Track, ...] = ()) -> ScenarioAt:
    """A day of these drivers."""
    scenario = Scenario(
        id="SCX",
        alias="storm",
        name=catalogue.scenarios["SC02"].name,
        start="2026-09-23T00:00:00+08:00",
        length_s=86_400,
        driver=drivers,
        track=tracks,
    )
    return ScenarioAt(scenario, START_MS)


def value_at(drivers: Drivers, fleet: Fleet, name: str, hour: float) -> Any:
    """What the driver is for each device of the fleet at one moment."""
    at_ms = np.full(len(fleet), START_MS + round(hour * HOUR_MS))
    return drivers.at(name, Reports(fleet, 0, len(fleet), range(1), at_ms))


@pytest.mark.parametrize(
    ("city", "reckoned"),
    [("440400", 28.2), ("820000", 28.9), ("440700", 24.9), ("810000", 22.2), ("441700", 33.5), ("440300", 20.2)],
)
def test_the_typhoon_blows_at_city_centres_as_hard_as_was_reckoned_by_hand(
    catalogue: Catalogue, city: str, reckoned: float
) -> None:
    scenario, place = catalogue.scenarios["SC01"], catalogue.cities[city]
    gale = next(driver for driver in scenario.driver if driver.name == "gale")
    x_km, y_km = (np.array([value]) for value in on_plane(place.lon, place.lat))
    field = field_of(gale, scenario.track[0], x_km, y_km)
    strongest = max(float(field(step / 12)[0]) for step in range(36 * 12 + 1))
    assert strongest * (gale.coast if place.coast else gale.inland) == pytest.approx(reckoned, abs=0.35)


def test_shapes_fall_off_as_declared() -> None:
    away = np.array([0.0, 25.0, 50.0, 200.0])
    vortex = Driver(name="v", shape="vortex", radius_km=50, exponent=0.5)
    assert shape_at(vortex, away) == pytest.approx([0, 0.5, 1, 0.5])
    gauss = Driver(name="g", shape="gauss", radius_km=50)
    assert shape_at(gauss, away) == pytest.approx(np.exp([0, -0.25, -1, -16]))
    even = Driver(name="e", shape="even", radius_km=50)
    assert shape_at(even, away) == pytest.approx([1, 1, 1, 0])


def test_a_field_follows_its_track_and_waits_at_its_ends() -> None:
    track = Track(id="eye", points=((1, 113.0, 22.0), (3, 114.0, 23.0)))
    driver = Driver(name="blow", track="eye", radius_km=1, amount=10)
    for hour, lon, lat in ((0, 113.0, 22.0), (1, 113.0, 22.0), (2, 113.5, 22.5), (9, 114.0, 23.0)):
        x, y = on_plane(lon, lat)
        field = field_of(driver, track, np.array([x, x + 1]), np.array([y, y]))
        assert field(hour) == pytest.approx([10, 10 * np.exp(-1)])


def test_between_two_moments_of_the_grid_a_driver_goes_straight(catalogue: Catalogue, fleet: Fleet) -> None:
    drivers = Drivers(fleet, story(catalogue, Driver(name="tide", course=((0, 0), (1, 12), (2, 0)))))
    step_h = STEP_MS / HOUR_MS
    seen = [value_at(drivers, fleet, "tide", step * step_h / 4)[0] for step in range(60)]
    assert seen == pytest.approx([12 * min(s * step_h / 4, 2 - s * step_h / 4) for s in range(60)])


def test_rows_that_do_not_report_together_each_have_the_value_of_their_own_moment(
    catalogue: Catalogue, fleet: Fleet
) -> None:
    drivers = Drivers(fleet, story(catalogue, Driver(name="tide", course=((0, 0), (2, 24)))))
    reports = Reports(fleet, 0, 2, range(1), START_MS + np.array([320_000, 330_000]))
    events = START_MS + np.array([290_000, 330_000, 270_000])
    some = Reports(fleet, 0, 2, range(1), events, of=reports, origin=np.array([0, 1, 1]))
    assert drivers.at("tide", some) == pytest.approx([12 * 0.29 / 3.6, 12 * 0.33 / 3.6, 12 * 0.27 / 3.6])


def test_a_lag_moves_a_driver_back_in_time_and_a_term_sees_what_its_causes_were(
    catalogue: Catalogue, fleet: Fleet
) -> None:
    rain = Driver(name="rain", course=((0, 0), (2, 24)))
    drain = Driver(name="drain", value="rain * 0.5 + case when city = '440400' then 100 else 0 end", lag=33)
    sewer = Driver(name="sewer", course=((0, 0), (2, 24)), lag=33)
    drivers = Drivers(fleet, story(catalogue, rain, drain, sewer))
    here = fleet.city == [city.id for city in fleet.cities].index("440400")
    found = value_at(drivers, fleet, "drain", 1.0)
    assert found[here] == pytest.approx(100 + 0.5 * 12 * 27 / 60)
    assert found[~here] == pytest.approx(0.5 * 12 * 27 / 60)
    assert value_at(drivers, fleet, "sewer", 1.0) == pytest.approx(12 * 27 / 60)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_has_a_memory_rises_at_once_and_falls_off_with_its_time_constant(
    catalogue: Catalogue, fleet: Fleet, sign: int
) -> None:
    blow = Driver(name="blow", amount=sign, course=((0, 0), (1, 10), (2, 0)), memory_h=6)
    drivers = Drivers(fleet, story(catalogue, blow))
    seen = [value_at(drivers, fleet, "blow", hour)[0] * sign for hour in (0, 0.5, 1, 7, 13)]
    assert seen == pytest.approx([0, 5, 10, 10 * np.exp(-1), 10 * np.exp(-2)])


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_a_memory_keeps_whichever_is_larger_in_magnitude(now: float, before: float) -> None:
    kept = remembered(np.array([now]), np.array([before]))[0]
    assert abs(kept) == max(abs(now), abs(before))
    assert kept in (now, before)


def test_kinds_of_city_feel_a_driver_by_their_own_factor(catalogue: Catalogue, fleet: Fleet) -> None:
    drivers = Drivers(fleet, story(catalogue, Driver(name="blow", amount=10, coast=0.8, inland=0.5)))
    coast = np.array([city.coast for city in fleet.cities])[fleet.city]
    assert value_at(drivers, fleet, "blow", 3) == pytest.approx(np.where(coast, 8, 5))


def test_a_long_run_keeps_a_short_window(catalogue: Catalogue, fleet: Fleet) -> None:
    drivers = Drivers(fleet, story(catalogue, Driver(name="blow"), Driver(name="later", value="blow", lag=60)))
    for hour in range(24):
        value_at(drivers, fleet, "later", hour)
    assert (
        max(len(rows) for rows in drivers._rows.values()) < 24
    )  # an hour of lag, half an hour that is computed together, and a little


def test_before_the_start_a_driver_is_as_at_the_start(catalogue: Catalogue, fleet: Fleet) -> None:
    drivers = Drivers(fleet, story(catalogue, Driver(name="blow", course=((0, 5), (1, 6)))))
    assert value_at(drivers, fleet, "blow", -1) == pytest.approx(5)
