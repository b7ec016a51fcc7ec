"""A peer and our worker on the same broker, one after the other, with the same readings.

Ours gets all of each load, in frames; the peer the first `READINGS` of it, one message each, into as many partitions
by the same keys. Both sleep while the readings are written and wake to find all of them. In both figures the broker's
CPU time counts, too: a table writes each of its changes there.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from deploy.bench.figures import Counted, Figure, Run
from deploy.bench.load import Load, Made
from deploy.bench.meter import Meter
from deploy.bench.peer.messages import Aggregate, Message, Window, messages, windows
from deploy.bench.placed import Admitting, count_written, make_loads
from deploy.bench.services import Process, running_broker, running_workers
from deploy.demo.clients import health_port, page
from deploy.demo.probe import fetch
from deploy.embedded.child import Child, ChildSpec
from deploy.embedded.ports import LOOPBACK
from pearlstream.broker import admin_client, ensure_topics
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.settings import Kafka
from pearlstream.topics import ROLES
from producers.kafka_writer import KafkaWriter

PEER = "faust-by-the-book"
READINGS = 60_000
"""In one run of the peer: half a minute to two of work for it, as slow as the core is."""
WARM_UP = 2_000
LOOK_EVERY_S = 0.5
"""A run takes long, and each look is work for the peer."""
TRIES = 30
"""So often it may fail to answer in a row."""
STILL_S = 60.0
"""When nothing more has been counted for so long, nothing more will be; forming the group takes ten seconds of it."""


def measure(load: Load, runs: int, catalogue: Catalogue) -> tuple[Figure, Figure]:
    """The figures of our worker and of the peer: some readings to warm up, then `runs` that count.

    Raises ServiceError.
    """
    loads = make_loads(load, runs + 1, catalogue)
    with TemporaryDirectory(prefix="pearlstream-bench-") as name:
        folder = Path(name)
        with running_broker(folder, load) as (kafka, broker):
            return _ours(kafka, broker, folder, loads), _theirs(kafka, broker, folder, loads, catalogue)


def _ours(kafka: Kafka, broker: Process, folder: Path, loads: Sequence[Made]) -> Figure:
    with closing(KafkaWriter(kafka)) as writer, running_workers(kafka, folder) as workers:
        writer.register(loads[0].devices)
        admitting = Admitting(writer, workers, also=(broker,))
        done = [admitting.catch_up(made) for made in loads]
        peaks = {one.name: one.peak_rss_mb() for one in (*workers, broker)}
    return Figure("worker", done[1:], peaks, count_written(kafka, loads))


def _theirs(kafka: Kafka, broker: Process, folder: Path, loads: Sequence[Made], catalogue: Catalogue) -> Figure:
    sizes = [WARM_UP, *[READINGS] * (len(loads) - 1)]
    sent = [list(islice(messages(made, catalogue), size)) for made, size in zip(loads, sizes, strict=True)]
    kafka = kafka.model_copy(update={"prefix": "peer."})
    with admin_client(kafka) as admin:
        ensure_topics(admin, kafka, [ROLES["readings"]])
    with closing(KafkaWriter(kafka)) as writer, _running(kafka, folder) as process:
        peer = Peer(writer, process, broker)
        peer.warm_up(sent[0])
        done = [peer.catch_up(some) for some in sent[1:]]
        counted = count_held(peer.holds(), [one for some in sent for one in some])
        peaks = {one.name: one.peak_rss_mb() for one in (process, broker)}
    return Figure(PEER, done, peaks, counted)


@dataclass
class Peer:
    """The peer's process, who writes to it, and how many readings it has been given."""

    writer: KafkaWriter
    process: Process
    broker: Process
    readings: int = 0

    def warm_up(self, sent: Sequence[Message]) -> None:
        """Write some readings, and wait until they are counted."""
        self._write(sent)
        self._wait()

    def catch_up(self, sent: Sequence[Message]) -> Run:
        """Write readings while the peer sleeps, wake it, and wait until it has counted them all, or counts no more.

        What it has not counted in the end is found by `count_held`.
        """
        with self.process.asleep():
            self._write(sent)
        meter = Meter((self.process, self.broker))
        self._wait()
        return meter.run(len(sent))

    def _write(self, sent: Sequence[Message]) -> None:
        for one in sent:
            self.writer.send_record(one.city.encode(), one.encoded(), ())
        self.writer.flush()
        self.readings += len(sent)

    def _wait(self) -> None:
        counted, moved_at = -1, time.perf_counter()
        while counted < self.readings and time.perf_counter() - moved_at < STILL_S:
            time.sleep(LOOK_EVERY_S)
            now = sum(held.readings for held in self.holds().values())
            if now > counted:
                counted, moved_at = now, time.perf_counter()

    def holds(self) -> dict[Window, Aggregate]:
        """What its table holds, as soon as it answers. Raises ServiceError if it has ended or does not answer."""
        for _ in range(TRIES):
            self.process.living()
            body = fetch(f"{self.process.address}/aggregates/")
            if body is not None:
                return read_page(body)
            time.sleep(LOOK_EVERY_S)
        raise ServiceError("the peer does not show its table", remedy="a machine with less to do")


def read_page(body: bytes) -> dict[Window, Aggregate]:
    """The page of the peer, read."""
    return {
        Window(one["city"], one["metric"], round(one["start"] * 1000)): Aggregate(
            one["count"], one["total"], one["least"], one["greatest"]
        )
        for one in orjson.loads(body)
    }


def count_held(held: dict[Window, Aggregate], sent: Sequence[Message]) -> list[Counted]:
    """Hold what the peer's table holds against what was sent."""
    expected = windows(sent)
    right = sum(window in held and _same(held[window], wanted) for window, wanted in expected.items())
    return [
        Counted("readings in its table", sum(one.readings for one in held.values()), len(sent)),
        Counted("windows as they should be", right, max(len(expected), len(held))),
    ]


def _same(one: Aggregate, other: Aggregate) -> bool:
    return one._replace(total=0.0) == other._replace(total=0.0) and math.isclose(one.total, other.total)


@contextmanager
def _running(kafka: Kafka, folder: Path) -> Iterator[Process]:
    """The peer, begun as its own documentation says; it answers on a page of its own."""
    address = page(health_port(0, "worker"))
    port = address.rpartition(":")[2]
    listen = ("--web-bind", LOOPBACK, "--web-host", LOOPBACK, "--web-port", port)
    child = Child(
        ChildSpec(
            name=PEER,
            argv=[sys.executable, "-P", "-m", "faust", "-A", "deploy.bench.peer.by_the_book", "worker", *listen],
            log_file=folder / f"{PEER}.log",
            env={
                "BROKER_URL": f"kafka://{kafka.bootstrap_servers}",
                "TOPIC_PARTITIONS": str(kafka.partitions),
                "APP_DATADIR": str(folder / PEER),
            },
            ready=f"{address}/aggregates/",
            ready_timeout_s=90.0,
            stop_timeout_s=20.0,
            max_restarts=0,
        )
    )
    child.start()
    try:
        yield Process(PEER, child, address)
    finally:
        child.stop()
