"""Writes to `readings` one record at a time, each acknowledged before the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pearlstream.broker import client_options, reaching
from pearlstream.fold import Headers
from pearlstream.settings import Kafka
from pearlstream.topics import topic_name
from sinks.clickhouse.mend.redrive import Send

ACK_TIMEOUT_S = 30


@contextmanager
def readings_sender(kafka: Kafka) -> Iterator[Send]:
    """A way to write to `readings` of these settings. Raises SettingsError, and as it sends ServiceError."""
    from kafka import KafkaProducer  # slow to import

    options: dict[str, Any] = client_options(kafka, "pearlstream-redrive")
    with reaching(kafka):
        producer = KafkaProducer(**options, acks="all", allow_auto_create_topics=False)
    topic = topic_name(kafka.prefix, "readings")

    def send(partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        with reaching(kafka):
            sent = producer.send(topic, value=value, key=key, headers=list(headers), partition=partition)
            sent.get(timeout=ACK_TIMEOUT_S)

    try:
        yield send
    finally:
        producer.close(timeout=5)
