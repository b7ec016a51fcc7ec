"""History is loaded beside a live log: as if it had come live, each reading once, and nothing live is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from history_world import (
    CITY,
    DAY_MS,
    FEED,
    MINUTE_MS,
    START,
    Fragile,
    Halves,
    Killed,
    Spoilt,
    checked,
    everything_live,
    file_of,
    history_of,
    history_rows,
    line,
    lines,
    panes,
    stored_as_if_live,
    windows,
)  # fmt: skip
from sink_world import T0, drain

from pearlstream.catalogue import Catalogue
from pearlstream.program import Program
from pearlstream.settings import ClickHouse
from pearlstream.store import Store
from sinks.clickhouse.history import load as load_module
from sinks.clickhouse.history import log
from sinks.clickhouse.history.claim import Busy, Claim
from sinks.clickhouse.history.load import NoLiveLog, Unfinished, load
from sinks.clickhouse.journal import INTENT, Entry, Journal
from sinks.clickhouse.ledger import run_ledger
from sinks.clickhouse.mend.acts import list_acts
from sinks.clickhouse.mend.backfill import Asked, backfill, day_of
from sinks.clickhouse.mend.fleet import StoredFleet
from sinks.clickhouse.mend.standing import standing
from sinks.clickhouse.mend.withdraw import Wanted, withdraw
from sinks.clickhouse.migrate import migrate

NIGHT = START + 23 * 3_600_000
"""An hour before the first midnight of the files."""


def small(folder: Path, name: str = "a.csv", **options: Any) -> Path:
    """A file of two hours about midnight."""
    return file_of(folder, lines(**{"start": NIGHT, "hours": 2, **options}), name)


def readings(store: Store, what: str = "*") -> list[tuple[Any, ...]]:
    return store.query(f"SELECT {what} FROM `{store.database}`.readings_traffic_flow_v WHERE ts < '2023-11-13'")


def test_panes_and_windows_are_those_of_a_log_of_its_own(
    alive: Store, store: Store, program: Program, tmp_path: Path
) -> None:
    there = lines(NIGHT, 16, gap=range(3, 12))
    file = file_of(tmp_path, there + lines(NIGHT, 2, ("old3",), "440600"))
    before = everything_live(alive)
    with history_of(program, file) as history:
        result = load(alive, program, history)
    assert result.total.fresh == result.total.readings == len(there) + 24
    assert [one.day for one in result.days] == ["2023-11-08", "2023-11-09"]
    migrate(store, program.catalogue)
    stored_as_if_live(program, store, file)
    assert panes(alive) == panes(store)
    assert len(panes(store)) > 1000
    wanted, said = windows(store), windows(alive)
    assert {key: said.get(key) for key in wanted} == wanted
    assert len({key[0] for key in wanted}) > 5
    assert any(row[0] is None for row in wanted.values()), "windows without data are said too"
    assert everything_live(alive) == before
    ledger = checked(alive)
    assert ledger.totals["accepted"] == result.total.fresh + sum(row[0] for row in _live_accepted(alive))


def _live_accepted(store: Store) -> list[tuple[int]]:
    return store.query(
        f"SELECT sum(accepted) FROM `{store.database}`.frames FINAL WHERE NOT startsWith(topic_id, 'history-')"
    )


def test_what_is_loaded_twice_counts_once(alive: Store, program: Program, tmp_path: Path) -> None:
    file = small(tmp_path)
    with history_of(program, file) as history:
        first = load(alive, program, history, why="from the archive")
        was = panes(alive), history_rows(alive), readings(alive, "count()")
        second = load(alive, program, history)
    assert (second.total.fresh, second.total.known) == (0, first.total.fresh)
    assert second.act != first.act
    assert (panes(alive), history_rows(alive), readings(alive, "count()")) == was
    wider = small(tmp_path, "b.csv", hours=3)
    with history_of(program, wider) as history:
        third = load(alive, program, history)
    assert (third.total.known, third.total.fresh) == (first.total.fresh, first.total.fresh // 2)
    checked(alive)
    acts = [act for act in list_acts(alive, ["import"]) if not act["part"]]
    assert [(act["state"], act["rows"], act["why"]) for act in acts] == [
        ("done", third.total.fresh, ""), ("done", 0, ""), ("done", first.total.fresh, "from the archive"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "done",
    [pytest.param(True, id="after the write"), pytest.param(False, id="before the write", marks=pytest.mark.slow)],
)
def test_whoever_is_killed_goes_on(
    alive: Store, alive_settings: ClickHouse, store: Store, program: Program, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, done: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(Claim, "_lives", lambda self, who: False)  # its process is gone
    monkeypatch.setattr(log, "CUT_ROWS", 20)
    file = small(tmp_path)
    migrate(store, program.catalogue)
    stored_as_if_live(program, store, file)
    with history_of(program, file) as history:
        for at in (3, 9, 16, 23, 31, 38, 45, 1000):
            try:
                result = load(Fragile(alive_settings, at, done=done), program, history)
                break
            except Killed:
                assert run_ledger(alive).exact, "at no moment is anything unexplained"
    assert at > 30, "it was killed several times"
    assert result.resumed
    assert result.total.fresh == 48
    assert panes(alive) == panes(store)
    wanted, said = windows(store), windows(alive)
    assert {key: said.get(key) for key in wanted} == wanted
    rows = history_rows(alive)
    assert len(set(rows)) == len(rows) == len(said), "each window is said once"
    assert len([act for act in list_acts(alive, ["import"]) if not act["part"]]) == 1
    checked(alive)


def test_the_ledger_says_that_panes_are_being_made(
    alive: Store, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    made = load_module.mended

    def while_it_is_made(*args: Any, **options: Any) -> Any:
        seen.append(run_ledger(alive))
        outcome = made(*args, **options)
        seen.append(run_ledger(alive))
        return outcome

    monkeypatch.setattr(load_module, "mended", while_it_is_made)
    monkeypatch.setattr("sinks.clickhouse.ledger.PAUSE_S", 0)
    with history_of(program, small(tmp_path)) as history:
        act = load(alive, program, history).act
    assert [(one.exact, one.panes, one.loading) for one in seen] == [(True, False, [act])] * 4


def test_readings_that_came_live_stay_and_gaps_are_filled_as_if_all_had_come_live(
    migrated: Store, store: Store, program: Program, catalogue: Catalogue, tmp_path: Path
) -> None:
    halves = Halves(catalogue)
    drain(halves.played(whole=False), migrated)
    missing = len(halves.rows)
    repeated = [line(START + 2 * MINUTE_MS + n, f"d{n}", flow=99.0) for n in range(3)]
    before = readings(migrated)
    told = windows(migrated)
    with history_of(program, file_of(tmp_path, halves.rows + repeated), cadence_s=60) as history:
        result = load(migrated, program, history)
    assert (result.total.fresh, result.total.known) == (missing, 3)
    after = readings(migrated)
    assert len(after) == len(before) + missing
    assert set(before) <= set(after)
    migrate(store, catalogue)
    drain(halves.played(whole=True), store)
    late = ("X10.",)  # how long readings were on their way does differ

    def comparable(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return [row for row in rows if not row[4].startswith(late)]

    assert comparable(panes(migrated)) == comparable(panes(store))
    wanted, said = windows(store, "indicator != 'X10'"), windows(migrated, "indicator != 'X10'")
    assert {key: said.get(key) for key in wanted} == wanted
    assert said != {key: row for key, row in told.items() if key in said}
    corrected = migrated.query(
        f"SELECT count(), min(rev), uniqExact(act), any(toString(maturity)) FROM `{migrated.database}`.indicators FINAL"
        " WHERE act > 0 AND rev > 0"
    )[0]
    assert corrected[0] > 10
    assert corrected[1:] == (1, 1, "corrected")
    checked(migrated)


def test_panes_of_history_can_be_recomputed(alive: Store, program: Program, tmp_path: Path) -> None:
    with history_of(program, small(tmp_path)) as history:
        load(alive, program, history)
    was = panes(alive)
    alive.command(f"DELETE FROM `{alive.database}`.rollups WHERE pane_ms < '2023-11-10'")
    days = [day_of("2023-11-08"), day_of("2023-11-09")]
    assert all(outcome.replaced for outcome in backfill(alive, program, days, Asked((FEED,))))
    assert panes(alive) == was


# ---------------------------------------------------------------- what is not loaded


def test_days_that_the_stream_may_still_correct_are_refused(alive: Store, program: Program, tmp_path: Path) -> None:
    rows = lines(NIGHT, 1) + lines(T0 - DAY_MS - 3_600_000, 2) + lines(T0 - 3_600_000, 1)
    before = everything_live(alive)
    with history_of(program, file_of(tmp_path, rows)) as history:
        result = load(alive, program, history)
    assert [(one.day, one.fresh) for one in result.days] == [("2023-11-08", 24)]
    older, newer = result.refused
    assert [(one.day, one.readings) for one in result.refused] == [("2023-11-12", 24), ("2023-11-13", 48)]
    assert "remembers this day until the log's clock passes 2023-11-14T01:15:00Z" in older.why
    assert "live" not in older.why
    assert "what is later than 2023-11-13T00:03:00Z can be sent live" in newer.why
    assert everything_live(alive) == before
    checked(alive)


def test_days_whose_live_readings_lack_are_left_alone(
    migrated: Store, program: Program, catalogue: Catalogue, tmp_path: Path
) -> None:
    halves = Halves(catalogue, 10)
    drain(halves.played(whole=False), migrated)
    migrated.command(f"TRUNCATE TABLE `{migrated.database}`.readings_traffic_flow")  # as retention does
    was = panes(migrated), windows(migrated)
    with history_of(program, file_of(tmp_path, halves.rows)) as history:
        result = load(migrated, program, history)
    assert (result.act, result.days, len(result.refused)) == (0, [], 1)
    assert "do not fit the stored readings" in result.refused[0].why
    assert (panes(migrated), windows(migrated)) == was
    assert readings(migrated, "count()") == [(0,)]


def test_what_lacks_of_other_cities_is_no_hindrance(
    migrated: Store, program: Program, catalogue: Catalogue, tmp_path: Path
) -> None:
    halves = Halves(catalogue, 10)
    drain(halves.played(whole=False), migrated)
    migrated.command(f"TRUNCATE TABLE `{migrated.database}`.readings_traffic_flow")
    was = set(panes(migrated))
    with history_of(program, small(tmp_path, start=START, city="440600")) as history:
        result = load(migrated, program, history)
    assert (result.total.fresh, result.refused) == (48, [])
    assert was < set(panes(migrated))
    assert {row[1] for row in set(panes(migrated)) - was} == {"440600"}


def test_what_was_loaded_can_be_taken_back_and_does_not_come_again(
    alive: Store, program: Program, tmp_path: Path
) -> None:
    with history_of(program, small(tmp_path)) as history:
        load(alive, program, history)
        taken = withdraw(alive, program, Wanted(FEED, ("old1",), START, START + 2 * DAY_MS, (CITY,)), "tilted")
        assert taken.readings == 24
        assert taken.corrected > 0
        was = panes(alive), windows(alive)
        again = load(alive, program, history)
    assert (again.total.fresh, again.total.known) == (0, 48)
    assert (panes(alive), windows(alive)) == was
    assert checked(alive).totals["withdrawn"] == 24


def test_a_frame_that_cannot_be_read_is_set_aside_with_its_reason(
    alive: Store, program: Program, tmp_path: Path
) -> None:
    with history_of(program, small(tmp_path)) as history:
        result = load(alive, program, Spoilt(history))
    assert result.total.quarantined == {"json_malformed": 1}
    assert result.total.fresh == 48
    found = alive.query(
        f"SELECT toString(reason), payload, toString(topic_id) FROM `{alive.database}`.quarantine FINAL"
        " WHERE startsWith(topic_id, 'history-')"
    )
    assert found == [("json_malformed", "rubbish", f"history-{result.act}")]
    checked(alive)


def test_a_dry_run_says_what_would_come_of_it_and_writes_nothing(
    alive: Store, program: Program, tmp_path: Path
) -> None:
    with history_of(program, small(tmp_path)) as history:
        load(alive, program, history)
    tables = ("frames", "ticks", "acts", "batches", "readings_traffic_flow", "devices_history", "indicators")
    sizes = f"SELECT {', '.join(f'(SELECT count() FROM `{alive.database}`.{name})' for name in tables)}"
    was = alive.query(sizes)
    with history_of(program, small(tmp_path, "b.csv", hours=3)) as history:
        result = load(alive, program, history, dry_run=True)
    assert (result.act, result.total.known, result.total.fresh) == (0, 48, 24)
    assert alive.query(sizes) == was


def test_two_at_once_and_another_before_the_first_is_finished_are_refused(
    alive: Store, alive_settings: ClickHouse, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Claim(alive)
    other.take()
    with history_of(program, small(tmp_path)) as history:
        with pytest.raises(Busy, match="is being loaded into"):
            load(alive, program, history)
        assert not list_acts(alive, ["import"])
        other.release()
        with pytest.raises(Killed):
            load(Fragile(alive_settings, 12, done=True), program, history)
        monkeypatch.setattr(Claim, "_lives", lambda self, who: False)
        with history_of(program, small(tmp_path, "b.csv", hours=1)) as another:
            with pytest.raises(Unfinished, match=r"readings of a\.csv are stored only in part"):
                load(alive, program, another)
            assert load(alive, program, history).resumed
            assert load(alive, program, another).total.known == 24


def test_a_live_sink_may_write_meanwhile(alive: Store, program: Program, tmp_path: Path) -> None:
    journal = Journal(alive)
    last = next(entry for (_, role), entry in journal.newest().items() if role == "rollups")
    journal.write([Entry(last.topic_id, "rollups", last.number + 1, last.ranges, INTENT, last.marks, {})])
    clock = standing(alive, 0).clock
    with history_of(program, small(tmp_path)) as history:
        assert load(alive, program, history).total.fresh == 48
    assert standing(alive, 0).clock == clock, "time is that of the live log"


def test_without_a_live_log_there_is_no_past(migrated: Store, program: Program, tmp_path: Path) -> None:
    with history_of(program, small(tmp_path)) as history, pytest.raises(NoLiveLog, match="holds no live log"):
        load(migrated, program, history)


def test_devices_of_the_log_keep_what_is_known_of_them_and_the_log_learns_of_no_others(
    alive: Store, program: Program, tmp_path: Path
) -> None:
    live_version, _ = StoredFleet(alive, program.catalogue.feeds).newest
    file = small(tmp_path, devices=("d0", "x0"), city="440300")
    with history_of(program, file, registry={"zone": "suburb"}) as history:
        load(alive, program, history)
    fleet = StoredFleet(alive, program.catalogue.feeds)
    assert fleet.newest[0] == live_version
    before = fleet.at(live_version, FEED).devices(FEED, "440300")
    (version,) = {row[0] for row in alive.query(f"SELECT registry FROM `{alive.database}`.ticks"
                                                " WHERE startsWith(topic_id, 'history-')")}  # fmt: skip
    after = fleet.at(version, FEED).devices(FEED, "440300")
    assert before is not None
    assert after is not None
    assert before["device"].to_list() == [f"d{n}" for n in range(5)]
    assert sorted(after["device"]) == ["d0", "d1", "d2", "d3", "d4", "x0"]
    assert dict(after.select("device", "zone").iter_rows()) == {
        **dict.fromkeys(before["device"], "core"),
        "x0": "suburb",
    }
    assert after.filter(device="d0").drop("from_ms").equals(before.filter(device="d0").drop("from_ms"))
    others = [fleet.at(name, "factory.machine").parts for name in (version, live_version)]
    assert others[0].keys() == others[1].keys()
    assert all(part.equals(others[1][key]) for key, part in others[0].items())
