"""Apache Kafka is killed under load and comes back: everybody waits, nobody ends, nothing is lost or doubled."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from chaos_process import assert_nothing_lost, chaos
from kafka_server import KafkaServer

pytestmark = pytest.mark.kafka
AWAY_S = 20.0
"""Longer than a session lasts."""


def play(folder: Path, broker: str, into: list[Any]) -> None:
    only = [
        "--fault",
        "kill",
        "--target",
        "sink",
        "--rounds",
        "1",
        "--duration",
        "100s",
        "--rate",
        "400",
        "--seed",
        "5",
    ]
    into.extend(chaos(folder, *only, "--kafka", broker))


def wait_for_fault(folder: Path, patience_s: float = 200.0) -> None:
    """Until the run's only fault has been done: the sink has come up twice by then."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        for log in folder.glob("data/runs/*/logs/sink.log"):
            if log.read_text("utf-8", "replace").count("sink started") >= 2:
                return
        time.sleep(0.2)
    raise AssertionError("the run did not get so far")


def test_a_broker_that_is_killed_and_comes_back_costs_nothing_but_time(
    tmp_path: Path, own_kafka_server: KafkaServer
) -> None:
    outcome: list[Any] = []
    run = threading.Thread(target=play, args=(tmp_path, own_kafka_server.bootstrap, outcome))
    run.start()
    wait_for_fault(tmp_path)
    own_kafka_server.kill()
    time.sleep(AWAY_S)  # the outage itself
    own_kafka_server.start()
    run.join(400)
    code, report, said = outcome
    assert code == 0, (said, report.get("findings"))
    assert_nothing_lost(report, 1)
    assert report["restarts"]["sink"] == 1, "only the kill that was planned"
    assert sum(n for name, n in report["restarts"].items() if name.startswith("worker")) == 0
