"""The load: frames of a made-up fleet, so plain that what has to come out can be counted beforehand.

Every device reports steadily with values that raise no flag; a small share of readings comes after the one that
follows it. All of them must be accepted, each once. The same load gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed, FieldSpec
from pearlstream.fold import Record
from pearlstream.frame import (
    ARROW,
    JSON,
    Tick,
    encode_arrow,
    encode_json_columns,
    expected_partition,
    frame_headers,
    tick_record,
)
from pearlstream.registry import COLUMNS, EMPTY_VERSION, encode_devices, next_version, static_type

START_MS = 1_780_002_000_000
"""Where event time begins: a whole hour."""
TICK_MS = 5_000
"""Event time between two ticks, as the simulator writes them."""
Encoding = Literal["arrow", "json"]


@dataclass(frozen=True)
class Load:
    """What is to be produced.

    `rate`: readings in a second of event time, over all cities and feeds; with `devices` it says how often one
    reports. `cities`: how many of the catalogue's. `disorder`: the share of readings that change places with the
    next one of their device.
    """

    readings: int = 1_000_000
    frame_rows: int = 500
    feeds: tuple[str, ...] = ("traffic.flow",)
    cities: int = 23
    devices: int = 12_000
    rate: float = 12_000.0
    encoding: Encoding = "arrow"
    disorder: float = 0.005
    partitions: int = 6
    seed: int = 1


class Sent(NamedTuple):
    """A record of `readings` with the partition that it goes to."""

    partition: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Columns(NamedTuple):
    """The readings of one feed and city in the order in which they are sent. `owner`: the number of the device."""

    owner: NDArray[np.int64]
    ts: NDArray[np.int64]
    seq: NDArray[np.int64]
    names: Any
    fields: Mapping[str, Any]

    def cut(self, feed: Feed, start: int, stop: int) -> dict[str, Any]:
        """A stretch of readings as the columns of a frame."""
        here = slice(start, stop)
        columns = {"device": self.names.take(pa.array(self.owner[here])), "ts": self.ts[here]}
        if feed.seq != "none":
            columns["seq"] = self.seq[here].astype(np.uint64)
        return columns | {name: values[here] for name, values in self.fields.items()}


class Part(NamedTuple):
    """The content of one frame."""

    feed: Feed
    city: str
    columns: dict[str, Any]
    load: Load

    @property
    def complete_ms(self) -> int:
        """Event time of its last reading."""
        return int(self.columns["ts"].max())

    def encoded(self) -> bytes:
        """The frame's bytes in the encoding of the load."""
        if self.load.encoding == "arrow":
            return encode_arrow(self.feed, self.columns)
        return encode_json_columns(self.feed, self.city, self.columns)

    def sent(self, value: bytes) -> Sent:
        """The frame as a record of `readings`."""
        key, kind = self.city.encode(), ARROW if self.load.encoding == "arrow" else JSON
        headers = frame_headers(self.feed, kind, f"bench-{self.city}", None, sim=True)
        return Sent(expected_partition(key, self.load.partitions), key, value, headers)


@dataclass
class Made:
    """A load, produced: the registry's records with the version that each completes, and the log."""

    devices: list[tuple[bytes, str]]
    sent: list[Sent]
    readings: Mapping[str, int]
    """By feed."""
    ticks: int
    frames: int
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bytes = sum(len(one.value) for one in self.sent)

    @property
    def total(self) -> int:
        """All readings."""
        return sum(self.readings.values())

    def lanes(self) -> dict[int, list[Record]]:
        """The log by partition, with offsets."""
        lanes: dict[int, list[Record]] = {}
        for one in self.sent:
            lane = lanes.setdefault(one.partition, [])
            lane.append(Record(len(lane), one.key, one.value, one.headers))
        return lanes


def make(load: Load, catalogue: Catalogue, *, after: Load | None = None) -> Made:
    """Produce a load; one that comes `after` another goes on with the same devices where that ended.

    Raises KeyError for a feed that the catalogue does not have.
    """
    devices, version = [], EMPTY_VERSION
    shares = _shares(load, catalogue)
    for feed, city in shares:
        value = encode_devices(feed, city, _fleet(feed, city, max(1, load.devices // len(shares))))
        version = next_version(version, value)
        devices.append((value, version))
    parts = cut_up(load, catalogue, after)
    sent = list(_with_ticks(load, parts, version, goes_on=after is not None))
    readings = dict.fromkeys(load.feeds, 0)
    for part in parts:
        readings[part.feed.id] += len(part.columns["ts"])
    return Made(devices, sent, readings, sum(one.key is None for one in sent), len(parts))


def cut_up(load: Load, catalogue: Catalogue, after: Load | None = None) -> list[Part]:
    """The readings of a load, cut into frames, in the order in which these are complete; see `make`."""
    rng = np.random.default_rng(load.seed)
    shares = _shares(load, catalogue)
    owners, each = max(1, load.devices // len(shares)), max(1, load.readings // len(shares))
    cadence_ms = owners * len(shares) / load.rate * 1000
    parts = []
    for feed, city in shares:
        first = max(1, after.readings // len(shares)) if after else 0
        columns = _columns(load, feed, city, owners, range(first, first + each), cadence_ms, rng)
        cuts = range(0, each, load.frame_rows)
        parts += [Part(feed, city, columns.cut(feed, at, at + load.frame_rows), load) for at in cuts]
    return sorted(parts, key=lambda part: part.complete_ms)


def _shares(load: Load, catalogue: Catalogue) -> list[tuple[Feed, str]]:
    cities = list(catalogue.cities)[: load.cities]
    return [(catalogue.feeds[name], city) for name in load.feeds for city in cities]


def _with_ticks(load: Load, parts: Sequence[Part], registry: str, *, goes_on: bool) -> Iterator[Sent]:
    """The log: ticks in every partition before the first frame, between frames, and far enough after the last."""

    def ticks(clock_ms: int) -> Iterator[Sent]:
        key, value, headers = tick_record(Tick(clock_ms, "bench/1", registry, sim=True))
        return (Sent(partition, key, value, headers) for partition in range(load.partitions))

    clock_ms = parts[0].complete_ms // TICK_MS * TICK_MS
    if goes_on:  # the load before ended with a tick after its last frame
        clock_ms += TICK_MS
    else:
        yield from ticks(clock_ms)
    for part in parts:
        while part.complete_ms >= clock_ms + TICK_MS:
            clock_ms += TICK_MS
            yield from ticks(clock_ms)
        yield part.sent(part.encoded())
    yield from ticks(clock_ms + TICK_MS)


def _columns(
    load: Load, feed: Feed, city: str, owners: int, numbers: range, cadence_ms: float, rng: np.random.Generator
) -> Columns:
    number, count = np.arange(numbers.start, numbers.stop), len(numbers)
    swapped = np.flatnonzero(rng.random(count) < load.disorder)
    swapped = swapped[(swapped + owners < count) & ~np.isin(swapped - owners, swapped)]
    number[swapped], number[swapped + owners] = number[swapped + owners].copy(), number[swapped].copy()
    turn, owner = np.divmod(number, owners)
    ts = START_MS + (turn * cadence_ms + owner * cadence_ms / owners).astype(np.int64)
    names = pa.array([f"{city}-{feed.id}-{at:06}" for at in range(owners)])
    fields = {name: _values(spec, city, count, rng) for name, spec in feed.fields.items()}
    return Columns(owner, ts, turn, names, fields)


def _values(spec: FieldSpec, city: str, count: int, rng: np.random.Generator) -> Any:
    """Believable values of a field: well inside its range, never the same for long, without jumps."""
    if spec.type == "bool":
        return rng.random(count) < 0.5
    if spec.type in ("enum", "text"):
        words = pa.array(list(spec.values) or [city])
        return words.take(pa.array(rng.integers(0, len(words), count)))
    low = 0.0 if spec.min is None else spec.min
    high = low + 100.0 if spec.max is None else spec.max
    wide = min(0.1 * (high - low), (spec.spike or np.inf) / 3)
    values = low + 0.4 * (high - low) + wide * rng.random(count)
    return np.floor(values).astype(np.int64) if spec.type == "int" else np.round(values, spec.decimals)


_STATIC = {"float": 50.0, "int": 1, "bool": True, "text": "x"}


def _fleet(feed: Feed, city: str, owners: int) -> pl.DataFrame:
    """The devices of one feed and city as the registry wants them."""
    values: dict[str, Any] = {
        "device": [f"{city}-{feed.id}-{at:06}" for at in range(owners)],
        "zone": [("core", "suburb", "rural")[at % 3] for at in range(owners)],
        "site": [f"s{at % 50}" for at in range(owners)],
        "lon": 113.0, "lat": 23.0, "cadence_s": float(feed.cadence_s), "from_ms": START_MS - 86_400_000,
        "until_ms": None, "calibrated_ms": None, "origin": "csv",
    }  # fmt: skip
    values |= {name: spec.values[0] if spec.values else _STATIC[spec.type] for name, spec in feed.static.items()}
    types = {**COLUMNS, **{name: static_type(spec.type) for name, spec in feed.static.items()}}
    return pl.DataFrame(
        {
            name: pl.Series(value if isinstance(value, list) else [value] * owners, dtype=types[name], strict=False)
            for name, value in values.items()
        }
    )
