"""The Faust runner of a fold: carries the effects that `pearlstream.runner` asks for.

One `Stage` per fold and worker, one `Lane` per source partition that this worker has. Records come from the agent
and wait; all that wait are folded as one batch in a thread, its outputs are sent, and folding goes on while they are
acknowledged; snapshots and offsets follow in the order that the outbox allows. So a batch is as large as folding is
slow: a stage that lags sees hundreds of records at once, which cost little more than a few. The first effect that
fails ends the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from aiokafka.errors import KafkaError
from faust.types import TP

from pearlstream.errors import EXIT_IO, EXIT_TRY_AGAIN, PearlstreamError, RegistryMissing
from pearlstream.fold import Fold, Record, header
from pearlstream.logs import get_logger
from pearlstream.runner import Commit, Effect, Emit, Limits, Save, Step
from pearlstream.snapshot import Maker, encode
from pearlstream.topics import partition_to, topic_name
from streams.lane import Beginning, Lane, load_lanes
from streams.logread import as_record, first_offset_at, log_reader
from streams.waiting import Waiting

log = get_logger(__name__)

BATCH_RECORDS = 1000
BATCH_WITHIN_S = 0.02
PATIENCE = 7
"""Looks at a silent partition before it is read again while others move: they share one reader, and may be ahead."""
UNACKED_BYTES = 32 << 20
"""Bytes of outputs in flight before folding waits."""
LOAD_TIMEOUT_S = 60.0
REGISTRY_TIMEOUT_S = 60.0
REGISTRY_POLL_S = 0.1
DRAIN_TIMEOUT_S = 10.0


class Host(Protocol):
    """What a stage needs of its worker."""

    async def put(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> asyncio.Future[Any]:
        """Hand a record to the producer; the future is done when the broker has acknowledged it."""
        ...

    async def reread(self, tp: TP, offset: int) -> None:
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


@dataclass
class Counts:
    """What a stage has done in the life of this process; the meanings stand in `streams.metrics`."""

    records: int = 0
    batches: int = 0
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
    """The id of the source topic: tells one life of it from the next. Known before reading begins."""
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
        self._acknowledged = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._batch = asyncio.Lock()
        self._waiting = Waiting()

    # --- records in ---------------------------------------------------------------------------------

    async def run(self, stream: Any) -> None:
        """The agent: take batches until the stream ends. Never yields, and raises nothing but cancellation.

        An exception that left it would acknowledge the messages it had in hand; so it ends the process.
        """
        folding = asyncio.ensure_future(self._guarded(self._fold_waiting))
        try:
            await self._guarded(partial(self._read, stream))
            await self._waiting.emptied()
            async with self._batch:
                pass  # the last batch is done
        finally:
            folding.cancel()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what the stage lives by; if it fails, the process ends."""
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except PearlstreamError as error:
            self._break(error.exit_code, str(error))
        except BaseException as error:
            log.exception("the stage broke", stage=self.fold.name)
            self._break(EXIT_IO, f"the stage {self.fold.name} broke: {error!r}")

    async def _read(self, stream: Any) -> None:
        """Let records wait, no more than there is room for."""
        async for events in stream.noack_take(BATCH_RECORDS, within=BATCH_WITHIN_S):
            if not self.stopping:
                await self._waiting.add((event.message.partition, as_record(event.message)) for event in events)

    async def _fold_waiting(self) -> None:
        """Fold what waits, all of it at once."""
        while True:
            batch = await self._waiting.take()
            if not self.stopping:
                await self.take(batch)

    def _break(self, code: int, message: str) -> None:
        self.broken = message
        self.host.die(code, message, stage=self.fold.name)

    async def take(self, batch: Sequence[tuple[int, Record]]) -> None:
        """Carry a batch of records through, each with the partition it comes from."""
        by_partition: dict[int, list[Record]] = {}
        for partition, record in batch:
            by_partition.setdefault(partition, []).append(record)
        async with self._batch:
            self.busy = True
            for partition, records in by_partition.items():
                lane = self.lanes.get(partition)
                if lane is not None:
                    await self._offer(lane, records)
            self.busy = False

    async def _offer(self, lane: Lane, records: Sequence[Record]) -> None:
        """Fold records of one partition and start what follows; waits if the fold needs a registry."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REGISTRY_TIMEOUT_S
        while self.lanes.get(lane.partition) is lane and not self.stopping:
            before, started = lane.folding.folded, time.perf_counter()
            step = await loop.run_in_executor(self._pool, lane.folding.offer, records)
            self.counts.fold_seconds += time.perf_counter() - started
            self._note(lane, records, lane.folding.folded - before)
            self._report(lane, step)
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
        self.counts.batches += 1
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

    def _report(self, lane: Lane, step: Step) -> None:
        where = {"stage": self.fold.name, "partition": lane.partition}
        if step.torn is not None:
            log.error("the fold failed; reading again to find the record", exc_info=step.torn, **where)
        for offset in step.refused:
            self.counts.refused += 1
            log.error("a record on which the fold fails goes to quarantine", offset=offset, **where)

    async def _wait_for_registry(self, lane: Lane, error: RegistryMissing, deadline: float) -> None:
        if not lane.waiting_for:
            log.warning("waiting", stage=self.fold.name, partition=lane.partition, reason=str(error))
        lane.waiting_for = str(error)
        self.progress += 1  # waiting is not being stuck, and has a time-out of its own
        if asyncio.get_running_loop().time() > deadline:
            self._break(EXIT_TRY_AGAIN, f"after {REGISTRY_TIMEOUT_S:.0f} s {error}")
        await asyncio.sleep(REGISTRY_POLL_S)

    async def _seek(self, lane: Lane, offset: int) -> None:
        """Read from `offset` again; if the log holds nothing there, what lies after it comes next."""
        self.counts.seeks += 1
        async with log_reader(self.bootstrap) as reader:
            found = await first_offset_at(reader, self.source_topic, lane.partition, offset)
        where = {"stage": self.fold.name, "partition": lane.partition}
        if found is not None and found > offset:
            log.warning("the log has a hole of its own", after=offset - 1, upto=found - 1, **where)
            lane.folding.jump(found)
        log.info("reading again", offset=lane.folding.expected, **where)
        self._waiting.drop(lane.partition)
        await self.host.reread(TP(self.source_topic, lane.partition), lane.folding.expected)

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
            self._acknowledged.clear()
            await self._acknowledged.wait()
        output = effect.output
        size = len(output.value)
        self.unacked_bytes += size
        topic = topic_name(self.prefix, output.target)
        partition = partition_to(output.target, lane.partition)
        future = await self.host.put(topic, partition, output.key, output.value, output.headers)
        self.counts.outputs += 1

        def acknowledged(done: asyncio.Future[Any]) -> None:
            self.unacked_bytes -= size
            if done.cancelled() or done.exception() is not None:
                reason = "cancelled" if done.cancelled() else repr(done.exception())
                self._break(EXIT_IO, f"an output of {self.fold.name} to {topic} was not written: {reason}")
            else:
                self._done(lane, effect)

        future.add_done_callback(acknowledged)

    def _moved(self) -> None:
        self.progress += 1
        self.progress_at = time.monotonic()

    def _done(self, lane: Lane, effect: Effect) -> None:
        self._moved()
        self._acknowledged.set()
        lane.outbox.done(effect)
        for following in lane.outbox.ready():
            self._start_soon(lane, following)

    async def _save(self, lane: Lane, effect: Save) -> None:
        snapshot = effect.snapshot
        lane.turn = "b" if lane.turn == "a" else "a"
        try:
            for record in encode(self.maker, lane.folding.source, snapshot, lane.turn):
                await (await self.host.put(self.state_topic, lane.partition, *record))
        except Exception as error:
            self._break(EXIT_IO, f"a snapshot of {self.fold.name} was not written: {error!r}")
            return
        self.counts.snapshots += 1
        where = {"stage": self.fold.name, "partition": lane.partition}
        log.debug("snapshot taken", applied=snapshot.applied, bytes=len(snapshot.blob), **where)
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
            self.lanes |= await self._load(missing)
        for number, lane in self.lanes.items():
            lane.folding.resumed()
            self._waiting.drop(number)
        return {TP(self.source_topic, number): lane.folding.expected for number, lane in self.lanes.items()}

    async def _load(self, partitions: Sequence[int]) -> dict[int, Lane]:
        how = Beginning(self.fold, self.maker, self.topic_id, self.source_topic, self.state_topic, self.limits)
        try:
            return await asyncio.wait_for(load_lanes(self.bootstrap, how, partitions), LOAD_TIMEOUT_S)
        except (TimeoutError, KafkaError, RegistryMissing) as error:
            reason = str(error) or f"nothing after {LOAD_TIMEOUT_S:.0f} s"
            self._break(EXIT_TRY_AGAIN, f"the snapshots of {self.fold.name} could not be read: {reason}")
            raise

    def lags(self) -> dict[int, int]:
        """Records that wait in each source partition, where that is known. May be called from any thread."""
        lanes = dict(self.lanes)
        ends = {number: self.host.end_of(TP(self.source_topic, number)) for number in lanes}
        return {n: max(end - lanes[n].folding.expected, 0) for n, end in ends.items() if end is not None}

    async def nudge(self, *, others_move: bool = False) -> None:
        """Read again where nothing came since the last call although records wait.

        If nothing comes then either, the next time is twice as far away: reading again throws away what is under way,
        and on a machine without CPU nothing would ever arrive. `others_move`: somebody behind the same reader gets
        records, so that this partition's turn may come; then it is looked at more often before it is read again.
        """
        for number, lag in self.lags().items():
            lane = self.lanes.get(number)
            if lane is None or self.stopping:
                continue
            expected = lane.folding.expected
            still = lag and not self.busy and not self._waiting and expected == lane.nudged
            lane.silent = lane.silent + 1 if still else 0
            if lane.silent >= (PATIENCE if others_move else 1) and lane.silent & (lane.silent + 1) == 0:  # 1, 3, 7, ...
                where = {"stage": self.fold.name, "partition": number}
                log.warning("nothing comes although records wait; reading again", offset=expected, lag=lag, **where)
                self.counts.seeks += 1
                lane.folding.resumed()
                self._waiting.drop(number)
                await self.host.reread(TP(self.source_topic, number), expected)
            lane.nudged = expected

    async def drain(self) -> None:
        """Clean stop: finish the batch in hand, take snapshots where possible, wait for every acknowledgement."""
        self.stopping = True
        async with self._batch:
            for lane in self.lanes.values():
                last = lane.folding.final()
                lane.outbox.put([last] if last is not None else [])
                await self._start(lane, lane.outbox.ready())
            try:
                await asyncio.wait_for(self._all_acknowledged(), DRAIN_TIMEOUT_S)
            except TimeoutError:
                log.warning(
                    "stopping without every acknowledgement; the next start does it again", stage=self.fold.name
                )
        self._pool.shutdown(wait=False)

    async def _all_acknowledged(self) -> None:
        while not all(lane.outbox.idle for lane in self.lanes.values()):
            self._acknowledged.clear()
            await self._acknowledged.wait()
