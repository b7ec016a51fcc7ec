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

from pearlstream.fold import Fold, Output, Record, header
from pearlstream.position import Source
from pearlstream.testing.simulated import read_exactly
from streams.app import STAGES, make_folds

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
    (admit, indicate, cluster, alert), book, _ = make_folds(topics.settings(), STAGES)
    devices = topics.read_all("devices", 0)
    book.add([record.value or b"" for record in devices])
    crossings: list[Output] = []
    said: dict[int, list[Output]] = {}
    for partition in range(topics.kafka.partitions):
        readings = topics.read_all("readings", partition)
        admitted = straight(admit, topics.ids["readings"], partition, readings)
        for target in ("accepted", "rollups", "quarantine"):
            check(topics, target, partition, [one for one in admitted if one.target == target])
        crossings += [one for one in admitted if one.target == "crossings"]
        rollups = topics.read_all("rollups", partition)
        said[partition] = straight(indicate, topics.ids["rollups"], partition, rollups)
    check(topics, "crossings", 0, crossings)
    said[0] += straight(cluster, topics.ids["crossings"], 0, topics.read_all("crossings", 0))
    for partition, outputs in said.items():
        check(topics, "indicators", partition, outputs)
        indicators = topics.read_all("indicators", partition)
        check(topics, "alerts", partition, straight(alert, topics.ids["indicators"], partition, indicators))


def check(topics: Topics, target: str, partition: int, expected: Sequence[Output]) -> None:
    """A reader that skips and holds finds every chain as expected; how chains lie between each other is open."""
    wanted, got = chains(expected), chains(read_exactly(topics.read_all(target, partition)))
    assert {chain: len(records) for chain, records in got.items()} == {
        chain: len(records) for chain, records in wanted.items()
    }
    assert got == wanted
    assert wanted or target in ("quarantine", "alerts")


def chains(records: Sequence[Output | Record]) -> dict[str, list[tuple[Any, ...]]]:
    """Key, value and headers of records, by the stage that wrote them and what it read."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for one in records:
        source = (header(one.headers, "from") or "").rsplit("/", 2)[0]
        stage = (header(one.headers, "fold") or "").partition("@")[0]
        found.setdefault(f"{stage} {source}", []).append((one.key, one.value, tuple(one.headers)))
    return found
