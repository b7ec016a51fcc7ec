"""The worker in its place: the public command in a process of its own, on the embedded broker, held by its log.

The worker sleeps while a load is written, so that the producer's work is not in the figure, and wakes to find all of
it: what is measured is catching up. Loads go on where the last one ended, with the same devices and one state. In the
end everything that the worker wrote is read back and counted. Needs Linux, for the CPU time of another process.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.bench.figures import Counted, Figure, Run
from deploy.bench.load import Load, Made, make
from deploy.bench.pure import count_admitted
from deploy.demo.clients import health_port, page, program
from deploy.demo.probe import metrics
from deploy.demo.watch import cpu_seconds
from deploy.embedded.broker import Broker
from deploy.embedded.child import Child, ChildSpec
from pearlstream.broker import PartitionReader, admin_client, ensure_topics
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.fold import Record
from pearlstream.settings import Kafka
from producers.kafka_writer import KafkaWriter

LOOK_EVERY_S = 0.1
"""How often the worker is asked how far it is: often enough for a run of seconds, too seldom to cost anything."""
PATIENCE_S = 600.0
STAGES = ("worker",)


def measure(stage: str, load: Load, runs: int, catalogue: Catalogue) -> Figure:
    """The figure of `worker --stage admit`: a load to warm up, then `runs` that count. Raises ServiceError."""
    loads = _loads(load, runs + 1, catalogue)
    with TemporaryDirectory(prefix="pearlstream-bench-") as folder, _broker(Path(folder), load) as kafka:
        with closing(KafkaWriter(kafka)) as writer, _worker(kafka, Path(folder)) as worker:
            writer.register(loads[0].devices)
            done = [worker.catch_up(made, writer) for made in loads]
            peak = worker.peak_rss_mb()
        return Figure(stage, done[1:], peak, _counted(kafka, loads))


def _loads(load: Load, count: int, catalogue: Catalogue) -> list[Made]:
    first = make(load, catalogue)
    return [first, *(make(load, catalogue, after=replace(load, readings=load.readings * n)) for n in range(1, count))]


@contextmanager
def _broker(folder: Path, load: Load) -> Iterator[Kafka]:
    """A broker with all topics."""
    broker = Broker(folder)
    broker.start()
    try:
        kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, prefix="bench.", partitions=load.partitions)
        with admin_client(kafka) as admin:
            ensure_topics(admin, kafka)
        yield kafka
    finally:
        broker.stop()


@contextmanager
def _worker(kafka: Kafka, folder: Path) -> Iterator[_Worker]:
    """A worker that is ready."""
    address = page(health_port(0, "worker"))
    child = Child(
        ChildSpec(
            name="worker",
            argv=program("worker", "--stage", "admit", "--alone"),
            log_file=folder / "worker.log",
            env={
                "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "PEARLSTREAM_KAFKA__PREFIX": kafka.prefix,
                "PEARLSTREAM_KAFKA__PARTITIONS": str(kafka.partitions),
                "PEARLSTREAM_WORKER__HEALTH_PORT": address.rpartition(":")[2],
            },
            ready=f"{address}/readyz",
            ready_timeout_s=90.0,
            max_restarts=0,
        )
    )
    child.start()
    try:
        yield _Worker(child, address)
    finally:
        child.stop()


@dataclass
class _Worker:
    """A worker and what it has been given so far."""

    child: Child
    address: str
    records: int = 0

    def living(self) -> int:
        """Its process id. Raises ServiceError if it has ended."""
        pid = self.child.pid
        if pid is None:
            raise ServiceError(f"the worker ended\n{self.child.log_tail()}", remedy="see its last lines above")
        return pid

    def catch_up(self, made: Made, writer: KafkaWriter) -> Run:
        """Write a load while the worker sleeps, wake it, and wait until it has written all that follows."""
        os.kill(self.living(), signal.SIGSTOP)
        try:
            for one in made.sent:
                writer.send_record(one.key, one.value, one.headers, one.partition)
            writer.flush()
        finally:
            os.kill(self.living(), signal.SIGCONT)
        self.records += len(made.sent)
        wall, cpu = time.perf_counter(), self.cpu_s()
        while not self._is_done():
            self.living()
            if time.perf_counter() > wall + PATIENCE_S:
                raise ServiceError(f"the worker is not done after {PATIENCE_S:.0f} s", remedy="fewer --readings")
            time.sleep(LOOK_EVERY_S)
        return Run(made.total, time.perf_counter() - wall, {"worker": self.cpu_s() - cpu})

    def _is_done(self) -> bool:
        """Whether all records are folded and what they brought forth is acknowledged."""
        said = metrics(self.address)  # nothing while it is too busy to answer
        if said is None:
            return False
        folded = said.total("pearlstream_worker_records_total", stage="admit") or 0
        return folded >= self.records and said.total("pearlstream_worker_unacked_bytes", stage="admit") == 0

    def cpu_s(self) -> float:
        """CPU time of all its threads since it began. Raises ServiceError where the system does not tell."""
        used = cpu_seconds(self.living())
        if used is None:
            raise ServiceError("the CPU time of the worker is not known", remedy="measure it on Linux")
        return used

    def peak_rss_mb(self) -> float:
        """The most memory that it has held."""
        lines = Path(f"/proc/{self.living()}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _counted(kafka: Kafka, loads: Sequence[Made]) -> list[Counted]:
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
