"""Random schedules of the sink: crashes, zombies, half inserts, lost answers and lost tokens, each seed another one.

The store is one in memory that keeps what ClickHouse promises of an insert and no more, so that hundreds of
schedules take the time of one on a real store; what the real one keeps is held to in the other tests.
"""

from __future__ import annotations

import random

import pytest
from memory_store import Chances, Crash, MemoryStore
from sink_world import MemoryTape, World

from sinks.clickhouse.breaker import Breaker
from sinks.clickhouse.writer import Sink

KEYED = ("frames", "ticks", "indicators", "devices", "quarantine")
FEW, MANY = 25, 400


class Clock:
    """Seconds that pass with every look: what is to be waited for is over soon."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def a_sink(world: World, store: MemoryStore, most: int) -> Sink:
    tape = MemoryTape(world.broker, most)
    sink = Sink(tape, store, world.catalogue, flush_s=0.0, clock=Clock(), breaker=Breaker())  # type: ignore[arg-type]
    sink.start()
    return sink


def finish(world: World, store: MemoryStore) -> None:
    """A last process brings everything in."""
    store.chances = Chances(random.Random(0))
    sink = a_sink(world, store, 1000)
    for _ in range(400):
        sink.step()
        if sink.idle and all(sink.tape.at[s] >= e for s, e in sink.tape.ends(sink.tape.at).items()):  # type: ignore[attr-defined]
            return
    raise AssertionError("the sink does not come to an end")


def disturbed(world: World, seed: int, *, wipe: bool = False) -> MemoryStore:
    """A run in which everything happens. `wipe`: the store forgets its tokens on the way."""
    rng = random.Random(seed)
    store = MemoryStore()
    store.chances = Chances(rng, 0.25)
    sinks: list[Sink] = []
    for _ in range(rng.randint(10, 60)):
        if not sinks or (len(sinks) < 3 and rng.random() < 0.05):  # a successor beside one that is frozen
            sinks.append(a_sink(world, store, rng.choice((3, 9, 40, 1000))))
        sink = rng.choice(sinks)
        try:
            sink.step()
        except Crash:
            sinks.remove(sink)
        if wipe and rng.random() < 0.05:
            store.tokens.clear()
    finish(world, store)
    if sinks and not wipe:
        store.chances = Chances(rng)
        rng.choice(sinks).step()  # one that was frozen wakes up when all is done
    return store


@pytest.fixture(scope="module")
def expected(town: World) -> MemoryStore:
    """What a run without any failure leaves behind."""
    store = MemoryStore()
    finish(town, store)
    assert set(KEYED) < set(store.rows)
    assert sum(store.told()["rollups"].values()) > 0
    return store


def check(town: World, expected: MemoryStore, seeds: range) -> int:
    """Every schedule leaves the same; how many parts tokens have kept out."""
    dropped = 0
    for seed in seeds:
        store = disturbed(town, seed)
        assert store.told() == expected.told(), f"seed {seed}"
        dropped += store.dropped
    return dropped


def test_whatever_happens_every_row_is_there_once(town: World, expected: MemoryStore) -> None:
    assert check(town, expected, range(FEW)) > FEW, "tokens had something to do"


@pytest.mark.slow
def test_whatever_happens_in_schedules_that_nobody_has_seen_before(town: World, expected: MemoryStore) -> None:
    first = random.SystemRandom().randrange(1 << 40)
    check(town, expected, range(first, first + MANY))


def test_where_tokens_are_lost_keys_still_keep_rows_single(town: World, expected: MemoryStore) -> None:
    """The second barrier. Partials have no identity, so nothing would absorb them twice: the ledger shows it."""
    wanted = expected.told(once=True)
    again = 0
    for seed in range(FEW):
        store = disturbed(town, seed, wipe=True)
        found = store.told(once=True)
        for table in [name for name in wanted if name in KEYED or name.startswith("readings_")]:
            assert found[table] == wanted[table], f"seed {seed}, {table}"
            again += store.told()[table] != wanted[table]
    assert again > 0, "some rows were inserted twice"
