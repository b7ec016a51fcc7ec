"""Stages in their place: public commands in processes of their own, on the embedded broker and store.

`worker`: sleeps while a load is written, so that the producer's work is not in the figure, and wakes to find all of
it; what is measured is catching up. `sink`: the same, with what the worker made of the load. `end`: nobody sleeps; from
the first frame that is sent to the last row that is stored. Loads go on where the last one ended, with the same
devices and one state. In the end everything that was written is read back and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

from deploy.bench.figures import Counted, Figure, Run
from deploy.bench.load import Load, Made, make
from deploy.bench.pure import count_admitted
from deploy.bench.services import (
    LOOK_EVERY_S,
    PATIENCE_S,
    Process,
    running_broker,
    running_sink,
    running_store,
    running_worker,
)
from pearlstream.broker import PartitionReader
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.fold import Record
from pearlstream.settings import ClickHouse, Kafka
from pearlstream.store import Store
from producers.kafka_writer import KafkaWriter

STAGES = ("worker", "sink", "end")


def measure(stage: str, load: Load, runs: int, catalogue: Catalogue) -> Figure:
    """The figure of a stage: a load to warm up, then `runs` that count. Raises ServiceError."""
    loads = _loads(load, runs + 1, catalogue)
    with TemporaryDirectory(prefix="pearlstream-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        kafka, broker = stack.enter_context(running_broker(folder, load))
        writer = stack.enter_context(closing(KafkaWriter(kafka)))
        worker = stack.enter_context(running_worker(kafka, folder))
        writer.register(loads[0].devices)
        if stage == "worker":
            alone = Admitting(writer, worker)
            done, measured = [alone.catch_up(made) for made in loads], worker
            counted = _admitted(kafka, loads)
        else:
            store, engine = stack.enter_context(running_store(folder, catalogue))
            measured = stack.enter_context(running_sink(kafka, store, folder))
            whole = Storing(Admitting(writer, worker), measured, engine, broker)
            done = [whole.catch_up(made) if stage == "sink" else whole.all_at_once(made) for made in loads]
            counted = _stored(store, loads, catalogue)
        return Figure(stage, done[1:], measured.peak_rss_mb(), counted)


def _loads(load: Load, count: int, catalogue: Catalogue) -> list[Made]:
    first = make(load, catalogue)
    return [first, *(make(load, catalogue, after=replace(load, readings=load.readings * n)) for n in range(1, count))]


@dataclass
class Admitting:
    """Producer and worker, and what they have been given so far."""

    writer: KafkaWriter
    worker: Process
    records: int = 0
    readings: int = 0

    def catch_up(self, made: Made) -> Run:
        """Write a load while the worker sleeps, wake it, and wait until it has written all that follows."""
        with self.worker.asleep():
            self.write(made)
        meter = Meter((self.worker,))
        wait_until(self.admitted)
        return meter.run(made)

    def write(self, made: Made) -> None:
        """Write a load."""
        for one in made.sent:
            self.writer.send_record(one.key, one.value, one.headers, one.partition)
        self.writer.flush()
        self.records += len(made.sent)
        self.readings += made.total

    def admitted(self) -> bool:
        """Whether all records are folded and what they brought forth is acknowledged."""
        said = self.worker.page()
        if said is None:
            return False
        folded = said.total("pearlstream_worker_records_total", stage="admit") or 0
        return folded >= self.records and said.total("pearlstream_worker_unacked_bytes", stage="admit") == 0


@dataclass
class Storing:
    """The whole way: what goes before, the sink, the store behind it, and the broker between."""

    before: Admitting
    sink: Process
    store: Process
    broker: Process

    def catch_up(self, made: Made) -> Run:
        """Let the worker admit a load while the sink sleeps, wake it, and wait until all is stored."""
        with self.sink.asleep():
            self.before.write(made)
            wait_until(self.before.admitted)
        meter = Meter((self.sink, self.store))
        wait_until(self._stored)
        return meter.run(made)

    def all_at_once(self, made: Made) -> Run:
        """Write a load while all are awake, and wait until all is stored."""
        everybody = (OURSELVES, self.broker, self.before.worker, self.sink, self.store)
        meter = Meter(everybody)
        self.before.write(made)
        wait_until(lambda: self.before.admitted() and self._stored())
        return meter.run(made)

    def _stored(self) -> bool:
        """Whether as many readings are stored as were sent, and nothing of what the worker wrote waits."""
        said = self.sink.page()
        if said is None:
            return False
        rows = said.by("pearlstream_sink_rows_total", "table")
        raw = sum(count for table, count in rows.items() if table.startswith("readings_"))
        return raw >= self.before.readings and said.total("pearlstream_sink_lag_records") == 0


class Spends(Protocol):
    """Something that takes CPU time."""

    @property
    def name(self) -> str:
        """What it is called in the figure."""
        ...

    def cpu_s(self) -> float:
        """CPU time since it began."""
        ...


class Ourselves(NamedTuple):
    """The process that measures, which is the producer."""

    name: str = "producer"

    def cpu_s(self) -> float:
        """CPU time of all its threads."""
        return time.process_time()


OURSELVES = Ourselves()


class Meter:
    """Time by the wall, and the CPU time that these processes take, from now on."""

    def __init__(self, processes: Sequence[Spends]) -> None:
        self._processes = processes
        self._wall, self._before = time.perf_counter(), [one.cpu_s() for one in processes]

    def run(self, made: Made) -> Run:
        """What was spent on a load until now."""
        seconds = time.perf_counter() - self._wall
        cost = {one.name: one.cpu_s() - was for one, was in zip(self._processes, self._before, strict=True)}
        return Run(made.total, seconds, cost)


def wait_until(done: Callable[[], bool]) -> None:
    """Ask again and again. Raises ServiceError if it takes too long."""
    until = time.perf_counter() + PATIENCE_S
    while not done():
        if time.perf_counter() > until:
            raise ServiceError(f"not done after {PATIENCE_S:.0f} s", remedy="fewer --readings")
        time.sleep(LOOK_EVERY_S)


def _admitted(kafka: Kafka, loads: Sequence[Made]) -> list[Counted]:
    """Everything that the worker wrote, held against everything that was sent."""
    records, targets = list[Record](), list[str]()
    for role in ("accepted", "rollups"):
        for partition in range(kafka.partitions):
            reader = PartitionReader(kafka, role, partition)
            found = [Record(one.offset, one.key, one.value, one.headers) for one in reader.read(PATIENCE_S)]
            reader.close()
            records += found
            targets += [role] * len(found)
    return count_admitted(loads, records, targets)


def _stored(settings: ClickHouse, loads: Sequence[Made], catalogue: Catalogue) -> list[Counted]:
    """Everything that the store holds, held against everything that was sent."""
    total = sum(made.total for made in loads)
    with closing(Store(settings)) as store:
        here = {"db": store.database}
        raw = [store.query(ROWS, {**here, "table": name})[0][0] for (name,) in store.query(TABLES, here)]
        (rolled,) = store.query(ROLLED, {**here, "measures": [f"{feed}.rows" for feed in catalogue.feeds]})[0]
    return [Counted("stored readings", sum(raw), total), Counted("readings in the rollups", int(rolled), total)]


TABLES = """
SELECT name FROM system.tables
WHERE database = {db:String} AND startsWith(name, 'readings_') AND engine LIKE '%MergeTree'
"""
ROWS = "SELECT count() FROM {db:Identifier}.{table:Identifier} FINAL"
ROLLED = "SELECT sum(n) FROM {db:Identifier}.rollups FINAL WHERE measure IN {measures:Array(String)}"
