"""`pearlstream listen kafka` on a real broker: every reading once, whatever ends the listener and when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping

import pytest
from click.testing import CliRunner
from kafka import KafkaAdminClient, KafkaProducer

from pearlstream.broker import PartitionReader
from pearlstream.catalogue import load_catalogue
from pearlstream.fold import InProcess, Output, Record, header
from pearlstream.folds.admit import Admit
from pearlstream.frame import read_tick
from pearlstream.position import Source
from pearlstream.program import compile_catalogue
from pearlstream.registry import RegistryBook
from pearlstream.settings import Kafka, Settings
from producers.claim import read_claim
from producers.framing import listen as room
from producers.framing.cli import listen
from producers.framing.framer import Envelope, Framer

CATALOGUE = load_catalogue()
T0 = 1_780_002_000_000
CITIES = ("440300", "440100", "810000")


@pytest.fixture
def topic(settings: Settings) -> str:
    """A topic of somebody else's, with two partitions."""
    name = f"foreign-{settings.kafka.prefix}x"
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1, "configs": {}}})
    admin.close()
    return name


def write(settings: Settings, topic: str, numbers: range) -> None:
    """Readings, some of them unreadable."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, acks="all")
    for n in numbers:
        city = CITIES[n % 3]
        body = {"feed": "traffic.flow", "device": f"d{n % 3}", "ts": T0 + n, "seq": n // 3, "flow_vpm": 12.5}
        value = b"no json" if n % 50 == 49 else json.dumps(body).encode()
        producer.send(topic, key=city.encode(), value=value, partition=n % 2)
    producer.flush()
    producer.close()


def read(kafka: Kafka, role: str, partition: int = 0) -> list[Record]:
    reader = PartitionReader(kafka, role, partition)
    found = [Record(r.offset, r.key, r.value, r.headers, r.timestamp_ms) for r in reader.read()]
    reader.close()
    return found


def admitted(kafka: Kafka) -> list[Output]:
    fold = Admit(compile_catalogue(CATALOGUE), RegistryBook(CATALOGUE.feeds), kafka.partitions)
    return [
        output
        for partition in range(kafka.partitions)
        for output in InProcess(fold, Source("t", partition)).feed(read(kafka, "readings", partition))
    ]


def counted(outputs: list[Output]) -> tuple[int, list[str | None]]:
    accepted = [one for one in outputs if one.target == "accepted"]
    bad = [header(one.headers, "reason") for one in outputs if one.target == "quarantine"]
    return sum(int(header(one.headers, "accepted") or 0) for one in accepted), bad


def run(topic: str, *arguments: str) -> dict[str, int]:
    ran = CliRunner().invoke(listen, ["kafka", "--topic", topic, "--idle", "2s", "--json", *arguments])
    assert ran.exit_code == 0, ran.output
    return dict(json.loads(ran.stdout))


def test_every_reading_is_sent_on_once_and_what_is_unreadable_is_set_aside(settings: Settings, topic: str) -> None:
    write(settings, topic, range(300))
    heard = run(topic)
    assert (heard["messages"], heard["alone"]) == (300, 6)
    assert heard["frames"] < 60
    assert counted(admitted(settings.kafka)) == (294, ["json_malformed"] * 6)


def test_a_listener_that_starts_again_goes_on_where_it_stopped(settings: Settings, topic: str) -> None:
    write(settings, topic, range(100))
    assert run(topic)["messages"] == 100
    write(settings, topic, range(100, 160))
    assert run(topic)["messages"] == 60
    assert counted(admitted(settings.kafka))[0] == 157


class Died(Exception):
    """The process ended here."""


def test_a_listener_that_dies_before_it_commits_sends_again_and_each_reading_counts_once(
    settings: Settings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(settings, topic, range(120))

    def die(self: room.SourceTopic, upto: Mapping[int, int]) -> None:
        raise Died

    what = room.Listening(settings.kafka, topic, rows=7, within_s=0.2, idle_s=2)
    framer = Framer(CATALOGUE, Envelope(), 7, "listen-test")
    with monkeypatch.context() as patched:
        patched.setattr(room.SourceTopic, "commit", die)
        with pytest.raises(Died):
            room.listen(what, settings, CATALOGUE, framer, threading.Event())
    sent = counted(admitted(settings.kafka))[0]
    assert sent > 0
    assert run(topic)["messages"] == 120
    outputs = admitted(settings.kafka)
    assert counted(outputs)[0] == 118
    assert sum(int(header(one.headers, "dup") or 0) for one in outputs if one.target == "accepted") == sent


def frames(kafka: Kafka) -> int:
    return sum(len(read(kafka, "readings", partition)) for partition in range(kafka.partitions))


@pytest.mark.slow
def test_a_listener_killed_again_and_again_under_load_loses_and_doubles_nothing(settings: Settings, topic: str) -> None:
    program = [sys.executable, "-m", "pearlstream.cli", "listen", "kafka", "--topic", topic, "--gateway-time", "50ms"]
    for number in range(4):
        write(settings, topic, range(number * 3000, number * 3000 + 3000))
        before = frames(settings.kafka)
        process = subprocess.Popen(program, env=dict(os.environ))
        while frames(settings.kafka) == before:
            assert process.poll() is None
        process.kill()
        process.wait()
    run(topic)
    accepted, bad = counted(admitted(settings.kafka))
    assert accepted == 12_000 - 240
    assert len(bad) >= 240  # one without an identity is kept as often as it was sent
    assert set(bad) == {"json_malformed"}


def test_with_tick_it_claims_time_and_ticks_every_partition(settings: Settings, topic: str) -> None:
    write(settings, topic, range(10))
    run(topic, "--tick")
    for partition in range(settings.kafka.partitions):
        ticks = [tick for record in read(settings.kafka, "readings", partition) if (tick := read_tick(record))]
        assert len(ticks) >= 2
        assert [tick.clock_ms for tick in ticks] == sorted({tick.clock_ms for tick in ticks})
        assert {tick.driver for tick in ticks} == {"worker/1"}
    reader = PartitionReader(settings.kafka, "state.clock")
    claims = [claim for record in reader.read() if (claim := read_claim(record))]
    reader.close()
    assert claims[0].role == "worker"
    assert claims[-1].released


def test_without_tick_it_drives_no_time(settings: Settings, topic: str) -> None:
    write(settings, topic, range(10))
    run(topic)
    assert not [r for p in range(settings.kafka.partitions) for r in read(settings.kafka, "readings", p) if not r.key]


def test_a_topic_that_is_not_there_is_said_with_a_remedy(settings: Settings) -> None:
    ran = CliRunner().invoke(listen, ["kafka", "--topic", "nowhere"])
    assert ran.exit_code != 0
    assert "there is no topic nowhere" in str(ran.exception)
