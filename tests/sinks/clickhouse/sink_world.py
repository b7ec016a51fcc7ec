"""Builders for the tests of the sink: a broker in memory, and what the stages would have written to it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed
from pearlstream.fold import InProcess, Output, Record, headers_of
from pearlstream.folds.admit import Admit
from pearlstream.folds.cluster import Cluster
from pearlstream.folds.indicate import Indicate
from pearlstream.frame import ARROW, Tick, encode_arrow, expected_partition, frame_headers, tick_record
from pearlstream.position import Source
from pearlstream.program import compile_catalogue
from pearlstream.registry import RegistryBook, encode_devices
from pearlstream.store import Store
from pearlstream.topics import ROLES as TOPICS
from pearlstream.topics import partition_to
from sinks.clickhouse.breaker import Breaker
from sinks.clickhouse.tape import Spot
from sinks.clickhouse.writer import Sink

T0 = 1_700_000_000_000 // 86_400_000 * 86_400_000
"""Midnight UTC of a day in 2023, in ms."""
PARTITIONS = 3
ROLES = (
    "readings", "accepted", "rollups", "crossings", "indicators", "quarantine", "alerts", "truth.labels", "devices",
)  # fmt: skip


class Broker:
    """Topics in memory. `life` names them; a new life has new topic ids and no records."""

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self.count = partitions
        self.begin_again()

    def begin_again(self) -> None:
        self.ids = {role: str(uuid.uuid4()) for role in ROLES}
        self.logs: dict[Spot, list[Record]] = {
            Spot(role, p): [] for role in ROLES for p in range(self.count if TOPICS[role].partitioned else 1)
        }
        self.first: dict[Spot, int] = {}

    def append(self, role: str, partition: int, key: bytes | None, value: bytes | None, headers: Any) -> Record:
        log = self.logs[Spot(role, partition)]
        record = Record(len(log), key, value, tuple(headers), 0)
        log.append(record)
        return record

    def put(self, partition: int, outputs: Iterable[Output]) -> None:
        for output in outputs:
            self.append(output.target, partition_to(output.target, partition), output.key, output.value, output.headers)


class MemoryTape:
    """Reads a `Broker`, a few records at a time."""

    def __init__(self, broker: Broker, most: int = 1000) -> None:
        self.broker, self.most = broker, most
        self.at: dict[Spot, int] = {}
        self.paused: set[Spot] = set()
        self.fences: list[Mapping[Spot, int]] = []

    def topic_ids(self, roles: Sequence[str]) -> dict[str, str]:
        return {role: self.broker.ids[role] for role in roles if role in self.broker.ids}

    def partitions(self, role: str) -> list[int]:
        return sorted(spot.partition for spot in self.broker.logs if spot.role == role)

    def begins(self, spots: Iterable[Spot]) -> dict[Spot, int]:
        return {spot: self.broker.first.get(spot, 0) for spot in spots}

    def ends(self, spots: Iterable[Spot]) -> dict[Spot, int]:
        return {spot: len(self.broker.logs[spot]) for spot in spots}

    def start(self, at: Mapping[Spot, int]) -> None:
        self.at, self.paused = dict(at), set()

    def poll(self, timeout_s: float) -> dict[Spot, tuple[list[Record], int]]:
        found = {}
        for spot, at in self.at.items():
            at = max(at, self.broker.first.get(spot, 0))
            records = self.broker.logs[spot][at : at + self.most]
            if records and spot not in self.paused:
                self.at[spot] = at + len(records)
                found[spot] = (records, self.at[spot])
        return found

    def pause(self, spots: Iterable[Spot]) -> None:
        self.paused |= set(spots)

    def resume(self, spots: Iterable[Spot]) -> None:
        self.paused -= set(spots)

    def fence(self, at: Mapping[Spot, int]) -> None:
        self.fences.append(dict(at))

    def close(self) -> None:
        self.at = {}


class World:
    """Gateways and workers in one: frames and ticks go through the real folds into a broker."""

    def __init__(self, catalogue: Catalogue, partitions: int = PARTITIONS, *, provisional: bool = True) -> None:
        self.catalogue = catalogue
        self.broker = Broker(partitions)
        self._provisional = provisional
        self._sequences: dict[tuple[str, str], int] = {}
        self.begin()

    def begin(self) -> None:
        """Stages from nothing, as after a start of a broker."""
        program = compile_catalogue(self.catalogue)
        self.book = RegistryBook(self.catalogue.feeds)
        ids, count = self.broker.ids, self.broker.count
        self.admits = [InProcess(Admit(program, self.book, count), Source(ids["readings"], p)) for p in range(count)]
        self.indicates = [
            InProcess(Indicate(program, self.book, count, provisional=self._provisional), Source(ids["rollups"], p))
            for p in range(count)
        ]
        stage = Cluster(program, self.book, count, provisional=self._provisional)
        self.cluster = InProcess(stage, Source(ids["crossings"], 0))
        self._sequences.clear()

    def register(self, feed: Feed, city: str, devices: int) -> None:
        """Register devices `d0`... in service since for ever."""
        import polars as pl

        from pearlstream.registry import COLUMNS, static_type

        rows = {"device": [f"d{n}" for n in range(devices)], "zone": ["core"] * devices, "site": ["s1"] * devices}
        rows |= {"cadence_s": [float(feed.cadence_s)] * devices, "from_ms": [0] * devices, "origin": ["csv"] * devices}
        columns = {name: pl.Series(rows.get(name, [None] * devices), dtype=dtype) for name, dtype in COLUMNS.items()}
        statics = {
            name: pl.Series([_static(spec)] * devices, dtype=static_type(spec.type))
            for name, spec in feed.static.items()
        }
        value = encode_devices(feed, city, pl.DataFrame({**columns, **statics}))
        version = self.book.add([value])
        self.broker.append("devices", 0, None, value, headers_of({"registry": version}))

    def frame(self, feed: Feed, city: str, at_ms: int, rows: int = 5, *, times: int = 1, **columns: Any) -> None:
        """One frame of `rows` devices at one instant, sent so many times."""
        start = self._sequences.get((feed.id, city), 0)
        self._sequences[feed.id, city] = start + 1
        made: dict[str, Any] = {
            "device": [f"d{n}" for n in range(rows)],
            "ts": np.full(rows, at_ms) + np.arange(rows),
            "seq": np.full(rows, start, np.uint64),
        }
        for number, (name, spec) in enumerate(feed.fields.items()):
            made[name] = _values(spec, rows, at_ms, number)
        made |= columns
        value = encode_arrow(feed, made)
        for _ in range(times):
            self.send(city, value, frame_headers(feed, ARROW, "gw-1", at_ms, True))

    def send(self, city: str, value: bytes, headers: Any) -> None:
        """Any frame at all."""
        partition = expected_partition(city.encode(), self.broker.count)
        record = self.broker.append("readings", partition, city.encode(), value, headers)
        self._fold(partition, record)

    def tick(self, at_ms: int) -> None:
        """A tick into every partition."""
        for partition in range(self.broker.count):
            key, value, headers = tick_record(Tick(at_ms, "test/1", self.book.last.version, True))
            self._fold(partition, self.broker.append("readings", partition, key, value, headers))

    def _fold(self, partition: int, record: Record) -> None:
        rollups, crossings = self.broker.logs[Spot("rollups", partition)], self.broker.logs[Spot("crossings", 0)]
        before = len(rollups), len(crossings)
        self.broker.put(partition, self.admits[partition].feed([record]))
        self.broker.put(partition, self.indicates[partition].feed(rollups[before[0] :]))
        self.broker.put(0, self.cluster.feed(crossings[before[1] :]))

    def label(self, **label: Any) -> None:
        """A truth label."""
        self.broker.append("truth.labels", 0, None, orjson.dumps(label), ())

    def play(self, minutes: int = 3, cities: Sequence[str] = ("440300", "440100", "810000")) -> None:
        """A small town's life: two feeds, some duplicates, some rubbish, ticks each 20 s."""
        feeds = [self.catalogue.feeds[name] for name in ("traffic.flow", "factory.machine")]
        for feed in feeds:
            for city in cities:
                self.register(feed, city, 5)
        self.tick(T0)
        for step in range(minutes * 3):
            now = T0 + step * 20_000
            for city in cities:
                for feed in feeds:
                    self.frame(feed, city, now + 1000)
                if step % 4 == 3:
                    self.frame(feeds[0], city, now + 1500, times=2)
            if step % 5 == 2:
                self.send(cities[0], b"rubbish", frame_headers(feeds[0], ARROW, "gw-2", now, True))
                self.frame(feeds[0], cities[1], now + 2000, flow_vpm=np.array([1.0, 2.0, np.nan, 4.0, 5.0]))
            self.tick(now + 20_000)
        self.label(kind="scenario", id="SC02", from_ms=T0, until_ms=T0 + 60_000)


def _static(spec: Any) -> Any:
    return {"float": 60.0, "int": 1, "bool": True, "text": "x"}.get(spec.type, spec.values[0] if spec.values else None)


def _values(spec: Any, rows: int, at_ms: int, number: int) -> Any:
    if spec.type == "enum":
        return [spec.values[n % len(spec.values)] for n in range(rows)]
    if spec.type == "bool":
        return [n % 2 == 0 for n in range(rows)]
    if spec.type == "text":
        return [f"text {n}" for n in range(rows)]
    low, high = spec.min or 0.0, spec.max if spec.max is not None else 100.0
    values = low + (high - low) * ((np.arange(rows) * 7 + number * 3 + at_ms // 1000) % 97) / 97
    return np.floor(values).astype(np.int64) if spec.type == "int" else values


def drain(world: World, store: Store, *, most: int = 1000) -> Sink:
    """Run a sink until everything is in the store and the journal says so."""
    sink = Sink(MemoryTape(world.broker, most), store, world.catalogue, flush_s=0.0, breaker=Breaker())
    sink.start()
    for _ in range(300):
        sink.step()
        if sink.idle and not any(sink.tape.poll(0).values()):
            break
    sink.finish()
    return sink


def truncate(store: Store) -> None:
    """Empty every table but those of the catalogue."""
    store.command(f"TRUNCATE ALL TABLES FROM `{store.database}` NOT LIKE 'catalogue%'")
