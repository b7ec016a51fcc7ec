"""Time for a live topic: a tick each second, from a clock that never steps."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType

from pearlstream.broker import PartitionReader
from pearlstream.catalogue import Catalogue
from pearlstream.fold import header
from pearlstream.frame import Tick
from pearlstream.registry import RegistryBook
from pearlstream.settings import Kafka
from producers.claim import TimeClaim
from producers.kafka_writer import KafkaClaimLog, KafkaWriter

TICK_MS = 1_000


@dataclass
class Ticker:
    """Drives time under a prefix from the monotonic clock, begun at the wall clock of the start.

    Use as a context: entering claims time (raises DriverConflict if somebody else drives it), leaving gives it up. The
    registry that ticks name is the newest when a tick is due.
    """

    kafka: Kafka
    catalogue: Catalogue
    writer: KafkaWriter
    _last_ms: int = 0
    _driver: str = field(init=False, default="")

    def __enter__(self) -> Ticker:
        self._began_ms, self._began_s = int(time.time() * 1000), time.monotonic()
        self._claims = KafkaClaimLog(self.kafka)
        self._claim = TimeClaim(self._claims, "worker")
        self._driver = self._claim.take()
        self._devices = PartitionReader(self.kafka, "devices")
        self._book = RegistryBook(self.catalogue.feeds)
        self.beat()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._claim.release(self._last_ms)
        self._devices.close()
        self._claims.close()

    def beat(self) -> None:
        """Write a tick if one is due. Raises DriverConflict if another driver has taken over."""
        now_ms = self._began_ms + round((time.monotonic() - self._began_s) * 1000)
        if now_ms - self._last_ms < TICK_MS:
            return
        self._claim.refresh(now_ms)
        self._book.read((one.value or b"", header(one.headers, "registry")) for one in self._devices.read())
        self.writer.send_tick(Tick(now_ms, self._driver, self._book.last.version))
        self._last_ms = now_ms
