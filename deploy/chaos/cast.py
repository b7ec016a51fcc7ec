"""The processes of a chaos run: broker and store, the sink, workers, the producer, and a cable from each to the broker.

They are those of the demo, started by the same public commands and cared for by the same supervisor.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType

from deploy.chaos.link import Address, Link
from deploy.chaos.load import SPEED, Load, write_faults
from deploy.demo.clients import Life, Wanted, client_settings, health_port, page, served_spec, simulator_spec
from deploy.demo.folder import RunFolder
from deploy.embedded.child import ChildSpec
from deploy.embedded.supervisor import Child, EmbeddedServices
from pearlstream.broker import admin_client, ensure_topics
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError, SettingsError
from pearlstream.settings import Kafka, Settings
from pearlstream.store import Store
from producers.simulator.plan import Plan
from sinks.clickhouse.migrate import migrate

WORKERS_AT_MOST = 3
SNAPSHOT_RECORDS = 300
"""Snapshots are taken often, so that faults meet them."""
MANY = 10_000


@dataclass
class Cast:
    """Everybody who takes part. Enter it to start nothing and to be sure that all is ended."""

    settings: Settings
    catalogue: Catalogue
    load: Load
    plan: Plan
    folder: RunFolder

    def __post_init__(self) -> None:
        self.grouped = bool(self.settings.kafka.bootstrap_servers)
        """Workers form a group. On the embedded broker each takes every partition instead."""
        embedded = self.settings.embedded.model_copy(update={"data_dir": self.folder.path})
        self.services = EmbeddedServices(
            self.settings.model_copy(update={"embedded": embedded}), broker_lost=self._broker_lost
        )
        self.links: dict[str, Link] = {}
        self.served: dict[str, Child] = {}
        """Workers and the sink by name."""
        self.producer: Child | None = None
        self.life: Life
        self._brokers: list[Address] = []
        self._workers = 0
        self._ended: dict[str, int] = {}

    def __enter__(self) -> Cast:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    # --- start and stop -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start broker and store, make topics and tables, start sink and workers. Raises ServiceError."""
        addresses = self.services.start()
        for child in self.services.children:
            child.spec = _patient(child.spec)
        run = self.folder.id
        prefix = f"{self.settings.kafka.prefix}chaos-{run}." if self.grouped else self.settings.kafka.prefix
        effective = client_settings(self.settings, addresses.environment(), prefix, f"chaos_{run}")
        self.life = Life(1, effective, self.folder.ledger(1), {})
        self._brokers = brokers(effective.kafka)
        with admin_client(effective.kafka) as admin:
            ensure_topics(admin, effective.kafka)
        migrate(Store(effective.clickhouse), self.catalogue)
        self._serve("sink")
        for _ in range(2 if self.grouped else 1):
            self.add_worker()

    def play(self) -> None:
        """Start the producer."""
        faults = self.folder.path / "faults.toml"
        write_faults(faults)
        scenarios = tuple((at.scenario.id, 0) for at in self.plan.scenarios)
        wanted = Wanted(
            scenarios,
            SPEED,
            seed=self.load.seed,
            duration_ms=self.plan.duration_ms,
            rate=self.plan.rate,
            faults=str(faults),
        )
        spec = simulator_spec(wanted, self._through("producer"), self.folder)
        some = [word for feed in self.plan.feeds for word in ("--feed", feed)]
        some += [word for city in self.plan.cities for word in ("--city", city)]
        self.producer = Child(replace(spec, argv=[*spec.argv, *some]))
        self.producer.start()

    def end_load(self) -> None:
        """Ask the producer for a clean end, and wait for it."""
        if self.producer is not None:
            self.producer.stop()

    def stop_streams(self) -> None:
        """End everybody but broker and store."""
        self.end_load()
        self.services.stop_clients()

    def stop(self) -> None:
        """End everything; more than once does no harm."""
        self.end_load()
        self.services.stop()
        for link in self.links.values():
            link.close()
        self.links.clear()

    def drop_topics(self) -> None:
        """Remove what the run has made on somebody's own broker. Raises ServiceError."""
        kafka = self.life.settings.kafka
        with admin_client(kafka) as admin:
            admin.delete_topics([name for name in admin.list_topics() if name.startswith(kafka.prefix)])

    # --- who takes part -----------------------------------------------------------------------------------

    @property
    def workers(self) -> list[str]:
        """Names of the workers, the oldest first."""
        return [name for name in self.served if name.startswith("worker")]

    def child(self, name: str) -> Child:
        """A process by its name: sink, worker-n, store, broker, producer."""
        if name == "producer" and self.producer is not None:
            return self.producer
        found = self.served.get(name) or next((c for c in self.services.children if c.spec.name == name), None)
        if found is None:
            raise ServiceError(f"there is no process {name} in this run")
        return found

    def add_worker(self) -> str:
        """Start one more worker and wait until it is ready; its name."""
        self._workers += 1
        name = f"worker-{self._workers}"
        self._serve(name, *([] if self.grouped else ["--alone"]))
        return name

    def remove(self, name: str, *, at_once: bool = False) -> None:
        """End a process for good: cleanly, or with SIGKILL."""
        child = self.served.pop(name)
        self._ended[name] = child.restarts
        if at_once:
            child.kill()
        else:
            child.stop()

    @property
    def restarts(self) -> Mapping[str, int]:
        """How often each process was started again, those that are gone included."""
        there = {child.spec.name: child.restarts for child in self.services.children if child.spec.name in self._names}
        return self._ended | there

    @property
    def _names(self) -> set[str]:
        return {"store", "broker", *self.served}

    def check(self) -> None:
        """Raises ServiceError if somebody was given up, or if the producer ended by itself."""
        self.services.check()
        producer = self.producer
        if producer is not None and not producer.alive:
            raise ServiceError(
                f"the producer ended with exit code {producer.exit_code}\n{producer.log_tail()}",
                remedy=f"its log is {producer.spec.log_file}",
            )
        memory = self.services.broker_memory()
        if memory is not None and memory.full:
            raise ServiceError("the embedded broker is full", remedy="fewer rounds, or a lower --rate")

    def _serve(self, name: str, *options: str) -> None:
        role = name.partition("-")[0]
        port = health_port(getattr(self.settings, role).health_port if role == "sink" else 0, role)
        self.life = replace(self.life, pages={**self.life.pages, name: page(port)})
        spec = served_spec(name, self._through(name), self.folder, *options)
        env = {**spec.env, "PEARLSTREAM_WORKER__SNAPSHOT_FRAMES": str(SNAPSHOT_RECORDS)}
        self.served[name] = self.services.run(_patient(replace(spec, env=env)))

    def _through(self, name: str) -> Life:
        """The life as a process sees it that reaches the broker by a cable of its own."""
        link = self.links[name] = Link(self._brokers)
        settings = self.life.settings
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": link.address})
        return replace(self.life, settings=settings.model_copy(update={"kafka": kafka}))

    def _broker_lost(self) -> None:
        raise ServiceError("the embedded broker died, and the log with it; nothing can be counted any more")


def _patient(spec: ChildSpec) -> ChildSpec:
    """Started again at once, however often it is killed."""
    return replace(spec, max_restarts=MANY, backoff_s=0.1, backoff_limit_s=1.0)


def brokers(kafka: Kafka) -> list[Address]:
    """Where the brokers of a cluster say that they are. Raises ServiceError, or SettingsError if one is elsewhere."""
    with admin_client(kafka) as admin:
        found = [Address(str(broker["host"]), int(broker["port"])) for broker in admin.describe_cluster()["brokers"]]
    for address in found:
        if not is_loopback(address.host):
            raise SettingsError(
                f"the broker says that it is at {address}, which is not this machine",
                remedy="chaos breaks things on this machine only: give it a broker that advertises 127.0.0.1",
            )
    return found


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this very machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
