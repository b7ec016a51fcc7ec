"""Reading the log beside Faust: snapshots, the device registry, and what lies at an offset.

These readers assign their partitions themselves (no group, nothing to rebalance) and read to a known end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pearlstream.fold import Record

POLL_MS = 20
MAX_FETCH_BYTES = 8 << 20


@asynccontextmanager
async def log_reader(bootstrap: str, *, max_wait_ms: int = POLL_MS) -> AsyncIterator[Any]:
    """A consumer outside any group; raises KafkaConnectionError if no broker answers.

    `max_wait_ms`: how long the broker may hold back an empty fetch; closing waits for the fetch under way.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=max_wait_ms,
        max_partition_fetch_bytes=MAX_FETCH_BYTES,
        client_id="pearlstream-reader",
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


def as_record(message: Any) -> Record:
    """A record as folds see it, from aiokafka's or Faust's message."""
    return Record(message.offset, message.key, message.value, tuple(message.headers or ()), 0)


async def read_tails(
    consumer: Any, topic: str, partitions: Iterable[int], last: int | None = None
) -> dict[int, list[Record]]:
    """The records of some partitions up to their present end; only about the `last` offsets of each if given."""
    tps = [TopicPartition(topic, partition) for partition in partitions]
    consumer.assign(tps)
    begins = await consumer.beginning_offsets(tps)
    ends = await consumer.end_offsets(tps) if last is not None else {}
    for tp in tps:
        consumer.seek(tp, begins[tp] if last is None else max(begins[tp], ends[tp] - last))
    found: dict[int, list[Record]] = {tp.partition: [] for tp in tps}
    async for tp, messages in read_to_end(consumer, tps):
        found[tp.partition] += [as_record(message) for message in messages]
    return found


async def read_to_end(consumer: Any, tps: Iterable[Any]) -> AsyncIterator[tuple[Any, Sequence[Any]]]:
    """Messages from where the consumer stands to the end that each partition had when it was first fetched.

    The end is the high watermark of a fetch: some brokers answer the question for the latest offset with that of
    the last batch's first record.
    """
    ends: dict[Any, int] = {}
    unread = set(tps)
    while unread:
        batch = await consumer.getmany(*unread, timeout_ms=10 * POLL_MS if ends else POLL_MS)
        for tp, messages in batch.items():
            yield tp, messages
        for tp in list(unread):
            mark = consumer.highwater(tp)
            if mark is not None and await consumer.position(tp) >= ends.setdefault(tp, mark):
                unread.discard(tp)


async def first_offset_at(consumer: Any, topic: str, partition: int, offset: int) -> int | None:
    """The offset of the first record at or after `offset`, or None if there is none yet."""
    tp = TopicPartition(topic, partition)
    consumer.assign([tp])
    consumer.seek(tp, max(offset, (await consumer.beginning_offsets([tp]))[tp]))
    async for _, messages in read_to_end(consumer, [tp]):
        return int(messages[0].offset)
    return None


async def first_offsets(consumer: Any, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """The first offset that the log still holds, of each partition."""
    begins = await consumer.beginning_offsets([TopicPartition(topic, partition) for partition in partitions])
    return {tp.partition: offset for tp, offset in begins.items()}
