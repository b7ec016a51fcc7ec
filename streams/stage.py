"""The Faust runner of a fold: carries the effects that `pearlstream.runner` asks for.

One `Stage` per fold and worker, one `Lane` per source partition that this worker has. A batch comes from the
agent, is folded in a thread, its outputs are sent, and folding goes on while they are acknowledged; snapshots
and offsets follow in the order that the outbox allows. The first effect that fails ends the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from faust.types import TP

from pearlstream.errors import EXIT_IO, EXIT_TRY_AGAIN, PearlstreamError, RegistryMissing
from pearlstream.fold import Fold, Record, header
from pearlstream.logs import get_logger
from pearlstream.position import Source
from pearlstream.runner import Commit, Effect, Emit, Folding, Limits, Outbox, Save, Snapshot
from pearlstream.snapshot import Found, Maker, encode, find
from pearlstream.topics import topic_name
from streams.logread import as_record, first_offset_at, first_offsets, log_reader, read_tails

log = get_logger(__name__)

BATCH_RECORDS = 200
BATCH_WITHIN_S = 0.02
UNACKED_BYTES = 32 << 20
"""Bytes of outputs in flight before folding waits."""
LOAD_TIMEOUT_S = 60.0
REGISTRY_TIMEOUT_S = 60.0
REGISTRY_POLL_S = 0.1
SNAPSHOT_TAIL = 16
"""Records at the end of a state partition that are looked at first."""


class Host(Protocol):
    """What a stage needs of its worker."""

    async def put(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> asyncio.Future[Any]:
        """Hand a record to the producer; the future is done when the broker has acknowledged it."""
        ...

    async def seek(self, tp: TP, offset: int) -> None:
        """Read a partition from `offset` again."""
        ...

    def safe_below(self, tp: TP, offset: int) -> None:
        """Note that everything below `offset` may be committed."""
        ...

    def end_of(self, tp: TP) -> int | None:
        """The offset that the next record of a partition will get, as far as the last fetch knew."""
        ...

    def die(self, code: int, message: str, **facts: object) -> None:
        """End the process at once with an exit code; nothing is acknowledged any more."""
        ...


@dataclass(eq=False)
class Lane:
    """One source partition in one worker."""

    partition: int
    folding: Folding[Any]
    outbox: Outbox
    turn: str = "a"
    clock_ms: int | None = None
    last_tick_at: float = field(default_factory=time.monotonic)
    nudged: int = -1
    """What was expected when it was last looked whether anything comes."""
    waiting_for: str = ""
    """What of the registry is awaited, in words; empty if nothing is."""


@dataclass
class Counts:
    """What a stage has done in the life of this process."""

    records: int = 0
    outputs: int = 0
    snapshots: int = 0
    refused: int = 0
    repeats: int = 0
    seeks: int = 0
    fold_seconds: float = 0.0


@dataclass(eq=False)
class Stage:
    """Runs one fold for the partitions that the group gives this worker."""

    fold: Fold[Any]
    host: Host
    bootstrap: str
    prefix: str
    catalogue: str
    limits: Limits
    topic_id: str = ""
    lanes: dict[int, Lane] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    progress: int = 0
    """Grows with everything that gets done."""
    progress_at: float = field(default_factory=time.monotonic)
    busy: bool = False
    """A batch is in hand."""
    broken: str = ""
    """Why the agent does not run any more; empty while it does."""
    stopping: bool = False
    unacked_bytes: int = 0

    def __post_init__(self) -> None:
        self.source_topic = topic_name(self.prefix, self.fold.source)
        self.state_topic = topic_name(self.prefix, f"state.{self.fold.name}")
        self.maker = Maker(f"{self.fold.name}@{self.fold.version}", self.catalogue)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"fold-{self.fold.name}")
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    # --- records in ---------------------------------------------------------------------------------

    async def run(self, stream: Any) -> None:
        """The agent: take batches until the stream ends. Never yields, never raises anything but cancellation."""
        try:
            async for events in stream.noack_take(BATCH_RECORDS, within=BATCH_WITHIN_S):
                if self.stopping:
                    continue
                await self.take([(event.message.partition, as_record(event.message)) for event in events])
        except asyncio.CancelledError:
            raise
        except PearlstreamError as error:
            self._break(error.exit_code, str(error))
        except BaseException as error:
            log.exception("the stage broke", stage=self.fold.name)
            self._break(EXIT_IO, f"the stage {self.fold.name} broke: {error!r}")

    def _break(self, code: int, message: str) -> None:
        self.broken = message
        self.host.die(code, message, stage=self.fold.name)

    def lags(self) -> dict[int, int]:
        """Records that wait in each source partition, where that is known. May be called from any thread."""
        ends = {number: self.host.end_of(TP(self.source_topic, number)) for number in list(self.lanes)}
        lanes = dict(self.lanes)
        return {n: max(end - lanes[n].folding.expected, 0) for n, end in ends.items() if end is not None and n in lanes}

    def _moved(self) -> None:
        self.progress += 1
        self.progress_at = time.monotonic()

    async def take(self, batch: Sequence[tuple[int, Record]]) -> None:
        """Carry a batch of records of any partitions through."""
        by_partition: dict[int, list[Record]] = {}
        for partition, record in batch:
            by_partition.setdefault(partition, []).append(record)
        async with self._turn:
            self.busy = True
            for partition, records in by_partition.items():
                lane = self.lanes.get(partition)
                if lane is not None and not self.stopping:
                    await self._offer(lane, records)
            self.busy = False

    async def _offer(self, lane: Lane, records: Sequence[Record]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REGISTRY_TIMEOUT_S
        while self.lanes.get(lane.partition) is lane and not self.stopping:
            before = lane.folding.folded
            started = time.perf_counter()
            step = await loop.run_in_executor(self._pool, lane.folding.offer, records)
            self.counts.fold_seconds += time.perf_counter() - started
            self._note(lane, records, lane.folding.folded - before)
            if step.torn is not None:
                log.error(
                    "the fold failed on a record; reading again from the last snapshot to find which",
                    stage=self.fold.name, partition=lane.partition, error=repr(step.torn), exc_info=step.torn,
                )
            for offset in step.refused:
                self.counts.refused += 1
                log.error(
                    "a record on which the fold fails went to quarantine as internal_error",
                    stage=self.fold.name, partition=lane.partition, offset=offset,
                )
            lane.outbox.put(step.work)
            await self._start(lane, lane.outbox.ready())
            if step.seek is not None:
                await self._seek(lane, step.seek)
            if step.blocked is None:
                lane.waiting_for = ""
                return
            await self._wait_for_registry(lane, step.blocked, deadline)

    def _note(self, lane: Lane, records: Sequence[Record], folded: int) -> None:
        """Book progress; the newest `clock` header among the records tells how far event time has come."""
        self.counts.records += folded
        self.counts.repeats += len(records) - folded
        if folded:
            self._moved()
        for record in reversed(records):
            clock = header(record.headers, "clock")
            if clock is not None and clock.isdigit():
                lane.clock_ms = int(clock)
                lane.last_tick_at = time.monotonic()
                break

    async def _wait_for_registry(self, lane: Lane, error: RegistryMissing, deadline: float) -> None:
        if not lane.waiting_for:
            log.warning("waiting for the device registry", stage=self.fold.name, partition=lane.partition,
                        error=str(error))
        lane.waiting_for = str(error)
        self.progress += 1  # waiting is not being stuck, and has a time-out of its own
        if asyncio.get_running_loop().time() > deadline:
            self.host.die(EXIT_TRY_AGAIN, f"after {REGISTRY_TIMEOUT_S:.0f} s {error}", stage=self.fold.name)
        await asyncio.sleep(REGISTRY_POLL_S)

    async def _seek(self, lane: Lane, offset: int) -> None:
        """Read from `offset` again; if the log holds nothing there, what lies after it is next."""
        self.counts.seeks += 1
        async with log_reader(self.bootstrap) as reader:
            found = await first_offset_at(reader, self.source_topic, lane.partition, offset)
        if found is not None and found > offset:
            log.warning("the log has a hole of its own", stage=self.fold.name, partition=lane.partition,
                        after=offset - 1, upto=found - 1)
            lane.folding.jump(found)
        log.info("reading again", stage=self.fold.name, partition=lane.partition, offset=lane.folding.expected)
        await self.host.seek(TP(self.source_topic, lane.partition), lane.folding.expected)

    # --- effects out --------------------------------------------------------------------------------

    async def _start(self, lane: Lane, effects: Sequence[Effect]) -> None:
        """Start effects in their order; waits while too many bytes are in flight."""
        for effect in effects:
            if isinstance(effect, Emit):
                await self._emit(lane, effect)
            else:
                self._start_soon(lane, effect)

    def _start_soon(self, lane: Lane, effect: Effect) -> None:
        if isinstance(effect, Save):
            task = asyncio.ensure_future(self._save(lane, effect))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(effect, Commit):
            self.host.safe_below(TP(self.source_topic, lane.partition), effect.offset)

    async def _emit(self, lane: Lane, effect: Emit) -> None:
        while self.unacked_bytes >= UNACKED_BYTES:
            self._room.clear()
            await self._room.wait()
        output = effect.output
        size = len(output.value)
        self.unacked_bytes += size
        future = await self.host.put(
            topic_name(self.prefix, output.target), lane.partition, output.key, output.value, output.headers
        )
        self.counts.outputs += 1

        def acknowledged(done: asyncio.Future[Any]) -> None:
            self.unacked_bytes -= size
            self._room.set()
            if done.cancelled() or done.exception() is not None:
                reason = "cancelled" if done.cancelled() else repr(done.exception())
                self.host.die(EXIT_IO, f"an output of {self.fold.name} was not written: {reason}", target=output.target)
                return
            self._done(lane, effect)

        future.add_done_callback(acknowledged)

    def _done(self, lane: Lane, effect: Effect) -> None:
        self._moved()
        lane.outbox.done(effect)
        for following in lane.outbox.ready():
            self._start_soon(lane, following)

    async def _save(self, lane: Lane, effect: Save) -> None:
        try:
            lane.turn = "b" if lane.turn == "a" else "a"
            for record in encode(self.maker, lane.folding.source, effect.snapshot, lane.turn):
                future = await self.host.put(
                    self.state_topic, lane.partition, record.key, record.value, record.headers
                )
                await future
        except Exception as error:
            self.host.die(EXIT_IO, f"a snapshot of {self.fold.name} was not written: {error!r}")
            return
        self.counts.snapshots += 1
        log.debug("snapshot taken", stage=self.fold.name, partition=lane.partition,
                  applied=effect.snapshot.applied, size=len(effect.snapshot.blob))
        self._done(lane, effect)

    # --- coming and going ---------------------------------------------------------------------------

    async def positions(self, partitions: set[int]) -> Mapping[TP, int]:
        """Take over exactly these partitions and say from which offset each is to be read.

        A partition that this worker keeps goes on from memory: its state is a function of the log alone, so
        whatever others did meanwhile, it is right.
        """
        for gone in set(self.lanes) - partitions:
            del self.lanes[gone]
        missing = sorted(partitions - set(self.lanes))
        if missing:
            try:
                self.lanes.update(await asyncio.wait_for(self._load(missing), LOAD_TIMEOUT_S))
            except TimeoutError:
                self.host.die(EXIT_TRY_AGAIN, f"the snapshots of {self.fold.name} could not be read in time")
        for lane in self.lanes.values():
            lane.folding.resumed()
        return {TP(self.source_topic, number): lane.folding.expected for number, lane in self.lanes.items()}

    async def _load(self, partitions: Sequence[int]) -> dict[int, Lane]:
        async with log_reader(self.bootstrap) as reader:
            tails = await read_tails(reader, self.state_topic, partitions, SNAPSHOT_TAIL)
            firsts = await first_offsets(reader, self.source_topic, partitions)
            lanes = {number: self._lane(number, tails[number], firsts[number]) for number in partitions}
            fresh = [number for number, lane in lanes.items() if lane.folding.applied < firsts[number]]
            if fresh:
                whole = await read_tails(reader, self.state_topic, fresh)
                lanes.update({number: self._lane(number, whole[number], firsts[number]) for number in fresh})
        for number, lane in lanes.items():
            log.info("resuming", stage=self.fold.name, partition=number, offset=lane.folding.expected, first=firsts[number])
        return lanes

    def _lane(self, partition: int, states: Sequence[Record], first: int) -> Lane:
        """The partition from its newest usable snapshot, else from its first record."""
        source = Source(self.topic_id, partition)
        found, ignored = find(states, self.maker, source)
        if ignored:
            log.warning("snapshots of another version or catalogue, or torn, are ignored", stage=self.fold.name,
                        partition=partition, count=ignored, maker=self.maker.fold)
        for one in found:
            if (folding := self._unpack(source, one)) is not None:
                return Lane(partition, folding, Outbox(), one.turn or "a")
        return Lane(partition, Folding(self.fold, source, first_offset=first, limits=self.limits), Outbox())

    def _unpack(self, source: Source, one: Found) -> Folding[Any] | None:
        try:
            return Folding(self.fold, source, start=one.snapshot, limits=self.limits)
        except ValueError as error:
            log.warning("an unreadable snapshot is ignored", stage=self.fold.name, partition=source.partition,
                        applied=one.snapshot.applied, error=str(error))
            return None

    async def nudge(self) -> None:
        """Read again where nothing came since the last call although records wait."""
        for number, lag in self.lags().items():
            lane = self.lanes.get(number)
            if lane is None or self.stopping:
                continue
            if lag and not self.busy and lane.folding.expected == lane.nudged:
                log.warning("nothing comes although records wait; reading again", stage=self.fold.name,
                            partition=number, offset=lane.folding.expected, lag=lag)
                self.counts.seeks += 1
                lane.folding.resumed()
                await self.host.seek(TP(self.source_topic, number), lane.folding.expected)
            lane.nudged = lane.folding.expected

    async def drain(self) -> None:
        """Clean stop: finish the batch in hand, wait for every acknowledgement, take snapshots where possible."""
        self.stopping = True
        async with self._turn:
            for lane in self.lanes.values():
                last: Snapshot | None = lane.folding.final()
                lane.outbox.put([last] if last else [])
                for effect in lane.outbox.ready():
                    self._start_soon(lane, effect)
            while not all(lane.outbox.idle for lane in self.lanes.values()):
                await asyncio.sleep(0.01)
        self._pool.shutdown(wait=False)
