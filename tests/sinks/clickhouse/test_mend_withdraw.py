"""Readings that are taken back count no more: panes and indicators are as if they had never come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from sink_world import T0, World, drain, truncate

from pearlstream.catalogue import Catalogue
from pearlstream.program import Program
from pearlstream.store import Store
from sinks.clickhouse import sql
from sinks.clickhouse.ledger import run_ledger
from sinks.clickhouse.mend.acts import list_acts
from sinks.clickhouse.mend.indicators import Corrections
from sinks.clickhouse.mend.standing import standing
from sinks.clickhouse.mend.withdraw import StillRemembered, Wanted, look, remembered_until, withdraw
from sinks.clickhouse.schema import ROLLUPS

CITY, FLOW = "440300", "traffic.flow"
MINUTES = 13
WRONG = Wanted(FLOW, ("d1", "d3"), T0 + 120_000, T0 + 480_000)


def play(catalogue: Catalogue, without: Wanted | None = None) -> World:
    """A quarter of an hour of five detectors, some late. `without`: as if these readings had never been taken."""
    world, feed = World(catalogue, 1, provisional=False), catalogue.feeds[FLOW]
    world.register(feed, CITY, 5)
    world.tick(T0)
    for step in range(MINUTES * 3):
        now = T0 + step * 20_000
        for at in (now, now - 310_000) if step == 23 else (now,):
            send(world, at, without)
        world.tick(now + 19_000)
    world.tick(T0 + MINUTES * 60_000 + 240_000)
    return world


def send(world: World, at: int, without: Wanted | None) -> None:
    devices = [f"d{n}" for n in range(5)]
    ts = at + np.arange(5) + (3 if at % 20_000 else 0)
    gone = [
        without is not None and device in without.devices and without.start <= ms < without.stop
        for device, ms in zip(devices, ts, strict=True)
    ]
    kept = [n for n in range(5) if not gone[n]]
    values = np.array(kept, float) + 0.5 * (
        at // 10_000 % 3
    )  # neither stuck nor leaping: flags of a device know its past
    columns = {"device": [devices[n] for n in kept], "ts": ts[kept]}
    columns |= dict.fromkeys(world.catalogue.feeds[FLOW].fields, values + 10)
    world.frame(world.catalogue.feeds[FLOW], CITY, at, len(kept), **columns)


@pytest.fixture(scope="module")
def rush(catalogue: Catalogue) -> World:
    return play(catalogue)


@pytest.fixture
def stored(rush: World, migrated: Store) -> Store:
    anew(migrated)
    drain(rush, migrated)
    return migrated


def anew(store: Store) -> None:
    """Tokens outlive a partition that was replaced."""
    truncate(store)
    store.command(f"DROP TABLE {sql.qualified(store.database, ROLLUPS.name)} SYNC")
    store.command(sql.create_table(store.database, ROLLUPS))


def panes(store: Store) -> list[tuple[Any, ...]]:
    return store.query(f"SELECT * FROM `{store.database}`.rollups_v ORDER BY ALL")


def said(store: Store, smoothed: Iterable[str]) -> list[tuple[Any, ...]]:
    """What indicators say, without when and how often; smoothed ones pass a correction on to no later window."""
    return store.query(
        "SELECT indicator, city, dims, window_end_ms, value, state, coverage, n, numerator, denominator"
        f" FROM `{store.database}`.indicators FINAL WHERE rev >= 0 AND indicator NOT IN {{smoothed:Array(String)}}"
        " ORDER BY ALL",
        {"smoothed": list(smoothed)},
    )


def smoothed(program: Program) -> list[str]:
    return [one.indicator.id for one in program.indicators if one.indicator.smooth_s is not None]


def every_moment() -> Iterator[int]:
    yield from range(T0 - 400_000, T0 + MINUTES * 60_000 + 120_000, 10_000)


def test_windows_said_again_from_sound_panes_are_those_of_the_stream(stored: Store, program: Program) -> None:
    count = f"SELECT countIf(rev = 0), countIf(rev > 0) FROM `{stored.database}`.indicators FINAL"
    settled, corrected = stored.query(count)[0]
    assert settled > 2 < corrected
    corrections = Corrections(stored, program)
    moments = {CITY: list(every_moment())}
    assert list(corrections.rows(FLOW, moments, T0, 1)) == []
    stored.command(f"DELETE FROM `{stored.database}`.rollups WHERE pane_ms = fromUnixTimestamp64Milli({T0 + 60_000})")
    assert len(list(corrections.rows(FLOW, moments, T0, 1))) > 5


def test_what_is_taken_back_might_never_have_come(stored: Store, catalogue: Catalogue, program: Program) -> None:
    before = panes(stored)
    result = withdraw(stored, program, WRONG, "upside down", force=True)
    assert result.readings > 36
    assert result.corrected > 5
    assert panes(stored) != before
    mended = panes(stored), said(stored, smoothed(program))
    assert run_ledger(stored).exact
    anew(stored)
    drain(play(catalogue, without=WRONG), stored)
    never = panes(stored), said(stored, smoothed(program))
    assert len(never[0]) > 100
    assert len(never[1]) > 15
    for had, has in zip(never, mended, strict=True):
        assert [row for row in had if row not in has] == []
        assert [row for row in has if row not in had] == []


def test_nothing_is_deleted_and_everything_adds_up(stored: Store, program: Program) -> None:
    db = f"`{stored.database}`"
    (all_of_them,) = stored.query(f"SELECT count() FROM {db}.readings_traffic_flow_v")[0]
    result = withdraw(stored, program, WRONG, "upside down", force=True)
    ledger = run_ledger(stored)
    assert ledger.exact
    assert ledger.totals["withdrawn"] == result.readings > 0
    assert ledger.totals["stored_raw"] == ledger.totals["accepted"] == all_of_them
    assert ledger.totals["rollup_count"] == all_of_them - result.readings
    assert stored.query(f"SELECT count() FROM {db}.readings_traffic_flow_v") == [(all_of_them - result.readings,)]
    shown = stored.query(f"SELECT DISTINCT device, act, clock_ms > 0 FROM {db}.withdrawn_traffic_flow ORDER BY device")
    assert shown == [("d1", result.act, True), ("d3", result.act, True)]
    corrected = f"SELECT uniqExact(act), min(rev), any(maturity) FROM {db}.indicators FINAL WHERE act > 0"
    assert stored.query(corrected) == [(1, 1, "corrected")]
    whole = next(act for act in list_acts(stored, ["withdraw"]) if not act["part"])
    assert (whole["state"], whole["why"], whole["rows"]) == ("done", "upside down", result.readings)


def test_taking_back_twice_changes_nothing(stored: Store, program: Program) -> None:
    first = withdraw(stored, program, WRONG, "upside down", force=True)
    before = panes(stored), said(stored, ())
    again = withdraw(stored, program, WRONG, "upside down", force=True)
    assert (again.readings, again.corrected, again.taken) == (0, 0, first.fresh)
    assert not any(day.differences for day in again.days)
    assert (panes(stored), said(stored, ())) == before


def test_a_reading_that_is_inserted_again_stays_taken_back(stored: Store, program: Program) -> None:
    result = withdraw(stored, program, WRONG, "upside down", force=True)
    table = f"`{stored.database}`.readings_traffic_flow"
    as_it_was = "SELECT * REPLACE (r.arrived AS keep, 0 AS withdrawn, 0 AS arrived)"
    stored.command(f"INSERT INTO {table} {as_it_was} FROM {table} AS r FINAL WHERE r.withdrawn > 0")
    assert run_ledger(stored).totals["withdrawn"] == result.readings
    stored.command(f"OPTIMIZE TABLE {table} FINAL")
    assert run_ledger(stored).totals["withdrawn"] == result.readings


def test_one_that_was_killed_is_gone_on_with(stored: Store, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from sinks.clickhouse.mend import withdraw as module

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "mended", killed)
        with pytest.raises(KeyboardInterrupt):
            withdraw(stored, program, WRONG, "upside down", force=True)
    assert not run_ledger(stored).exact
    again = withdraw(stored, program, WRONG, "upside down", force=True)
    assert again.readings == 0
    assert again.corrected > 0
    assert run_ledger(stored).exact
    assert len({act["act"] for act in list_acts(stored, ["withdraw"])}) == 1


def test_what_the_stream_still_remembers_is_not_taken_back_unasked(stored: Store, program: Program) -> None:
    now = standing(stored)
    assert remembered_until(program, FLOW, WRONG.stop) > WRONG.stop + 86_400_000
    with pytest.raises(StillRemembered, match="--force"):
        withdraw(stored, program, WRONG, "upside down")
    assert not list_acts(stored, ["withdraw"])
    assert sum(look(stored, WRONG, now).fresh.values()) > 0
    assert not withdraw(stored, program, Wanted(FLOW, ("nobody",), 0, T0), "?", force=True).act
