"""The real stages in a worker process that is killed under load: exactly what the folds say, straight through."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from workers import Process, Topics

from pearlstream.fold import Fold, Output, Record
from pearlstream.position import Source
from pearlstream.testing.simulated import read_exactly
from streams.app import make_folds

pytestmark = pytest.mark.slow
MINUTES = 12


def simulate(topics: Topics) -> subprocess.Popen[bytes]:
    """Play a few minutes of a scenario, in about half a minute."""
    arguments = ["--scenario", "SC02", "--duration", f"{MINUTES}m", "--speed", "30", "--rate", "100"]
    environment = os.environ | {
        "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": topics.kafka.bootstrap_servers,
        "PEARLSTREAM_KAFKA__PREFIX": topics.kafka.prefix,
        "PEARLSTREAM_KAFKA__PARTITIONS": str(topics.kafka.partitions),
    }
    return subprocess.Popen([sys.executable, "-m", "pearlstream.cli", "simulate", *arguments], env=environment)


def straight(fold: Fold[Any], topic_id: str, partition: int, records: Sequence[Record]) -> list[Output]:
    _, outputs = fold.apply(fold.start(Source(topic_id, partition)), records)
    return outputs


def test_the_real_stages_killed_under_load_lose_and_double_nothing(
    topics: Topics, start_worker: Callable[..., Process]
) -> None:
    player = simulate(topics)
    kills = 0
    while player.poll() is None:
        worker = start_worker("--real", "--alone")
        worker.wait_ready(60)
        time.sleep(3)
        worker.kill()
        kills += 1
    assert player.returncode == 0
    assert kills >= 2
    worker = start_worker("--real", "--alone")
    worker.wait_ready(60)
    worker.wait_idle()
    (admit, indicate), book, _ = make_folds(topics.settings(), ("admit", "indicate"))
    devices = topics.read_all("devices", 0)
    book.add([record.value or b"" for record in devices])
    for partition in range(topics.kafka.partitions):
        readings = topics.read_all("readings", partition)
        check(topics, partition, straight(admit, topics.ids["readings"], partition, readings), admit.targets)
        rollups = topics.read_all("rollups", partition)
        check(topics, partition, straight(indicate, topics.ids["rollups"], partition, rollups), indicate.targets)


def check(topics: Topics, partition: int, expected: Sequence[Output], targets: Sequence[str]) -> None:
    for target in targets:
        wanted = [(one.key, one.value, one.headers) for one in expected if one.target == target]
        got = [(one.key, one.value, one.headers) for one in read_exactly(topics.read_all(target, partition))]
        assert len(got) == len(wanted)
        assert got == wanted
        assert wanted or target == "quarantine"
