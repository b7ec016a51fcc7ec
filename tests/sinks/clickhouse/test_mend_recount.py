"""Rows that a power loss took although the journal calls them done are found and brought back."""

from __future__ import annotations

from typing import Any

import pytest
from sink_world import MemoryTape, World, drain

from pearlstream.catalogue import Catalogue
from pearlstream.store import Store
from sinks.clickhouse.ledger import run_ledger
from sinks.clickhouse.mend.acts import list_acts
from sinks.clickhouse.mend.recount import recount
from sinks.clickhouse.tape import Spot

TRAFFIC = "readings_traffic_flow"


@pytest.fixture
def stored(town: World, migrated: Store) -> Store:
    drain(town, migrated, most=7)
    return migrated


def rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    what = "* EXCEPT (stored_at)"
    tables = (TRAFFIC, "readings_factory_machine", "frames", "rollups_v")
    return {
        table: store.query(f"SELECT {what if table != 'rollups_v' else '*'} FROM `{store.database}`.{table}"
                           f"{' FINAL' if table != 'rollups_v' else ''} ORDER BY ALL")
        for table in tables
    }  # fmt: skip


def test_nothing_is_done_where_all_rows_are_there(stored: Store, town: World, catalogue: Catalogue) -> None:
    found = recount(stored, catalogue, MemoryTape(town.broker))
    assert found.cuts > 5
    assert (found.short, found.inserted) == ([], {})
    assert not list_acts(stored, ["recount"])


def test_rows_that_went_behind_the_sinks_back_come_again(stored: Store, town: World, catalogue: Catalogue) -> None:
    before = rows(stored)
    half = f"(SELECT quantileExactLow(0.5)(off) FROM `{stored.database}`.{TRAFFIC})"
    stored.command(f"DELETE FROM `{stored.database}`.{TRAFFIC} WHERE off > {half} AND device IN ('d1', 'd2')")
    stored.command(f"DELETE FROM `{stored.database}`.frames WHERE partition = 0 AND offset > 20")
    assert not run_ledger(stored).exact
    found = recount(stored, catalogue, MemoryTape(town.broker))
    gone = len(before[TRAFFIC]) + len(before["frames"])
    assert found.missing > 0
    assert 0 < len(found.short) < found.cuts
    assert set(found.inserted) == {TRAFFIC, "frames"}
    assert rows(stored) == before
    assert run_ledger(stored).exact
    assert not recount(stored, catalogue, MemoryTape(town.broker)).short
    whole = next(act for act in list_acts(stored, ["recount"]) if not act["part"])
    assert whole["rows"] == found.missing < gone


def test_the_same_rows_may_go_twice(stored: Store, town: World, catalogue: Catalogue) -> None:
    before = rows(stored)
    for _ in range(2):
        stored.command(f"DELETE FROM `{stored.database}`.{TRAFFIC} WHERE device = 'd3'")
        assert recount(stored, catalogue, MemoryTape(town.broker)).inserted[TRAFFIC] > 0
        assert rows(stored) == before
    assert len({act["act"] for act in list_acts(stored, ["recount"])}) == 2


def test_what_the_broker_no_longer_has_is_named(stored: Store, town: World, catalogue: Catalogue) -> None:
    stored.command(f"DELETE FROM `{stored.database}`.{TRAFFIC} WHERE device = 'd3'")
    tape = MemoryTape(town.broker)
    gone = {Spot("accepted", p): 10_000 for p in range(town.broker.count)}
    tape.begins = lambda spots: {spot: gone.get(spot, 0) for spot in spots}  # type: ignore[method-assign]
    found = recount(stored, catalogue, tape)
    assert found.lost == [one.cut for one in found.short] != []
    assert found.inserted == {}
    assert not run_ledger(stored).exact


def test_only_the_last_minutes_are_counted(stored: Store, town: World, catalogue: Catalogue) -> None:
    stored.command(
        f"ALTER TABLE `{stored.database}`.batches UPDATE at = at - INTERVAL 1 HOUR WHERE cut < 3"
        " SETTINGS mutations_sync = 2"
    )
    every = recount(stored, catalogue, MemoryTape(town.broker), minutes=100).cuts
    assert recount(stored, catalogue, MemoryTape(town.broker)).cuts == every - 2
