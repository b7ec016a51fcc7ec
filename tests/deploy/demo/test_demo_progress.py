"""When is everything there: the true ends of the log, and a drain that does not believe a single look."""

from __future__ import annotations

from uuid import uuid4

import pytest
from demo_scenes import scene

from deploy.demo.ends import LogEnds
from deploy.demo.run import _Drain
from deploy.demo.scene import Headline, Lag, Scene
from deploy.demo.screen import picture
from pearlstream.broker import admin_client, client_options, ensure_topics
from pearlstream.settings import Kafka
from pearlstream.topics import topic_name


@pytest.fixture
def kafka(embedded_broker: str) -> Kafka:
    """A prefix of our own, with its topics."""
    found = Kafka(bootstrap_servers=embedded_broker, prefix=f"ends-{uuid4().hex[:8]}.", partitions=2)
    with admin_client(found) as admin:
        ensure_topics(admin, found)
    return found


def test_the_end_counts_records_that_were_sent_together(kafka: Kafka) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(**client_options(kafka), acks="all", linger_ms=200)
    for _ in range(7):
        producer.send(topic_name(kafka.prefix, "readings"), b"x", partition=1)
    producer.flush()
    producer.close()
    log = LogEnds(kafka)
    try:
        for _ in range(3):
            ends = log.ends(["readings", "devices", "rollups"])
            assert ends == {"readings": {0: 0, 1: 7}, "devices": {0: 0}, "rollups": {0: 0, 1: 0}}
    finally:
        log.close()


class Looks:
    """A watcher whose looks are given."""

    def __init__(self) -> None:
        self.looks = 0
        self._scene: Scene = scene()

    def see(self, *behind: int | None) -> Looks:
        lags = tuple(Lag(f"stage {n}", left) for n, left in enumerate(behind))
        self._scene = scene(headline=Headline(lags=lags))
        self.looks += 1
        return self

    def scene(self) -> Scene:
        return self._scene


def test_a_drain_is_done_when_nobody_was_behind_twice_after_it_began() -> None:
    drain, watcher = _Drain(), Looks()
    steps = [(0, 0), (0, 0), (0, 3), (0, 0), (0, 0)]
    done = []
    for behind in steps:
        drain.look(watcher.see(*behind))  # type: ignore[arg-type]
        done.append(drain.done)
    assert done == [False, False, False, False, True], "the first look may have been under way, one is not enough"


def test_what_is_not_known_is_not_done() -> None:
    drain, watcher = _Drain(), Looks()
    for _ in range(6):
        drain.look(watcher.see(0, None))  # type: ignore[arg-type]
    assert not drain.done
    assert not drain.over


def test_a_drain_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.demo.run.STILL_S", -1.0)
    drain, watcher = _Drain(), Looks()
    drain.look(watcher.see(5))  # type: ignore[arg-type]
    assert drain.over
    assert not drain.done


def test_the_picture_is_an_svg_of_reasonable_size_without_leading_blanks() -> None:
    svg = picture(scene())
    assert svg.startswith("<svg")
    assert len(svg) < 300_000
    assert "Middleton" in svg
    assert ">&#160;&#160;中城" not in svg
