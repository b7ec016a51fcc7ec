"""The broker, as everybody meets it: client options, topics made explicitly, topic ids, small logs read whole.

Topics are never made by accident: a broker that makes one on first use gives it a number of partitions of its
own. `ensure_topics` makes what is missing and refuses to work with what has another shape.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from pearlstream.errors import ServiceError, SettingsError
from pearlstream.settings import Kafka
from pearlstream.topics import ROLES, TOPICS, Topic, topic_name

START_TIMEOUT_S = 30.0
"""How long a broker may take to answer, or a new topic to have its leaders."""
_EXISTS = 36
_UNKNOWN = 3


class LogRecord(NamedTuple):
    """One record of a partition. `timestamp_ms`: what the broker or its client stamped it with."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


def client_options(kafka: Kafka, client: str = "pearlstream") -> dict[str, Any]:
    """What every kafka-python client is made with. Raises SettingsError if no broker is named."""
    servers = [server.strip() for server in kafka.bootstrap_servers.split(",") if server.strip()]
    if not servers:
        raise SettingsError(
            "no broker is named",
            remedy="set PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS=host:port, or use `pearlstream demo`, which starts one",
        )
    return {"bootstrap_servers": servers, "client_id": client}


def reader_options(kafka: Kafka, client: str) -> dict[str, Any]:
    """What every kafka-python consumer is made with, besides its limits: it begins at the first record, and whether and
    when offsets are committed is ours to say. Raises SettingsError if no broker is named."""
    return {
        **client_options(kafka, client),
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        "fetch_max_wait_ms": 50,
    }


@contextmanager
def admin_client(kafka: Kafka, *, patience_s: float = START_TIMEOUT_S) -> Iterator[Any]:
    """A kafka-python admin client, closed afterwards. Raises ServiceError if no broker answers for so long."""
    from kafka import KafkaAdminClient  # slow to import

    with reaching(kafka):
        admin = KafkaAdminClient(
            **client_options(kafka, "pearlstream-admin"), bootstrap_timeout_ms=int(patience_s * 1000)
        )
    try:
        yield admin
    finally:
        admin.close()


@contextmanager
def reaching(kafka: Kafka) -> Iterator[None]:
    """Turns the ways in which a broker can be out of reach into one ServiceError that says what to do."""
    from kafka.errors import KafkaError

    try:
        yield
    except (KafkaError, OSError) as error:
        raise ServiceError(
            f"the broker at {kafka.bootstrap_servers} does not answer: {type(error).__name__} {error}".rstrip(),
            remedy="start it, or mend PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS",
        ) from error


def ensure_topics(admin: Any, kafka: Kafka, topics: Iterable[Topic] = TOPICS) -> dict[str, str]:
    """Make the topics that are missing, check those that exist, and return the topic id of each role.

    Raises SettingsError if an existing topic has another number of partitions, ServiceError if the broker refuses.
    """
    wanted = {topic_name(kafka.prefix, topic.role): topic for topic in topics}
    found = _described(admin, kafka, wanted)
    missing = {name: topic for name, topic in wanted.items() if name not in found}
    if missing:
        _create(admin, kafka, missing)
        found = _wait_for(admin, kafka, wanted)
    for name, topic in wanted.items():
        _check_partitions(name, len(found[name]["partitions"]), partitions_of(topic, kafka))
    return {topic.role: str(found[name]["topic_id"]) for name, topic in wanted.items()}


def partitions_of(topic: Topic, kafka: Kafka) -> int:
    """How many partitions a topic has under these settings."""
    return kafka.partitions if topic.partitioned else 1


def topic_ids(admin: Any, kafka: Kafka, roles: Iterable[str]) -> dict[str, str]:
    """The ids of topics by role, without those that do not exist. A topic that was made again has another id."""
    names = {topic_name(kafka.prefix, role): role for role in roles}
    found = _described(admin, kafka, names)
    return {role: str(found[name]["topic_id"]) for name, role in names.items() if name in found}


def _described(admin: Any, kafka: Kafka, names: Iterable[str]) -> dict[str, Any]:
    with reaching(kafka):
        topics = admin.describe_topics(list(names))
    bad = [topic for topic in topics if topic["error_code"] not in (0, _UNKNOWN)]
    if bad:
        raise ServiceError(
            f"the broker cannot describe {bad[0]['name']} (error {bad[0]['error_code']})",
            remedy="check the broker's log and the rights of this client",
        )
    return {topic["name"]: topic for topic in topics if topic["error_code"] == 0}


def _create(admin: Any, kafka: Kafka, missing: Mapping[str, Topic]) -> None:
    new = {
        name: {"num_partitions": partitions_of(topic, kafka), "replication_factor": -1, "configs": configs_of(topic)}
        for name, topic in missing.items()
    }
    with reaching(kafka):
        answer = admin.create_topics(new, timeout_ms=int(START_TIMEOUT_S * 1000), raise_errors=False)
    for topic in answer["topics"]:
        if topic["error_code"] not in (0, _EXISTS):  # somebody else may have been faster
            why = topic.get("error_message") or f"error {topic['error_code']}"
            raise ServiceError(
                f"the broker refuses to make the topic {topic['name']}: {why}",
                remedy="make it by hand, with as many partitions as the settings say, or grant the right to",
            )


def configs_of(topic: Topic) -> dict[str, str]:
    """The broker's settings of a topic."""
    configs = {"max.message.bytes": str(topic.max_message_bytes)}
    if topic.compacted:
        configs["cleanup.policy"] = "compact"
    elif topic.forever:
        configs |= {"cleanup.policy": "delete", "retention.ms": "-1"}
    return configs


def _wait_for(admin: Any, kafka: Kafka, wanted: Iterable[str]) -> dict[str, Any]:
    """Descriptions of all topics, once each partition has a leader."""
    names, until = list(wanted), time.monotonic() + START_TIMEOUT_S
    while True:
        found = _described(admin, kafka, names)
        led = [n for n in names if n in found and all(p["leader_id"] >= 0 for p in found[n]["partitions"])]
        if len(led) == len(names):
            return found
        if time.monotonic() > until:
            raise ServiceError(
                f"{len(names) - len(led)} topics have no leader after {START_TIMEOUT_S:.0f} s",
                remedy="check that enough brokers are up",
            )
        time.sleep(0.1)


def _check_partitions(name: str, has: int, needs: int) -> None:
    if has != needs:
        raise SettingsError(
            f"the topic {name} has {has} partitions and should have {needs}",
            remedy=f"set PEARLSTREAM_KAFKA__PARTITIONS={has}, or choose another PEARLSTREAM_KAFKA__PREFIX",
        )


class PartitionReader:
    """Reads one partition without a group, from an offset on, each time up to its present end."""

    def __init__(self, kafka: Kafka, role: str, partition: int = 0, start: int = 0) -> None:
        from kafka import KafkaConsumer, TopicPartition

        self._kafka = kafka
        self._at = TopicPartition(topic_name(kafka.prefix, role), partition)
        with reaching(kafka):
            self._consumer = KafkaConsumer(
                **reader_options(kafka, "pearlstream-reader"),
                group_id=None,
                max_partition_fetch_bytes=ROLES[role].max_message_bytes + (1 << 20),
            )
            self._consumer.assign([self._at])
            self._consumer.seek(self._at, start)

    def end(self) -> int:
        """The offset that the next record will get."""
        with reaching(self._kafka):
            return int(self._consumer.end_offsets([self._at])[self._at])

    def read(self, timeout_s: float = START_TIMEOUT_S) -> list[LogRecord]:
        """Records from where the last call ended to the end of the partition as it is now. Raises ServiceError."""
        end, until = self.end(), time.monotonic() + timeout_s
        found: list[LogRecord] = []
        asked = False
        while not asked or self._consumer.position(self._at) < end:
            with reaching(self._kafka):
                batches = self._consumer.poll(timeout_ms=200)
            asked = True
            # the embedded broker tells the end of the last batch only to those who fetch
            end = max(end, self._consumer.highwater(self._at) or 0)
            for record in batches.get(self._at, []):
                headers = tuple(record.headers or ())
                found.append(LogRecord(record.offset, record.key, record.value, headers, record.timestamp))
            if time.monotonic() > until:
                raise ServiceError(
                    f"{self._at.topic} could not be read to its end ({end}) within {timeout_s:.0f} s",
                    remedy="check the broker",
                )
        return found

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()
