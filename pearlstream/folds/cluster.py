"""The stage `cluster`: indicators of what crosses cities, from the partials of all partitions.

Reads `crossings`, the one partition into which `admit` writes from every partition of `readings`, in whatever order
they come; writes `indicators`. Within a partition of `readings` time rises, between them nothing is promised. So
partials wait, each partition's in a queue of its own, until every partition has come to their clock; then clock after
clock is reckoned with, and no row depends on how the partitions met in the log.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pearlstream.fold import Output, Record, header
from pearlstream.folds import packing
from pearlstream.folds.chains import Chains, position_of
from pearlstream.folds.indicate import load_registries, rows_output
from pearlstream.folds.reckon import Reckoner, Reckoning, WireRow
from pearlstream.folds.rollup import decode_partials
from pearlstream.position import Position, Source
from pearlstream.program import Program
from pearlstream.registry import EMPTY_VERSION, RegistryBook

MAX_ROWS = 20_000
"""About so many rows at most go into one record; what is left to say follows with the next."""


class Patience(NamedTuple):
    """How much may wait for a partition that says nothing before the others go on without it."""

    records: int = 100_000
    bytes: int = 64 << 20


class Slice(NamedTuple):
    """What one partition measured up to a clock: partials as `crossings` carries them."""

    clock: int
    registry: str
    sim: bool
    values: tuple[bytes, ...]


@dataclass
class Queue:
    """What waits of one partition of `readings`, and how far its time has come."""

    clock: int = -1
    slices: deque[Slice] = field(default_factory=deque)
    open: list[bytes] = field(default_factory=list)
    """Partials that were cut by volume: they belong to the next clock."""
    absent: bool = False
    """The others have gone on without it."""
    bytes: int = 0

    @property
    def records(self) -> int:
        """How many records wait."""
        return len(self.slices) + len(self.open)


@dataclass
class ClusterState:
    """What `cluster` remembers."""

    source: Source
    upto: int
    queues: dict[int, Queue]
    reckoning: Reckoning
    chains: Chains = field(default_factory=Chains)
    passed: list[str] = field(default_factory=list)
    """`<partition>/<clock>` of partitions that were not waited for any longer, and how far they had come."""


class Cluster:
    """The fold. `partitions`: how many `readings` has (0: one holds every city). `provisional`: show open windows."""

    name = "cluster"
    version = 2
    source = "crossings"
    targets: tuple[str, ...] = ("indicators",)

    def __init__(
        self,
        program: Program,
        book: RegistryBook,
        partitions: int = 0,
        *,
        provisional: bool = True,
        patience: Patience = Patience(),  # noqa: B008 - immutable
    ) -> None:
        self.program = program
        self.book = book
        self.partitions = partitions
        self.patience = patience
        self.reckoner = Reckoner(program, book, "cluster", provisional=provisional)
        self._kind = f"{self.name}@{self.version}/{program.catalogue.version}"

    def start(self, source: Source, first_offset: int = 0) -> ClusterState:
        """State before the first record."""
        queues = {partition: Queue() for partition in range(max(1, self.partitions))}
        return ClusterState(source, first_offset - 1, queues, self.reckoner.start(list(self.program.catalogue.cities)))

    def settled(self, state: ClusterState) -> bool:
        """Any moment will do: the state is complete after every record."""
        del state
        return True

    def apply(self, state: ClusterState, records: Sequence[Record]) -> tuple[ClusterState, list[Output]]:
        """Fold records in order; see `pearlstream.fold.Fold`."""
        load_registries(self.book, records)
        outputs = []
        for record in records:
            for ready in state.chains.ready(record):
                self._take(state, ready)
            rows = self._go_on(state)
            if rows:
                position = Position(state.source, state.upto, record.offset)
                state.upto = record.offset
                fold = f"{self.name}@{self.version}"
                outputs.append(rows_output(position, state.reckoning.clock, fold, self.program, rows))
        return state, outputs

    def _take(self, state: ClusterState, record: Record) -> None:
        """Put a record at the end of its partition's queue."""
        position = position_of(record)
        assert position is not None
        queue = state.queues.setdefault(position.source.partition, Queue())
        clock = int(header(record.headers, "clock") or -1)
        if record.value:
            decode_partials(record.value)  # what cannot be read must fail here, not when its clock is reckoned with
            queue.open.append(record.value)
            queue.bytes += len(record.value)
        if clock > queue.clock:
            version = header(record.headers, "registry") or EMPTY_VERSION
            sim = header(record.headers, "sim") == "1"
            queue.slices.append(Slice(clock, version, sim, tuple(queue.open)))
            queue.clock, queue.open, queue.absent = clock, [], False
        elif queue.absent:
            self._add_open(state, queue)

    def _go_on(self, state: ClusterState) -> list[WireRow]:
        """Reckon with every clock that all partitions have come to, in rising order."""
        rows: list[WireRow] = []
        while len(rows) < MAX_ROWS:
            clocks = [queue.slices[0].clock for queue in state.queues.values() if queue.slices]
            if clocks and min(clocks) <= self._reached(state):
                rows += self._reckon(state, min(clocks))
            elif not (self._too_much(state) and self._pass_over(state)):
                break
        return rows

    @staticmethod
    def _reached(state: ClusterState) -> int:
        """The clock that every partition has come to that is waited for."""
        return min((queue.clock for queue in state.queues.values() if not queue.absent), default=-1)

    def _reckon(self, state: ClusterState, clock: int) -> list[WireRow]:
        """Apply what all partitions measured up to a clock; then let time come to it, unless it has passed it."""
        named: Slice | None = None
        for _, queue in sorted(state.queues.items()):
            if not queue.slices or queue.slices[0].clock > clock:
                continue
            part = queue.slices.popleft()
            named = named or part
            for value in part.values:
                self._add(state, queue, value)
        if named is None or clock <= state.reckoning.clock:
            return []
        return self.reckoner.advance(state.reckoning, clock, named.registry, named.sim)

    def _add(self, state: ClusterState, queue: Queue, value: bytes) -> None:
        queue.bytes -= len(value)
        self.reckoner.add(state.reckoning, decode_partials(value))

    def _add_open(self, state: ClusterState, queue: Queue) -> None:
        values, queue.open = queue.open, []
        for value in values:
            self._add(state, queue, value)

    def _too_much(self, state: ClusterState) -> bool:
        queues = state.queues.values()
        return (
            sum(queue.records for queue in queues) > self.patience.records
            or sum(queue.bytes for queue in queues) > self.patience.bytes
        )

    def _pass_over(self, state: ClusterState) -> bool:
        """Wait no longer for the partitions that are furthest behind, and say so; False if nobody is waited for.

        When such a partition speaks again it is waited for as before; what it says of times gone by corrects.
        """
        waited = {number: queue for number, queue in sorted(state.queues.items()) if not queue.absent}
        least = min((queue.clock for queue in waited.values()), default=-1)
        for number, queue in waited.items():
            if queue.clock == least:
                queue.absent = True
                state.passed.append(f"{number}/{queue.clock}")
                self._add_open(state, queue)
        return bool(waited)

    # ------------------------------------------------------------------ snapshots

    def pack(self, state: ClusterState) -> bytes:
        """The state as bytes."""
        reckoning, columns = self.reckoner.pack(state.reckoning)
        meta: dict[str, Any] = {
            "source": str(state.source),
            "upto": state.upto,
            "chains": state.chains.pack(),
            "passed": state.passed,
            "queues": [
                [number, queue.clock, queue.absent, _as_text(queue.open),
                 [[part.clock, part.registry, part.sim, _as_text(part.values)] for part in queue.slices]]
                for number, queue in state.queues.items()
            ],
            "reckoning": reckoning,
        }  # fmt: skip
        return packing.pack(self._kind, meta, columns)

    def unpack(self, blob: bytes) -> ClusterState:
        """Inverse of `pack`. Raises ValueError if the blob is torn or of another catalogue, RegistryMissing if a
        registry that the state names has not been read yet."""
        meta, columns = packing.unpack(self._kind, blob)
        queues: dict[int, Queue] = {}
        for number, clock, absent, waiting, parts in meta["queues"]:
            slices = deque(Slice(at, version, sim, tuple(_as_bytes(values))) for at, version, sim, values in parts)
            for part in slices:
                self.book.at(part.registry)
            queue = queues[number] = Queue(clock, slices, _as_bytes(waiting), absent)
            queue.bytes = sum(len(value) for part in slices for value in part.values) + sum(map(len, queue.open))
        reckoning = self.reckoner.unpack(meta["reckoning"], columns, list(self.program.catalogue.cities))
        chains = Chains.unpack(meta["chains"])
        return ClusterState(Source.parse(meta["source"]), meta["upto"], queues, reckoning, chains, meta["passed"])


def _as_text(values: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(value).decode() for value in values]


def _as_bytes(values: Sequence[str]) -> list[bytes]:
    return [base64.b64decode(value) for value in values]
