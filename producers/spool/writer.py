"""A writer whose records are on disk before they are anywhere else, and stay there until the broker has them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from pearlstream.logs import get_logger
from pearlstream.settings import Kafka, SpoolSettings
from producers.kafka_writer import Compression, KafkaWriter
from producers.spool.record import pack
from producers.spool.sender import Sender
from producers.spool.spool import Spool, SpoolError, SpoolFull
from producers.writer import Outgoing, Writer

log = get_logger(__name__)

FOREVER_S = 20 * 86_400.0
"""Records are in the spool: there is no reason for the client to give them up, and each that it gave up would come
after those behind it."""
FULL_S = 30.0
"""That a spool is full is said again after so long."""
STOP_S = 10.0
"""How long a run that was stopped waits for a broker before it leaves the rest in the spool."""
LEAVE_S = 7.0


def open_spool(settings: SpoolSettings, folder: Path, meant_for: str) -> Spool:
    """The spool in a folder, as the settings say. Raises SpoolError."""
    return Spool(folder, limit_bytes=int(settings.max_mb * 1e6), sync_each=settings.sync_s == 0, meant_for=meant_for)


class SpooledWriter(Writer):
    """A writer by way of a spool: when a `send_...` returns, the record is on disk, and it will be sent.

    It needs no broker to begin with. All that it sends keeps its order, what an earlier run left in the spool comes
    first. The spool is its own from now on. `stop`: where to look whether waiting for room in a full spool is still
    wanted; None: it is not waited for, SpoolFull is raised at once.
    """

    def __init__(
        self,
        kafka: Kafka,
        spool: Spool,
        *,
        sync_s: float,
        stop: threading.Event | None = None,
        compression: Compression = "none",
        linger_ms: int = 5,
    ) -> None:
        super().__init__(kafka)
        self._spool, self._stop = spool, stop
        self._closed = threading.Event()
        self._full_told_s: float | None = None
        self._sender = Sender(
            spool, lambda: KafkaWriter(kafka, compression=compression, linger_ms=linger_ms, patience_s=FOREVER_S)
        )
        if sync_s:
            threading.Thread(target=self._sync_now_and_then, args=(sync_s,), name="spool-sync", daemon=True).start()

    def register(self, devices: Iterable[tuple[bytes, str]]) -> None:
        """See `Writer.register`. They do not go through the spool: nothing may be written that needs them before."""
        with closing(KafkaWriter(self.kafka)) as direct:
            direct.register(devices)

    def finish(self, stop: threading.Event) -> int:
        """See `Writer.finish`: what the broker has not acknowledged is kept in the spool."""
        until: float | None = None
        while not self._spool.wait_until_empty(0.2):
            self._sender.check()
            if stop.is_set():
                until = until or time.monotonic() + STOP_S
                if time.monotonic() > until:
                    break
        return self._spool.waiting

    def close(self) -> None:
        """See `Writer.close`."""
        self._closed.set()
        self._sender.close(LEAVE_S)
        self._spool.close()

    def _take(self, record: Outgoing) -> None:
        entry = pack(record)
        while True:
            self._sender.check()
            try:
                self._spool.append(entry)
            except SpoolFull as full:
                if self._stop is None or self._stop.is_set():
                    raise
                self._tell_full(full)
                self._spool.wait_for_room(1.0)
            else:
                self._full_told_s = None
                return

    def _tell_full(self, full: SpoolFull) -> None:
        now = time.monotonic()
        if self._full_told_s is None or now - self._full_told_s > FULL_S:
            self._full_told_s = now
            log.warning("production waits for room in the spool", why=full.message, remedy=full.remedy)

    def _sync_now_and_then(self, sync_s: float) -> None:
        while not self._closed.wait(sync_s):
            try:
                self._spool.sync()
            except SpoolError as error:
                self._sender.fail(error)
                return
