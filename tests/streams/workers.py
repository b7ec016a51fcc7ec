"""A worker as a process of its own, and the log that it works on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from pearlstream.broker import admin_client, ensure_topics
from pearlstream.fold import Record
from pearlstream.settings import Kafka, Settings, Worker
from streams.logread import log_reader, read_tails

PARTITIONS = 2
HERE = Path(__file__).parent


class Topics:
    """The topics of one test, under a prefix of their own."""

    def __init__(self, bootstrap: str, partitions: int = PARTITIONS) -> None:
        self.kafka = Kafka(bootstrap_servers=bootstrap, prefix=f"t{uuid.uuid4().hex[:8]}.", partitions=partitions)
        with admin_client(self.kafka) as admin:
            self.ids = ensure_topics(admin, self.kafka)
        self.producer = KafkaProducer(bootstrap_servers=bootstrap, acks=-1, linger_ms=2)

    def settings(self, **worker: Any) -> Settings:
        """Settings of a worker on these topics, with small snapshots."""
        return Settings(kafka=self.kafka, worker=Worker(**{"snapshot_frames": 40, **worker}))

    def write(self, role: str, partition: int, record: Record) -> None:
        """Append a record; its offset is the broker's to give."""
        self.producer.send(
            self.kafka.prefix + role,
            partition=partition,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
        )

    def flush(self) -> None:
        self.producer.flush()

    def read(
        self, role: str, partition: int, until: Callable[[list[Record]], bool], timeout_s: float = 30
    ) -> list[Record]:
        """The records of a partition from its beginning until `until` says that it is enough."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers, auto_offset_reset="earliest", group_id=None,
            enable_auto_commit=False, fetch_max_wait_ms=20,
        )  # fmt: skip
        tp = TopicPartition(self.kafka.prefix + role, partition)
        consumer.assign([tp])
        consumer.seek(tp, 0)
        found: list[Record] = []
        deadline = time.monotonic() + timeout_s
        try:
            while not until(found):
                assert time.monotonic() < deadline, f"{role}/{partition}: {len(found)} records after {timeout_s} s"
                for messages in consumer.poll(50).values():
                    found += [Record(m.offset, m.key, m.value, tuple(m.headers)) for m in messages]
        finally:
            consumer.close()
        return found

    def read_all(self, role: str, partition: int) -> list[Record]:
        """The records of a partition to its present end."""
        return asyncio.run(self._read_all(role, partition))

    async def _read_all(self, role: str, partition: int) -> list[Record]:
        async with log_reader(self.kafka.bootstrap_servers) as reader:
            return (await read_tails(reader, self.kafka.prefix + role, [partition]))[partition]


class Process:
    """A worker process of the example folds."""

    def __init__(self, topics: Topics, log: Path, arguments: Sequence[str]) -> None:
        self.port = free_port()
        self.log = log
        environment = os.environ | {
            "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": topics.kafka.bootstrap_servers,
            "PEARLSTREAM_KAFKA__PREFIX": topics.kafka.prefix,
            "PEARLSTREAM_KAFKA__PARTITIONS": str(topics.kafka.partitions),
            "PEARLSTREAM_WORKER__SNAPSHOT_FRAMES": "40",
            "PEARLSTREAM_WORKER__HEALTH_PORT": str(self.port),
        }
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "example_worker.py"), *arguments], env=environment, stderr=out, stdout=out
            )

    @classmethod
    def of(cls, process: subprocess.Popen[Any], port: int) -> Process:
        """A worker that was started otherwise."""
        made = cls.__new__(cls)
        made.process, made.port, made.log = process, port, Path(os.devnull)
        return made

    def readiness(self) -> dict[str, Any]:
        """What /readyz answers; {} while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))
        except OSError:
            return {}

    def wait_ready(self, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.readiness().get("ready"):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"{self.readiness()}\n{self.log.read_text()}"
            time.sleep(0.05)

    def wait_idle(self, timeout_s: float = 120) -> None:
        """Wait until nothing waits in any source and everything is acknowledged, for a while."""
        deadline, quiet = time.monotonic() + timeout_s, 0
        while quiet < 10:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
            waiting = [line for line in lines if "lag_records{" in line or "unacked_bytes{" in line]
            quiet = quiet + 1 if waiting and all(float(line.split()[-1]) == 0 for line in waiting) else 0
            assert time.monotonic() < deadline, waiting
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout_s: float = 15) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
