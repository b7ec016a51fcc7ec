"""The store is away or says no: lag and not loss, a bounded memory, clear words, and a fast way back."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from sink_world import MemoryTape, World
from store_edge import DISK_FULL, MEMORY, READ_ONLY, TIMEOUT, TOO_MANY_PARTS, TOO_MANY_QUERIES, Edge, Refusal

from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.settings import ClickHouse
from pearlstream.store import Store
from sinks.clickhouse import lane, service
from sinks.clickhouse.breaker import LONGEST_S
from sinks.clickhouse.health import Health
from sinks.clickhouse.ledger import run_ledger
from sinks.clickhouse.ledger_broker import BrokerView
from sinks.clickhouse.status import report
from sinks.clickhouse.tape import Spot
from sinks.clickhouse.writer import Sink

MINUTES_AWAY = 5


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def edge(embedded_store: Any) -> Iterator[Edge]:
    made = Edge(embedded_store.url)
    yield made
    made.close()


@pytest.fixture
def store(edge: Edge, embedded_store: Any, migrated: Store) -> Iterator[Store]:
    """The migrated store, through the edge."""
    settings = ClickHouse(
        url=edge.url, user=embedded_store.user, password=embedded_store.password, database=migrated.database
    )
    made = Store(settings)
    yield made
    made.close()


def a_sink(world: World, store: Store, *, most: int = 1000, flush_s: float = 1.0) -> tuple[Sink, Clock]:
    clock = Clock()
    sink = Sink(MemoryTape(world.broker, most), store, world.catalogue, flush_s=flush_s, clock=clock)
    sink.start()
    return sink, clock


def pass_time(sink: Sink, clock: Clock, seconds: float) -> None:
    """Steps, half a second of the sink's clock apart."""
    until = clock.now + seconds
    while clock.now < until:
        sink.step()
        clock.now += 0.5


def drained(sink: Sink, clock: Clock, patience_s: float = 60.0) -> float:
    """Until everything is in the store; the seconds of the sink's clock that it took."""
    began = clock.now
    while clock.now < began + patience_s:
        sink.step()
        if sink.idle and not any(report(sink)["lag"].values()):
            return clock.now - began
        clock.now += 0.5
    raise AssertionError(f"not drained after {patience_s} s: {report(sink)}")


def assert_exact(world: World, store: Store) -> None:
    ledger = run_ledger(store, BrokerView(MemoryTape(world.broker)), drained=True)
    assert ledger.exact, ledger.findings
    assert ledger.totals["accepted"] > 0


@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        (READ_ONLY, "read-only"),
        (DISK_FULL, "free disk space"),
        (TOO_MANY_PARTS, "merges behind"),
        (MEMORY, "more memory"),
        (TOO_MANY_QUERIES, "check that it runs"),
        (TIMEOUT, "check that it runs"),
        ("away", "check that it runs"),
        ("deaf", "check that it runs"),
    ],
    ids=lambda value: value.name if isinstance(value, Refusal) else value.replace(" ", "-"),
)
def test_minutes_without_the_store_are_lag_and_then_nothing_is_missing_or_doubled(
    trouble: Refusal | str,
    remedy: str,
    world: World,
    edge: Edge,
    store: Store,
    migrated: Store,
    said: io.StringIO,
) -> None:
    sink, clock = a_sink(world, store)
    edge.trouble = trouble
    pass_time(sink, clock, 60 * MINUTES_AWAY)
    tried = len(edge.tokens)
    assert 60 * MINUTES_AWAY / LONGEST_S <= tried <= 60, "it neither gives up nor hammers"
    assert len(set(edge.tokens)) == 1, "what failed is offered again and nothing else"
    found = report(sink)
    assert not found["ready"]
    assert found["lag"]["accepted"] == len(
        [r for s, log in world.broker.logs.items() if s.role == "accepted" for r in log]
    )
    assert any(remedy in problem["remedy"] for problem in found["problems"]), found["problems"]
    assert "the store does not take it; the same comes again" in said.getvalue()
    edge.trouble = None
    assert drained(sink, clock) <= LONGEST_S + 15.0
    assert report(sink)["ready"]
    assert_exact(world, migrated)


def test_the_store_comes_and_goes_while_readings_come(
    catalogue: Catalogue, edge: Edge, store: Store, migrated: Store
) -> None:
    world = World(catalogue)
    world.play(minutes=1)
    sink, clock = a_sink(world, store)
    feed = catalogue.feeds["traffic.flow"]
    now = int(world.broker.logs[Spot("readings", 0)][-1].headers[0][1])
    for trouble in ("away", None, DISK_FULL, "deaf", None, TOO_MANY_PARTS, "deaf", MEMORY):
        edge.trouble = trouble
        for _ in range(3):
            for city in ("440300", "440100"):
                world.frame(feed, city, now + 100, times=2)
            now += 5_000
            world.tick(now)
            pass_time(sink, clock, 7)
    edge.trouble = None
    drained(sink, clock, 120)
    assert_exact(world, migrated)


def test_memory_is_bounded_however_long_the_store_is_away(
    world: World, edge: Edge, store: Store, migrated: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, cut = 60_000, 40_000
    monkeypatch.setattr(lane, "HOLD_BYTES", hold)
    monkeypatch.setattr(lane, "CUT_BYTES", cut)
    sink, clock = a_sink(world, store, most=3)
    edge.trouble = "away"
    largest = 0
    for _ in range(400):
        sink.step()
        clock.now += 0.5
        largest = max(largest, *(one.size for one in sink.lanes.values()))
    most = max(len(record.value or b"") + 1000 for log in world.broker.logs.values() for record in log)
    partitions = world.broker.count
    assert hold < largest <= hold + partitions * 3 * most
    assert isinstance(sink.tape, MemoryTape)
    assert sink.tape.paused
    unread = [s for s, end in sink.tape.ends(sink.tape.at).items() if sink.tape.at[s] < end]
    assert {spot.role for spot in unread} == {spot.role for spot in sink.tape.paused}
    edge.trouble = None
    drained(sink, clock, 120)
    assert not sink.tape.paused
    assert_exact(world, migrated)


def test_a_backlog_is_written_cut_after_cut_without_waiting_for_the_next_flush(
    world: World, edge: Edge, store: Store, migrated: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "CUT_BYTES", 30_000)
    sink, clock = a_sink(world, store, flush_s=30.0)
    edge.trouble = "away"
    pass_time(sink, clock, 90)
    backlog = sink.lanes["accepted"].size
    assert backlog > 3 * 30_000
    edge.trouble = None
    clock.now += LONGEST_S  # the next trial
    began = clock.now
    for _ in range(100):
        sink.step()
    assert clock.now == began
    assert sink.lanes["accepted"].size <= 30_000, "what is left is less than a cut"
    drained(sink, clock, 120)
    assert_exact(world, migrated)


def test_too_many_parts_makes_inserts_rarer_and_too_little_memory_makes_them_smaller(
    world: World, edge: Edge, store: Store, migrated: Store
) -> None:
    sink, clock = a_sink(world, store)
    edge.trouble = TOO_MANY_PARTS
    pass_time(sink, clock, 60)
    assert sink.pace.flush_s > 1.0
    edge.trouble = MEMORY
    before = sink.pace.cut_rows
    pass_time(sink, clock, 60)
    assert sink.pace.cut_rows < before
    edge.trouble = None
    drained(sink, clock, 120)
    pass_time(sink, clock, 1200)
    assert (sink.pace.flush_s, sink.pace.cut_rows) == (1.0, lane.CUT_ROWS), "back to the usual pace"
    assert_exact(world, migrated)


def test_a_broker_that_does_not_answer_ends_nothing_and_what_was_read_is_written(world: World, migrated: Store) -> None:
    stopped: list[int] = []

    class Patchy(MemoryTape):
        """Fails at every other poll; asks for the end once all has been read and written."""

        polls = 0

        def poll(self, timeout_s: float) -> dict[Spot, Any]:
            self.polls += 1
            if self.polls % 2:
                raise ServiceError("the broker does not answer")
            if sink.idle and self.polls > 20 and not any(report(sink)["lag"].values()):
                stopped.append(15)
            return super().poll(timeout_s)

    sink = Sink(Patchy(world.broker, 50), migrated, world.catalogue, flush_s=0.0)
    health = Health(sink.metrics.registry)
    try:
        service._loop(sink, health, stopped, None)
    finally:
        health.close()
    assert_exact(world, migrated)
