"""What devices keep for life: the declared constants, drawn by quota or read from the roster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pearlstream.catalogue.models import Feed
from pearlstream.catalogue.simulation import Constant, Roster, Simulate, given_type
from producers.simulator.chance import Floats, Ints, key_of, normal_of, quota
from producers.simulator.columns import Coded, Column, as_numbers


@dataclass(frozen=True)
class Homes:
    """Where the devices of a fleet live. `city`: the city of each, by index.

    `people`: inhabitants (millions) of these cities; `all_people`: those of every city that has such devices,
    though the fleet may leave some out. `entry`: the entry of the roster of each device.
    """

    city: Ints
    people: Floats
    all_people: Floats
    entry: Ints


def draw_constants(
    feed: Feed, shape: Simulate, homes: Homes, seed: int, scale: float, columns: dict[str, Column]
) -> None:
    """Add the declared constants to `columns`, in their order."""
    city, site = homes.city, columns["site"]
    assert isinstance(site, Coded)
    _, first = np.unique(site.codes, return_index=True)
    for name, constant in shape.device.items():
        spec = feed.static.get(name) or feed.fields.get(name)
        if constant.kind == "given":
            columns[name] = _given(name, given_type(feed, shape, name), shape.roster, homes.entry)
            continue
        if constant.kind == "populace":
            columns[name] = _clipped(constant, _populace(constant, homes, scale))
            continue
        key = key_of(seed, feed.id, "constant", name)
        rank = quota(key, city[first])[site.codes] if constant.per == "site" else quota(key, city)
        column = _constant(constant, rank, columns)
        if isinstance(column, Coded) and (spec is None or spec.type in ("int", "float")) and constant.kind == "choice":
            column = as_numbers(column)
        columns[name] = column


def _constant(constant: Constant, rank: Floats, columns: Mapping[str, Column]) -> Column:
    """One constant for every device, from its rank in (0, 1) within its city."""
    match constant.kind:
        case "site":
            return columns["site"]
        case "share":
            return rank < constant.share
        case "choice":
            weights = np.array(list(constant.weights.values()))
            edges = np.cumsum(weights / weights.sum())
            return Coded(np.searchsorted(edges[:-1], rank, side="right"), tuple(constant.weights))
        case "by":
            value = by_word(columns[constant.of], constant.values, 1.0) * np.exp(constant.spread * normal_of(rank))
        case "lognormal":
            value = constant.median * np.exp(constant.sigma * normal_of(rank))
        case "uniform":
            value = constant.low + (constant.high - constant.low) * rank
        case _:
            raise ValueError(f"constants of kind {constant.kind!r} are not drawn")
    return np.round(_clipped(constant, value), constant.decimals)


def _clipped(constant: Constant, value: Floats) -> Floats:
    low = -np.inf if constant.min is None else constant.min
    high = np.inf if constant.max is None else constant.max
    return np.clip(value, low, high)


def _populace(constant: Constant, homes: Homes, scale: float) -> Floats:
    """A share of the total for each city, and of that for each of its devices; not rounded, so that it adds up."""
    devices = np.bincount(homes.city, minlength=len(homes.people))
    share = homes.people**constant.exponent / (homes.all_people**constant.exponent).sum()
    each: Floats = (constant.total * scale * share / np.maximum(devices, 1))[homes.city]
    return each


def _given(name: str, kind: str, roster: Sequence[Roster], entry: Ints) -> Column:
    """What the roster says of each device; 0, false or no word where it says nothing."""
    values = [one.values.get(name) for one in roster]
    if kind == "bool":
        return np.array([bool(value) for value in values])[entry]
    if kind == "float":
        return np.array([float(value or 0) for value in values])[entry]
    texts = ["" if value is None else str(value) for value in values]
    words = tuple(dict.fromkeys(texts))
    return Coded(np.array([words.index(text) for text in texts])[entry], words)


def by_word(column: Column, values: Mapping[str, float], default: float) -> Floats:
    """The number that each word of a column stands for; `default` for words that are not named."""
    if isinstance(column, Coded):
        by_code: Floats = np.array([values.get(word, default) for word in column.words])[column.codes]
        return by_code
    found = np.full(len(column), default)
    for word, value in values.items():
        found[column == float(word)] = value
    return found
