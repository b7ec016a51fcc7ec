"""Where the log ends, as a fetch tells it.

The embedded broker answers the plain question for the latest offset with the *first* offset of the last batch,
plus one: records that were sent together are left out. The high watermark that comes with a fetch is right.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from pearlstream.broker import client_options, reaching
from pearlstream.errors import ServiceError
from pearlstream.settings import Kafka
from pearlstream.topics import ROLES, topic_name

TIMEOUT_S = 10.0
ATTEMPTS = 20


class LogEnds:
    """Asks one broker. Use from one thread; `close` gives the connection back. Methods raise ServiceError."""

    def __init__(self, kafka: Kafka) -> None:
        from kafka import KafkaConsumer  # slow to import

        self._kafka = kafka
        with reaching(kafka):
            self._consumer: Any = KafkaConsumer(
                **client_options(kafka, "pearlstream-ends"),
                group_id=None,
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                fetch_max_wait_ms=20,
                enable_incremental_fetch_sessions=False,  # such a session leaves out partitions that did not change
                max_partition_fetch_bytes=64 << 10,
            )

    def ends(self, roles: Iterable[str]) -> dict[str, dict[int, int]]:
        """The offset that the next record will get, by topic and partition."""
        from kafka import TopicPartition

        spots = {
            TopicPartition(topic_name(self._kafka.prefix, role), partition): (role, partition)
            for role in roles
            for partition in range(self._kafka.partitions if ROLES[role].partitioned else 1)
        }
        with reaching(self._kafka):
            self._consumer.unsubscribe()  # forgets the watermarks of the last time
            self._consumer.assign(list(spots))
            for at, offset in self._about(list(spots)).items():
                self._consumer.seek(at, offset)
            marks = self._marks(list(spots))
        found: dict[str, dict[int, int]] = {role: {} for role, _ in spots.values()}
        for at, (role, partition) in spots.items():
            found[role][partition] = marks[at]
        return found

    def _about(self, spots: list[Any]) -> dict[Any, int]:
        """The broker's own answer. The client answers in part, with a KeyError, while it learns of topics."""
        for _ in range(ATTEMPTS):
            try:
                found: dict[Any, int] = self._consumer.end_offsets(spots)
                return found
            except KeyError:
                time.sleep(0.1)
        raise ServiceError("the broker does not say where all of its topics end")

    def _marks(self, spots: list[Any]) -> dict[Any, int]:
        until = time.monotonic() + TIMEOUT_S
        while True:
            self._consumer.poll(timeout_ms=50, max_records=1_000_000)
            marks = {at: self._consumer.highwater(at) for at in spots}
            if all(mark is not None for mark in marks.values()):
                return marks
            if time.monotonic() > until:
                raise ServiceError(f"the broker does not say within {TIMEOUT_S:.0f} s where its topics end")

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()
