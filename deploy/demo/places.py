"""Where a city stands on a map of character cells: roughly where it lies, and never on top of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import NamedTuple

from pearlstream.catalogue import City

SPREAD = 0.6
"""0 keeps true distances, 1 only the order of the cities; between the two a crowded delta becomes readable."""


class Spot(NamedTuple):
    """A cell of the map, counted from the north-west corner."""

    row: int
    column: int


def lay_out(cities: Iterable[City], rows: int, columns: int) -> dict[str, Spot]:
    """A cell for each city, by id; nobody shares one. Raises ValueError if there are fewer cells than cities.

    The same cities and size give the same map: it must not jump while one looks at it.
    """
    found = sorted(cities, key=lambda city: (-city.population, city.id))
    if len(found) > rows * columns:
        raise ValueError(f"{len(found)} cities don't fit into {rows} x {columns} cells")
    wanted = _wanted(found, rows, columns)
    free = [Spot(row, column) for row, column in product(range(rows), range(columns))]
    spots: dict[str, Spot] = {}
    for city in found:
        best = min(free, key=lambda spot: _distance(wanted[city.id], spot))
        free.remove(best)
        spots[city.id] = best
    return _improved(spots, free, wanted)


def _wanted(cities: list[City], rows: int, columns: int) -> dict[str, tuple[float, float]]:
    """Where each city would stand if cells could be shared."""
    down = _scaled({city.id: -city.lat for city in cities}, rows - 1)
    across = _scaled({city.id: city.lon for city in cities}, columns - 1)
    return {city.id: (down[city.id], across[city.id]) for city in cities}


def _scaled(places: Mapping[str, float], size: int) -> dict[str, float]:
    """Coordinates brought to 0..size, partly by distance and partly by order (see SPREAD)."""
    order = sorted(places, key=lambda id_: (places[id_], id_))
    low, high = places[order[0]], places[order[-1]]
    last = max(len(order) - 1, 1)
    return {
        id_: size * ((1 - SPREAD) * ((places[id_] - low) / (high - low) if high > low else 0.5) + SPREAD * rank / last)
        for rank, id_ in enumerate(order)
    }


def _improved(spots: dict[str, Spot], free: list[Spot], wanted: Mapping[str, tuple[float, float]]) -> dict[str, Spot]:
    """Swap neighbours and use free cells as long as that brings cities nearer to where they belong."""
    better = True
    while better:
        better = False
        for id_ in spots:
            for index, spot in enumerate(free):
                if _distance(wanted[id_], spot) < _distance(wanted[id_], spots[id_]) - 1e-9:
                    free[index], spots[id_] = spots[id_], spot
                    better = True
            for other in spots:
                apart = _distance(wanted[id_], spots[id_]) + _distance(wanted[other], spots[other])
                swapped = _distance(wanted[id_], spots[other]) + _distance(wanted[other], spots[id_])
                if swapped < apart - 1e-9:
                    spots[id_], spots[other] = spots[other], spots[id_]
                    better = True
    return spots


def _distance(place: tuple[float, float], spot: Spot) -> float:
    return (place[0] - spot.row) ** 2 + (place[1] - spot.column) ** 2
