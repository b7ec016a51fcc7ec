"""Panes that were damaged are made anew from the readings, to the last row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from mend_world import DAYS, Run
from sink_world import T0, drain

from pearlstream.catalogue import Catalogue
from pearlstream.errors import RegistryMissing
from pearlstream.position import Source
from pearlstream.program import Program
from pearlstream.store import Store
from sinks.clickhouse.journal import DONE, INTENT, Entry, Journal
from sinks.clickhouse.ledger import run_ledger
from sinks.clickhouse.mend import backfill as module
from sinks.clickhouse.mend.acts import list_acts
from sinks.clickhouse.mend.backfill import Asked, Outcome, backfill, day_of, days_between
from sinks.clickhouse.mend.standing import NotNow, standing
from sinks.clickhouse.mend.whole import NotWhole

FLOW = ("traffic.flow",)


def panes(store: Store) -> list[tuple[Any, ...]]:
    return store.query(f"SELECT * FROM `{store.database}`.rollups_v ORDER BY ALL")


def damage(store: Store, *statements: str) -> None:
    for statement in statements:
        store.command(statement.replace("{db}", f"`{store.database}`"))


def mend(
    store: Store, program: Program, feeds: Sequence[str] = FLOW, cities: Sequence[str] = (), **options: Any
) -> list[Outcome]:
    asked = Asked(tuple(feeds), tuple(cities))
    return list(backfill(store, program, [day_of(day) for day in DAYS], asked, **options))


def test_the_stream_and_the_recount_say_the_same(midnight_stored: Store, program: Program) -> None:
    outcomes = mend(midnight_stored, program, list(program.feeds), dry_run=True)
    assert [outcome.differences for outcome in outcomes] == [[], []]
    assert min(outcome.readings for outcome in outcomes) > 1_000
    assert midnight_stored.query(f"SELECT uniqExact(registry) FROM `{midnight_stored.database}`.ticks") == [(2,)]
    stray = (
        "SELECT count() FROM {db}.readings_traffic_flow_v WHERE toDate(fromUnixTimestamp64Milli(clock_ms)) > toDate(ts)"
    )
    assert midnight_stored.query(stray.replace("{db}", f"`{midnight_stored.database}`"))[0][0] > 0


GONE = "DELETE FROM {db}.rollups WHERE feed = 'traffic.flow' AND city = '440300' AND toDate(pane_ms) = '2026-03-03'"
TWICE = (
    "INSERT INTO {db}.rollups SELECT * FROM {db}.rollups WHERE feed = 'traffic.flow' AND toDate(pane_ms) = '2026-03-04'"
)
OTHER = (
    "ALTER TABLE {db}.rollups UPDATE v_sum = v_sum + 1 WHERE feed = 'traffic.flow' AND city = '441900'"
    " SETTINGS mutations_sync = 2"
)


@pytest.mark.parametrize(
    ("statement", "seen", "replaced"),
    [(GONE, True, [True, False]), (TWICE, True, [False, True]), (OTHER, False, [True, True])],
    ids=["rows of a day are gone", "a day is there twice", "sums were changed, and no ledger can see it"],
)
def test_what_was_damaged_is_mended_to_the_last_row(
    midnight_stored: Store, program: Program, statement: str, seen: bool, replaced: list[bool]
) -> None:
    before = panes(midnight_stored)
    damage(midnight_stored, statement)
    assert panes(midnight_stored) != before
    assert run_ledger(midnight_stored).exact is not seen
    outcomes = mend(midnight_stored, program)
    assert [outcome.replaced for outcome in outcomes] == replaced
    assert panes(midnight_stored) == before
    assert run_ledger(midnight_stored).exact
    assert [outcome.differences for outcome in mend(midnight_stored, program)] == [[], []]
    acts = [act for act in list_acts(midnight_stored, ["backfill"]) if act["rows"]]
    assert len(acts) == sum(replaced)


def test_a_dry_run_says_what_differs_and_changes_nothing(midnight_stored: Store, program: Program) -> None:
    damage(midnight_stored, GONE, TWICE)
    before = panes(midnight_stored)
    first, second = mend(midnight_stored, program, dry_run=True)
    assert panes(midnight_stored) == before
    assert {d.measure for d in first.differences} >= {"traffic.flow.rows"}
    assert all(d.lacking > 0 and d.excess == d.different == 0 for d in first.differences)
    assert all(d.n_stored == 2 * d.n_recomputed for d in second.differences)
    assert not list_acts(midnight_stored, ["backfill"])
    assert not midnight_stored.query("SELECT name FROM system.tables WHERE startsWith(name, 'rollups__')")


def test_only_the_city_that_was_asked_for_is_touched(midnight_stored: Store, program: Program) -> None:
    before = panes(midnight_stored)
    damage(midnight_stored, GONE, OTHER)
    mend(midnight_stored, program, cities=("440300",))
    mended = panes(midnight_stored)
    assert mended != before
    assert [row for row in mended if row[1] == "440300"] == [row for row in before if row[1] == "440300"]
    mend(midnight_stored, program, cities=("441900",))
    assert panes(midnight_stored) == before


def test_panes_of_measures_that_are_no_longer_declared_stay(midnight_stored: Store, program: Program) -> None:
    old = "INSERT INTO {db}.rollups SELECT * REPLACE ('I0.gone' AS measure) FROM {db}.rollups LIMIT 7"
    damage(midnight_stored, old, GONE)
    mend(midnight_stored, program)
    kept = f"SELECT count() FROM `{midnight_stored.database}`.rollups WHERE measure = 'I0.gone'"
    assert midnight_stored.query(kept)[0][0] > 0
    assert run_ledger(midnight_stored).exact


def test_panes_are_not_made_from_readings_that_lack(midnight_stored: Store, program: Program) -> None:
    gone = "DELETE FROM {db}.readings_traffic_flow WHERE device = (SELECT min(device) FROM {db}.readings_traffic_flow)"
    before = panes(midnight_stored)
    damage(midnight_stored, gone)
    with pytest.raises(NotWhole, match=r"traffic\.flow: \d+ frames near that day do not fit"):
        mend(midnight_stored, program)
    damage(
        midnight_stored,
        "TRUNCATE TABLE {db}.readings_traffic_flow",
        "DELETE FROM {db}.frames WHERE feed = 'traffic.flow'",
    )
    with pytest.raises(NotWhole, match="rollup records near that day"):
        mend(midnight_stored, program)
    assert panes(midnight_stored) == before


def test_an_interrupted_call_is_gone_on_with(midnight_stored: Store, program: Program) -> None:
    before = panes(midnight_stored)
    damage(midnight_stored, GONE, TWICE)
    killed = backfill(midnight_stored, program, [day_of(day) for day in DAYS], Asked(FLOW))
    assert next(killed).day == DAYS[0]
    del killed
    first, second = mend(midnight_stored, program)
    assert (first.resumed, second.resumed) == (True, False)
    assert second.replaced
    assert panes(midnight_stored) == before
    again = mend(midnight_stored, program)
    assert not any(outcome.resumed for outcome in again)


def test_an_open_cut_of_the_sink_is_waited_for(midnight_stored: Store, program: Program) -> None:
    journal = Journal(midnight_stored)
    last = next(entry for (_, role), entry in journal.newest().items() if role == "rollups")
    journal.write([Entry(last.topic_id, "rollups", last.number + 1, last.ranges, INTENT, last.marks, {})])
    with pytest.raises(NotNow, match="has begun and is not noted as done"):
        mend(midnight_stored, program)
    journal.write([Entry(last.topic_id, "rollups", last.number + 1, last.ranges, DONE, last.marks, {})])
    assert not mend(midnight_stored, program)[0].replaced


def test_a_sink_that_writes_all_the_time_is_not_written_over(
    midnight_stored: Store, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(midnight_stored, GONE)
    before, journal = panes(midnight_stored), Journal(midnight_stored)
    compared = module._compared

    def while_the_sink_goes_on(*args: Any) -> Outcome:
        outcome = compared(*args)
        last = next(entry for (_, role), entry in journal.newest().items() if role == "rollups")
        journal.write([Entry(last.topic_id, "rollups", last.number + 1, last.ranges, DONE, last.marks, {})])
        return outcome

    monkeypatch.setattr(module, "_compared", while_the_sink_goes_on)
    with pytest.raises(NotNow, match="stop the sink"):
        mend(midnight_stored, program)
    assert panes(midnight_stored) == before


def test_a_day_is_closed_once_no_reading_of_it_can_come(midnight_stored: Store) -> None:
    now = standing(midnight_stored)
    assert not now.closed(day_of(DAYS[0]).stop)
    assert now.closed(now.clock - 86_400_001)
    assert all(isinstance(source, Source) and bound >= 0 for source, bound in now.bounds.items())


def test_a_registry_that_the_store_never_saw_is_not_guessed(midnight_stored: Store, program: Program) -> None:
    for table in ("devices", "devices_history"):
        damage(midnight_stored, f"DELETE FROM {{db}}.{table} WHERE 1")
    with pytest.raises(RegistryMissing, match="is not in the store"):
        mend(midnight_stored, program)


def test_days_are_those_that_the_store_has(midnight_stored: Store) -> None:
    found = days_between(midnight_stored, Asked(FLOW), "2026-03-01", "2026-03-31")
    assert tuple(day.text for day in found) == DAYS
    damage(midnight_stored, "TRUNCATE TABLE {db}.rollups")
    assert days_between(midnight_stored, Asked(FLOW), "2026-03-01", "2026-03-31") == found
    with pytest.raises(ValueError, match="does not match"):
        day_of("yesterday")


def test_days_apart_are_whole_each_by_itself(catalogue: Catalogue, program: Program, migrated: Store) -> None:
    world, feed = Run(catalogue, 1), catalogue.feeds["traffic.flow"]
    world.register(feed, "440300", 3)
    starts = [T0 + day * 86_400_000 for day in (0, 1, 5)]
    world.frame(feed, "440300", starts[0], 3)  # before any tick
    for start in starts:
        for step in range(3):
            world.tick(start + 10_000 + step * 20_000)
            world.frame(feed, "440300", start + step * 20_000, 3)
        world.tick(start + 90_000)
    drain(world, migrated)
    days = days_between(migrated, Asked(FLOW), "2023-11-01", "2023-11-30")
    assert [day.start for day in days] == starts
    outcomes = list(backfill(migrated, program, days, Asked(FLOW), dry_run=True))
    assert [(outcome.readings, outcome.differences) for outcome in outcomes] == [(12, []), (9, []), (9, [])]
