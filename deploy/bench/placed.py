"""The worker in its place: the public command in a process of its own, on the embedded broker, held by its log.

The worker sleeps while a load is written, so that the producer's work is not in the figure, and wakes to find all of
it: what is measured is catching up. Loads go on where the last one ended, with the same devices and one state. In the
end everything that the worker wrote is read back and counted. Needs Linux, for the CPU time of another process.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client.parser import text_string_to_metric_families

from deploy.bench.figures import Counted, Figure, Run
from deploy.bench.load import Load, Made, make
from deploy.bench.pure import count_admitted
from deploy.demo.clients import environment_of, health_port, page, program
from deploy.embedded.broker import Broker
from deploy.embedded.child import Child, ChildSpec
from pearlstream.broker import PartitionReader, admin_client, client_options, ensure_topics
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.fold import Record
from pearlstream.settings import ClickHouse, Kafka, Settings, load_settings
from pearlstream.topics import topic_name

LOOK_EVERY_S = 0.1
"""How often the worker is asked how far it is: often enough for a run of seconds, too seldom to cost anything."""
PATIENCE_S = 600.0
STAGES = ("worker",)


def measure(stage: str, load: Load, runs: int, catalogue: Catalogue) -> Figure:
    """The figure of `worker --stage admit`: a load to warm up, then `runs` that count. Raises ServiceError."""
    loads = _loads(load, runs + 1, catalogue)
    with TemporaryDirectory(prefix="pearlstream-bench-") as folder, _broker(Path(folder)) as kafka:
        _write(kafka, [(("devices", 0), None, value, (("registry", of.encode()),)) for value, of in loads[0].devices])
        with _worker(kafka, Path(folder)) as worker:
            done = [worker.catch_up(made) for made in loads]
            peak = worker.peak_rss_mb()
        return Figure(stage, done[1:], peak, _counted(kafka, loads))


def _loads(load: Load, count: int, catalogue: Catalogue) -> list[Made]:
    first = make(load, catalogue)
    return [first, *(make(load, catalogue, after=replace(load, readings=load.readings * n)) for n in range(1, count))]


@contextmanager
def _broker(folder: Path) -> Iterator[Kafka]:
    """A broker with all topics."""
    broker = Broker(folder)
    broker.start()
    try:
        kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, prefix="bench.")
        with admin_client(kafka) as admin:
            ensure_topics(admin, kafka)
        yield kafka
    finally:
        broker.stop()


@contextmanager
def _worker(kafka: Kafka, folder: Path) -> Iterator[_Worker]:
    """A worker that is ready."""
    address = page(health_port(0, "worker"))
    settings = load_settings().model_copy(update={"kafka": kafka, "clickhouse": ClickHouse()})
    child = Child(
        ChildSpec(
            name="worker",
            argv=program("worker", "--stage", "admit", "--alone"),
            log_file=folder / "worker.log",
            env=_environment(settings) | {"PEARLSTREAM_WORKER__HEALTH_PORT": address.rpartition(":")[2]},
            ready=f"{address}/readyz",
            ready_timeout_s=90.0,
            max_restarts=0,
        )
    )
    child.start()
    try:
        yield _Worker(child, kafka, address)
    finally:
        child.stop()


def _environment(settings: Settings) -> dict[str, str]:
    return {name: text for name, text in environment_of(settings).items() if "CLICKHOUSE" not in name}


@dataclass
class _Worker:
    """A worker and what it has been given so far."""

    child: Child
    kafka: Kafka
    address: str
    records: int = 0

    @property
    def pid(self) -> int:
        """Its process. Raises ServiceError if it has ended: a second life would be another figure."""
        pid = self.child.pid
        if pid is None or not self.child.alive:
            raise ServiceError(f"the worker ended\n{self.child.log_tail()}", remedy="see its last lines above")
        return pid

    def catch_up(self, made: Made) -> Run:
        """Write a load while the worker sleeps, wake it, and wait until it has written all that follows."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            _write(self.kafka, [(("readings", one.partition), one.key, one.value, one.headers) for one in made.sent])
        finally:
            os.kill(self.pid, signal.SIGCONT)
        self.records += len(made.sent)
        wall, cpu = time.perf_counter(), self.cpu_s()
        while not self._is_done():
            if time.perf_counter() > wall + PATIENCE_S:
                raise ServiceError(f"the worker is not done after {PATIENCE_S:.0f} s", remedy="fewer --readings")
            time.sleep(LOOK_EVERY_S)
        return Run(made.total, time.perf_counter() - wall, {"worker": self.cpu_s() - cpu})

    def _is_done(self) -> bool:
        """Whether all records are folded and what they brought forth is acknowledged."""
        self.pid  # noqa: B018 - raises if the worker is gone
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=30) as reply:  # noqa: S310 - our own child
            families = text_string_to_metric_families(reply.read().decode())
        values = {(one.name, one.labels.get("stage")): one.value for family in families for one in family.samples}
        folded = values.get(("pearlstream_worker_records_total", "admit"), 0)
        return folded >= self.records and values.get(("pearlstream_worker_unacked_bytes", "admit")) == 0

    def cpu_s(self) -> float:
        """CPU time of all its threads since it began."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_rss_mb(self) -> float:
        """The most memory that it has held."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


_Outgoing = tuple[tuple[str, int], bytes | None, bytes, tuple[tuple[str, bytes], ...]]
"""Role and partition, key, value, headers."""


def _write(kafka: Kafka, records: Sequence[_Outgoing]) -> None:
    """Put records on the broker, in their order, and wait for every acknowledgement."""
    from kafka import KafkaProducer  # slow to import

    producer = KafkaProducer(
        **client_options(kafka, "pearlstream-bench"),
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        batch_size=256 << 10,
        max_request_size=8 << 20,
    )
    try:
        sent = [
            producer.send(topic_name(kafka.prefix, role), value, key, list(headers), partition)
            for (role, partition), key, value, headers in records
        ]
        producer.flush(timeout=PATIENCE_S)
        for one in sent:
            one.get(timeout=1)
    finally:
        producer.close()


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
