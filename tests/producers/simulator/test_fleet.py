"""The fleet: as many devices as the catalogue says, spread evenly in time, with constants by quota."""

from __future__ import annotations

import numpy as np
import pytest
from simulator_kit import PlanMaker

from pearlstream.catalogue import Catalogue
from pearlstream.registry import RegistryBook
from producers.simulator.chance import hashed, key_of, normal_of, quota
from producers.simulator.columns import Coded
from producers.simulator.fleet import counts
from producers.simulator.run import Simulation


def test_the_catalogues_fleets_have_their_sizes(plan: PlanMaker) -> None:
    fleets = Simulation(plan(feeds=("traffic.flow", "air.quality", "factory.machine"))).fleets
    assert {name: len(fleet) for name, fleet in fleets.items()} == {
        "traffic.flow": 627,
        "air.quality": 208,
        "factory.machine": 627,
    }


@pytest.mark.parametrize("rate", [20.0, 500.0, 4_000.0])
def test_the_rate_scales_devices_and_never_the_cadence(plan: PlanMaker, rate: float) -> None:
    simulation = Simulation(plan(rate=rate, feeds=("traffic.flow", "air.quality", "factory.machine")))
    assert simulation.readings_per_s == pytest.approx(rate, rel=0.05)
    assert {fleet.cadence_ms for fleet in simulation.fleets.values()} == {10_000, 60_000, 300_000}


def test_a_total_is_spread_over_the_cities_without_losing_one(catalogue: Catalogue) -> None:
    feed = catalogue.feeds["air.quality"]
    forty = feed.model_copy(update={"fleet": feed.fleet.model_copy(update={"total": 40})})
    assert sum(counts(forty, tuple(catalogue.cities.values()), 1.0)) == 40


def test_reports_are_spread_evenly_over_the_cadence(plan: PlanMaker) -> None:
    fleets = [fleet for fleet in Simulation(plan()).fleets.values() if fleet.feed.fleet.poll_s is None]
    assert fleets
    for fleet in fleets:
        steps = np.diff(fleet.phase_ms)
        assert (steps >= 0).all()
        assert steps.max() - steps.min() <= 1
        assert fleet.phase_ms[-1] < fleet.cadence_ms


def test_the_registry_names_every_device_once_with_its_static_fields(plan: PlanMaker) -> None:
    made = plan()
    simulation = Simulation(made)
    book = RegistryBook(made.catalogue.feeds)
    book.read((value, version) for value, version in simulation.devices)
    assert book.last.version == simulation.registry
    for name, fleet in simulation.fleets.items():
        homes = [fleet.cities[city].id for city in np.unique(fleet.city)]
        parts = [book.last.in_service(name, home, made.start_ms) for home in homes]
        assert sum(len(part) for part in parts if part is not None) == len(fleet)
        for part in parts:
            assert part is not None
            assert part["device"].is_unique().all()
            assert all(part[static].null_count() == 0 for static in fleet.feed.static)
            assert part["site"].n_unique() == -(-len(part) // fleet.feed.fleet.per_site)


def test_devices_stand_near_their_city(plan: PlanMaker) -> None:
    fleet = Simulation(plan()).fleets["traffic.flow"]
    lon = np.array([city.lon for city in fleet.cities])[fleet.city]
    assert np.abs(np.asarray(fleet.constants["lon"]) - lon).max() < 0.3


def test_small_cities_have_their_share_of_every_word(plan: PlanMaker) -> None:
    fleet = Simulation(plan()).fleets["air.quality"]
    grade = fleet.constants["grade"]
    assert isinstance(grade, Coded)
    for city in range(len(fleet.cities)):
        assert "ref" in grade.text()[fleet.city == city]


def test_the_machines_of_a_site_work_in_one_sector(plan: PlanMaker) -> None:
    fleet = Simulation(plan()).fleets["factory.machine"]
    site, sector = fleet.constants["site"], fleet.constants["sector"]
    assert isinstance(site, Coded)
    assert isinstance(sector, Coded)
    assert len(set(zip(site.codes.tolist(), sector.codes.tolist(), strict=True))) == len(site.words)


def test_a_quota_is_even_within_each_group() -> None:
    group = np.repeat([0, 1, 2], [10, 3, 1])
    ranks = quota(key_of("x"), group)
    for share in (0.1, 0.5, 0.75):
        for g, size in enumerate((10, 3, 1)):
            assert abs((ranks[group == g] < share).sum() - share * size) <= 0.5
    assert sorted(ranks[group == 0]) == pytest.approx((np.arange(10) + 0.5) / 10)


def test_hashed_numbers_are_uniform_and_belong_to_their_arguments() -> None:
    lots = hashed(key_of("a"), np.arange(100_000), 7)
    assert lots.mean() == pytest.approx(0.5, abs=0.005)
    assert np.histogram(lots, 20, (0, 1))[0].std() < 3 * np.sqrt(5_000)
    assert (hashed(key_of("a"), np.arange(50_000, 100_000), 7) == lots[50_000:]).all()
    assert abs(np.corrcoef(lots, hashed(key_of("a"), np.arange(100_000), 8))[0, 1]) < 0.02
    assert normal_of(np.array([0.001, 0.5, 0.975])) == pytest.approx([-3.0902323, 0.0, 1.9599640], abs=1e-6)
