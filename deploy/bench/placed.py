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
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.bench.figures import Counted, Figure, Run, own_cpu_s
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
        place = Place(kafka, broker, writer, stack.enter_context(running_worker(kafka, folder)))
        if stage != "worker":
            place.store, place.engine = stack.enter_context(running_store(folder, catalogue))
            place.sink = stack.enter_context(running_sink(kafka, place.store, folder))
        writer.register(loads[0].devices)
        run = {"worker": place.worker_run, "sink": place.sink_run, "end": place.end_run}[stage]
        done = [run(made) for made in loads]
        measured = place.worker if stage == "worker" else place.stored_by
        peak = measured.peak_rss_mb()
        counted = _admitted(kafka, loads) if stage == "worker" else _stored(place, loads, catalogue)
        return Figure(stage, done[1:], peak, counted)


def _loads(load: Load, count: int, catalogue: Catalogue) -> list[Made]:
    first = make(load, catalogue)
    return [first, *(make(load, catalogue, after=replace(load, readings=load.readings * n)) for n in range(1, count))]


@dataclass
class Place:
    """Who takes part, and what they have been given so far."""

    kafka: Kafka
    broker: Process
    writer: KafkaWriter
    worker: Process
    store: ClickHouse = field(default_factory=ClickHouse)
    engine: Process | None = None
    sink: Process | None = None
    records: int = 0
    readings: int = 0

    @property
    def stored_by(self) -> Process:
        """The sink."""
        assert self.sink is not None
        return self.sink

    def worker_run(self, made: Made) -> Run:
        """Write a load while the worker sleeps, wake it, and wait until it has written all that follows."""
        with self.worker.asleep():
            self._write(made)
        return self._timed(made, (self.worker,), self._admitted)

    def sink_run(self, made: Made) -> Run:
        """Let the worker admit a load while the sink sleeps, wake it, and wait until all is stored."""
        assert self.engine is not None
        with self.stored_by.asleep():
            self._write(made)
            self._timed(made, (self.worker,), self._admitted)
        return self._timed(made, (self.stored_by, self.engine), self._in_the_store)

    def end_run(self, made: Made) -> Run:
        """Write a load while all are awake, and wait until all is stored."""
        assert self.engine is not None
        everybody = (self.worker, self.stored_by, self.engine, self.broker)
        return self._timed(made, everybody, self._in_the_store, lambda: self._write(made))

    def _write(self, made: Made) -> None:
        for one in made.sent:
            self.writer.send_record(one.key, one.value, one.headers, one.partition)
        self.writer.flush()
        self.records += len(made.sent)
        self.readings += made.total

    def _timed(
        self,
        made: Made,
        processes: Sequence[Process],
        done: Callable[[], bool],
        work: Callable[[], None] | None = None,
    ) -> Run:
        """How long it takes until it is done, and the CPU time of these processes (and ours, if there is `work`)."""
        wall, own = time.perf_counter(), own_cpu_s()
        before = [process.cpu_s() for process in processes]
        if work is not None:
            work()
            own = own_cpu_s() - own
        while not done():
            if time.perf_counter() > wall + PATIENCE_S:
                raise ServiceError(f"not done after {PATIENCE_S:.0f} s", remedy="fewer --readings")
            time.sleep(LOOK_EVERY_S)
        seconds = time.perf_counter() - wall
        cost = {one.name: one.cpu_s() - was for one, was in zip(processes, before, strict=True)}
        return Run(made.total, seconds, cost | ({"producer": own} if work is not None else {}))

    def _admitted(self) -> bool:
        """Whether all records are folded and what they brought forth is acknowledged."""
        said = self.worker.page()
        if said is None:
            return False
        folded = said.total("pearlstream_worker_records_total", stage="admit") or 0
        return folded >= self.records and said.total("pearlstream_worker_unacked_bytes", stage="admit") == 0

    def _in_the_store(self) -> bool:
        """Whether as many readings are stored as were sent, and nothing of what the worker wrote waits."""
        said = self.stored_by.page()
        if said is None or not self._admitted():
            return False
        rows = said.by("pearlstream_sink_rows_total", "table")
        raw = sum(count for table, count in rows.items() if table.startswith("readings_"))
        return raw >= self.readings and said.total("pearlstream_sink_lag_records") == 0


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


def _stored(place: Place, loads: Sequence[Made], catalogue: Catalogue) -> list[Counted]:
    """Everything that the store holds, held against everything that was sent."""
    total = sum(made.total for made in loads)
    with closing(Store(place.store)) as store:
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
