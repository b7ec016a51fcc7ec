"""The processes that a figure is measured on: broker, store, and our own by their public commands.

Needs Linux, for the CPU time of another process.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.bench.load import Load
from deploy.demo.clients import environment_of, health_port, page, program
from deploy.demo.probe import Page, metrics
from deploy.demo.watch import cpu_seconds
from deploy.embedded.broker import Broker
from deploy.embedded.child import Child, ChildSpec
from deploy.embedded.store.launch import Store as StoreProcess
from pearlstream.broker import admin_client, ensure_topics
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.settings import ClickHouse, Kafka, load_settings
from pearlstream.store import Store
from sinks.clickhouse.migrate import migrate

LOOK_EVERY_S = 0.1
"""How often a process is asked how far it is: often enough for a run of seconds, too seldom to cost anything."""
PATIENCE_S = 600.0


def wait_until(done: Callable[[], bool]) -> None:
    """Ask again and again. Raises ServiceError if it takes too long."""
    until = time.perf_counter() + PATIENCE_S
    while not done():
        if time.perf_counter() > until:
            raise ServiceError(f"not done after {PATIENCE_S:.0f} s", remedy="fewer --readings")
        time.sleep(LOOK_EVERY_S)


@dataclass
class Process:
    """A process of ours that answers on its health page, or one of the services."""

    name: str
    child: Child
    address: str = ""

    def living(self) -> int:
        """Its process id. Raises ServiceError if it has ended."""
        pid = self.child.pid
        if pid is None:
            raise ServiceError(f"the {self.name} ended\n{self.child.log_tail()}", remedy="see its last lines above")
        return pid

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """It does not run meanwhile."""
        os.kill(self.living(), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.living(), signal.SIGCONT)

    def page(self) -> Page | None:
        """Its metrics; None while it is too busy to answer. Raises ServiceError if it has ended."""
        self.living()
        return metrics(self.address)

    def cpu_s(self) -> float:
        """CPU time of all its threads since it began. Raises ServiceError where the system does not tell."""
        used = cpu_seconds(self.living())
        if used is None:
            raise ServiceError(f"the CPU time of the {self.name} is not known", remedy="measure it on Linux")
        return used

    def peak_rss_mb(self) -> float:
        """The most memory that it has held."""
        lines = Path(f"/proc/{self.living()}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


@contextmanager
def running_broker(folder: Path, load: Load) -> Iterator[tuple[Kafka, Process]]:
    """A broker with all topics."""
    broker = Broker(folder)
    broker.start()
    try:
        kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, prefix="bench.", partitions=load.partitions)
        with admin_client(kafka) as admin:
            ensure_topics(admin, kafka)
        yield kafka, Process("broker", broker.child)
    finally:
        broker.stop()


@contextmanager
def running_store(folder: Path, catalogue: Catalogue) -> Iterator[tuple[ClickHouse, Process]]:
    """A store with all tables."""
    store = StoreProcess(folder)
    store.start()
    try:
        settings = ClickHouse(url=store.url, user=store.user, password=store.password, database="bench")
        tables = Store(settings)
        migrate(tables, catalogue)
        tables.close()
        yield settings, Process("store", store.child)
    finally:
        store.stop()


@contextmanager
def running_workers(kafka: Kafka, folder: Path, count: int = 1) -> Iterator[tuple[Process, ...]]:
    """Workers that admit, and are ready: one takes every partition, several have shared them out in a group."""
    names = [f"worker-{n}" for n in range(1, count + 1)] if count > 1 else ["worker"]
    command = ("worker", "--stage", "admit", *(() if count > 1 else ("--alone",)))
    with ExitStack() as stack:
        workers = tuple(stack.enter_context(_running(name, command, kafka, ClickHouse(), folder)) for name in names)
        wait_until(lambda: shared_out(workers, kafka.partitions))
        yield workers


def shared_out(workers: Sequence[Process], partitions: int) -> bool:
    """Whether each worker has a share of the partitions, and each partition one worker."""
    pages = [worker.page() for worker in workers]
    shares = [set(applied(page)) if page is not None else set() for page in pages]
    return all(shares) and sum(map(len, shares)) == len(set().union(*shares)) == partitions


def applied(page: Page) -> dict[int, int]:
    """By partition that a worker has: the offset of the last record that it has admitted, -1 before the first."""
    found = page.by("pearlstream_worker_applied_offset", "partition", stage="admit")
    return {int(partition): int(offset) for partition, offset in found.items()}


@contextmanager
def asleep(processes: Sequence[Process]) -> Iterator[None]:
    """None of them runs meanwhile."""
    with ExitStack() as stack:
        for one in processes:
            stack.enter_context(one.asleep())
        yield


@contextmanager
def running_sink(kafka: Kafka, store: ClickHouse, folder: Path) -> Iterator[Process]:
    """A sink that is ready."""
    with _running("sink", ("sink",), kafka, store, folder) as sink:
        yield sink


@contextmanager
def _running(name: str, command: Sequence[str], kafka: Kafka, store: ClickHouse, folder: Path) -> Iterator[Process]:
    role = name.partition("-")[0]
    address = page(health_port(0, role))
    settings = load_settings().model_copy(update={"kafka": kafka, "clickhouse": store})
    child = Child(
        ChildSpec(
            name=name,
            argv=program(*command),
            log_file=folder / f"{name}.log",
            env=environment_of(settings) | {f"PEARLSTREAM_{role.upper()}__HEALTH_PORT": address.rpartition(":")[2]},
            ready=f"{address}/readyz",
            ready_timeout_s=90.0,
            max_restarts=0,
        )
    )
    child.start()
    try:
        yield Process(name, child, address)
    finally:
        child.stop()
