"""A small world for tests: a log, a registry and builders that put frames and ticks on it in a line.

    world = World(load_catalogue())
    world.register("traffic.flow", "440300", 3)
    world.tick(0)
    world.frame("traffic.flow", "440300", device=["d0"], ts=[1000], seq=[0], flow_vpm=[12.0])
    world.tick(5_000)
    outputs = world.admit()

Times are milliseconds after `T0`, which lies on a whole hour.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from pearlstream.catalogue import Catalogue
from pearlstream.fold import Fold, InProcess, Log, Output, Record
from pearlstream.folds.admit import Admit
from pearlstream.folds.cluster import Cluster
from pearlstream.folds.indicate import Indicate
from pearlstream.frame import ARROW, Tick, encode_arrow, frame_headers, tick_record
from pearlstream.position import Source
from pearlstream.program import Program, compile_catalogue
from pearlstream.registry import COLUMNS, EMPTY_VERSION, RegistryBook, encode_devices, static_type

T0 = 1_780_002_000_000
"""2026-05-28 21:00 UTC, 05:00 of the next day in Guangdong."""

_STATIC_VALUES = {"float": 50.0, "int": 1, "bool": True, "text": "x"}


@dataclass
class World:
    """A log of `readings`, the registry that its ticks name, and the folds over both."""

    catalogue: Catalogue
    program: Program = field(init=False)
    book: RegistryBook = field(init=False)
    log: Log = field(default_factory=Log)
    version: str = EMPTY_VERSION

    def __post_init__(self) -> None:
        self.program = compile_catalogue(self.catalogue)
        self.book = RegistryBook(self.catalogue.feeds)

    def register(
        self, feed: str, city: str, count: int, prefix: str = "d", from_ms: int = -86_400_000, **columns: Any
    ) -> None:
        """Register `count` devices `<prefix>0..`; each has a site of its own. Static fields may be given by name."""
        declared = self.catalogue.feeds[feed]
        names = [f"{prefix}{i}" for i in range(count)]
        values: dict[str, Any] = {
            "device": names, "zone": "core", "site": [f"s{i}" for i in range(count)], "lon": 113.0, "lat": 23.0,
            "cadence_s": float(declared.cadence_s), "from_ms": T0 + from_ms, "until_ms": None, "calibrated_ms": None,
            "origin": "csv",
        }  # fmt: skip
        for name, spec in declared.static.items():
            values[name] = spec.values[0] if spec.values else _STATIC_VALUES[spec.type]
        types = {**COLUMNS, **{name: static_type(spec.type) for name, spec in declared.static.items()}}
        data = {
            name: pl.Series(value if isinstance(value, list) else [value] * count, dtype=types[name], strict=False)
            for name, value in (values | columns).items()
        }
        self.version = self.book.add([encode_devices(declared, city, pl.DataFrame(data))])

    def tick(self, ms: int) -> Record:
        """Append a tick that names the newest registry."""
        return self.log.append(*tick_record(Tick(T0 + ms, "test/1", self.version, sim=True)))

    def frame(self, feed: str, city: str, ts: Sequence[int], gateway: str = "g1", **columns: Any) -> Record:
        """Append an Arrow frame; `ts` counts from T0, other columns are as on the wire."""
        declared = self.catalogue.feeds[feed]
        value = encode_arrow(declared, {"ts": [T0 + t for t in ts], **columns})
        return self.raw(city, value, *frame_headers(declared, ARROW, gateway, None, sim=True))

    def raw(self, city: str | None, value: bytes | None, *headers: tuple[str, bytes]) -> Record:
        """Append whatever it is."""
        return self.log.append(city.encode() if city is not None else None, value, headers)

    def admit(self, rng: random.Random | None = None) -> list[Output]:
        """The outputs of `admit` over the log; with `rng`, in random batches and through random snapshots."""
        return run(Admit(self.program, self.book), Source("readings-1", 0), self.log.records, rng)

    def indicate(self, rng: random.Random | None = None, *, provisional: bool = False) -> list[Output]:
        """The outputs of `indicate` over the rollups of `admit`."""
        rollups = Log()
        for output in self.admit():
            if output.target == "rollups":
                rollups.append(output.key, output.value, output.headers)
        fold = Indicate(self.program, self.book, provisional=provisional)
        return run(fold, Source("rollups-1", 0), rollups.records, rng)

    def cluster(self, rng: random.Random | None = None, *, provisional: bool = False) -> list[Output]:
        """The outputs of `cluster` over the crossings of `admit`."""
        crossings = Log()
        for output in self.admit():
            if output.target == "crossings":
                crossings.append(output.key, output.value, output.headers)
        fold = Cluster(self.program, self.book, provisional=provisional)
        return run(fold, Source("crossings-1", 0), crossings.records, rng)

    def rows(self, **equal: Any) -> list[dict[str, Any]]:
        """Settled and corrected rows of single cities, in order, those with the given columns."""
        rows = table(self.indicate()).to_dicts()
        return [row for row in rows if all(row[name] == value for name, value in equal.items())]


def run(fold: Fold[Any], source: Source, records: Sequence[Record], rng: random.Random | None = None) -> list[Output]:
    """Fold records in one batch, or cut at random and packed and unpacked on the way where the state is settled."""
    runner = InProcess(fold, source)
    if rng is None:
        return runner.feed(records)
    outputs, at = [], 0
    while at < len(records):
        size = rng.choice((1, 1, 2, 3, 7, 40, 200))
        outputs += runner.feed(records[at : at + size])
        at += size
        if fold.settled(runner.state) and rng.random() < 0.3:
            runner.state = fold.unpack(fold.pack(runner.state))
    return outputs


def table(outputs: Sequence[Output]) -> pl.DataFrame:
    """The rows of records whose values are Arrow streams, one below the other."""
    frames = [pl.from_arrow(pa.ipc.open_stream(output.value).read_all()) for output in outputs if output.value]
    return pl.concat([frame for frame in frames if isinstance(frame, pl.DataFrame)]) if frames else pl.DataFrame()


def headers_by_name(output: Output) -> dict[str, str]:
    """The headers of an output as text."""
    return {name: value.decode() for name, value in output.headers}
