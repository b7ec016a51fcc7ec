"""The processes of a run, started in order, cared for, ended in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from deploy.demo.clients import (
    Life,
    Wanted,
    client_settings,
    health_port,
    page,
    page_spec,
    served_spec,
    simulator_spec,
)
from deploy.demo.folder import RunFolder
from deploy.demo.watch import Costs
from deploy.embedded.ports import choose_port
from deploy.embedded.supervisor import Addresses, Child, EmbeddedServices
from pearlstream.broker import admin_client, ensure_topics
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.logs import get_logger
from pearlstream.settings import Settings
from pearlstream.store import Store
from sinks.clickhouse.migrate import migrate

log = get_logger(__name__)

Tell = Callable[[str], None]
SERVED = ("sink", "worker")


class Pipeline:
    """Broker, store, sink, worker and simulator of one run; what is not ours (by the settings) is only used.

    `tell` is given a sentence whenever something happened that whoever watches should know. The broker's death
    begins a new *life*: the log is gone, so topics, database and scenario begin anew, and `life` is another one.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue, wanted: Wanted, folder: RunFolder, tell: Tell) -> None:
        self.folder = folder
        self.costs = Costs()
        self.life: Life | None = None
        self.simulator: Child | None = None
        self.address = ""
        """Where the page in the browser is; empty if there is none."""
        self._page: Child | None = None
        self._shown = False
        self._settings, self._catalogue, self._wanted, self._tell = settings, catalogue, wanted, tell
        embedded = settings.embedded.model_copy(update={"data_dir": folder.path})
        self._services = EmbeddedServices(
            settings.model_copy(update={"embedded": embedded}),
            broker_lost=self._broker_lost,
            broker_back=self._broker_back,
        )
        self._served: dict[str, Child] = {}
        self._restarts: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        self._turn = threading.Lock()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    # --- start and stop -------------------------------------------------------------------------------

    def start_services(self) -> Addresses:
        """Start broker and store as far as they are ours. Raises ServiceError."""
        return self._services.start()

    def begin(self, number: int = 1) -> None:
        """Begin a life: topics, tables, sink and worker; then the simulator. Raises ServiceError."""
        life = self._new_life(number)
        with ThreadPoolExecutor(2) as both:
            tables = both.submit(migrate, Store(life.settings.clickhouse), self._catalogue)
            with admin_client(life.settings.kafka) as admin:
                ensure_topics(admin, life.settings.kafka)
            worker = both.submit(self._serve, "worker", life)
            tables.result()
            self._serve("sink", life)
            worker.result()
        with self._turn:
            self.life = life

    def play(self) -> None:
        """Start the simulator of the present life."""
        assert self.life is not None
        simulator = Child(simulator_spec(self._wanted, self.life, self.folder))
        simulator.start()
        self.simulator = simulator

    def show(self) -> None:
        """Start the page in the browser, and do not wait for it: whatever becomes of it, the run goes on."""
        assert self.life is not None
        port = _port_of_page(self._settings.live.port)
        self.address = f"{page(port)}/"
        self._page = child = Child(page_spec(self.life, port, self.folder))
        threading.Thread(target=self._start_page, args=(child,), name="start-page", daemon=True).start()

    def _start_page(self, child: Child) -> None:
        try:
            child.start()
        except ServiceError as error:
            if child is not self._page:
                return  # it was ended before it had begun
            log.warning("there is no page", error=error.message)
            self.address = ""
            self._tell(f"the page in the browser did not start; its log is {child.spec.log_file}")
        else:
            self._tell(f"the live view in the browser: {self.address}")

    def stop(self) -> None:
        """End everything in order; more than once does no harm."""
        self.stop_simulator()
        self._stop_page()
        self._services.stop()

    def stop_simulator(self) -> None:
        """Ask the simulator for a clean end (what gateways hold is sent, with a last tick) and wait for it."""
        if self.simulator is not None:
            self.simulator.stop()

    def _stop_page(self) -> None:
        child, self._page = self._page, None
        if child is not None:
            child.stop()

    # --- watching -------------------------------------------------------------------------------------

    @property
    def played(self) -> bool:
        """Whether the simulator of the present life has ended."""
        simulator = self.simulator
        return simulator is not None and not simulator.alive

    @property
    def restarts(self) -> dict[str, int]:
        """How often each process died and was started again."""
        return {child.spec.name: child.restarts for child in self._services.children}

    @property
    def memory_mb(self) -> float:
        """What all our processes hold at this moment."""
        return sum(child.rss_bytes() or 0 for child in self._everybody) / 1e6

    @property
    def _everybody(self) -> list[Child]:
        return [*self._services.children, *(child for child in (self.simulator, self._page) if child is not None)]

    def check(self) -> None:
        """Look after everybody; to be called about once a second.

        Raises ServiceError if a process was given up, if the simulator failed, or if the broker is full.
        """
        self._services.check()
        simulator = self.simulator
        if simulator is not None and not simulator.alive and simulator.exit_code:
            raise ServiceError(
                f"the simulator ended with exit code {simulator.exit_code}\n{simulator.log_tail()}",
                remedy=f"its log is {simulator.spec.log_file}",
            )
        self._note_children()
        memory = self._services.broker_memory()
        if memory is not None and memory.full:
            raise ServiceError(
                f"the embedded broker holds {memory.rss_bytes >> 20} MiB, which is all it may",
                remedy="play less (--duration, --rate), or set PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS to a Kafka",
            )

    def _note_children(self) -> None:
        everybody = self._everybody
        pids = {child.spec.name: pid for child in everybody if (pid := child.pid) is not None}
        for child in everybody:
            self.costs.note(child.spec.name, child.pid)
            if child not in (self.simulator, self._page):
                self._note_deaths(child, pids.get(child.spec.name))
        if pids != self._pids:
            self._pids = pids
            self.folder.note_processes(pids)

    def _note_deaths(self, child: Child, pid: int | None) -> None:
        """Tell of a death as soon as the process is another one, and of the return when it is ready."""
        name = child.spec.name
        before = self._pids.get(name)
        if before is not None and pid != before:
            self._tell(f"{name} (process {before}) died; it is started again")
        if child.restarts > self._restarts.get(name, 0):
            self._restarts[name] = child.restarts
            self._tell(f"{name} is back (restart {child.restarts}) and goes on where it stopped")

    # --- lives ----------------------------------------------------------------------------------------

    def _new_life(self, number: int) -> Life:
        settings, run = self._settings, self.folder.id
        ours = not settings.kafka.bootstrap_servers
        # On somebody's own broker the run keeps to topics of its own: nothing live is touched.
        prefix = settings.kafka.prefix if ours else f"{settings.kafka.prefix}demo-{run}-{number}."
        database = f"{settings.clickhouse.database}_{run}"[:60] + (f"_{number}" if number > 1 else "")
        effective = client_settings(settings, self._services.addresses.environment(), prefix, database)
        pages = {name: page(health_port(getattr(settings, name).health_port, name)) for name in SERVED}
        return Life(number, effective, self.folder.ledger(number), pages)

    def _serve(self, name: str, life: Life) -> None:
        # On a broker of our own there is one worker: joining a group would only make its restarts wait.
        alone = ["--alone"] if name == "worker" and not self._settings.kafka.bootstrap_servers else []
        self._served[name] = self._services.run(served_spec(name, life, self.folder, *alone))

    def _broker_lost(self) -> None:
        self._tell("the broker died, and its log with it: a new run begins in a database of its own")
        self.stop_simulator()
        self.simulator = None
        self._shown = self._page is not None
        self._stop_page()
        self._services.stop_clients()

    def _broker_back(self, _: Addresses) -> None:
        number = self.life.number + 1 if self.life else 1
        self.begin(number)
        self.play()
        if self._shown:
            self.show()
        log.info("a new life of the broker has begun", number=number)


def _port_of_page(wanted: int) -> int:
    """The port that the settings name, any free one if it is taken: two demos may run side by side."""
    try:
        return choose_port(wanted, what="the page", setting="PEARLSTREAM_LIVE__PORT")
    except ServiceError as error:
        log.info("the page takes another port", reason=error.message)
        return choose_port(0, what="the page", setting="PEARLSTREAM_LIVE__PORT")
