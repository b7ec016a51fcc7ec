"""What Faust, aiokafka and the embedded broker do, as far as we rely on it or work around it.

When an upgrade turns one of these red, look at the work-around that it names; do not just delete the test.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from workers import Topics

from pearlstream.broker import admin_client, ensure_topics
from streams.consumer import FETCH_MAX_WAIT_MS, Consumer, ConsumerThread
from streams.logread import first_offset_at, log_reader, read_tails


@pytest.fixture
def topics(embedded_broker: str) -> Iterator[Topics]:
    """Topics on the embedded broker, whatever broker the other tests use."""
    made = Topics(embedded_broker)
    yield made
    made.producer.close()


@pytest.fixture
async def producer(topics: Topics) -> AsyncIterator[Any]:
    made = AIOKafkaProducer(bootstrap_servers=topics.kafka.bootstrap_servers, acks="all", linger_ms=50)
    await made.start()
    yield made
    await made.stop()


async def write_batch(producer: Any, topic: str, count: int) -> None:
    """Records in one batch, as a producer under load writes them."""
    futures = [await producer.send(topic, b"%d" % number, partition=0) for number in range(count)]
    await asyncio.gather(*futures)


async def test_upstream_tansu_answers_the_latest_offset_with_the_first_of_the_last_batch(
    topics: Topics, producer: Any
) -> None:
    """Why `read_to_end` takes the high watermark of a fetch for the end."""
    topic = topics.kafka.prefix + "readings"
    await write_batch(producer, topic, 7)
    tp = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=topics.kafka.bootstrap_servers, group_id=None)
    await consumer.start()
    try:
        consumer.assign([tp])
        consumer.seek(tp, 0)
        got = await consumer.getmany(tp, timeout_ms=5000)
        assert len(got[tp]) == 7
        assert consumer.highwater(tp) == 7
        assert (await consumer.end_offsets([tp]))[tp] < 7
    finally:
        await consumer.stop()


async def test_a_log_is_read_to_its_real_end(topics: Topics, producer: Any) -> None:
    topic = topics.kafka.prefix + "readings"
    await write_batch(producer, topic, 7)
    await write_batch(producer, topic, 5)
    async with log_reader(topics.kafka.bootstrap_servers) as reader:
        tails = await read_tails(reader, topic, [0, 1])
        assert [record.offset for record in tails[0]] == list(range(12))
        assert tails[1] == []
        last = await read_tails(reader, topic, [0, 1], last=1)
        assert last[0][-1].offset == 11
        assert len(last[0]) < 12
        assert await first_offset_at(reader, topic, 0, 5) == 5
        assert await first_offset_at(reader, topic, 0, 12) is None
        assert await first_offset_at(reader, topic, 1, 0) is None


def test_upstream_tansu_gives_a_topic_that_is_made_again_another_id(topics: Topics) -> None:
    """Why positions carry the topic id."""
    name = topics.kafka.prefix + "quarantine"
    with admin_client(topics.kafka) as admin:
        admin.delete_topics([name])
        assert ensure_topics(admin, topics.kafka)["quarantine"] != topics.ids["quarantine"]


def test_upstream_faust_waits_for_data_longer_than_we_like() -> None:
    """Why the consumer's thread is our own."""
    source = inspect.getsource(driver.AIOKafkaConsumerThread._create_worker_consumer)
    assert "fetch_max_wait_ms=1500" in source
    assert "_fetch_max_wait_ms" in inspect.getsource(AIOKafkaConsumer)
    assert FETCH_MAX_WAIT_MS == 50


def consumer_of(kind: type[Any]) -> Any:
    app = faust.App("pin", broker="kafka://127.0.0.1:1")
    made = kind(app.transport, callback=lambda m: None, on_partitions_revoked=print, on_partitions_assigned=print)
    app.topics._acking_topics.add("t")
    return made


async def test_upstream_faust_commits_past_offsets_that_were_never_acknowledged() -> None:
    """Why acknowledgements are not used, and the consumer commits what snapshots cover."""
    consumer = consumer_of(driver.Consumer)
    tp = TP("t", 0)
    consumer._committed_offset[tp] = 100
    consumer._acked[tp] = [101, 102]
    assert consumer._new_offset(tp) == 103
    fresh = TP("t", 1)
    consumer._acked[fresh] = [5, 6]
    assert consumer._new_offset(fresh) == 7


async def test_upstream_faust_drops_what_lies_below_its_read_offset_and_ours_forgets_it() -> None:
    """Why a seek back works: without it, records read again would be dropped."""
    assert "offset >= r_offset" in inspect.getsource(faust_consumer.Consumer._drain_messages)
    consumer = consumer_of(Consumer)
    consumer._read_offset[TP("t", 0)] = 7
    consumer._read_offset.update({TP("t", 0): 8})
    assert consumer._read_offset[TP("t", 0)] is None


def test_upstream_faust_pauses_before_it_subscribes() -> None:
    """Why there is a table manager of ours."""
    from faust.tables.manager import TableManager

    assert "await self.sleep(1.0)" in inspect.getsource(TableManager.on_start)


def test_upstream_faust_still_has_what_we_override() -> None:
    """Names that `streams` overrides or calls and that are nobody's public interface."""
    assert inspect.iscoroutinefunction(driver.Consumer.seek_to_committed)
    assert inspect.iscoroutinefunction(faust_consumer.Consumer.force_commit)
    assert inspect.iscoroutinefunction(faust_consumer.Consumer._commit_offsets)
    assert inspect.iscoroutinefunction(driver.AIOKafkaConsumerThread.seek_wait)
    assert inspect.iscoroutinefunction(driver.AIOKafkaConsumerThread._commit)
    assert list(inspect.signature(faust_consumer.ConsumerThread.on_partitions_assigned).parameters) == [
        "self", "assigned", "generation_id",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prepared", "needed", "subscribed"),
    [(True, False, True), (False, True, True), (False, False, False)],
    ids=["join under way", "join wanted", "unsubscribed"],
)
async def test_offsets_are_not_committed_while_a_group_is_formed_anew(
    prepared: bool, needed: bool, subscribed: bool
) -> None:
    """Found on Apache Kafka with three workers: each such commit throws its sender out of the group, for ever."""
    committed: list[Any] = []

    async def commit(offsets: Any) -> None:
        committed.append(offsets)

    def client(*, prepared: bool, needed: bool, subscribed: bool) -> Any:
        coordinator = SimpleNamespace(_performed_join_prepare=prepared, need_rejoin=lambda _: needed)
        subscription = SimpleNamespace(subscription=object() if subscribed else None)
        return SimpleNamespace(_coordinator=coordinator, _subscription=subscription, commit=commit)

    def thread(consumer: Any, *, alone: bool = False) -> Any:
        return SimpleNamespace(app=SimpleNamespace(alone=alone), _ensure_consumer=lambda: consumer)

    forming = client(prepared=prepared, needed=needed, subscribed=subscribed)
    formed = client(prepared=False, needed=False, subscribed=True)
    assert not await ConsumerThread._commit(thread(forming), {})
    assert committed == []
    assert await ConsumerThread._commit(thread(formed), {})
    assert await ConsumerThread._commit(thread(forming, alone=True), {})
    assert len(committed) == 2


def test_upstream_aiokafka_knows_when_it_has_to_join() -> None:
    """What `streams.consumer.joining` looks at."""
    source = inspect.getsource(GroupCoordinator)
    assert "self._performed_join_prepare = True" in source
    assert "self._performed_join_prepare = False" in source
    assert list(inspect.signature(GroupCoordinator.need_rejoin).parameters) == ["self", "subscription"]
