"""One command after a power loss: rows come back from the broker, panes from the rows."""

from __future__ import annotations

import pytest
from sink_world import MemoryTape, World, drain

from pearlstream.program import Program
from pearlstream.store import Store
from sinks.clickhouse import sql
from sinks.clickhouse.ledger import run_ledger
from sinks.clickhouse.mend.repair import repair, wrong_days
from sinks.clickhouse.schema import ROLLUPS


@pytest.fixture
def spoilt(town: World, migrated: Store) -> Store:
    migrated.command(f"DROP TABLE {sql.qualified(migrated.database, ROLLUPS.name)} SYNC")
    migrated.command(sql.create_table(migrated.database, ROLLUPS))
    drain(town, migrated)
    migrated.command(f"DELETE FROM `{migrated.database}`.readings_traffic_flow WHERE device = 'd3'")
    migrated.command(f"DELETE FROM `{migrated.database}`.rollups WHERE feed = 'factory.machine' AND city = '440300'")
    return migrated


def test_rows_and_panes_are_brought_back(spoilt: Store, town: World, program: Program) -> None:
    assert set(wrong_days(spoilt, program)) == {"2023-11-14"}
    result = repair(spoilt, program, MemoryTape(town.broker))
    assert result.recounted is not None
    assert set(result.recounted.inserted) == {"readings_traffic_flow"}
    assert [(day.day, day.replaced) for day in result.days] == [("2023-11-14", True)]
    assert not result.left
    assert run_ledger(spoilt).exact
    assert wrong_days(spoilt, program) == {}


def test_a_dry_run_says_the_same_and_changes_nothing(spoilt: Store, town: World, program: Program) -> None:
    result = repair(spoilt, program, MemoryTape(town.broker), dry_run=True)
    assert result.recounted is not None
    assert result.recounted.missing > 0
    assert result.recounted.inserted == {}
    assert [(day.day, day.replaced, bool(day.differences)) for day in result.days] == [("2023-11-14", False, True)]
    assert "2023-11-14 traffic.flow" in result.left
    assert not run_ledger(spoilt).exact


def test_without_a_broker_panes_are_not_made_from_what_lacks(spoilt: Store, program: Program) -> None:
    result = repair(spoilt, program, None)
    assert result.recounted is None
    assert [day.replaced for day in result.days] == [True]
    assert list(result.left) == ["2023-11-14 traffic.flow"]


def test_days_that_retention_has_taken_readings_of_are_left_alone(spoilt: Store, program: Program) -> None:
    for table, column in (("batches", "at"), ("frames", "stored_at")):
        spoilt.command(
            f"ALTER TABLE `{spoilt.database}`.{table} UPDATE {column} = now() - INTERVAL 29 DAY WHERE 1"
            " SETTINGS mutations_sync = 2"
        )
    assert wrong_days(spoilt, program) == {}
