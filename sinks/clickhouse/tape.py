"""The tape: where the sink reads its topics. One over Kafka; the tests have one in memory."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pearlstream.broker import reaching, reader_options
from pearlstream.fold import Record
from pearlstream.settings import Kafka
from pearlstream.topics import topic_name

FETCH_BYTES = 32 << 20
PARTITION_BYTES = 9 << 20
POLL_RECORDS = 2000
PROBE_S = 10.0


class Spot(NamedTuple):
    """A partition of a topic, by role."""

    role: str
    partition: int


class Tape(Protocol):
    """What the sink needs of a broker. Methods raise ServiceError if it does not answer."""

    def topic_ids(self, roles: Sequence[str]) -> dict[str, str]:
        """Ids of the topics that exist, by role."""
        ...

    def partitions(self, role: str) -> list[int]:
        """The partitions of a topic."""
        ...

    def begins(self, spots: Iterable[Spot]) -> dict[Spot, int]:
        """The first offset that is still there."""
        ...

    def ends(self, spots: Iterable[Spot]) -> dict[Spot, int]:
        """The offset that the next record will get."""
        ...

    def start(self, at: Mapping[Spot, int]) -> None:
        """Read these partitions, and no others, from these offsets on."""
        ...

    def poll(self, timeout_s: float) -> dict[Spot, tuple[list[Record], int]]:
        """Records that came, and the offset to be read next, by partition; waits at most so long."""
        ...

    def pause(self, spots: Iterable[Spot]) -> None:
        """Read no further there, until `resume`."""
        ...

    def resume(self, spots: Iterable[Spot]) -> None:
        """Read on."""
        ...

    def fence(self, at: Mapping[Spot, int]) -> None:
        """Fail if these partitions belong to somebody else by now. With assigned partitions nobody can tell."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


class KafkaTape:
    """Reads by assignment: one sink takes all partitions, no group, no join, no rebalance.

    The seam for several sinks is `start` (whoever has a group calls it from its rebalance listener) and `fence`
    (a commit of the group, which fails for a stale owner).
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        with reaching(kafka):
            self._consumer = self._make_consumer()
        self._spots: dict[Any, Spot] = {}

    def _make_consumer(self) -> Any:
        from kafka import KafkaConsumer  # slow to import

        return KafkaConsumer(
            **reader_options(self._kafka, "pearlstream-sink"),
            group_id=None,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_BYTES,
            max_poll_records=POLL_RECORDS,
        )

    def topic_ids(self, roles: Sequence[str]) -> dict[str, str]:
        from pearlstream.broker import admin_client, topic_ids

        with admin_client(self._kafka) as admin:
            return topic_ids(admin, self._kafka, roles)

    def partitions(self, role: str) -> list[int]:
        with reaching(self._kafka):
            return sorted(self._consumer.partitions_for_topic(topic_name(self._kafka.prefix, role)) or ())

    def begins(self, spots: Iterable[Spot]) -> dict[Spot, int]:
        with reaching(self._kafka):
            found = self._consumer.beginning_offsets([self._at(spot) for spot in spots])
        return {self._spot(at): offset for at, offset in found.items()}

    def ends(self, spots: Iterable[Spot]) -> dict[Spot, int]:
        """The embedded broker answers "the latest offset" with the beginning of the last batch (and one), so a
        fetch has the last word: its high-water mark is right with every broker."""
        wanted = {self._at(spot): spot for spot in spots}
        with reaching(self._kafka):
            for topic in {at.topic for at in wanted}:  # the client answers in part for topics it does not know yet
                self._consumer.partitions_for_topic(topic)
            said = self._consumer.end_offsets(list(wanted))
            marks = {at: self._consumer.highwater(at) for at, spot in wanted.items() if at in self._spots}
            unread = [at for at in wanted if at not in marks and said[at] > 0]
            if unread:
                marks |= self._probed({at: said[at] - 1 for at in unread})
        return {spot: max(said[at], marks.get(at) or 0) for at, spot in wanted.items()}

    def _probed(self, starts: Mapping[Any, int]) -> dict[Any, int]:
        """High-water marks of partitions that this tape does not read, from a fetch near their ends."""
        probe = self._make_consumer()
        try:
            probe.assign(list(starts))
            for at, offset in starts.items():
                probe.seek(at, offset)
            until = time.monotonic() + PROBE_S
            while any(probe.highwater(at) is None for at in starts) and time.monotonic() < until:
                probe.poll(timeout_ms=100)
            return {at: probe.highwater(at) or 0 for at in starts}
        finally:
            probe.close()

    def start(self, at: Mapping[Spot, int]) -> None:
        self._spots = {self._at(spot): spot for spot in at}
        with reaching(self._kafka):
            self._consumer.assign(list(self._spots))
            for spot, offset in at.items():
                self._consumer.seek(self._at(spot), offset)

    def poll(self, timeout_s: float) -> dict[Spot, tuple[list[Record], int]]:
        with reaching(self._kafka):
            batches = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        return {
            self._spots[at]: (
                [Record(r.offset, r.key, r.value, r.headers or (), r.timestamp) for r in records],
                records[-1].offset + 1,
            )
            for at, records in batches.items()
            if at in self._spots and records
        }

    def pause(self, spots: Iterable[Spot]) -> None:
        self._consumer.pause(*[self._at(spot) for spot in spots])

    def resume(self, spots: Iterable[Spot]) -> None:
        self._consumer.resume(*[self._at(spot) for spot in spots])

    def fence(self, at: Mapping[Spot, int]) -> None:
        del at

    def close(self) -> None:
        self._consumer.close()

    def _at(self, spot: Spot) -> Any:
        from kafka import TopicPartition

        return TopicPartition(topic_name(self._kafka.prefix, spot.role), spot.partition)

    def _spot(self, at: Any) -> Spot:
        return Spot(at.topic.removeprefix(self._kafka.prefix), at.partition)
