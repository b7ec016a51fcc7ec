"""Minutes about midnight of the simulated city cluster, faults included, in a broker in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
from sink_world import World

from pearlstream.catalogue import Catalogue
from pearlstream.fold import Record, headers_of
from pearlstream.frame import Tick, expected_partition, frame_headers, tick_record
from pearlstream.registry import PartKey, decode_devices, encode_devices
from producers.simulator.plan import make_plan
from producers.simulator.run import Step, simulate
from sinks.clickhouse.tape import Spot

DAYS = ("2026-03-03", "2026-03-04")
MIDNIGHT = 1_772_582_400_000
"""Between the two days, UTC."""
CITIES = frozenset({"440300", "441900", "440100", "810000"})
"""Those of the cluster that are played, for the time it takes."""


class Run(World):
    """A world that is fed with what the simulator sends, step by step. `indicating`: beyond panes, indicators too."""

    indicating = False

    def play_steps(self, steps: Iterable[Step], changed_at: int) -> None:
        """Play all steps. From `changed_at` on a city's detectors are registered with other static fields."""
        logs: dict[int, list[Record]] = {p: [] for p in range(self.broker.count)}
        for step in steps:
            for value, version in step.devices:
                if decode_devices(value, self.catalogue.feeds)[0].city in CITIES:
                    self.register_value(value, version)
            for frame in step.frames:
                if frame.city not in CITIES:
                    continue
                key = frame.city.encode()
                headers = frame_headers(frame.feed, frame.content_type, frame.gateway, None, sim=True)
                logs[expected_partition(key, self.broker.count)].append(self._readings(key, frame.payload(), headers))
            if step.clock_ms == changed_at:
                self._change_detectors()
            none, empty, headers = tick_record(Tick(step.clock_ms, "simulate/0", self.book.last.version, sim=True))
            for partition, log in logs.items():
                log.append(self.broker.append("readings", partition, none, empty, headers))
        for partition, log in logs.items():
            self._fold_all(partition, log)

    def register_value(self, value: bytes, version: str | None = None) -> None:
        """A record of the topic `devices`."""
        version = self.book.add([value]) if version is None else (self.book.read([(value, version)]) or version)
        self.broker.append("devices", 0, None, value, headers_of({"registry": version}))

    def _readings(self, key: bytes, value: bytes, headers: Any) -> Record:
        return self.broker.append("readings", expected_partition(key, self.broker.count), key, value, headers)

    def _change_detectors(self) -> None:
        feed, key = self.catalogue.feeds["traffic.flow"], PartKey("traffic.flow", "440300")
        fleet = self.book.last.parts[key]
        moved = fleet.with_columns(pl.col("seg_len_m") * 2, pl.lit("elsewhere").alias("zone"))
        self.register_value(encode_devices(feed, key.city, moved))

    def _fold(self, partition: int, record: Record) -> None:
        self._fold_all(partition, [record])

    def _fold_all(self, partition: int, records: list[Record]) -> None:
        rollups, crossings = self.broker.logs[Spot("rollups", partition)], self.broker.logs[Spot("crossings", 0)]
        before = len(rollups), len(crossings)
        for start in range(0, len(records), 300):
            self.broker.put(partition, self.admits[partition].feed(records[start : start + 300]))
        if self.indicating:
            self.broker.put(partition, self.indicates[partition].feed(rollups[before[0] :]))
            self.broker.put(0, self.cluster.feed(crossings[before[1] :]))


def simulated(catalogue: Catalogue, minutes: int = 4, *, indicating: bool = False) -> Run:
    """So many minutes about midnight, in which the registry changes once."""
    start = MIDNIGHT - minutes * 30_000
    plan = make_plan(catalogue, [("SC02", 0)], seed=5, duration_ms=minutes * 60_000, start_ms=start)
    run = Run(catalogue, provisional=False)
    run.indicating = indicating
    run.play_steps(simulate(plan), changed_at=MIDNIGHT - 60_000)
    return run
