"""The ledger is green on good data, and red on each kind of tampering, with the right word for it."""

from __future__ import annotations

from typing import Any

import pytest
from sink_world import T0, MemoryTape, World, drain

from pearlstream.store import Store
from sinks.clickhouse.ledger import Ledger, run_ledger
from sinks.clickhouse.ledger_broker import BrokerView
from sinks.clickhouse.tape import Spot


def whats(ledger: Ledger) -> set[str]:
    return {finding.what for finding in ledger.findings}


@pytest.fixture
def stored(town: World, migrated: Store) -> Store:
    drain(town, migrated)
    return migrated


def test_good_data_are_exact_and_counted(town: World, stored: Store) -> None:
    ledger = run_ledger(stored, BrokerView(MemoryTape(town.broker)), drained=True)
    assert (ledger.missing, ledger.doubled, ledger.pending, ledger.findings) == (0, 0, 0, [])
    assert ledger.totals["accepted"] == ledger.totals["stored_raw"] == ledger.totals["rollup_count"] > 0
    assert ledger.totals["rows"] == sum(ledger.totals[k] for k in ("accepted", "duplicate", "quarantined"))
    assert ledger.totals["duplicate"] > 0
    assert ledger.totals["quarantined"] > 0
    assert set(ledger.as_dict()) >= {"missing", "doubled", "partitions"}


def test_good_data_are_exact_without_a_broker(stored: Store) -> None:
    ledger = run_ledger(stored)
    assert ledger.exact
    assert ledger.panes


def test_a_live_ledger_calls_what_is_on_its_way_pending(world: World, migrated: Store) -> None:
    drain(world, migrated)
    world.frame(world.catalogue.feeds["traffic.flow"], "440300", T0 + 200_000)
    world.tick(T0 + 220_000)
    live = run_ledger(migrated, BrokerView(MemoryTape(world.broker)))
    assert live.exact
    assert live.pending > 0
    drained = run_ledger(migrated, BrokerView(MemoryTape(world.broker)), drained=True)
    assert drained.missing > 0


def test_an_ignored_tick_is_no_missing_frame(world: World, migrated: Store) -> None:
    world.tick(T0 + 60_000)  # below the clock: a driver of the past woke up
    world.frame(world.catalogue.feeds["traffic.flow"], "440300", T0 + 200_000)
    world.tick(T0 + 240_000)
    drain(world, migrated)
    ledger = run_ledger(migrated, BrokerView(MemoryTape(world.broker)), drained=True)
    assert ledger.exact
    assert sum(part.ignored_ticks for part in ledger.partitions) == 3


def test_a_producer_that_sent_more_than_came_is_heard(stored: Store) -> None:
    came = run_ledger(stored).totals["rows"]
    assert run_ledger(stored, produced=came).exact
    assert run_ledger(stored, produced=came + 7).missing == 7
    assert run_ledger(stored, produced=came - 7).doubled == 7


DELETE = "DELETE FROM {db}.{table} WHERE {where}"
TRAFFIC = "readings_traffic_flow"

TAMPERING = {
    "a reading is gone": (
        f"DELETE FROM {{db}}.{TRAFFIC} WHERE (city, device, ts, seq) IN "
        f"(SELECT city, device, ts, seq FROM {{db}}.{TRAFFIC} ORDER BY city, device, ts LIMIT 1)",
        1, 0, {"readings against frames"},
    ),
    "a frame's readings are gone": (
        f"DELETE FROM {{db}}.{TRAFFIC} WHERE off = (SELECT min(off) FROM {{db}}.{TRAFFIC} WHERE part = 0) AND part = 0",
        5, 0, {"readings against frames"},
    ),
    "a reading is stored under another identity too": (
        f"INSERT INTO {{db}}.{TRAFFIC} SELECT * REPLACE (run + 1 AS run) FROM {{db}}.{TRAFFIC} LIMIT 1",
        0, 1, {"readings against frames"},
    ),
    "a reading of nowhere": (
        f"INSERT INTO {{db}}.{TRAFFIC} SELECT * REPLACE (src + 1 AS src, run + 1 AS run) FROM {{db}}.{TRAFFIC} LIMIT 1",
        0, 1, {"readings of an unknown source"},
    ),
    "one reading is gone and another doubled": (
        f"INSERT INTO {{db}}.{TRAFFIC} SELECT * REPLACE (run + 1 AS run, off + 0 AS off) FROM {{db}}.{TRAFFIC}"
        " WHERE part = 0 ORDER BY off LIMIT 1;"
        f"DELETE FROM {{db}}.{TRAFFIC} WHERE run = 0 AND part = 0 AND device = 'd1'"
        f" AND off = (SELECT max(off) FROM {{db}}.{TRAFFIC} WHERE part = 0)",
        1, 1, {"readings against frames"},
    ),
    "the row of a frame is gone": (
        "DELETE FROM {db}.frames WHERE partition = 0 AND offset = (SELECT quantileExactLow(0.5)(offset) FROM"
        " {db}.frames WHERE partition = 0)",
        1, 0, {"frames without a row"},
    ),
    "the row of the last frame is gone": (
        "DELETE FROM {db}.frames WHERE partition = 2 AND offset = (SELECT max(offset) FROM {db}.frames WHERE"
        " partition = 2)",
        1, 0, {"frames without a row"},
    ),
    "a frame claims more than it stored": (
        "ALTER TABLE {db}.frames UPDATE accepted = accepted + 2, rows = rows + 2 WHERE partition = 0 AND offset ="
        " (SELECT min(offset) FROM {db}.frames WHERE partition = 0) SETTINGS mutations_sync = 2",
        None, 0, {"readings against frames", "rollup records against frames", "rollups against frames"},
    ),
    "a frame has rows without a verdict": (
        "ALTER TABLE {db}.frames UPDATE rows = rows + 3 WHERE partition = 0 AND offset ="
        " (SELECT min(offset) FROM {db}.frames WHERE partition = 0) SETTINGS mutations_sync = 2",
        3, 0, {"rows without a verdict"},
    ),
    "a frame has more verdicts than rows": (
        "ALTER TABLE {db}.frames UPDATE dup = dup + 3 WHERE partition = 0 AND offset ="
        " (SELECT min(offset) FROM {db}.frames WHERE partition = 0) SETTINGS mutations_sync = 2",
        0, 3, {"rows without a verdict"},
    ),
    "a pane is gone": (
        "DELETE FROM {db}.rollups WHERE measure = 'traffic.flow.rows' AND city = '440300' AND pane_ms ="
        " (SELECT min(pane_ms) FROM {db}.rollups WHERE city = '440300')",
        5, 0, {"rollups against readings"},
    ),
    "the rollups were inserted twice": (
        "INSERT INTO {db}.rollups SELECT * FROM {db}.rollups WHERE measure = 'traffic.flow.rows' AND city = '440300'"
        " AND pane_ms = (SELECT min(pane_ms) FROM {db}.rollups WHERE city = '440300')",
        0, 5, {"rollups against readings"},
    ),
    "a pane is gone and another counts it": (
        "ALTER TABLE {db}.rollups UPDATE n = n + multiIf(pane_ms = (SELECT min(pane_ms) FROM {db}.rollups WHERE city ="
        " '440300'), -5, pane_ms = (SELECT max(pane_ms) FROM {db}.rollups WHERE city = '440300' AND measure ="
        " 'traffic.flow.rows'), 5, 0) WHERE city = '440300' AND measure = 'traffic.flow.rows'"
        " SETTINGS mutations_sync = 2",
        5, 5, {"rollups against readings"},
    ),
    "a rollup record is gone": (
        "DELETE FROM {db}.ticks WHERE partition = 0 AND offset = (SELECT quantileExactLow(0.5)(offset) FROM {db}.ticks"
        " WHERE partition = 0)",
        1, 0, {"rollup records missing"},
    ),
    "a finding is not in quarantine": (
        "DELETE FROM {db}.quarantine WHERE (partition, offset) IN (SELECT partition, offset FROM {db}.quarantine"
        " ORDER BY partition, offset LIMIT 1)",
        1, 0, {"quarantine records missing"},
    ),
    "the history of indicators was cut": (
        "DELETE FROM {db}.indicators_history WHERE version = (SELECT min(version) FROM {db}.indicators_history)"
        " AND city = '440300' AND dims = ''",
        None, 0, {"history of indicators against the journal"},
    ),
    "the sink passed something over": (
        "INSERT INTO {db}.lost (topic, topic_id, partition, after, offset, reason) VALUES ('indicators', 'x', 0, 1, 2,"
        " 'gap')",
        1, 0, {"passed over by the sink"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sql", "missing", "doubled", "said"), TAMPERING.values(), ids=TAMPERING)
def test_tampering_is_seen(
    stored: Store, town: World, sql: str, missing: int | None, doubled: int, said: set[str]
) -> None:
    for statement in sql.split(";"):
        stored.command(statement.replace("{db}", f"`{stored.database}`"))
    ledger = run_ledger(stored, BrokerView(MemoryTape(town.broker)), drained=True)
    assert not ledger.exact
    assert whats(ledger) == said
    if missing is not None:
        assert ledger.missing == missing, ledger.findings
    assert ledger.doubled == doubled, ledger.findings


def test_a_copy_that_the_key_absorbs_is_no_double(stored: Store) -> None:
    db = f"`{stored.database}`"
    stored.command(f"INSERT INTO {db}.{TRAFFIC} SELECT * FROM {db}.{TRAFFIC} LIMIT 5")
    assert run_ledger(stored).exact


def test_frames_that_admit_never_wrote_are_missing(world: World, migrated: Store) -> None:
    drain(world, migrated)
    log = world.broker.logs[Spot("readings", 0)]
    log.append(log[1]._replace(offset=len(log)))
    ledger = run_ledger(migrated, BrokerView(MemoryTape(world.broker)), drained=True)
    assert ledger.missing == 1
    assert whats(ledger) == {"frames without a row"}


def test_an_empty_store_is_exact(migrated: Store) -> None:
    ledger: Any = run_ledger(migrated)
    assert ledger.exact
    assert ledger.partitions == []


def test_what_retention_took_is_not_called_missing(world: World, migrated: Store) -> None:
    drain(world, migrated)
    db = f"`{migrated.database}`"
    for table in ("frames", "ticks", "readings_traffic_flow", "readings_factory_machine", "quarantine"):
        migrated.command(
            f"ALTER TABLE {db}.{table} UPDATE stored_at = now() - INTERVAL 29 DAY WHERE 1 SETTINGS mutations_sync = 2"
        )
    migrated.command(
        f"ALTER TABLE {db}.batches UPDATE at = now() - INTERVAL 29 DAY WHERE 1 SETTINGS mutations_sync = 2"
    )
    month = T0 + 29 * 86_400_000
    world.tick(month)
    for step in range(6):
        world.frame(world.catalogue.feeds["traffic.flow"], "440300", month + step * 20_000)
        world.tick(month + (step + 1) * 20_000)
    drain(world, migrated)
    migrated.command(f"DELETE FROM {db}.frames WHERE stored_at < now() - INTERVAL 20 DAY AND offset % 2 = 0")
    migrated.command(f"DELETE FROM {db}.readings_traffic_flow WHERE stored_at < now() - INTERVAL 20 DAY")
    ledger = run_ledger(migrated, BrokerView(MemoryTape(world.broker)), drained=True)
    assert ledger.exact, ledger.findings
    assert ledger.totals["accepted"] == 30
    migrated.command(f"DELETE FROM {db}.{TRAFFIC} WHERE off = (SELECT max(off) FROM {db}.{TRAFFIC}) AND device = 'd1'")
    assert run_ledger(migrated, drained=True).missing == 1
