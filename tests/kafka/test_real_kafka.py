"""The broker that the other tests of this folder lean on is a real Apache Kafka and keeps what it is given."""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaTimeoutError
from kafka_server import KafkaServer

pytestmark = pytest.mark.kafka

HEADERS = [("schema", b"traffic.flow@1"), ("from", b"first"), ("from", b"second"), ("empty", b"")]


@pytest.fixture
def admin(kafka_broker: str) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(bootstrap_servers=kafka_broker)) as client:
        yield client


def test_a_record_comes_back_with_its_headers_in_order(
    kafka_broker: str, kafka_prefix: str, admin: KafkaAdminClient
) -> None:
    topic = f"{kafka_prefix}readings"
    create(admin, topic, partitions=6)

    offset = produce(kafka_broker, topic, partition=4)
    [record] = read(kafka_broker, topic, partition=4)

    assert (record.partition, record.offset) == (4, offset)
    assert (record.key, record.value) == (b"440300", b"\x00frame")
    assert record.headers == HEADERS


def test_topics_have_ids_and_a_topic_made_again_has_another(kafka_prefix: str, admin: KafkaAdminClient) -> None:
    topic = f"{kafka_prefix}accepted"
    first = create(admin, topic)
    admin.delete_topics([topic])
    wait_until_gone(admin, topic)
    second = create(admin, topic)

    assert first.int != 0
    assert second.int not in (0, first.int)


def test_nobody_makes_a_topic_by_naming_it(kafka_broker: str, kafka_prefix: str, admin: KafkaAdminClient) -> None:
    topic = f"{kafka_prefix}nobody-made-me"
    with (
        closing(KafkaProducer(bootstrap_servers=kafka_broker, max_block_ms=1_000)) as producer,
        pytest.raises(KafkaTimeoutError),
    ):
        producer.send(topic, b"x")

    assert topic not in admin.list_topics()


def test_records_and_topic_ids_outlive_a_killed_broker(own_kafka_server: KafkaServer) -> None:
    bootstrap = own_kafka_server.bootstrap
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        before = create(admin, "pearl.readings")
    produce(bootstrap, "pearl.readings", partition=0)

    own_kafka_server.kill()
    own_kafka_server.start()

    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        assert topic_id(admin, "pearl.readings") == before
    assert [record.value for record in read(bootstrap, "pearl.readings", partition=0)] == [b"\x00frame"]


def produce(bootstrap: str, topic: str, partition: int) -> int:
    """One frame, acknowledged; its offset."""
    with closing(KafkaProducer(bootstrap_servers=bootstrap, acks="all")) as producer:
        sent = producer.send(topic, b"\x00frame", key=b"440300", headers=HEADERS, partition=partition)
        return sent.get(10).offset


def read(bootstrap: str, topic: str, partition: int) -> list[ConsumerRecord]:
    """What stands in the partition, once there is something; ten seconds of patience."""
    settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    with closing(KafkaConsumer(bootstrap_servers=bootstrap, **settings)) as consumer:
        consumer.assign([TopicPartition(topic, partition)])
        polled = consumer.poll(10_000)
    return [record for batch in polled.values() for record in batch]


def create(admin: KafkaAdminClient, topic: str, partitions: int = 1) -> uuid.UUID:
    """A new topic; its id."""
    shape = {"num_partitions": partitions, "replication_factor": 1}
    admin.create_topics({topic: shape}, wait_for_metadata=True)
    return topic_id(admin, topic)


def topic_id(admin: KafkaAdminClient, topic: str) -> uuid.UUID:
    [description] = admin.describe_topics([topic])
    return uuid.UUID(str(description["topic_id"]))


def wait_until_gone(admin: KafkaAdminClient, topic: str) -> None:
    deadline = time.monotonic() + 10
    while topic in admin.list_topics():
        assert time.monotonic() < deadline, f"{topic} is still there"
        time.sleep(0.1)
