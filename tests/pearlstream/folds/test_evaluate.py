"""A window in all cities at once says of each city what it would say of it alone."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from pearlstream.catalogue import load_catalogue
from pearlstream.folds.evaluate import Evaluator
from pearlstream.folds.fleet import Fleets
from pearlstream.folds.lines import Site
from pearlstream.folds.windows import Chunk, Spot, Spots, Store
from pearlstream.measures import MeasureKind
from pearlstream.program import IndicatorProgram, compile_catalogue
from pearlstream.testing.world import T0, World

CATALOGUE = load_catalogue()
CITIES = ("440300", "440100", "820000")
KEYS = {"site": ["s0", "s1"], "zone": ["core"], "grade": ["A", "B"]}


@pytest.fixture(scope="module")
def world() -> World:
    world = World(CATALOGUE)
    for at, city in enumerate(CITIES):
        for feed in CATALOGUE.feeds:
            world.register(feed, city, 2 + at)
    return world


def partials(program: IndicatorProgram, spots: Spots, seed: int) -> Store:
    """Some random partials of every measure in every city, with dimensions as the fleet has them or others."""
    rng, store = random.Random(seed), Store()
    for ref in program.refs:
        for grain in range(T0 - program.span_ms, T0, program.hop_ms)[-30:]:
            some = []
            for city in rng.sample(CITIES, rng.randint(1, 3)):
                for _ in range(rng.randint(1, 3)):
                    dims = ",".join(f"{name}={rng.choice(KEYS.get(name, ['x', 'y']))}" for name in ref.dims)
                    some.append((spots.number(Spot(city, dims)), rng.randint(0, 3), rng.randint(0, 10**6), 9))
            spot, key, value, rows = np.array(some, np.int64).T.copy()
            of_map = ref.kind is MeasureKind.MAP
            store.of(ref.measure, ref.kind).put(grain, Chunk(spot, key if of_map else None, value, rows))
    return store


@pytest.mark.parametrize("key", [one.key for one in compile_catalogue(CATALOGUE).indicators if not one.group])
def test_no_city_sees_another(world: World, key: str) -> None:
    program = next(one for one in world.program.indicators if one.key == key)
    spots, fleets = Spots(), Fleets(world.book.at(world.version))
    store = partials(program, spots, 1)
    sites = [Site(city, (city,), 10**6, fleet) for city in CITIES if (fleet := fleets.of(program, (city,))) is not None]
    together = Evaluator(program, store, spots, sites, CATALOGUE.bases.at)
    for clock in (None, T0 - program.hop_ms // 2):
        said = together.rows(T0, range(len(sites)), clock)
        assert any(row.n for rows in said.values() for row in rows)
        for at, site in enumerate(sites):
            alone = Evaluator(program, store, spots, [site], CATALOGUE.bases.at)
            assert said[at] == alone.rows(T0, (0,), clock)[0]
            assert together.rows(T0, (at,), clock) == {at: said[at]}


def test_members_are_added_up_in_their_order_so_that_the_last_bit_is_always_the_same(world: World) -> None:
    program = next(p for p in world.program.indicators if any(r.declared.over in ("sum", "mean") for r in p.reductions))
    program = replace(program, coverage=None)
    fleet = Fleets(world.book.at(world.version)).of(program, ("440300",))
    assert fleet is not None
    values = []
    for seed in range(4):
        spots, cities = Spots(), list(CITIES)
        random.Random(seed).shuffle(cities)
        for city in cities:  # numbers of spots differ from run to run
            for name in ("s1", "s0", "x"):
                spots.number(Spot(city, f"site={name}"))
        site = Site("440300", ("440300",), 10**6, fleet)
        evaluator = Evaluator(program, partials(program, spots, 7), spots, [site], CATALOGUE.bases.at)
        values.append([row.value for row in evaluator.rows(T0, (0,))[0]])
    assert all(found == values[0] for found in values)
