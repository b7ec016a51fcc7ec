"""A prefix, a database and a folder of one's own, and the commands of the product as processes there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from sink_world import World

from pearlstream.broker import admin_client, client_options, ensure_topics
from pearlstream.catalogue import Catalogue
from pearlstream.settings import ClickHouse, Kafka
from sinks.clickhouse.tape import Spot

PATIENCE_S = 90.0


class Site:
    """A prefix, a database and a folder of one's own; runs commands of the product there."""

    def __init__(self, broker: str, store: Any, folder: Path, catalogue: Catalogue) -> None:
        name = uuid.uuid4().hex[:10]
        self.folder = folder
        self.kafka = Kafka(bootstrap_servers=broker, prefix=f"t{name}.", partitions=3)
        self.clickhouse = ClickHouse(url=store.url, user=store.user, password=store.password, database=f"p_{name}")
        self.env = {
            **os.environ,
            "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": broker,
            "PEARLSTREAM_KAFKA__PREFIX": self.kafka.prefix,
            "PEARLSTREAM_KAFKA__PARTITIONS": "3",
            "PEARLSTREAM_CLICKHOUSE__URL": store.url,
            "PEARLSTREAM_CLICKHOUSE__USER": store.user,
            "PEARLSTREAM_CLICKHOUSE__PASSWORD": store.password,
            "PEARLSTREAM_CLICKHOUSE__DATABASE": self.clickhouse.database,
            "PEARLSTREAM_EMBEDDED__DATA_DIR": str(folder),
            "PEARLSTREAM_SINK__FLUSH_S": "0.2",
        }
        with admin_client(self.kafka) as admin:
            ids = ensure_topics(admin, self.kafka)
        self.world = World(catalogue, 3)
        self.world.broker.ids = ids
        self.world.begin()
        self.sent: dict[Spot, int] = {}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "pearlstream.cli", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), env=self.env, capture_output=True, text=True, timeout=120)

    def sink(self) -> subprocess.Popen[bytes]:
        with (self.folder / "sink.log").open("ab") as log:
            arguments = ("sink", "--status-file", str(self.folder / "status.json"))
            return subprocess.Popen(self.command(*arguments), env=self.env, stderr=log)

    def publish(self) -> None:
        """Send what the world has and the broker has not."""
        from kafka import KafkaProducer

        producer = KafkaProducer(**client_options(self.kafka), linger_ms=5)
        for spot, log in self.world.broker.logs.items():
            for record in log[self.sent.get(spot, 0) :]:
                producer.send(
                    f"{self.kafka.prefix}{spot.role}",
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    partition=spot.partition,
                )
            self.sent[spot] = len(log)
        producer.flush()
        producer.close()

    def status(self) -> dict[str, Any]:
        path = self.folder / "status.json"
        return json.loads(path.read_bytes()) if path.exists() else {}

    def wait_idle(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Until everything is in the store."""
        until, since = time.monotonic() + PATIENCE_S, time.time()
        while time.monotonic() < until:
            assert process.poll() is None, (self.folder / "sink.log").read_text()
            path = self.folder / "status.json"
            status = self.status()
            if status.get("idle") and path.stat().st_mtime > since + 0.5:
                return status
            time.sleep(0.1)
        raise AssertionError(f"not idle: {self.status()}")

    def ledger(self) -> tuple[int, dict[str, Any]]:
        done = self.run("store", "ledger", "--json", "--drained")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)
