"""The fleet of a feed: how many devices each city has, where they stand, and what they keep for life.

Devices are ordered by *phase*, the moment within the cadence at which they report, so that the devices that
report in any stretch of time are a slice of every array. Phases are spread evenly over the cadence and at random
over devices, which keeps the load flat; where the devices of a city are polled together, cities are spread instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pearlstream.catalogue.models import City, Feed
from pearlstream.catalogue.simulation import Events, Roster, Simulate
from pearlstream.registry import encode_devices
from producers.simulator.chance import Floats, Ints, hashed, key_of, quota
from producers.simulator.columns import Coded, Column, take
from producers.simulator.constants import Homes, draw_constants

RING_KM = 8.0
"""Width of a zone: the first of `fleet.zones` is the disc of this radius around the city's centre, and so on."""
KM_PER_DEGREE = 111.2
PER_RECORD = 3_000
"""Devices in one registry record: far below 900 kB."""
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Fleet:
    """All devices of one feed, in order of phase.

    `city` and `number` say which device it is; `constants` are its columns by name (zone, site, static fields,
    latent constants). `x_km`, `y_km`: place on a plane, for distances.
    """

    feed: Feed
    cities: tuple[City, ...]
    everywhere: tuple[City, ...]
    """All cities of the catalogue, whether the feed has devices there or not."""
    city: Ints
    number: Ints
    ids: npt.NDArray[Any]
    phase_ms: Ints
    gateway: Ints
    gateways: tuple[tuple[str, int], ...]
    """Gateway index -> (id, index of its city)."""
    utc_offset_ms: Ints
    x_km: Floats
    y_km: Floats
    constants: Mapping[str, Column]
    per_s: float
    """Readings a second; of sources of events, as many as `populace` gives them, whatever the hour makes of it."""

    def __len__(self) -> int:
        return len(self.city)

    @property
    def cadence_ms(self) -> int:
        """Milliseconds between two reports of a device."""
        return self.feed.cadence_s * 1000

    def frame(self, start_ms: int, seed: int) -> pl.DataFrame:
        """The fleet as the registry sees it, with a column `city` besides; in service long before the run."""
        age_days, day_ms = self._age_days(seed), start_ms // DAY_MS * DAY_MS
        columns: dict[str, Any] = {
            "device": self.ids,
            "city": [self.cities[c].id for c in self.city],
            "cadence_s": float(self.feed.cadence_s),
            "from_ms": (day_ms - age_days * DAY_MS).astype(np.int64),
            "until_ms": pl.Series([None] * len(self), dtype=pl.Int64),
            "calibrated_ms": self.calibrated_ms(start_ms, seed),
            "origin": "simulator",
        }
        for name in ("zone", "site", "lon", "lat", *self.feed.static):
            column = self.constants[name]
            columns[name] = column.text() if isinstance(column, Coded) else column
        for name, spec in self.feed.static.items():
            if spec.type == "int":
                columns[name] = np.asarray(columns[name]).astype(np.int64)
        return pl.DataFrame(columns)

    def calibrated_ms(self, start_ms: int, seed: int) -> Ints:
        """When each device was last calibrated: within the half-year before a run that begins at `start_ms`."""
        calibrated: Ints = start_ms // DAY_MS * DAY_MS - (self._age_days(seed) % 180).astype(np.int64) * DAY_MS
        return calibrated

    def _age_days(self, seed: int) -> Floats:
        """How long each device has been in service."""
        age: Floats = 60 + np.floor(2_000 * hashed(key_of(seed, self.feed.id, "age"), self.city, self.number))
        return age

    def records(self, start_ms: int, seed: int) -> Iterator[bytes]:
        """Values for the topic `devices`: one or more a city, in order of city and device."""
        every = self.frame(start_ms, seed).sort("city", "device", maintain_order=True)
        for (city,), devices in every.group_by("city", maintain_order=True):
            for part in devices.drop("city").iter_slices(PER_RECORD):
                yield encode_devices(self.feed, str(city), part)


def counts(feed: Feed, cities: Sequence[City], scale: float, roster: Sequence[Roster] = ()) -> list[int]:
    """Devices in each city: as the catalogue says, times `scale`, at least one where there is any.

    With a roster: those that it names, whatever the scale.
    """
    fleet = feed.fleet
    if roster:
        return [sum(entry.count for entry in roster if entry.city == city.id) for city in cities]
    millions = _millions(cities)
    if fleet.total is not None:
        whole = _apportion(fleet.total * scale, np.sqrt(millions))
        return [int(n) for n in whole]
    if fleet.counts:
        base = np.array([fleet.counts.get(city.id, 0) for city in cities])
    else:
        base = np.maximum(fleet.least, np.floor((fleet.k or 0.0) * np.sqrt(millions) + 0.5))
    return [max(1, int(n * scale + 0.5)) if n else 0 for n in base]


def _millions(cities: Sequence[City]) -> Floats:
    """Inhabitants of each city, in millions."""
    return np.array([city.population / 1e6 for city in cities])


def _apportion(total: float, weights: Floats) -> Ints:
    """Whole numbers that sum to `total`, nearest to the weights (largest remainders)."""
    exact = total * weights / weights.sum()
    whole: Ints = np.floor(exact).astype(np.int64)
    missing = round(total) - int(whole.sum())
    whole[np.argsort(-(exact - whole), kind="stable")[:missing]] += 1
    return whole


def cities_of(feed: Feed, cities: Mapping[str, City]) -> tuple[City, ...]:
    """The cities in which the feed has devices, by code."""
    named = feed.fleet.cities
    return tuple(cities[code] for code in sorted(cities) if not named or code in named)


def build_fleet(
    feed: Feed,
    shape: Simulate,
    cities: tuple[City, ...],
    everywhere: Mapping[str, City],
    seed: int,
    scale: float,
    tick_ms: int,
) -> Fleet:
    """The fleet of a feed at that scale in `cities`, some of those `everywhere`; the same for the same arguments."""
    per_city = counts(feed, cities, scale, shape.roster)
    city = np.repeat(np.arange(len(cities)), per_city)
    number = np.concatenate([np.arange(n) for n in per_city]) if city.size else city
    ids = _ids(feed, cities, city, number)
    entry = _entries(shape.roster, cities)
    constants = _place(feed, shape.roster, entry, cities, city, number, seed)
    lon, lat = np.asarray(constants["lon"]), np.asarray(constants["lat"])
    every = cities_of(feed, everywhere)
    some = [c for c, n in zip(every, counts(feed, every, scale, shape.roster), strict=True) if n]
    homes = Homes(city, _millions(cities), _millions(some), entry)
    draw_constants(feed, shape, homes, seed, scale, constants)
    gateway, gateways = _gateways(feed, cities, per_city, city, number, tick_ms)
    order, phase = _phases(feed, cities, city, number, seed)
    offsets = np.array([round(c.utc_offset_h * 3_600_000) for c in cities], dtype=np.int64)
    return Fleet(
        feed=feed,
        cities=cities,
        everywhere=tuple(everywhere[code] for code in sorted(everywhere)),
        city=city[order],
        number=number[order],
        ids=ids[order],
        phase_ms=phase,
        gateway=gateway[order],
        gateways=gateways,
        utc_offset_ms=offsets[city[order]],
        x_km=(lon * KM_PER_DEGREE * np.cos(np.deg2rad(23.0)))[order],
        y_km=(lat * KM_PER_DEGREE)[order],
        constants={name: take(column, order) for name, column in constants.items()},
        per_s=_per_s(feed, shape, constants),
    )


def _per_s(feed: Feed, shape: Simulate, constants: Mapping[str, Column]) -> float:
    given = [name for name, constant in shape.device.items() if constant.kind == "populace"]
    if given and any(isinstance(quantity, Events) for quantity in shape.quantity):
        return float(sum(np.asarray(constants[name]).sum() for name in given))
    return len(constants["lon"]) / feed.cadence_s


def short_name(feed: Feed) -> str:
    """What ids of the feed's devices begin with: its number, else its id."""
    return feed.number or feed.id


def _ids(feed: Feed, cities: Sequence[City], city: Ints, number: Ints) -> npt.NDArray[Any]:
    digits = max(4, len(str(int(number.max(initial=0)))))
    heads = [f"{short_name(feed)}-{c.id}-" for c in cities]
    return np.array([f"{heads[c]}{n:0{digits}d}" for c, n in zip(city, number, strict=True)], dtype=object)


def _poll_ms(feed: Feed) -> float:
    """Within how much time the devices of a city report."""
    return 1000 * min(feed.fleet.poll_s or feed.cadence_s, feed.cadence_s)


def _phases(feed: Feed, cities: Sequence[City], city: Ints, number: Ints, seed: int) -> tuple[Ints, Ints]:
    """The order of the devices, and when in the cadence each of them (in that order) reports."""
    key = key_of(seed, feed.id, "phase")
    if feed.fleet.poll_s is None:
        order = np.argsort(hashed(key, city, number), kind="stable")
        phase = ((np.arange(len(city)) + 0.5) * (feed.cadence_s * 1000 / max(1, len(city)))).astype(np.int64)
        return order, phase
    lots = hashed(key, np.array([key_of("poll", c.id) for c in cities], dtype=np.uint64))
    begin = lots * (feed.cadence_s * 1000 - _poll_ms(feed))
    phase = (begin[city] + quota(key, city) * _poll_ms(feed)).astype(np.int64)
    order = np.argsort(phase, kind="stable")
    return order, phase[order]


def _entries(roster: Sequence[Roster], cities: Sequence[City]) -> Ints:
    """The entry of the roster that each device stands in, city by city; empty without a roster."""
    named = [i for c in cities for i, entry in enumerate(roster) for _ in range(entry.count) if entry.city == c.id]
    return np.array(named, dtype=np.int64)


def _place(
    feed: Feed, roster: Sequence[Roster], entry: Ints, cities: Sequence[City], city: Ints, number: Ints, seed: int
) -> dict[str, Column]:
    """Zone, site and position: by site, scattered over the rings of the zones."""
    site = number // feed.fleet.per_site
    site_key = city * (int(site.max(initial=0)) + 1) + site
    _, first, back = np.unique(site_key, return_index=True, return_inverse=True)
    shares = np.array(list(feed.fleet.zones.values()))
    edges = np.cumsum(shares / shares.sum())
    zone = np.searchsorted(edges[:-1], quota(key_of(seed, feed.id, "zone"), city[first]), side="right")
    if roster:
        names_of = list(feed.fleet.zones)
        zone = np.array([names_of.index(one.zone) for one in roster])[entry[first]]
    radius = RING_KM * (zone + np.sqrt(hashed(key_of(seed, feed.id, "radius"), city[first], site[first])))
    angle = 2 * np.pi * hashed(key_of(seed, feed.id, "angle"), city[first], site[first])
    lon = np.array([c.lon for c in cities])[city[first]]
    lat = np.array([c.lat for c in cities])[city[first]]
    lat_new = lat + radius * np.sin(angle) / KM_PER_DEGREE
    lon_new = lon + radius * np.cos(angle) / (KM_PER_DEGREE * np.cos(np.deg2rad(lat)))
    names = tuple(f"{short_name(feed)}-{cities[c].id}-S{s:04d}" for c, s in zip(city[first], site[first], strict=True))
    return {
        "city": Coded(city, tuple(c.id for c in cities)),
        "zone": Coded(zone[back], tuple(feed.fleet.zones)),
        "site": Coded(back, names),
        "lon": np.round(lon_new, 5)[back],
        "lat": np.round(lat_new, 5)[back],
        "cadence_s": np.full(len(city), float(feed.cadence_s)),
    }


def _gateways(
    feed: Feed, cities: Sequence[City], per_city: Sequence[int], city: Ints, number: Ints, tick_ms: int
) -> tuple[Ints, tuple[tuple[str, int], ...]]:
    """So many gateways a city that one fills about a frame in the time between two ticks, or with one poll."""
    seconds = min(feed.framing.seconds, tick_ms / 1000)
    rows = [n * min(1.0, seconds * 1000 / _poll_ms(feed)) for n in per_city]
    full = [max(1, math.ceil(r / feed.framing.rows - 0.01)) if r else 0 for r in rows]
    ways = np.array(full, dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(ways)[:-1]]).astype(np.int64)
    names = tuple((f"{short_name(feed)}-{c.id}-G{g:02d}", i) for i, c in enumerate(cities) for g in range(ways[i]))
    return first[city] + number % np.maximum(ways, 1)[city], names
