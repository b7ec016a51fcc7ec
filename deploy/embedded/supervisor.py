"""The embedded services of a run: started, watched and ended together with the processes that use them."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.embedded.broker import Broker
from deploy.embedded.child import Child, ChildSpec
from deploy.embedded.folders import IN_USE_REMEDY, prepare_folder
from deploy.embedded.memory import BrokerMemory, MemoryWatch
from deploy.embedded.store.launch import Store
from pearlstream.errors import ServiceError
from pearlstream.lock import FolderLock
from pearlstream.settings import Settings

__all__ = ["Addresses", "Child", "ChildSpec", "EmbeddedServices", "running_services"]

log = logging.getLogger("pearlstream.embedded")

_RUN_FILE = "services.json"


@dataclass(frozen=True)
class Addresses:
    """Where the broker and the store are, embedded or not; the password is a value of its own."""

    bootstrap_servers: str
    clickhouse_url: str
    clickhouse_user: str
    clickhouse_password: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The same as environment names of our settings, for child processes."""
        return {
            "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "PEARLSTREAM_CLICKHOUSE__URL": self.clickhouse_url,
            "PEARLSTREAM_CLICKHOUSE__USER": self.clickhouse_user,
            "PEARLSTREAM_CLICKHOUSE__PASSWORD": self.clickhouse_password,
        }


class EmbeddedServices:
    """The broker and the store, as far as the settings leave them to us, and the clients run with them.

        with EmbeddedServices(settings) as services:
            services.run(ChildSpec("sink", argv, log_file, env=services.addresses.environment()))

    Ended in the reverse order: clients (the last started first), broker, store.

    The broker's restart is a new, empty life. Then `broker_lost` is called (end the clients with
    `stop_clients`, and whatever else talks to it), the broker is started again at the same address, and
    `broker_back` is called (create the topics, choose a new database, start the clients). Both run on a
    thread of ours. The store's restart needs nothing: address, password and data stay.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        broker_lost: Callable[[], None] | None = None,
        broker_back: Callable[[Addresses], None] | None = None,
        broker_limit_bytes: int | None = None,
    ) -> None:
        """Nothing is started yet. `broker_limit_bytes`: how large the broker may grow (half of the machine)."""
        self.data_dir = settings.embedded.data_dir
        self._settings = settings
        self._broker_lost, self._broker_back = broker_lost, broker_back
        self._limit = broker_limit_bytes
        self._broker: Broker | None = None
        self._store: Store | None = None
        self._memory: MemoryWatch | None = None
        self._folder_lock: FolderLock | None = None
        self._addresses: Addresses | None = None
        self._clients: list[Child] = []
        self._failure: ServiceError | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def __enter__(self) -> EmbeddedServices:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def addresses(self) -> Addresses:
        """Where everything is. Raises ServiceError before `start`."""
        if self._addresses is None:
            raise ServiceError("the embedded services are not started")
        return self._addresses

    @property
    def children(self) -> list[Child]:
        """All processes under our care, in the order of their start."""
        own = [service.child for service in (self._store, self._broker) if service is not None]
        with self._lock:
            return own + self._clients

    def start(self) -> Addresses:
        """Start what the settings leave to us, and return the addresses.

        Raises ServiceError, with nothing left running: the data folder cannot be used, a port is taken, a
        part does not come up.
        """
        kafka, clickhouse = self._settings.kafka, self._settings.clickhouse
        embedded = self._settings.embedded
        self.data_dir = prepare_folder(embedded.data_dir)
        self._folder_lock = FolderLock(
            self.data_dir / "lock", what=f"the data folder {self.data_dir}", remedy=IN_USE_REMEDY
        )
        try:
            if not clickhouse.url:
                self._store = Store(self.data_dir, port=embedded.store_port)
                self._watch(self._store.child)
            if not kafka.bootstrap_servers:
                self._broker = Broker(self.data_dir, port=embedded.broker_port)
                self._watch(self._broker.child)
                self._broker.child.before_restart = self._on_broker_lost
                self._broker.child.after_restart = self._on_broker_back
                self._memory = MemoryWatch(self._broker.child.rss_bytes, limit_bytes=self._limit)
            self._addresses = self._find_addresses()
            self._start_services()
        except BaseException:
            self.stop()
            raise
        self._write_run_file()
        return self._addresses

    def run(self, spec: ChildSpec) -> Child:
        """Start a client and care for it until `stop_clients` or `stop`. Raises ServiceError."""
        child = Child(spec)
        self._watch(child)
        with self._lock:
            if self._stopped:
                raise ServiceError(f"{spec.name} is not started: the services are ending")
            self._clients.append(child)
        child.start()
        return child

    def stop_clients(self) -> None:
        """End the clients, the last started first."""
        with self._lock:
            clients, self._clients = self._clients, []
        for child in reversed(clients):
            child.stop()

    def stop(self) -> None:
        """End everything in order; more than once does no harm."""
        with self._lock:
            self._stopped = True
        self.stop_clients()
        for service in (self._broker, self._store):
            if service is not None:
                service.stop()
        (self.data_dir / _RUN_FILE).unlink(missing_ok=True)
        if self._folder_lock is not None:
            self._folder_lock.release()

    def check(self) -> None:
        """Raises ServiceError if a process under our care was given up. To be asked now and then."""
        if self._failure is not None:
            raise self._failure

    def broker_memory(self) -> BrokerMemory | None:
        """What the embedded broker holds and how long it may go on; None if that is not known."""
        return self._memory.look() if self._memory is not None else None

    def _start_services(self) -> None:
        if self._store is not None:
            self._store.start()
        if self._broker is not None:
            self._broker.start()
        if self._memory is not None:
            self._memory.begin()

    def _find_addresses(self) -> Addresses:
        kafka, clickhouse = self._settings.kafka, self._settings.clickhouse
        servers = self._broker.bootstrap_servers if self._broker is not None else kafka.bootstrap_servers
        if self._store is None:
            return Addresses(servers, clickhouse.url, clickhouse.user, clickhouse.password.get_secret_value())
        return Addresses(servers, self._store.url, self._store.user, self._store.password)

    def _watch(self, child: Child) -> None:
        child.given_up = self._on_failure

    def _on_failure(self, error: ServiceError) -> None:
        self._failure = self._failure or error

    def _on_broker_lost(self) -> None:
        log.warning("the embedded broker is gone with everything in it")
        if self._broker_lost is not None:
            self._broker_lost()

    def _on_broker_back(self) -> None:
        if self._memory is not None:
            self._memory.begin()
        if self._broker_back is not None:
            self._broker_back(self.addresses)

    def _write_run_file(self) -> None:
        """For other commands of the same user: where this run can be found."""
        file = self.data_dir / _RUN_FILE
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(self.addresses)))


def running_services(data_dir: Path) -> Addresses | None:
    """The addresses of the run that uses `data_dir` at this moment, None if there is none."""
    data_dir = data_dir.expanduser().absolute()
    try:
        lock = FolderLock(data_dir / "lock", what="")
    except ServiceError:
        try:
            return Addresses(**json.loads((data_dir / _RUN_FILE).read_text()))
        except (OSError, ValueError, TypeError):  # it is just starting or ending
            return None
    except OSError:
        return None
    lock.release()
    return None
