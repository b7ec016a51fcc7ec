"""The map: recognisable, stable, nobody on top of another."""

from __future__ import annotations

import pytest

from deploy.demo.places import Spot, lay_out
from pearlstream.catalogue import City, load_catalogue


def city(id_: str, lon: float, lat: float) -> City:
    name = {"en": id_, "zh": id_}
    return City.model_validate({"id": id_, "name": name, "lon": lon, "lat": lat, "population": 1})


def test_each_city_has_a_cell_of_its_own() -> None:
    spots = lay_out(load_catalogue().cities.values(), 7, 6)
    assert len(set(spots.values())) == len(load_catalogue().cities)


def test_north_is_up_and_east_is_right() -> None:
    four = [city("NW", 0, 1), city("NE", 1, 1), city("SW", 0, 0), city("SE", 1, 0)]
    assert lay_out(four, 2, 2) == {"NW": Spot(0, 0), "NE": Spot(0, 1), "SW": Spot(1, 0), "SE": Spot(1, 1)}


def test_the_same_cities_give_the_same_map_in_any_order() -> None:
    cities = list(load_catalogue().cities.values())
    assert lay_out(cities, 7, 6) == lay_out(reversed(cities), 7, 6)


def test_cities_in_one_place_are_spread() -> None:
    assert len(set(lay_out([city("A1", 5, 5), city("B1", 5, 5), city("C1", 5, 5)], 2, 2).values())) == 3


def test_too_many_cities_are_refused() -> None:
    with pytest.raises(ValueError, match="don't fit"):
        lay_out([city("A1", 0, 0), city("B1", 1, 1)], 1, 1)
