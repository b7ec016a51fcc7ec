"""Puts frames, ticks, registry records and labels on Kafka, and knows what has been acknowledged.

Every send is watched: the first that fails stops the writer, and its error says what was not acknowledged. What
waits for acknowledgement is bounded in bytes; `send` waits when the bound is reached.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Literal

from pearlstream.broker import client_options, reaching
from pearlstream.errors import ServiceError
from pearlstream.settings import Kafka
from pearlstream.topics import topic_name
from producers.writer import DEVICES, FRAMES, LABELS, Outgoing, Writer

Compression = Literal["none", "lz4", "zstd"]
"""lz4 costs next to nothing and takes 0.4 of the room, zstd 0.3; but readers on aiokafka (Faust) understand them only
with cramjam installed, and gzip, which all understand, costs five times the rest of the producer. Hence none.
"""
IN_FLIGHT_BYTES = 48 << 20
"""Values that may wait for acknowledgement."""
BATCH_BYTES = 256 << 10
"""Records of one partition that go together: far below the topic's `max.message.bytes`."""
ACK_TIMEOUT_S = 120.0
"""A record that is not acknowledged within this time has failed."""


class KafkaWriter(Writer):
    """One idempotent producer with `acks=all` on the topics of a prefix.

    `patience_s`: how long a record may wait for its acknowledgement; it is sent again all the while, in its order.
    """

    def __init__(
        self,
        kafka: Kafka,
        *,
        compression: Compression = "none",
        linger_ms: int = 5,
        patience_s: float = ACK_TIMEOUT_S,
    ) -> None:
        from kafka import KafkaProducer  # slow to import

        super().__init__(kafka)
        self._topics = {role: topic_name(kafka.prefix, role) for role in (FRAMES, DEVICES, LABELS)}
        self._patience_s = patience_s
        self._state = threading.Condition()
        self._waiting_bytes = 0
        self._waiting = 0
        self._failure: tuple[str, BaseException] | None = None
        with reaching(kafka):
            self._producer = KafkaProducer(
                **client_options(kafka, "pearlstream-writer"),
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                compression_type=None if compression == "none" else compression,
                linger_ms=linger_ms,
                batch_size=BATCH_BYTES,
                max_request_size=8 << 20,
                delivery_timeout_ms=int(patience_s * 1000),
            )

    def register(self, devices: Iterable[tuple[bytes, str]]) -> None:
        """See `Writer.register`."""
        for value, version in devices:
            self.send(Outgoing(DEVICES, None, value, (("registry", version.encode()),), 0))
        self.flush()

    def finish(self, stop: threading.Event) -> int:
        """See `Writer.finish`: this one keeps nothing, so it waits in any case."""
        del stop
        self.flush()
        return 0

    def check(self) -> None:
        """Raises ServiceError, from what Kafka said, if a record was refused."""
        with self._state:
            self._raise_failure()

    def flush(self, timeout_s: float = ACK_TIMEOUT_S) -> None:
        """Wait until everything is acknowledged. Raises ServiceError naming what is not."""
        until = time.monotonic() + timeout_s
        with reaching(self.kafka):
            self._producer.flush(timeout=timeout_s)
        with self._state:
            self._state.wait_for(lambda: self._failure or not self._waiting, until - time.monotonic())
            self._raise_failure()
            if self._waiting:
                what = f"{self._waiting} records are not acknowledged after {timeout_s:.0f} s"
                raise ServiceError(what, remedy=REMEDY)

    def close(self) -> None:
        """Close the connection without waiting for anything; call `flush` before.

        What is not acknowledged is given up without a word: `flush` and `send` have said it.
        """
        from kafka.errors import KafkaError

        with suppress(KafkaError):
            self._producer.close(timeout=5)

    def _take(self, record: Outgoing) -> None:
        self.post(record)

    def post(self, record: Outgoing, acknowledged: Callable[[], None] | None = None) -> None:
        """Send a record; `acknowledged` is called from another thread once it is."""
        size = len(record.value)
        with self._state:
            self._state.wait_for(lambda: self._failure or self._waiting_bytes < IN_FLIGHT_BYTES, self._patience_s)
            self._raise_failure()
            self._waiting += 1
            self._waiting_bytes += size
        topic = self._topics[record.role]
        with reaching(self.kafka):
            future = self._producer.send(
                topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                partition=record.partition,
            )
        what = f"{topic}[{record.partition}]"
        future.add_callback(lambda _metadata: self._done(size, acknowledged))
        future.add_errback(lambda error: self._failed(what, size, error))

    def _done(self, size: int, tell: Callable[[], None] | None = None) -> None:
        if tell is not None:
            tell()
        with self._state:
            self._waiting -= 1
            self._waiting_bytes -= size
            self._state.notify_all()

    def _failed(self, what: str, size: int, error: BaseException) -> None:
        with self._state:
            self._failure = self._failure or (what, error)
        self._done(size)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            what, error = self._failure
            raise ServiceError(
                f"a record for {what} was not acknowledged ({type(error).__name__} {error}), "
                f"and {self._waiting} more were waiting",
                remedy=REMEDY,
            ) from error


REMEDY = "see that the broker is up, then start again: nothing unacknowledged counts as sent"


class KafkaClaimLog:
    """The topic `state.clock` as a log of claims."""

    TAIL = 1_000
    """Records read when claiming: claims come every few seconds, so this is half an hour of them."""

    def __init__(self, kafka: Kafka) -> None:
        from kafka import KafkaProducer

        from pearlstream.broker import PartitionReader

        self._kafka = kafka
        self._topic = topic_name(kafka.prefix, "state.clock")
        end = PartitionReader(kafka, "state.clock")
        start = max(0, end.end() - self.TAIL)
        end.close()
        self._reader = PartitionReader(kafka, "state.clock", start=start)
        with reaching(kafka):
            options: dict[str, Any] = client_options(kafka, "pearlstream-claim")
            self._producer = KafkaProducer(**options, acks="all", allow_auto_create_topics=False)

    def append(self, key: bytes, value: bytes) -> int:
        """Write a record and wait for its offset."""
        with reaching(self._kafka):
            future = self._producer.send(self._topic, value=value, key=key, partition=0)
            return int(future.get(timeout=30).offset)

    def read(self) -> list[Any]:
        """Records since the last call."""
        return list(self._reader.read())

    def close(self) -> None:
        """Give the connections back."""
        from kafka.errors import KafkaError

        self._reader.close()
        with suppress(KafkaError):
            self._producer.close(timeout=5)
