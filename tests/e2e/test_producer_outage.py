"""A producer at the pace of life, cut off from its broker: it goes on, and the log is what it would have been."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import pytest

from deploy.chaos.link import Address, Link
from deploy.embedded.broker import Broker
from pearlstream.broker import PartitionReader, topic_ids
from pearlstream.broker import admin_client as admin
from pearlstream.catalogue import load_catalogue
from pearlstream.errors import ServiceError
from pearlstream.fold import Record
from pearlstream.frame import decode, read_tick
from pearlstream.settings import Kafka
from producers.simulator.cli import plan_of
from producers.simulator.plan import DRAIN_MS, Plan
from producers.simulator.run import log_steps
from producers.simulator.run import simulate as steps_of
from producers.spool.record import unpack
from producers.spool.spool import Spool

PARTITIONS = 3
SPEED = 20
CATALOGUE = load_catalogue()
Written = tuple[bytes | None, bytes, int | None]
"""Key and value of a record, and its clock if it is a tick."""


@dataclass
class Site:
    """A broker, and a producer with a cable of its own."""

    folder: Path
    broker: Broker
    link: Link
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def kafka(self) -> Kafka:
        return Kafka(bootstrap_servers=self.broker.bootstrap_servers, prefix="out.", partitions=PARTITIONS)

    @property
    def spool(self) -> Path:
        return self.folder / "spool" / "simulate-out."

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def simulate(self, *options: str) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PEARLSTREAM_")} | {
            "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.link.address,
            "PEARLSTREAM_KAFKA__PREFIX": "out.",
            "PEARLSTREAM_KAFKA__PARTITIONS": str(PARTITIONS),
            "PEARLSTREAM_SPOOL__FOLDER": str(self.folder / "spool"),
        }
        command = [sys.executable, "-P", "-m", "pearlstream.cli", "simulate", "--speed", str(SPEED), *options]
        with (self.folder / "log").open("ab") as out:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=self.folder)
        self.running.append(process)
        return process

    def written(self, partition: int) -> list[Record]:
        """A partition, as the broker has it."""
        reader = PartitionReader(self.kafka, "readings", partition)
        try:
            return [Record(r.offset, r.key, r.value, r.headers, r.timestamp_ms) for r in reader.read()]
        finally:
            reader.close()

    def count(self) -> int:
        return sum(len(self.written(partition)) for partition in range(PARTITIONS))

    def has(self, records: int) -> bool:
        """Whether the broker has so many; not before it has the topic, and can tell."""
        with suppress(ServiceError), admin(self.kafka) as client:
            return bool(topic_ids(client, self.kafka, ["readings"])) and self.count() >= records
        return False

    def spooled_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.spool.glob("*.seg"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    broker = Broker(tmp_path)
    broker.start()
    link = Link([Address("127.0.0.1", broker.port)])
    site = Site(tmp_path, broker, link)
    try:
        yield site
    finally:
        for process in site.running:
            process.kill()
            process.wait()
        link.close()
        broker.stop()


def until(true: Callable[[], object], site: Site, patience_s: float = 90.0) -> None:
    limit = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < limit, site.log
        time.sleep(0.2)


def as_written(record: Record) -> Written:
    tick = read_tick(record)
    return record.key, record.value or b"", tick.clock_ms if tick else None


def planned(plan: Plan, until_ms: int) -> list[list[Written]]:
    """The log that the plan makes up to a tick, partition by partition."""
    logs = log_steps(takewhile(lambda step: step.clock_ms <= until_ms, steps_of(plan)), PARTITIONS)
    return [[as_written(record) for record in logs[partition].records] for partition in range(PARTITIONS)]


def readings(records: list[Record], partition: int) -> set[tuple[object, ...]]:
    """Identities of what the frames hold."""
    found: set[tuple[object, ...]] = set()
    for record in records:
        if read_tick(record) is None:
            frame = decode(record, CATALOGUE.feeds, CATALOGUE.cities, partition=partition, partitions=PARTITIONS)
            for row in frame.batch.select(["device", "ts"]).to_pylist():
                found.add((frame.feed.id, frame.city, row["device"], row["ts"]))
    return found


def test_an_outage_leaves_no_trace_in_the_log(site: Site) -> None:
    plan = plan_of(CATALOGUE, (("SC02", 0),), duration=300_000, rate=40.0, faults="none")
    process = site.simulate("--scenario", "SC02", "--duration", "300s", "--rate", "40", "--faults", "none")
    until(lambda: site.has(20), site)
    site.link.cut()
    there = site.count()
    before = site.spooled_bytes()
    until(lambda: site.spooled_bytes() > before + 40_000, site)
    assert site.count() == there, "the cable is cut"
    until(lambda: "the broker is away" in site.log, site)
    site.link.mend()
    assert process.wait(120) == 0, site.log
    log = [[as_written(record) for record in site.written(partition)] for partition in range(PARTITIONS)]
    assert log == planned(plan, plan.end_ms + DRAIN_MS)
    assert "the broker is back" in site.log
    assert not list(site.spool.glob("*.seg")), "nothing is left"


def test_what_a_killed_producer_left_is_sent_first_by_the_next_one(site: Site) -> None:
    first = ("--scenario", "SC02", "--duration", "1h", "--rate", "40", "--faults", "none")
    plan = plan_of(CATALOGUE, (("SC02", 0),), duration=3_600_000, rate=40.0, faults="none")
    process = site.simulate(*first)
    until(lambda: site.has(20), site)
    site.link.cut()
    there = site.count()
    before = site.spooled_bytes()
    until(lambda: site.spooled_bytes() > before + 60_000, site)
    process.kill()
    process.wait()
    copy = site.folder / "copy"
    shutil.copytree(site.spool, copy, ignore=shutil.ignore_patterns("meant-for"))
    with Spool(copy, limit_bytes=1 << 30) as left:
        kept = [unpack(entry.payload) for entry in left.read(1 << 30)]
    assert len(kept) > 40
    site.link.mend()
    assert site.count() == there, "what was in the spool is not at the broker yet"

    second = ("--start", "2026-06-02T12:00:00+08:00", "--duration", "20s", "--rate", "40", "--feed", "weather.obs")
    assert site.simulate(*second).wait(120) == 0, site.log
    total: set[tuple[object, ...]] = set()
    last_clock = max(tick.clock_ms for r in kept if (tick := read_tick(Record(0, r.key, r.value, r.headers, 0))))
    for partition, expected in enumerate(planned(plan, last_clock + plan.tick_ms)):
        records = site.written(partition)
        drivers = [tick.driver if (tick := read_tick(r)) else None for r in records]
        earlier = records[: drivers.index("simulate/2")]
        assert "simulate/1" not in drivers[len(earlier) :], "all that was left comes before what is new"
        once = list(dict.fromkeys(as_written(record) for record in earlier))
        assert once == expected[: len(once)], "in its order, and without a hole"
        assert max(clock for _, _, clock in once if clock is not None) == last_clock
        wanted = [Record(0, r.key, r.value, r.headers, 0) for r in kept if r.partition == partition]
        assert readings(wanted, partition) <= readings(earlier, partition)
        total |= readings(earlier, partition)
    assert len(total) > 200
    assert "what an earlier run left in the spool is sent first" in site.log
