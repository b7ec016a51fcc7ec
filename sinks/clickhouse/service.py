"""The sink as a process: lock, signals, health page, status file."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.errors import PearlstreamError, ServiceError
from pearlstream.logs import get_logger
from pearlstream.settings import Settings
from pearlstream.store import Store, StoreError, Trouble
from sinks.clickhouse.breaker import Breaker
from sinks.clickhouse.health import Health
from sinks.clickhouse.migrate import check
from sinks.clickhouse.status import report, write_status
from sinks.clickhouse.tape import KafkaTape
from sinks.clickhouse.writer import EpochChanged, Sink

log = get_logger(__name__)

STATUS_EACH_S = 1.0


class SinkRunning(PearlstreamError):
    """Another sink writes this database already."""

    exit_code = 78


@contextmanager
def only_one(folder: Path, database: str) -> Iterator[None]:
    """Hold the lock file of a database. Raises SinkRunning if another process of this machine does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sink-{database}.lock"
    with path.open("a+") as file:
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
    with only_one(settings.embedded.data_dir, settings.clickhouse.database):
        store = Store(settings.clickhouse)
        stopped = _stop_on_signals()
        _wait_until_migrated(store, catalogue, stopped)
        if stopped:
            return
        tape = KafkaTape(settings.kafka)
        sink = Sink(tape, store, catalogue, flush_s=settings.sink.flush_s)
        health = Health(sink.metrics.registry, settings.sink.health_port if health_port is None else health_port)
        log.info("health page", url=f"http://127.0.0.1:{health.port}")
        try:
            _loop(sink, health, stopped, status_file)
        finally:
            health.close()
            tape.close()
            store.close()


def _loop(sink: Sink, health: Health, stopped: list[int], status_file: Path | None) -> None:
    _start(sink, stopped)
    told = 0.0
    while not stopped:
        try:
            sink.step()
        except EpochChanged as error:
            log.warning(str(error))
            _start(sink, stopped)
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


def _start(sink: Sink, stopped: list[int]) -> None:
    """Start, however long store or broker are away."""
    breaker = Breaker()
    while not stopped:
        try:
            sink.start()
            return
        except StoreError as error:
            if error.trouble not in (Trouble.AWAY, Trouble.FULL, Trouble.MEMORY):
                raise
            _wait(error, breaker, stopped)


def _wait_until_migrated(store: Store, catalogue: Catalogue, stopped: list[int]) -> None:
    """Wait for the store. Raises StoreError with the remedy `store migrate` if the schema is not the catalogue's."""
    breaker = Breaker()
    while not stopped:
        try:
            check(store, catalogue)
            return
        except StoreError as error:
            if error.trouble not in (Trouble.AWAY, Trouble.FULL, Trouble.MEMORY):
                raise
            _wait(error, breaker, stopped)


def _wait(error: StoreError, breaker: Breaker, stopped: list[int]) -> None:
    wait = breaker.failed(error, time.monotonic())
    log.warning("the store is not there yet", error=str(error), again_in_s=round(wait, 1))
    until = time.monotonic() + wait
    while not stopped and time.monotonic() < until:
        time.sleep(0.05)


def _stop_on_signals() -> list[int]:
    """A list that gets the signal's number once somebody asks us to stop."""
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stopped.append(received))
    return stopped


__all__ = ["ServiceError", "SinkRunning", "only_one", "run_sink"]
