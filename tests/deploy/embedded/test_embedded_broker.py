"""The broker: a Kafka that answers, on this machine only."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from embedded_help import wait_until
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from deploy.embedded import broker as broker_module
from deploy.embedded.broker import Broker, broker_binary
from pearlstream.errors import ServiceError


def test_what_is_produced_can_be_consumed(embedded_broker: str):
    admin = KafkaAdminClient(bootstrap_servers=embedded_broker)
    admin.create_topics([NewTopic("broker-test", 2, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=embedded_broker)
    sent = [producer.send("broker-test", f"{i}".encode(), partition=1).get(10).offset for i in range(10)]
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=embedded_broker, auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign([TopicPartition("broker-test", 1)])
    got: list[bytes] = []

    def all_there() -> bool:
        got.extend(record.value for records in consumer.poll(200).values() for record in records)
        return len(got) >= 10

    wait_until(all_there)
    consumer.close()
    assert sent == list(range(10))
    assert got == [f"{i}".encode() for i in range(10)]


def test_the_broker_tells_clients_the_address_that_it_listens_on(embedded_broker: str):
    admin = KafkaAdminClient(bootstrap_servers=embedded_broker)
    brokers = admin.describe_cluster()["brokers"]
    admin.close()
    assert [f"{broker['host']}:{broker['port']}" for broker in brokers] == [embedded_broker]


def test_the_broker_listens_on_the_loopback_address_only(embedded_broker: str):
    port = int(embedded_broker.rpartition(":")[2])
    # 127.0.0.2 is this machine too: whoever listens on all addresses answers there.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), 2)


def test_a_killed_broker_comes_back_empty_at_the_same_address(tmp_path: Path):
    broker = Broker(tmp_path)
    broker.start()
    try:
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
        admin.create_topics([NewTopic("gone", 1, 1)])
        admin.close()
        assert (broker.child.rss_bytes() or 1) > 0
        os.kill(broker.child.pid or 0, signal.SIGKILL)
        wait_until(lambda: broker.child.restarts == 1)
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
        assert list(admin.list_topics()) == []
        admin.close()
    finally:
        broker.stop()
    assert not broker.child.alive


def test_a_broker_on_a_taken_port_is_refused(tmp_path: Path, embedded_broker: str):
    with pytest.raises(ServiceError, match=r"wanted for the embedded broker, is held by tansu") as caught:
        Broker(tmp_path, port=int(embedded_broker.rpartition(":")[2]))
    assert "PEARLSTREAM_EMBEDDED__BROKER_PORT" in caught.value.remedy


def test_a_binary_that_lost_its_executable_bit_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(broker_module.os, "access", lambda *_: False)
    binary = broker_binary(tmp_path)
    assert binary == tmp_path / "bin" / "tansu"
    assert binary.stat().st_mode & 0o100


def test_no_broker_installed_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(broker_module, "_PACKAGE", "no_such_package")
    monkeypatch.setattr(broker_module.shutil, "which", lambda _: None)
    with pytest.raises(ServiceError) as caught:
        broker_binary(tmp_path)
    assert "pearlstream[embedded]" in caught.value.remedy
