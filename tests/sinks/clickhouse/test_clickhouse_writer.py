"""The sink: whatever fails, whenever it fails, the tables end up exact."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from sink_world import T0, Broker, MemoryTape, World, drain, truncate

from pearlstream.catalogue import Catalogue
from pearlstream.errors import PearlstreamError
from pearlstream.frame import ARROW, encode_arrow, frame_headers
from pearlstream.store import Store, StoreError, Trouble
from sinks.clickhouse.ledger import run_ledger
from sinks.clickhouse.ledger_broker import BrokerView
from sinks.clickhouse.tape import Spot
from sinks.clickhouse.writer import EpochChanged, Sink

TABLES = (
    "readings_traffic_flow", "readings_factory_machine", "frames", "ticks", "indicators", "indicators_history",
    "quarantine", "devices", "truth_labels",
)  # fmt: skip


def fingerprint(store: Store) -> dict[str, Any]:
    """Rows and a hash over all columns of every table; what the store fills in by itself is left out."""
    db = f"`{store.database}`"
    parts = [
        f"SELECT '{t}' AS t, count() AS n, sum(cityHash64(* EXCEPT (stored_at))) AS h FROM {db}.{t}"
        + ("" if t == "indicators_history" else " FINAL")
        for t in TABLES
    ]
    parts.append(f"SELECT 'rollups' AS t, count() AS n, sum(cityHash64(*)) AS h FROM {db}.rollups_v")
    return {t: (n, h) for t, n, h in store.query(" UNION ALL ".join(parts))}


class Crash(BaseException):
    """The process ends here."""


class Failing(Store):
    """A store that fails at some inserts, `before` they are done or `after`, when the answer is lost."""

    def __init__(self, store: Store, plan: Callable[[int, str], BaseException | None]) -> None:
        self.database = store.database
        self._real, self._plan = store, plan
        self.inserts = 0
        self.tokens: list[str] = []

    @property
    def where(self) -> str:
        return "memory"

    @property
    def client(self) -> Any:
        return self._real.client

    def insert(
        self, table: str, columns: Sequence[str], body: bytes, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.inserts += 1
        number = self.inserts
        for when in ("before", "after"):
            error = self._plan(number, when)
            if error is not None:
                raise error
            if when == "before":
                self._real.insert(table, columns, body, settings)
                self.tokens.append(dict(settings or {})["insert_deduplication_token"])


def crash_at(number: int, when: str) -> Callable[[int, str], BaseException | None]:
    return lambda n, w: Crash() if (n, w) == (number, when) else None


def never(number: int, when: str) -> None:
    return None


def away() -> StoreError:
    return StoreError("gone", trouble=Trouble.AWAY)


class Clock:
    """Seconds that pass when told to, and a bit with every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


def a_sink(world: World, store: Store, most: int = 1000, **more: Any) -> Sink:
    sink = Sink(MemoryTape(world.broker, most), store, world.catalogue, flush_s=0.0, clock=Clock(), **more)
    sink.start()
    return sink


def work(sink: Sink, steps: int = 200) -> None:
    """Until nothing is left to read or write."""
    for _ in range(steps):
        sink.step()
        sink._clock.now += 40.0 if sink.breaker.failures else 0.0  # type: ignore[attr-defined]
        if sink.idle and all(sink.tape.at[s] >= e for s, e in sink.tape.ends(sink.tape.at).items()):  # type: ignore[attr-defined]
            return
    raise AssertionError("the sink does not come to an end")


def assert_exact(world: World, store: Store) -> None:
    ledger = run_ledger(store, BrokerView(MemoryTape(world.broker)), drained=True)
    assert ledger.exact, ledger.findings


@pytest.fixture(scope="module")
def expected(town: World, shared_store: Store) -> dict[str, Any]:
    """What a run without any failure leaves behind."""
    truncate(shared_store)
    drain(town, shared_store)
    return fingerprint(shared_store)


# ---------------------------------------------------------------- the plain way


def test_everything_arrives_and_the_ledger_is_exact(town: World, expected: dict[str, Any], migrated: Store) -> None:
    sink = drain(town, migrated)
    assert fingerprint(migrated) == expected
    assert sink.idle
    assert sink.counts.repeats == sink.counts.lost == 0
    assert expected["readings_traffic_flow"][0] > 100
    assert expected["quarantine"][0] > 0
    assert_exact(town, migrated)


@pytest.mark.parametrize("most", [1, 3, 7])
def test_any_cut_leaves_the_same_rows(town: World, expected: dict[str, Any], migrated: Store, most: int) -> None:
    drain(town, migrated, most=most)
    assert fingerprint(migrated) == expected


def test_a_second_sink_goes_on_where_the_first_ended(world: World, migrated: Store) -> None:
    drain(world, migrated)
    world.frame(world.catalogue.feeds["traffic.flow"], "440300", T0 + 200_000)
    world.tick(T0 + 220_000)
    second = drain(world, migrated)
    assert second.counts.records < 12
    assert second.counts.repeats == 0
    assert_exact(world, migrated)


def test_the_done_of_the_last_cut_is_written_without_news(town: World, migrated: Store) -> None:
    sink = a_sink(town, migrated)
    work(sink)
    states = migrated.query(f"SELECT DISTINCT state FROM `{migrated.database}`.batches FINAL")
    assert states == [("done",)]


# ---------------------------------------------------------------- crashes


def test_a_crash_at_every_effect_leaves_exact_tables(town: World, expected: dict[str, Any], migrated: Store) -> None:
    probe = Failing(migrated, never)
    work(a_sink(town, probe, 25))
    effects = probe.inserts
    assert effects > 12
    for number in range(1, effects + 1):
        truncate(migrated)
        sink = a_sink(town, Failing(migrated, crash_at(number, "after")), 25)  # which is before the next one, too
        with pytest.raises(Crash):
            work(sink)
        work(a_sink(town, migrated, 1000))  # reads in other bites, so it would cut otherwise
        assert fingerprint(migrated) == expected, number


def test_many_crashes_in_a_row_leave_exact_tables(town: World, expected: dict[str, Any], migrated: Store) -> None:
    rng = random.Random(7)
    for _ in range(15):
        number, when = rng.randint(1, 8), rng.choice(["before", "after"])
        try:
            work(a_sink(town, Failing(migrated, crash_at(number, when)), rng.choice([3, 9, 1000])))
        except Crash:
            continue
    work(a_sink(town, migrated))
    assert fingerprint(migrated) == expected
    assert_exact(town, migrated)


def test_a_zombie_that_wakes_up_does_no_harm(town: World, expected: dict[str, Any], migrated: Store) -> None:
    zombie = a_sink(town, Failing(migrated, lambda n, when: away() if (n, when) == (2, "before") else None), 25)
    zombie.step()  # its intents are written, its inserts are not
    assert zombie.open
    work(a_sink(town, migrated, 25))
    zombie._clock.now += 60  # type: ignore[attr-defined]
    zombie._deliver(zombie._clock())  # it wakes up and goes on with what it had in hand
    assert fingerprint(migrated) == expected
    assert_exact(town, migrated)


def test_a_redo_carries_the_tokens_of_the_first_try(town: World, migrated: Store) -> None:
    first = Failing(migrated, crash_at(6, "before"))
    with pytest.raises(Crash):
        work(a_sink(town, first, 25))
    second = Failing(migrated, never)
    work(a_sink(town, second, 25))
    data = [token for token in first.tokens if not token.startswith("journal/")]
    assert data
    assert set(data) <= set(second.tokens)


# ---------------------------------------------------------------- the store fails


@pytest.mark.parametrize("seed", range(4))
def test_a_store_that_fails_at_random_gets_the_same_until_it_takes_it(
    town: World, expected: dict[str, Any], migrated: Store, seed: int
) -> None:
    rng = random.Random(seed)
    troubles = [Trouble.AWAY, Trouble.MEMORY, Trouble.MERGING, Trouble.FULL]

    def plan(number: int, when: str) -> BaseException | None:
        return StoreError("no", trouble=rng.choice(troubles)) if rng.random() < 0.25 else None

    sink = a_sink(town, Failing(migrated, plan), 25)
    work(sink, 2000)
    assert fingerprint(migrated) == expected
    assert sink.counts.lost == 0
    assert_exact(town, migrated)


def test_while_the_store_is_away_nothing_is_tried_before_its_time(town: World, migrated: Store) -> None:
    failing = Failing(migrated, lambda number, when: away())
    sink = a_sink(town, failing)
    for _ in range(10):
        sink.step()
    assert failing.inserts < 4
    assert sink.breaker.failures == failing.inserts


def test_a_missing_table_holds_its_topic_and_no_other(town: World, expected: dict[str, Any], migrated: Store) -> None:
    db = f"`{migrated.database}`"
    migrated.command(f"RENAME TABLE {db}.indicators_history TO {db}.hidden")
    sink = a_sink(town, migrated)
    try:
        for _ in range(20):
            sink.step()
        blocked = sink.open["indicators"].blocked
        assert blocked is not None
        assert "store migrate" in str(blocked)
        assert set(sink.open) == {"indicators"}
    finally:
        migrated.command(f"RENAME TABLE {db}.hidden TO {db}.indicators_history")
    sink._clock.now += 60  # type: ignore[attr-defined]
    work(sink)
    assert fingerprint(migrated) == expected


def test_a_wrong_password_ends_the_sink(town: World, migrated: Store) -> None:
    denied = StoreError("no", trouble=Trouble.DENIED, code=516)
    sink = a_sink(town, Failing(migrated, lambda n, w: denied))
    with pytest.raises(StoreError) as caught:
        work(sink)
    assert caught.value.exit_code == 78


# ---------------------------------------------------------------- the log misbehaves


def repeat(broker: Broker, role: str, partition: int, start: int, stop: int) -> None:
    """What a worker does that starts again from an older snapshot."""
    for record in broker.logs[Spot(role, partition)][start:stop]:
        broker.append(role, partition, record.key, record.value, record.headers)


def test_repeats_of_a_restarted_worker_are_skipped(world: World, expected: dict[str, Any], migrated: Store) -> None:
    for role in ("accepted", "rollups", "indicators", "quarantine"):
        for partition in range(3):
            length = len(world.broker.logs[Spot(role, partition)])
            repeat(world.broker, role, partition, length // 2, length)
            repeat(world.broker, role, partition, 0, length)
    sink = drain(world, migrated, most=5)
    assert sink.counts.repeats > 100
    assert_exact(world, migrated)
    counts = {table: n for table, (n, _) in fingerprint(migrated).items()}
    assert counts == {table: n for table, (n, _) in expected.items()}


def test_a_lost_send_is_waited_for(world: World, migrated: Store) -> None:
    log = world.broker.logs[Spot("accepted", 0)]
    lost = log[4]
    log[4:] = [record._replace(offset=record.offset - 1) for record in log[5:]]
    sink = a_sink(world, migrated)
    for _ in range(5):
        sink.step()
    assert sink.lanes["accepted"].stuck == [0]
    world.broker.append("accepted", 0, lost.key, lost.value, lost.headers)
    repeat(world.broker, "accepted", 0, 4, len(log) - 1)
    work(sink)
    assert sink.counts.lost == 0
    assert_exact(world, migrated)


def test_what_never_comes_is_passed_over_and_named(world: World, migrated: Store) -> None:
    log = world.broker.logs[Spot("accepted", 0)]
    gone = log[4]
    log[4:] = [record._replace(offset=record.offset - 1) for record in log[5:]]
    sink = a_sink(world, migrated)
    for _ in range(5):
        sink.step()
    sink._clock.now += 61  # type: ignore[attr-defined]
    work(sink)
    assert sink.counts.lost == 1
    ledger = run_ledger(migrated, BrokerView(MemoryTape(world.broker)), drained=True)
    upto = int(dict(gone.headers)["from"].split(b"/")[3])
    assert [(row["topic"], row["offset"], row["reason"]) for row in ledger.lost] == [("accepted", upto - 1, "gap")] or [
        row["reason"] for row in ledger.lost
    ] == ["gap"]
    assert ledger.missing >= 1
    assert "frames without a row" in {finding.what for finding in ledger.findings}


def test_an_unreadable_record_of_ours_is_named_and_the_rest_goes_on(world: World, migrated: Store) -> None:
    log = world.broker.logs[Spot("accepted", 0)]
    log[3] = log[3]._replace(value=b"\xff" * 40)
    rollups = world.broker.logs[Spot("rollups", 0)]
    rollups[2] = rollups[2]._replace(value=b"nonsense")
    sink = drain(world, migrated)
    assert sink.counts.lost == 2
    ledger = run_ledger(migrated, BrokerView(MemoryTape(world.broker)), drained=True)
    assert {row["reason"] for row in ledger.lost} == {"unreadable"}
    assert ledger.missing > 0


def test_a_feed_that_the_sink_does_not_know_ends_it_with_the_remedy(
    world: World, migrated: Store, catalogue: Catalogue
) -> None:
    log = world.broker.logs[Spot("accepted", 0)]
    headers = tuple((k, b"air.quality@9" if k == "schema" else v) for k, v in log[2].headers)
    log[2] = log[2]._replace(headers=headers)
    with pytest.raises(PearlstreamError, match=r"air.quality@9.*store migrate"):
        drain(world, migrated)


def test_a_topic_made_anew_is_read_from_its_beginning(world: World, migrated: Store) -> None:
    sink = a_sink(world, Failing(migrated, lambda n, w: away() if n > 3 else None))
    sink.step()
    assert sink.open
    world.broker.begin_again()
    world.begin()
    world.play(minutes=1)
    with pytest.raises(EpochChanged):
        sink._check_topics()
    successor = a_sink(world, migrated)
    work(successor)
    states = dict(migrated.query(f"SELECT state, count() FROM `{migrated.database}`.batches FINAL GROUP BY state"))
    assert states["epoch_change"] >= 1
    assert "intent" not in states
    ids = {row[0] for row in migrated.query(f"SELECT DISTINCT topic_id FROM `{migrated.database}`.ticks")}
    assert world.broker.ids["readings"] in ids


def test_records_that_retention_took_are_named(world: World, migrated: Store) -> None:
    world.broker.first[Spot("accepted", 0)] = 3
    sink = a_sink(world, migrated)
    for _ in range(5):
        sink.step()
    sink._clock.now += 61  # type: ignore[attr-defined]
    work(sink)
    ledger = run_ledger(migrated, drained=True)
    assert [row["reason"] for row in ledger.lost] == ["retention_loss"]
    assert not ledger.exact


# ---------------------------------------------------------------- rows


def test_values_come_back_as_they_were_quantised(world: World, migrated: Store) -> None:
    feed = world.catalogue.feeds["traffic.flow"]
    columns = {"device": ["a", "b"], "ts": [T0 + 1, T0 + 2], "seq": [1, None], "flow_vpm": [12.34, None],
               "speed_kmh": [0.05, 130.0]}  # fmt: skip
    world.send("440300", encode_arrow(feed, columns), frame_headers(feed, ARROW, "gw-9", 5, False))
    world.tick(T0 + 60_000)
    drain(world, migrated)
    rows = migrated.dicts(
        f"SELECT device, seq, flow_vpm, speed_kmh, occ_pct, late FROM `{migrated.database}`.readings_traffic_flow_v"
        " WHERE device IN ('a', 'b') ORDER BY device"
    )
    assert rows == [
        {"device": "a", "seq": 1, "flow_vpm": 12.3, "speed_kmh": 0.1, "occ_pct": None, "late": True},
        {"device": "b", "seq": None, "flow_vpm": None, "speed_kmh": 130.0, "occ_pct": None, "late": True},
    ]


def test_the_newest_revision_of_a_window_wins(world: World, migrated: Store) -> None:
    drain(world, migrated)
    db = f"`{migrated.database}`"
    wrong = migrated.query(
        f"SELECT count() FROM {db}.indicators_v AS a INNER JOIN (SELECT indicator, city, dims, window_end_ms,"
        f" max((rev, known_at_ms)) AS best FROM {db}.indicators_history GROUP BY ALL) AS b"
        " USING (indicator, city, dims, window_end_ms) WHERE (a.rev, a.known_at_ms) != b.best"
    )
    assert wrong == [(0,)]
    assert migrated.query(f"SELECT count() FROM {db}.indicators_v") > [(0,)]


def test_freshness_is_measured_from_the_gateway(world: World, migrated: Store) -> None:
    sink = a_sink(world, migrated, wall=lambda: T0 + 181_000 + 250)
    work(sink)
    p50 = sink.freshness.percentile(0.5)
    assert p50 is not None
    assert 0 < p50 < 200_000
    assert sink.freshness.count > 50
