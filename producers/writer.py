"""What a producer writes: frames, ticks, labels, registry records, whichever way they take to the broker."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

from pearlstream.errors import ServiceError
from pearlstream.fold import Headers
from pearlstream.frame import Tick, expected_partition, tick_record
from pearlstream.settings import Kafka

MAX_RECORD_BYTES = 1_000_000
"""A record larger than this would be refused by the topic; frames are cut at 900 kB."""
FRAMES, DEVICES, LABELS = "readings", "devices", "truth.labels"
"""The roles of the topics that producers write to."""


class Outgoing(NamedTuple):
    """A record on its way to a partition of the topic that has this role."""

    role: str
    key: bytes | None
    value: bytes
    headers: Headers
    partition: int


class Writer(ABC):
    """Puts records on the topics of a prefix, in their order. Use from one thread.

    Every method raises ServiceError if records cannot be taken, or if an earlier one could not be sent.
    """

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka

    def send_frame(self, city: str, value: bytes, headers: Headers) -> None:
        """Send a frame of a city to the partition that its key belongs to."""
        key = city.encode()
        self.send(Outgoing(FRAMES, key, value, headers, expected_partition(key, self.kafka.partitions)))

    def send_record(self, key: bytes | None, value: bytes, headers: Headers, partition: int | None = None) -> None:
        """Send a record of whatever kind to `readings`: to a partition, or to that of its key (without one: 0)."""
        if partition is None:
            partition = expected_partition(key, self.kafka.partitions) if key is not None else 0
        self.send(Outgoing(FRAMES, key, value, headers, partition))

    def send_tick(self, tick: Tick) -> None:
        """Send a tick to every partition of `readings`."""
        key, value, headers = tick_record(tick, self.kafka.seal)
        for partition in range(self.kafka.partitions):
            self.send(Outgoing(FRAMES, key, value, headers, partition))

    def send_labels(self, values: Iterable[bytes]) -> None:
        """Send truth labels."""
        for value in values:
            self.send(Outgoing(LABELS, None, value, (), 0))

    def send(self, record: Outgoing) -> None:
        """Send a record."""
        if len(record.value) > MAX_RECORD_BYTES:
            raise ServiceError(
                f"a record of {len(record.value)} bytes for {record.role} is above the limit of {MAX_RECORD_BYTES}",
                remedy="frame fewer rows (framing.rows of the feed)",
            )
        self._take(record)

    @abstractmethod
    def _take(self, record: Outgoing) -> None:
        """Take a record of a fitting size; wait if there is no room for it."""

    @abstractmethod
    def register(self, devices: Iterable[tuple[bytes, str]]) -> None:
        """Send registry records, each with the version that it completes, and wait until all are acknowledged."""

    @abstractmethod
    def finish(self, stop: threading.Event) -> int:
        """Wait until all is acknowledged, or until there is no use in waiting once `stop` is set.

        Returns how many records are kept for the next time; what is neither acknowledged nor kept raises ServiceError.
        """

    @abstractmethod
    def close(self) -> None:
        """Give everything back without waiting; call `finish` before."""
