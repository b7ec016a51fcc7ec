"""The real folds on the simulated log: crashes at any effect change nothing for who reads exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pearlstream.catalogue import load_catalogue
from pearlstream.fold import Fold, Output, Record
from pearlstream.folds.admit import Admit
from pearlstream.folds.indicate import Indicate
from pearlstream.position import Source
from pearlstream.testing.simulated import ROUGH, Simulation, crash_points, run
from pearlstream.testing.world import World
from pearlstream.testing.world import run as plain

CATALOGUE = load_catalogue()
CITY, ROAD, MACHINE = "440300", "traffic.flow", "factory.machine"
SOURCE = Source("sim", 0)
MINUTE = 60_000
SEEDS = 40
RARE = ROUGH._replace(older=0.1)


def road(world: World, at: int, seq: int, **columns: Any) -> None:
    values = {"device": ["d0", "d1"], "seq": [seq, seq], "flow_vpm": [10.0, 12.5], "speed_kmh": [25.0, 30.0]}
    world.frame(ROAD, CITY, [at, at + 500], **(values | columns))


@pytest.fixture(scope="module")
def world() -> World:
    """Seven minutes with a repeat, a late frame, bad rows, rubbish and a device that is registered later."""
    made = World(CATALOGUE)
    made.register(ROAD, CITY, 2, freeflow_kmh=50.0, seg_len_m=1000.0)
    made.tick(0)
    for minute in range(7):
        road(made, minute * MINUTE + 1000, 2 * minute)
        if minute == 1:
            road(made, minute * MINUTE + 1000, 2 * minute)
        if minute == 2:
            made.raw(CITY, b"\xff rubbish")
            made.raw(None, b"")
        if minute == 3:
            road(made, minute * MINUTE + 9000, 2 * minute + 1, speed_kmh=[1e9, float("nan")])
            made.register(MACHINE, CITY, 1)
        if minute == 5:
            road(made, MINUTE + 30_000, 3)
        made.tick((minute + 1) * MINUTE)
    made.tick(7 * MINUTE + 11_000)
    return made


def told(outputs: Sequence[Output], target: str) -> list[tuple[Any, ...]]:
    return [(one.key, one.value, one.headers) for one in outputs if one.target == target]


def check(sim: Simulation, expected: Sequence[Output], targets: Sequence[str]) -> None:
    for target in targets:
        got = [(one.key, one.value, one.headers) for one in sim.read(target)]
        assert got == told(expected, target), "\n".join([f"seed {sim.seed}", *sim.trace])


def admit(world: World) -> Callable[[], Fold[Any]]:
    return lambda: Admit(world.program, world.book)


def indicate(world: World) -> Callable[[], Fold[Any]]:
    return lambda: Indicate(world.program, world.book)


def rollups(world: World) -> list[Record]:
    made = [one for one in world.admit() if one.target == "rollups"]
    return [Record(at, one.key, one.value, one.headers) for at, one in enumerate(made)]


def test_admit_survives_every_single_crash_point(world: World) -> None:
    records = world.log.records[:7]
    expected = plain(Admit(world.program, world.book), SOURCE, records)
    for sim in crash_points(admit(world), records, batch=6):
        check(sim, expected, Admit.targets)


def test_admit_survives_whatever_happens(world: World) -> None:
    expected = plain(Admit(world.program, world.book), SOURCE, world.log.records)
    assert {one.target for one in expected} == set(Admit.targets)
    for seed in range(SEEDS):
        check(run(admit(world), world.log.records, seed=seed, faults=RARE, steps=60), expected, Admit.targets)


def test_indicate_survives_every_single_crash_point(world: World) -> None:
    records = rollups(world)
    expected = plain(Indicate(world.program, world.book), SOURCE, records)
    for sim in crash_points(indicate(world), records, batch=9):
        check(sim, expected, Indicate.targets)


def test_indicate_survives_whatever_happens(world: World) -> None:
    records = rollups(world)
    expected = plain(Indicate(world.program, world.book), SOURCE, records)
    for seed in range(SEEDS):
        check(run(indicate(world), records, seed=seed, faults=RARE, steps=60), expected, Indicate.targets)


@pytest.mark.slow
def test_many_seeds(world: World) -> None:
    records = rollups(world)
    for make, log in ((admit(world), world.log.records), (indicate(world), records)):
        fold = make()
        expected = plain(make(), SOURCE, log)
        for seed in range(1000, 1300):
            check(run(make, log, seed=seed, faults=RARE, steps=120), expected, fold.targets)
