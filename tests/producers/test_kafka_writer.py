"""The writer, when its broker goes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.embedded.broker import Broker
from pearlstream.broker import admin_client, ensure_topics
from pearlstream.errors import ServiceError
from pearlstream.settings import Kafka
from producers.kafka_writer import KafkaWriter


def test_what_is_not_acknowledged_is_said_once_and_closing_hides_it_behind_nothing(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.start()
    kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, prefix="gone.", partitions=2)
    with admin_client(kafka) as admin:
        ensure_topics(admin, kafka)
    writer = KafkaWriter(kafka)
    writer.send_labels([b"one"])
    writer.flush()
    broker.stop()
    writer.send_labels([b"two"])
    with pytest.raises(ServiceError, match=r"not acknowledged|does not answer") as error:
        writer.flush(0.5)
    assert error.value.remedy
    writer.close()
