"""Readings to a log: frames between ticks, in order of event time.

A frame is sent under the last tick not after its readings, so that none is late, and none lies ahead of the
clock. Ticks come once per cadence, and before each minute in which something was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from pearlstream.catalogue.models import Feed
from pearlstream.fold import Log
from pearlstream.frame import (
    ARROW,
    Tick,
    canonical_schema,
    encode_batch,
    expected_partition,
    frame_headers,
    tick_record,
)
from pearlstream.panes import first_end_after
from pearlstream.program import Program
from producers.importer.convert import KEY

MIN_STEP_MS = 5_000
"""Ticks are no closer than the simulator's, however fast the devices are."""
MAX_AHEAD_MS = 60_000
"""How far a reading may lie ahead of the tick before it; `admit` flags two minutes."""
SETTLE_MS = 30_000
"""The clock goes on so long after the last window is due: corrections come at most once in this time."""
MAX_BYTES = 900_000
DRIVER = "import/0"
"""Who drives time where nobody claimed it (runs in process)."""


@dataclass(frozen=True)
class Frame:
    """Readings of one feed and city that arrive together, as an Arrow record batch."""

    feed: Feed
    city: str
    gateway: str
    batch: Any

    @property
    def rows(self) -> int:
        """How many readings it holds."""
        return int(self.batch.num_rows)

    def payload(self) -> bytes:
        """The value of the record."""
        return encode_batch(self.batch)

    def headers(self, sent_ms: int | None) -> tuple[tuple[str, bytes], ...]:
        """The headers of the record; `sent_ms` is the wall clock, for metrics only."""
        return frame_headers(self.feed, ARROW, self.gateway, sent_ms, sim=False)


@dataclass(frozen=True)
class Step:
    """Frames, then a tick of `clock_ms` to every partition. The first step of a log has no frames."""

    clock_ms: int
    frames: tuple[Frame, ...] = ()

    def tick(self, registry: str, driver: str = DRIVER) -> Tick:
        """The tick that ends the step."""
        return Tick(self.clock_ms, driver, registry)


@dataclass(frozen=True)
class Pace:
    """When ticks come. `grid_ms`: at the latest so often; `slot_ms`: readings of one slot arrive under one tick."""

    grid_ms: int
    slot_ms: int

    @classmethod
    def of(cls, cadence_s: float) -> Pace:
        """The pace for devices that report each `cadence_s`."""
        grid = max(MIN_STEP_MS, round(cadence_s * 1000))
        return cls(grid, min(grid, MAX_AHEAD_MS))


@dataclass(frozen=True)
class LogPlan:
    """How readings become steps. `end_ms`: the clock at which everything is settled."""

    feed: Feed
    gateway: str
    pace: Pace
    first_ms: int
    end_ms: int

    def steps(self, readings: Iterable[pl.DataFrame]) -> Iterator[Step]:
        """The whole log: an opening tick, readings with their ticks, ticks until all is settled."""
        clock = self.first_ms // self.pace.grid_ms * self.pace.grid_ms
        yield Step(clock)
        frames: tuple[Frame, ...] = ()
        for slot_ms, rows in slots(readings, self.pace.slot_ms):
            for tick in self._ticks(clock, slot_ms):
                yield Step(tick, frames)
                clock, frames = tick, ()
            frames = tuple(self._frames(rows))
        for tick in self._ticks(clock, self.end_ms):
            yield Step(tick, frames)
            frames = ()

    def _ticks(self, after_ms: int, until_ms: int) -> Iterator[int]:
        """Ticks in (after, until]: each multiple of the grid, and `until` itself."""
        yield from range((after_ms // self.pace.grid_ms + 1) * self.pace.grid_ms, until_ms, self.pace.grid_ms)
        if until_ms > after_ms:
            yield until_ms

    def _frames(self, rows: pl.DataFrame) -> Iterator[Frame]:
        schema = canonical_schema(self.feed)
        for (city,), some in rows.partition_by("city", as_dict=True, maintain_order=True).items():
            batch = _batch(some, schema)
            most = self.feed.framing.rows
            a_row = max(1, batch.nbytes // batch.num_rows)
            most = max(1, min(most, MAX_BYTES // a_row))
            for at in range(0, batch.num_rows, most):
                yield Frame(self.feed, str(city), self.gateway, batch.slice(at, most))


def slots(readings: Iterable[pl.DataFrame], slot_ms: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Readings by slot: the start of each slot that has any, and its readings in order of city and `KEY`.

    The frames may be cut anywhere between two instants; the slots come out the same.
    """
    waiting: pl.DataFrame | None = None
    for frame in readings:
        if not len(frame):
            continue
        whole = frame if waiting is None else pl.concat([waiting, frame])
        starts = whole["ts"] // slot_ms
        open_from = int(starts.search_sorted(starts[-1], side="left"))
        yield from _by_slot(whole[:open_from], slot_ms)
        waiting = whole[open_from:]
    if waiting is not None:
        yield from _by_slot(waiting, slot_ms)


def _by_slot(frame: pl.DataFrame, slot_ms: int) -> Iterator[tuple[int, pl.DataFrame]]:
    if not len(frame):
        return
    frame = frame.with_columns((pl.col("ts") // slot_ms).alias("_slot")).sort("_slot", "city", *KEY)
    for (slot,), rows in frame.partition_by("_slot", as_dict=True, maintain_order=True, include_key=False).items():
        yield int(slot) * slot_ms, rows


def _batch(rows: pl.DataFrame, schema: Any) -> Any:
    """Readings with the feed's canonical columns; there is no sequence number."""
    # Built from cells, because what Polars leaves under a null is not defined: equal readings give equal bytes.
    cells = {name: rows[name].to_list() for name in schema.names if name in rows.columns}
    arrays = [
        pa.array(cells[column.name], column.type) if column.name in cells else pa.nulls(len(rows), column.type)
        for column in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def settled_by(program: Program, feed: str, cities: Iterable[str], last_ms: int) -> int:
    """The clock at which every window that holds a reading of `last_ms` or before is settled."""
    ends = [last_ms + 1]
    holds = [program.catalogue.feeds[feed].hold_s * 1000]
    for one in program.indicators:
        if feed not in one.feeds:
            continue
        holds.append(one.hold_ms)
        for code in cities:
            offset = round(program.catalogue.cities[code].utc_offset_h * 3_600_000)
            ends.append(first_end_after(last_ms, one.hop_ms, offset if one.indicator.window.cut == "city" else 0))
    return max(ends) + max(holds) + SETTLE_MS


Headers = tuple[tuple[str, bytes], ...]


def records_of(
    step: Step, registry: str, partitions: int, driver: str = DRIVER
) -> Iterator[tuple[int, bytes | None, bytes, Headers]]:
    """The records of `readings` that a step is: partition, key, value, headers (without `sent-ms`)."""
    for frame in step.frames:
        key = frame.city.encode()
        yield expected_partition(key, partitions), key, frame.payload(), frame.headers(None)
    none, empty, headers = tick_record(step.tick(registry, driver))
    for partition in range(partitions):
        yield partition, none, empty, headers


def logs_of(steps: Iterable[Step], registry: str, partitions: int, driver: str = DRIVER) -> list[Log]:
    """The log that steps make, by partition, as the broker would hold it (without `sent-ms`)."""
    logs = [Log() for _ in range(partitions)]
    for step in steps:
        for partition, key, value, headers in records_of(step, registry, partitions, driver):
            logs[partition].append(key, value, headers)
    return logs
