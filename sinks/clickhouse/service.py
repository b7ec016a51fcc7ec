"""The sink as a process: lock, signals, health page, status file."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.errors import CatalogueError, PearlstreamError, ServiceError
from pearlstream.logs import get_logger
from pearlstream.settings import Settings
from pearlstream.store import Store, StoreError, Trouble
from sinks.clickhouse.breaker import Breaker
from sinks.clickhouse.health import Health
from sinks.clickhouse.mend.recount import recount
from sinks.clickhouse.migrate import check
from sinks.clickhouse.status import report, write_status
from sinks.clickhouse.tape import KafkaTape, Tape
from sinks.clickhouse.writer import EpochChanged, Sink, TopicsMissing

log = get_logger(__name__)

T = TypeVar("T")
"""What comes of something tried patiently."""

STATUS_EACH_S = 1.0


class SinkRunning(PearlstreamError):
    """Another sink writes this database already."""

    exit_code = 78


@contextmanager
def only_one(folder: Path, database: str) -> Iterator[None]:
    """Hold the lock file of a database. Raises SinkRunning if another process of this machine does, ServiceError."""
    path = folder / f"sink-{database}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+")
    except OSError as error:
        raise ServiceError(
            f"the lock file {path} cannot be written: {error}", remedy="set PEARLSTREAM_EMBEDDED__DATA_DIR"
        ) from None
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise SinkRunning(
                f"a sink (process {holder}) writes the database {database} already",
                remedy="stop it first, or give this one another PEARLSTREAM_CLICKHOUSE__DATABASE",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def run_sink(settings: Settings, *, status_file: Path | None = None, health_port: int | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises PearlstreamError."""
    catalogue = load_catalogue(settings.catalogue.overlays)
    if status_file is not None:
        status_file.parent.mkdir(parents=True, exist_ok=True)
    with only_one(settings.embedded.data_dir, settings.clickhouse.database):
        store = Store(settings.clickhouse)
        stopped = _stop_on_signals()
        _patiently(lambda: check(store, catalogue), stopped)
        tape = _patiently(lambda: KafkaTape(settings.kafka), stopped)
        if tape is None:
            return
        sink = Sink(tape, store, catalogue, flush_s=settings.sink.flush_s)
        port = settings.sink.health_port if health_port is None else health_port
        health = Health(sink.metrics.registry, port, settings.sink.health_host)
        log.info("health page", url=f"http://127.0.0.1:{health.port}")
        try:
            _patiently(lambda: _recount(store, catalogue, tape), stopped)
            _loop(sink, health, stopped, status_file)
        finally:
            health.close()
            tape.close()
            store.close()


def _recount(store: Store, catalogue: Catalogue, tape: Tape) -> None:
    """Bring back rows that the journal calls done and a power loss took. Raises StoreError, ServiceError."""
    try:
        found = recount(store, catalogue, tape)
    except CatalogueError as error:
        log.error("the last cuts cannot be counted with this catalogue", error=str(error))
        return
    if found.short:
        remedy = "run `pearlstream store repair`, which makes the panes anew, too"
        log.warning("rows that were noted as done were gone", rows=found.missing, again=found.inserted, remedy=remedy)
    for cut in found.lost:
        log.error("the broker no longer has the records of a cut whose rows are gone", cut=cut)


def _loop(sink: Sink, health: Health, stopped: list[int], status_file: Path | None) -> None:
    _patiently(sink.start, stopped)
    told, broker = 0.0, Breaker()
    while not stopped:
        try:
            sink.step()
            broker.succeeded()
        except EpochChanged as error:
            log.warning(str(error))
            _patiently(sink.start, stopped)
        except StoreError:
            raise
        except ServiceError as error:  # the broker is away: what has been read stays, and is written meanwhile
            _wait(StoreError(error.message, trouble=Trouble.AWAY), broker, stopped)
        health.turned()
        if time.monotonic() - told >= STATUS_EACH_S:
            told = time.monotonic()
            _tell(sink, health, status_file)
    sink.finish()
    _tell(sink, health, status_file)
    log.info("sink stopped", rows=sink.counts.rows, cuts=sink.counts.cuts)


def _tell(sink: Sink, health: Health, status_file: Path | None) -> None:
    status = {**report(sink), "health_port": health.port}
    health.turned(status)
    if status_file is not None:
        write_status(status_file, status)


def _patiently(what: Callable[[], T], stopped: list[int]) -> T | None:
    """Do something that needs store and broker, however long they are away; None if we are to stop before it works.

    Raises whatever waiting does not cure: a schema that is not the catalogue's, a refused password.
    """
    breaker = Breaker()
    while not stopped:
        try:
            return what()
        except StoreError as error:
            if error.trouble not in (Trouble.AWAY, Trouble.FULL, Trouble.MEMORY):
                raise
            _wait(error, breaker, stopped)
        except (ServiceError, TopicsMissing) as error:
            _wait(StoreError(error.message, trouble=Trouble.AWAY), breaker, stopped)
    return None


def _wait(error: StoreError, breaker: Breaker, stopped: list[int]) -> None:
    wait = breaker.failed(error, time.monotonic())
    log.warning("waiting for store and broker", error=error.message, again_in_s=round(wait, 1))
    until = time.monotonic() + wait
    while not stopped and time.monotonic() < until:
        time.sleep(0.05)


def _stop_on_signals() -> list[int]:
    """A list that gets the signal's number once somebody asks us to stop."""
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stopped.append(received))
    return stopped
