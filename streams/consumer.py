"""Faust's consumer, made to resume from snapshots.

Faust resumes from the group's offset, drops records that it has read before, and waits up to 1.5 s for data.
Here the stages say where to resume; whether a record is news is theirs to judge; and data come after 50 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from pearlstream.logs import get_logger

log = get_logger(__name__)

FETCH_MAX_WAIT_MS = 50
"""How long the broker may hold back a fetch that finds nothing."""


class Owner(Protocol):
    """What the consumer needs of the app that it belongs to."""

    alone: bool
    """Take every partition, join no group."""

    def partitions_of(self, topic: str) -> int:
        """How many partitions a source topic has."""
        ...

    async def positions(self, assigned: set[TP]) -> Mapping[TP, int]:
        """From which offset each of the assigned partitions is to be read."""
        ...


class _Forgetful(dict[TP, int | None]):
    """Faust's note of what it has read. It drops whatever lies below, also after a seek back; so it forgets."""

    def __missing__(self, key: TP) -> None:
        return None

    def __setitem__(self, key: TP, value: int | None) -> None:
        del key, value

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Forget."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to the broker, with a shorter fetch; takes every partition if the worker is alone."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        return consumer

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit; a failure is only noted, because nothing resumes from the group's offsets.

        Never while the group is being formed anew: behind a request to join, the commit reaches the broker with the
        generation of before, the client then gives up its membership and joins again, all others have to follow, one
        of them commits meanwhile, and so on for ever.
        """
        consumer = self._ensure_consumer()
        if not cast(Owner, self.app).alone and joining(consumer):
            return False
        try:
            await consumer.commit({driver.ensure_aiokafka_TP(tp): offset for tp, offset in offsets.items()})
        except KafkaError as error:
            log.info("offsets were not committed", error=repr(error))
            return False
        return True

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics, or take all their partitions at once."""
        if cast(Owner, self.app).alone:
            await self.call_thread(self._take_all, set(topics))
        else:
            await super().subscribe(topics)

    async def _take_all(self, topics: set[str]) -> None:
        consumer = self._ensure_consumer()
        await consumer._client._wait_on_metadata(next(iter(topics)))
        owner = cast(Owner, self.app)
        tps = {TP(topic, n) for topic in topics for n in range(owner.partitions_of(topic))}
        consumer.assign([driver.ensure_aiokafka_TP(tp) for tp in tps])
        self.app.on_rebalance_start()
        # As a task, because Faust's side of an assignment may wait for `subscribe` to return.
        self.add_future(self.on_partitions_assigned(tps, self.app.consumer_generation_id))


def joining(consumer: Any) -> bool:
    """Whether a member of a group has to join it again, or is about to (aiokafka has no public word for it)."""
    coordinator, subscription = consumer._coordinator, consumer._subscription.subscription
    return bool(coordinator._performed_join_prepare or subscription is None or coordinator.need_rejoin(subscription))


class Consumer(driver.Consumer):
    """Seeks to where the stages want to resume; commits what they say is safe, and nothing else.

    Faust's own acknowledgements are not used: it steps over an unacknowledged offset at the head, and keeps
    every message in memory until then.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _Forgetful()
        self.safe: dict[TP, int] = {}
        """Offsets to commit: everything below is covered by a snapshot."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every assigned partition to where its stage resumes; Faust calls this after each rebalance."""
        positions = await cast(Owner, self.app).positions(self.assignment())
        await self.seek_wait(positions)
        return positions

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit the offsets that snapshots cover."""
        del topics
        assigned = self.assignment()
        offsets = {
            tp: offset
            for tp, offset in self.safe.items()
            if tp in assigned and offset > (self._committed_offset[tp] or 0)
        }
        if not offsets:
            return False
        return bool(await self._commit_offsets(offsets, start_new_transaction=start_new_transaction))

    async def verify_all_partitions_active(self) -> None:
        """Leave this to our stuck detector: Faust's complains when offsets are not committed every few minutes."""

    async def perform_seek(self) -> None:
        """Seek, without taking over what was sought as committed."""
        await self.seek_to_committed()


class Transport(driver.Transport):
    """Faust's Kafka transport with the consumer above."""

    Consumer = Consumer
