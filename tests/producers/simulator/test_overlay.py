"""A feed that nobody wrote code for: declared in an overlay folder, it is simulated like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulator_kit import MINUTE_MS, flat

from pearlstream.catalogue import load_catalogue
from pearlstream.catalogue.simulation_check import check_simulation
from pearlstream.errors import CatalogueError
from pearlstream.frame import decode, read_tick
from producers.simulator.plan import instant_ms, make_plan
from producers.simulator.run import Simulation, log_steps

LIFTS = """
[[feed]]
id = "lift.cabin"
name = { en = "Lift", zh = "电梯" }
device = "lift controller"
cadence_s = 5
fleet = { total = 50, cities = ["440300", "810000"], per_site = 2 }
framing = { rows = 100, seconds = 5 }

[feed.fields]
trips = { type = "int", min = 0 }
door = { type = "enum", values = ["OPEN", "SHUT", "STUCK"], required = true }
load_kg = { decimals = 0 }
busy = { type = "bool" }
unknown = { unit = "V" }

[feed.static]
maker = { type = "enum", values = ["A", "B"] }
floors = { type = "int" }

[feed.simulate.profile.office]
weekday = { points = [[0, 0.0], [7, 0.1], [9, 1.0], [18, 1.0], [20, 0.1]] }
sunday = { points = [[0, 0.05]] }

[feed.simulate.device]
maker = { kind = "choice", weights = { A = 1, B = 1 } }
floors = { kind = "uniform", low = 5, high = 60, decimals = 0 }

[[feed.simulate.quantity]]
name = "rush"
kind = "level"
base = "floors"
profile = "office"
sigma = 0.3
phi = 0.9

[[feed.simulate.quantity]]
name = "trips"
kind = "poisson"
mean = "rush * 0.02"
k = 5

[[feed.simulate.quantity]]
name = "door"
kind = "states"
stay.SHUT = { mean_s = 40, next = { OPEN = 0.99, STUCK = 0.01 } }
stay.OPEN = { mean_s = 8, next = { SHUT = 1 } }
stay.STUCK = { median_s = 600, sigma = 0.5, next = { SHUT = 1 } }

[[feed.simulate.quantity]]
name = "busy"
kind = "formula"
value = "trips > 0 and maker = 'A'"

[[feed.simulate.quantity]]
name = "load_kg"
kind = "formula"
value = "case when door = 'STUCK' then 0 else 70 * trips end"
max = 1000
"""


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """An overlay folder with one feed."""
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds" / "lift.toml").write_text(LIFTS, "utf-8")
    return tmp_path


def test_a_feed_declared_in_an_overlay_produces_frames_without_any_python(overlay: Path) -> None:
    catalogue = load_catalogue([overlay])
    start_ms = instant_ms("2026-06-02T10:00:00+08:00")
    plan = make_plan(catalogue, start_ms=start_ms, duration_ms=MINUTE_MS, faults=False)
    assert len(Simulation(plan).fleets["lift.cabin"]) == 50
    rows = 0
    for partition, log in log_steps(Simulation(plan).steps(), 6).items():
        for record in log.records:
            if read_tick(record) is None:
                decoded = decode(record, catalogue.feeds, catalogue.cities, partition=partition, partitions=6)
                if decoded.feed.id == "lift.cabin":
                    assert not decoded.flaws
                    assert decoded.city in ("440300", "810000")
                    assert decoded.batch.column("unknown").null_count == decoded.batch.num_rows
                    rows += decoded.batch.num_rows
    assert rows == 50 * 12


def test_its_readings_follow_its_declaration(overlay: Path) -> None:
    catalogue = load_catalogue([overlay])
    start_ms = instant_ms("2026-06-02T10:00:00+08:00")
    plan = make_plan(catalogue, start_ms=start_ms, duration_ms=30 * MINUTE_MS, faults=False, rate=600.0)
    simulation = Simulation(plan)
    rows, constants = flat(simulation, "lift.cabin"), simulation.fleets["lift.cabin"].constants
    assert rows["trips"].mean() == pytest.approx(0.02 * np.asarray(constants["floors"]).mean(), rel=0.1)
    assert (rows["load_kg"] == np.minimum(1000, 70 * rows["trips"] * (rows["door"] != "STUCK"))).all()
    assert (rows["door"] == "OPEN").mean() == pytest.approx(8 / 48, abs=0.03)
    assert 0.05 < rows["busy"].mean() < 0.5


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('base = "floors"', 'base = "flors"', "floors"),
        ("trips > 0 and", "trip > 0 and", "trips"),
        ('profile = "office"', 'profile = "offices"', "office"),
        ("next = { OPEN", "next = { OPENED", "OPEN"),
        ('kind = "poisson"', 'kind = "poison"', "quantity"),
        ("floors = { kind", "floor = { kind", "floors"),
        ('name = "door"\nkind', 'name = "gate"\nwords = ["OPEN", "SHUT", "STUCK"]\nkind', "door"),
    ],
    ids=["base", "term", "profile", "state", "kind", "static field", "required field"],
)
def test_a_shape_that_does_not_fit_is_refused_with_what_would_have_been_right(
    overlay: Path, old: str, new: str, named: str
) -> None:
    assert old in LIFTS
    (overlay / "feeds" / "lift.toml").write_text(LIFTS.replace(old, new), "utf-8")
    with pytest.raises(CatalogueError) as error:
        check_simulation(load_catalogue([overlay]).feeds["lift.cabin"])
    assert named in str(error.value)


def test_all_shipped_feeds_have_a_shape_that_fits(catalogue: object) -> None:
    for feed in load_catalogue().feeds.values():
        assert check_simulation(feed) is not None
