"""The stage `admit`: from the outside world to clean readings, and to partials.

Reads `readings`; writes exactly one `accepted` record per frame, one `rollups` record per tick (or per
100 000 readings) with a `crossings` record beside it that holds what crosses cities, and to `quarantine` what cannot
be used. Total over arbitrary bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from pearlstream.errors import FrameError
from pearlstream.fold import Headers, Output, Record, headers_of
from pearlstream.folds import packing
from pearlstream.folds.devices import DeviceTable
from pearlstream.folds.devices_pack import pack_table, unpack_table
from pearlstream.folds.gather import NO_CLOCK, Gathered, Item, count, gather, judge, measured_rows, static_columns
from pearlstream.folds.rollup import Open, close_cuts
from pearlstream.frame import (
    Tick,
    accepted_schema,
    decode_all,
    encode_compact,
    expected_partition,
    read_tick,
)
from pearlstream.position import Position, Source
from pearlstream.program import Program
from pearlstream.registry import EMPTY_VERSION, Registry, RegistryBook
from pearlstream.seal import UNSEALED, Seal

ROWS_PER_ROLLUP = 100_000
"""A rollup record is written at the latest after so many accepted readings, tick or no tick."""
QUARANTINE_BYTES = 64_000
"""How much of a bad message is kept."""
KEPT_HEADERS = 16
"""How many of its headers are kept."""


@dataclass(frozen=True)
class Cut:
    """The end of one rollup record: the offset it reaches, and the tick that ended it, if one did."""

    upto: int
    clock: int
    registry: str
    sim: bool


@dataclass
class AdmitState:
    """What `admit` remembers of one source partition."""

    source: Source
    marks: dict[str, int]
    """The `upto` of the last output, by target."""
    clock: int = NO_CLOCK
    registry: str = EMPTY_VERSION
    sim: bool = False
    devices: dict[str, DeviceTable] = field(default_factory=dict)
    waiting: Open = field(default_factory=Open)
    statics: dict[str, tuple[str, int, pl.DataFrame]] = field(default_factory=dict)
    """The registry's columns by feed, with the version and number of devices they were made for."""


@dataclass
class Batch:
    """A batch of records, sorted out: frames, and the cuts that they fall into."""

    items: list[Item] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)

    def by_feed(self) -> dict[str, list[Item]]:
        """The frames that could be read."""
        found: dict[str, list[Item]] = {}
        for item in self.items:
            if item.frame is not None:
                found.setdefault(item.frame.feed.id, []).append(item)
        return found


class Admit:
    """The fold. `partitions`: how many the log has (0: one holds every city, places are not checked). `seal`: whose
    ticks are believed."""

    name = "admit"
    version = 4
    source = "readings"
    targets: tuple[str, ...] = ("accepted", "rollups", "crossings", "quarantine")

    def __init__(self, program: Program, book: RegistryBook, partitions: int = 0, seal: Seal = UNSEALED) -> None:
        self.program = program
        self.book = book
        self.partitions = partitions
        self.seal = seal
        catalogue = program.catalogue
        self._offset_ms = {city.id: round(city.utc_offset_h * 3_600_000) for city in catalogue.cities.values()}
        self._kind = f"{self.name}@{self.version}/{catalogue.version}"

    def start(self, source: Source, first_offset: int = 0) -> AdmitState:
        """State before the first record of a partition."""
        state = AdmitState(source, dict.fromkeys(self.targets, first_offset - 1))
        state.devices = {feed: self._table(feed) for feed in self.program.feeds}
        return state

    def _table(self, feed: str) -> DeviceTable:
        program = self.program.feeds[feed]
        return DeviceTable.of(program.feed, program.pane_lengths_s)

    def settled(self, state: AdmitState) -> bool:
        """True when no reading waits for its rollup."""
        return state.waiting.rows == 0

    def apply(self, state: AdmitState, records: Sequence[Record]) -> tuple[AdmitState, list[Output]]:
        """Fold records in order; see `pearlstream.fold.Fold`."""
        outputs: list[Output] = []
        start = 0
        ticks = [self._tick(record) for record in records]
        changes = self._registry_changes(state, ticks)
        for at in changes:
            outputs += self._run(state, records[start : at + 1], ticks[start : at + 1])
            start = at + 1
        outputs += self._run(state, records[start:], ticks[start:])
        return state, outputs

    def _registry_changes(self, state: AdmitState, ticks: Sequence[Tick | FrameError | None]) -> list[int]:
        """Which records are ticks that put another registry in force. Raises RegistryMissing if one is not there."""
        changes, clock, version = [], state.clock, state.registry
        for at, tick in enumerate(ticks):
            if isinstance(tick, Tick) and tick.clock_ms > clock:
                clock = tick.clock_ms
                if tick.registry != version:
                    version = self.book.at(tick.registry).version
                    changes.append(at)
        return changes

    def _tick(self, record: Record) -> Tick | FrameError | None:
        try:
            return read_tick(record, self.seal)
        except FrameError as error:
            return error

    def _run(
        self, state: AdmitState, records: Sequence[Record], ticks: Sequence[Tick | FrameError | None]
    ) -> list[Output]:
        """Fold records between which the registry does not change (it may with the last)."""
        if not records:
            return []
        batch = Batch()
        gathered: dict[str, Gathered] = {}
        before, sim = state.registry, state.sim
        self._decode(state, records, ticks, batch)
        registry = self.book.at(before)
        for feed, items in batch.by_feed().items():
            gathered[feed] = gather(self.program.feeds[feed], items, self._offset_ms)
            judge(gathered[feed], state.devices[feed])
            count(gathered[feed])
        cuts = self._cuts(state, batch, before, sim)
        fresh = {
            feed: measured_rows(g, state.devices[feed], self._statics(state, feed, registry))
            for feed, g in gathered.items()
        }
        state.waiting, values = close_cuts(self.program, state.waiting, fresh, len(cuts))
        outputs = [output for item in batch.items for output in self._frame_outputs(state, item, gathered)]
        for cut, value in zip(cuts, values, strict=True):
            outputs.append(self._closed(state, cut, "rollups", value.rollup))
            outputs.append(self._closed(state, cut, "crossings", value.crossing))
        if state.registry != before:
            self._enlist(state, self.book.at(state.registry))
        return sorted(outputs, key=lambda output: output.upto)

    def _decode(
        self,
        state: AdmitState,
        records: Sequence[Record],
        ticks: Sequence[Tick | FrameError | None],
        batch: Batch,
    ) -> None:
        catalogue = self.program.catalogue
        frames: list[tuple[Record, int | None]] = []
        items: list[Item] = []
        for record, tick in zip(records, ticks, strict=True):
            if isinstance(tick, Tick):
                if tick.clock_ms > state.clock:
                    state.clock, state.registry, state.sim = tick.clock_ms, tick.registry, tick.sim
                    batch.cuts.append(Cut(record.offset, tick.clock_ms, tick.registry, tick.sim))
                continue
            item = Item(record.offset, record.key, record.value or b"", state.clock, None, record.headers)
            batch.items.append(item)
            if tick is None:
                items.append(item)
                frames.append((record, None if state.clock == NO_CLOCK else state.clock))
            else:
                item.set_aside(tick)
        place = {"partition": state.source.partition, "partitions": self.partitions}
        for item, decoded in zip(items, decode_all(frames, catalogue.feeds, catalogue.cities, **place), strict=True):
            if isinstance(decoded, FrameError):
                item.set_aside(decoded)
            else:
                item.frame = decoded

    @staticmethod
    def _cuts(state: AdmitState, batch: Batch, registry: str, sim: bool) -> list[Cut]:
        """All cuts of the batch in order: at each tick, and where too many readings would wait. Numbers the items."""
        cuts: list[Cut] = []
        ticks = iter(batch.cuts)
        tick = next(ticks, None)
        waiting = state.waiting.rows
        for item in batch.items:
            while tick is not None and tick.upto < item.offset:
                cuts.append(tick)
                waiting, tick = 0, next(ticks, None)
            item.cut = len(cuts)
            waiting += item.accepted
            if waiting >= ROWS_PER_ROLLUP:
                cuts.append(Cut(item.offset, item.clock, registry, sim))
                waiting = 0
        while tick is not None:
            cuts.append(tick)
            tick = next(ticks, None)
        return cuts

    def _statics(self, state: AdmitState, feed: str, registry: Registry) -> pl.DataFrame:
        table = state.devices[feed]
        cached = state.statics.get(feed)
        if cached is None or cached[:2] != (registry.version, len(table.names)):
            frame = static_columns(self.program.feeds[feed], table, registry)
            cached = state.statics[feed] = (registry.version, len(table.names), frame)
        return cached[2]

    def _enlist(self, state: AdmitState, registry: Registry) -> None:
        """Give the registered devices of this partition's cities their rows at once, rather than one by one."""
        for key, part in registry.parts.items():
            mine = not self.partitions or expected_partition(key.city.encode(), self.partitions) == (
                state.source.partition
            )
            if mine and key.feed in state.devices:
                state.devices[key.feed].add(key.city, part["device"].to_list())

    def refuse(self, state: AdmitState, record: Record, error: Exception) -> tuple[AdmitState, list[Output]]:
        """Set a record aside on which `apply` raises; see `pearlstream.fold.Refuses`."""
        message = f"the stage could not fold it: {type(error).__name__}; this is a bug, please report it"
        fault = ("internal_error", message, 0)
        item = Item(record.offset, record.key, record.value or b"", state.clock, None, record.headers, fault)
        return state, self._frame_outputs(state, item, {})

    # ------------------------------------------------------------------ outputs

    def _position(self, state: AdmitState, target: str, upto: int, *, last: bool = True) -> str:
        position = Position(state.source, state.marks[target], upto)
        if last:
            state.marks[target] = upto
        return str(position)

    def _closed(self, state: AdmitState, cut: Cut, target: str, value: bytes) -> Output:
        headers: dict[str, str | int] = {
            "from": self._position(state, target, cut.upto),
            "clock": cut.clock,
            "registry": cut.registry,
            "sim": int(cut.sim),
            "fold": f"{self.name}@{self.version}",
        }
        return Output(target, None, value, headers_of(headers), cut.upto)

    def _frame_outputs(self, state: AdmitState, item: Item, gathered: Mapping[str, Gathered]) -> list[Output]:
        frame = item.frame
        g = gathered[frame.feed.id] if frame is not None else None
        rows = item.stop - item.start if g is not None else (item.fault or ("", "", 0))[2]
        bad: dict[str, int] = {}
        quarantined: list[tuple[str, str, str]] = []
        if g is not None and item.bad:
            for reason, where in g.verdicts.reasons(item.start, item.stop):
                bad[reason] = len(where)
                message = g.verdicts.messages[item.start + int(where[0])]
                quarantined.append((reason, message, ",".join(map(str, where))))
        elif item.fault is not None:
            reason, message, rows = item.fault
            bad[reason] = rows
            quarantined.append((reason, message, "whole"))
        headers: dict[str, str | int] = {
            "from": self._position(state, "accepted", item.offset),
            "schema": frame.feed.schema if frame else "",
            "city": frame.city if frame else "",
            "fold": f"{self.name}@{self.version}",
            "clock": max(item.clock, 0),
            "bytes": len(item.value),
            "rows": rows,
            "accepted": item.accepted,
            "dup": item.dup,
            "late": item.late,
            "bad": orjson.dumps(bad, option=orjson.OPT_SORT_KEYS).decode(),
            "gateway": frame.gateway if frame else "",
            "sim": int(frame.sim) if frame else 0,
        }
        if frame is not None and frame.sent_ms is not None:
            headers["sent-ms"] = frame.sent_ms
        value = self._accepted_value(item, g) if g is not None else b""
        outputs = [Output("accepted", item.key, value, headers_of(headers), item.offset)]
        return outputs + self._quarantine(state, item, headers, quarantined)

    @staticmethod
    def _accepted_value(item: Item, g: Gathered) -> bytes:
        """The very bytes if every row passed as it was sent, otherwise what survived, with run and flags."""
        assert item.frame is not None
        if not item.accepted:
            return b""
        everything = item.accepted == item.stop - item.start
        if item.frame.exact and everything and not item.marked:
            return item.value
        here = slice(item.start, item.stop)
        kept = (g.verdicts.reason[here] == 0) & ~g.repeat[here]
        schema = accepted_schema(g.program.feed)
        batch = item.frame.batch.filter(pa.array(kept))
        columns = [batch.column(name) for name in schema.names[:-2]]
        columns += [pa.array(g.run[here][kept]), pa.array(g.verdicts.qc[here][kept])]
        return encode_compact(pa.RecordBatch.from_arrays(columns, schema=schema))

    def _quarantine(
        self, state: AdmitState, item: Item, accepted: Mapping[str, Any], found: Sequence[tuple[str, str, str]]
    ) -> list[Output]:
        outputs = []
        for number, (reason, message, rows) in enumerate(found, 1):
            last = number == len(found)
            headers: dict[str, str | int] = {
                "from": self._position(state, "quarantine", item.offset, last=last),
                "part": f"{number}/{len(found)}",
                "reason": reason,
                "message": message[:2000],
                "rows": rows[:20_000],
                "length": len(item.value),
                "sha256": hashlib.sha256(item.value).hexdigest(),
                "fold": f"{self.name}@{self.version}",
            }
            headers |= {name: accepted[name] for name in ("schema", "city", "gateway", "clock")}
            headers["headers"] = _kept_headers(item.headers)
            value = item.value[:QUARANTINE_BYTES]
            outputs.append(Output("quarantine", item.key, value, headers_of(headers), item.offset))
        return outputs

    # ------------------------------------------------------------------ snapshots

    def pack(self, state: AdmitState) -> bytes:
        """The state as bytes. Raises ValueError unless the state is settled."""
        if not self.settled(state):
            raise ValueError("readings wait for their rollup; take the snapshot right after a tick")
        meta: dict[str, Any] = {
            "source": str(state.source),
            "marks": state.marks,
            "clock": state.clock,
            "registry": state.registry,
            "sim": state.sim,
            "tables": {},
        }
        columns: dict[str, Any] = {}
        for feed, table in state.devices.items():
            meta["tables"][feed], own = pack_table(table)
            columns |= {f"{feed}/{name}": column for name, column in own.items()}
        return packing.pack(self._kind, meta, columns)

    def unpack(self, blob: bytes) -> AdmitState:
        """Inverse of `pack`. Raises ValueError if the blob is torn or of another catalogue."""
        meta, columns = packing.unpack(self._kind, blob)
        state = AdmitState(Source.parse(meta["source"]), meta["marks"], meta["clock"], meta["registry"], meta["sim"])
        for feed in self.program.feeds:
            own = {name.split("/", 1)[1]: c for name, c in columns.items() if name.split("/", 1)[0] == feed}
            state.devices[feed] = unpack_table(self._table(feed), meta["tables"][feed], own)
        return state


def _kept_headers(headers: Headers) -> str:
    """What stood on the outside of a record, as JSON, so that it can be sent again: the first of each name, without
    those that would make others act."""
    kept: dict[str, str] = {}
    for name, value in headers:
        if value is not None and len(kept) < KEPT_HEADERS and not name.lower().startswith("faust-ag-"):
            kept.setdefault(name[:64], value.decode("ascii", "replace")[:256])
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode()
