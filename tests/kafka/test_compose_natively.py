"""What compose.yaml starts, started without containers: the same commands and variables, on a real Kafka.

The names of hosts become addresses of this machine, and the ports of health pages free ones. The store is the embedded
one, whose engine is ClickHouse's; Grafana and Prometheus are not started.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.embedded.ports import choose_port
from pearlstream.settings import ClickHouse
from pearlstream.store import Store

pytestmark = pytest.mark.kafka

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]
PATIENCE_S = 240


class Natively:
    """Services of the file as processes of this machine."""

    def __init__(self, folder: Path, kafka: str, prefix: str, store: ClickHouse) -> None:
        self.folder, self.store = folder, store
        secrets = folder / "secrets"
        secrets.mkdir()
        (secrets / "PEARLSTREAM_CLICKHOUSE__PASSWORD").write_text(store.password.get_secret_value())
        pages = ("9101", "9102")
        self.ports = {page: str(choose_port(0, what="health page", setting="")) for page in pages}
        self._instead = {
            "kafka:9092": kafka,
            "http://clickhouse:8123": store.url,
            "/run/secrets": str(secrets),
            "0.0.0.0": "127.0.0.1",
            **self.ports,
        }
        # what the file need not say, because its broker and store belong to nobody else
        own = {"PEARLSTREAM_KAFKA__PREFIX": prefix, "PEARLSTREAM_CLICKHOUSE__DATABASE": store.database}
        self._own = own | {"PEARLSTREAM_CLICKHOUSE__USER": store.user, "PEARLSTREAM_EMBEDDED__DATA_DIR": str(folder)}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """One service."""
        wanted = {key: self._instead.get(value, value) for key, value in SERVICES[name]["environment"].items()}
        plain = {key: value for key, value in os.environ.items() if not key.startswith("PEARLSTREAM_")}
        command = [sys.executable, "-m", "pearlstream.cli", *SERVICES[name]["command"]]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command, env=plain | wanted | self._own, cwd=self.folder, stdout=log, stderr=log
            )
        return self.running[name]

    def healthy(self, name: str) -> bool:
        """What the health check of a service says."""
        test = SERVICES[name]["healthcheck"]["test"]
        assert test[:2] == ["CMD", "python"]
        words = [word.replace(old, new) for word in test[2:] for old, new in [self._port(word)]]
        return subprocess.run([sys.executable, *words], check=False, capture_output=True).returncode == 0

    def _port(self, word: str) -> tuple[str, str]:
        return next(((old, new) for old, new in self.ports.items() if old in word), ("", ""))

    def waits_for(self, what: str, met: Any) -> None:
        """Until something is so; a process that has ended, or too long a wait, fails with what was logged."""
        deadline = time.monotonic() + PATIENCE_S
        while not met():
            for name, process in self.running.items():
                assert process.poll() is None, f"{name} ended: {self.log(name)}"
            assert time.monotonic() < deadline, f"{what}: {self.log('worker')} {self.log('sink')}"
            time.sleep(0.5)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")[-3000:]

    def stop(self) -> None:
        """All, as compose does: a signal, then patience."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(60)


@pytest.fixture
def stack(tmp_path: Path, kafka_broker: str, kafka_prefix: str, new_database: Any) -> Iterator[Natively]:
    natively = Natively(tmp_path, kafka_broker, kafka_prefix, new_database())
    yield natively
    natively.stop()


def test_the_stack_comes_up_is_healthy_and_readings_become_indicators(stack: Natively) -> None:
    assert stack.start("migrate").wait(PATIENCE_S) == 0, stack.log("migrate")
    del stack.running["migrate"]
    for name in ("worker", "sink"):
        stack.start(name)
        stack.waits_for(f"{name} is healthy", lambda name=name: stack.healthy(name))
    stack.start("simulate")
    store = Store(stack.store)

    def rows(table: str) -> int:
        return int(store.query(f"SELECT count() FROM {stack.store.database}.{table}")[0][0])

    stack.waits_for("readings are stored", lambda: rows("readings_traffic_flow") > 0)
    stack.waits_for("windows are told", lambda: rows("indicators") > 0)
    assert stack.healthy("worker")
    assert stack.healthy("sink")
    said = "".join(stack.log(name) for name in ("worker", "sink", "simulate"))
    assert stack.store.password.get_secret_value() not in said
