"""A real Apache Kafka broker for the tests of this folder, started when the first of them asks for it."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_server import KafkaServer, KafkaUnavailableError

brokers: list[KafkaServer] = []


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """The broker of the run, shared by all tests."""
    yield from running(KafkaServer(tmp_path_factory.mktemp("kafka")))


@pytest.fixture
def own_kafka_server(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of one test alone, which may kill it and start it again."""
    yield from running(KafkaServer(tmp_path / "kafka"))


@pytest.fixture(scope="session")
def kafka_broker(kafka_server: KafkaServer) -> str:
    """The bootstrap address of the shared broker."""
    return kafka_server.bootstrap


@pytest.fixture
def kafka_prefix() -> str:
    """A topic prefix that no other test has, since all share the broker."""
    return f"t{uuid.uuid4().hex[:8]}."


def running(server: KafkaServer) -> Iterator[KafkaServer]:
    """Started for as long as it is needed. A machine without Java or Maven skips, except in CI, where it fails."""
    try:
        server.start()
    except KafkaUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    brokers.append(server)
    yield server
    server.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """If a test failed, what the brokers had to say of it."""
    if terminalreporter.stats.keys() & {"failed", "error"}:
        for server in brokers:
            terminalreporter.section(f"end of {server.log}")
            terminalreporter.write_line(server.log_tail())
