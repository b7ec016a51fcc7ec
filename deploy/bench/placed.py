"""Stages in their place: public commands in processes of their own, on the embedded broker and store.

`worker`: sleeps while a load is written, so that the producer's work is not in the figure, and wakes to find all of
it; what is measured is catching up. `sink`: the same, with what the worker made of the load. `end`: nobody sleeps; from
the first frame that is sent to the last row that is stored. Loads go on where the last one ended, with the same
devices and one state. Several workers share the partitions. In the end everything that was written is read back and
counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.bench.figures import Counted, Figure, Run
from deploy.bench.load import TICK_MS, Load, Made, make
from deploy.bench.meter import OURSELVES, Meter
from deploy.bench.pure import count_admitted
from deploy.bench.services import (
    PATIENCE_S,
    Process,
    applied,
    asleep,
    running_broker,
    running_sink,
    running_store,
    running_workers,
    wait_until,
)
from pearlstream.broker import PartitionReader
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.fold import Record
from pearlstream.settings import ClickHouse, Kafka
from pearlstream.store import Store
from producers.kafka_writer import KafkaWriter

STAGES = ("worker", "sink", "end")
SHORTEST_S = 2 * TICK_MS / 1000
"""Event time of a load at least: one without a tick of its own would roll nothing up."""


def measure(stage: str, load: Load, runs: int, catalogue: Catalogue, workers: int = 1) -> Figure:
    """The figure of a stage: a load to warm up, then `runs` that count. Raises ServiceError."""
    loads = make_loads(load, runs + 1, catalogue)
    with TemporaryDirectory(prefix="pearlstream-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        kafka, broker = stack.enter_context(running_broker(folder, load))
        writer = stack.enter_context(closing(KafkaWriter(kafka)))
        before = Admitting(writer, stack.enter_context(running_workers(kafka, folder, workers)))
        writer.register(loads[0].devices)
        if stage == "worker":
            done, measured = [before.catch_up(made) for made in loads], before.workers
            counted = count_written(kafka, loads)
        else:
            store, engine = stack.enter_context(running_store(folder, catalogue))
            whole = Storing(before, stack.enter_context(running_sink(kafka, store, folder)), engine, broker)
            done = [whole.catch_up(made) if stage == "sink" else whole.all_at_once(made) for made in loads]
            measured = whole.last if stage == "sink" else whole.everybody
            counted = _stored(store, loads, catalogue)
        return Figure(stage, done[1:], {one.name: one.peak_rss_mb() for one in measured}, counted)


def make_loads(load: Load, count: int, catalogue: Catalogue) -> list[Made]:
    """So many loads, each going on where the one before it ended."""
    load = replace(load, rate=min(load.rate, load.readings / SHORTEST_S))
    first = make(load, catalogue)
    return [first, *(make(load, catalogue, after=replace(load, readings=load.readings * n)) for n in range(1, count))]


@dataclass
class Admitting:
    """Producer and workers, and what they have been given so far. `also`: whose CPU time counts besides theirs."""

    writer: KafkaWriter
    workers: tuple[Process, ...]
    also: tuple[Process, ...] = ()
    sent: Counter[int] = field(default_factory=Counter)
    """Records by partition."""
    readings: int = 0

    def catch_up(self, made: Made) -> Run:
        """Write a load while the workers sleep, wake them, and wait until they have written all that follows."""
        began = time.perf_counter()
        with asleep(self.workers):
            self.write(made)
        if len(self.workers) > 1:
            _not_too_long(time.perf_counter() - began)
        meter = Meter((*self.workers, *self.also))
        wait_until(self.admitted)
        return meter.run(made.total)

    def write(self, made: Made) -> None:
        """Write a load."""
        for one in made.sent:
            self.writer.send_record(one.key, one.value, one.headers, one.partition)
        self.writer.flush()
        self.sent.update(one.partition for one in made.sent)
        self.readings += made.total

    def admitted(self) -> bool:
        """Whether all records are folded and what they brought forth is acknowledged."""
        said = [page for worker in self.workers if (page := worker.page()) is not None]
        if len(said) < len(self.workers):
            return False
        # The mark moves before outputs are handed over, the count only with them.
        folded = sum(page.total("pearlstream_worker_records_total", stage="admit") or 0 for page in said)
        marks = {number: offset for page in said for number, offset in applied(page).items()}
        unacked = sum(page.total("pearlstream_worker_unacked_bytes", stage="admit") or 0 for page in said)
        every = all(marks.get(number, -1) + 1 >= count for number, count in self.sent.items())
        return every and folded >= self.sent.total() and not unacked


def _not_too_long(slept_s: float) -> None:
    """A group throws out members that are silent for long, and making peace would be a part of the figure."""
    from streams.app import SESSION_TIMEOUT_S  # brings Faust

    if slept_s > SESSION_TIMEOUT_S:
        raise ServiceError(
            f"writing a load took {slept_s:.1f} s, and workers of a group may sleep {SESSION_TIMEOUT_S:.0f} s",
            remedy="fewer --readings, or a machine with less to do",
        )


@dataclass
class Storing:
    """The whole way: what goes before, the sink, the store behind it, and the broker between."""

    before: Admitting
    sink: Process
    store: Process
    broker: Process

    @property
    def last(self) -> tuple[Process, ...]:
        """What takes part when the rest is done."""
        return self.sink, self.store

    @property
    def everybody(self) -> tuple[Process, ...]:
        """All but the producer."""
        return self.broker, *self.before.workers, *self.last

    def catch_up(self, made: Made) -> Run:
        """Let the worker admit a load while the sink sleeps, wake it, and wait until all is stored."""
        with self.sink.asleep():
            self.before.write(made)
            wait_until(self.before.admitted)
        meter = Meter(self.last)
        wait_until(self._stored)
        return meter.run(made.total)

    def all_at_once(self, made: Made) -> Run:
        """Write a load while all are awake, and wait until all is stored."""
        meter = Meter((OURSELVES, *self.everybody))
        self.before.write(made)
        wait_until(lambda: self.before.admitted() and self._stored())
        return meter.run(made.total)

    def _stored(self) -> bool:
        """Whether as many readings are stored as were sent, and nothing of what the worker wrote waits."""
        said = self.sink.page()
        if said is None:
            return False
        rows = said.by("pearlstream_sink_rows_total", "table")
        raw = sum(count for table, count in rows.items() if table.startswith("readings_"))
        return raw >= self.before.readings and said.total("pearlstream_sink_lag_records") == 0


def count_written(kafka: Kafka, loads: Sequence[Made]) -> list[Counted]:
    """Everything that the workers wrote, held against everything that was sent."""
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
