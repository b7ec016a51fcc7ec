"""The log that an import makes: in order of time, the same however the files were cut, and nothing late in it."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importer_kit import Kit, kit_mapping, lines, minutes

from pearlstream.fold import header
from pearlstream.frame import read_tick
from pearlstream.program import Program
from producers.importer import Import, fold_import, parse_mapping, resolve
from producers.importer import runs as runs_module
from producers.importer.convert import KEY
from producers.importer.devices import DeviceBook
from producers.importer.runs import Spill
from producers.importer.steps import Pace, logs_of, settled_by
from producers.importer.unify import unify

BASE = 1_451_606_400_000
"""2016-01-01 00:00 UTC."""


def stamp(second: int) -> str:
    return f"2016-01-01 {second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


ROW = st.tuples(
    st.integers(0, 7200), st.sampled_from(["d1", "d2", "d3", "bad id"]), st.sampled_from(["20", "x", "", "61"])
)
FILES = st.lists(st.lists(ROW, max_size=40), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES, chunk=st.integers(1, 25), join=st.booleans())
def test_the_size_of_chunks_does_not_change_what_is_sent(kit: Kit, files: list[Any], chunk: int, join: bool):
    texts = {
        f"{number}.csv": lines("2016-01-01 00:00:00,d0,1", *(f"{stamp(s)},{who},{temp}" for s, who, temp in rows))
        for number, rows in enumerate(files)
    }
    whole = kit.read(texts, kit_mapping(join=join))
    cut = kit.read(texts, kit_mapping(join=join), chunk_rows=chunk)
    assert cut.log == whole.log
    assert cut.records == whole.records
    assert sorted(cut.rejects) == sorted(whole.rejects)
    assert cut.survey.rows == whole.survey.rows == whole.survey.readings + len(whole.rejects)


def test_readings_of_several_files_come_in_order_of_time_whatever_the_order_of_rows(kit: Kit):
    rows = [f"{stamp(s)},d{d},20" for s in range(0, 3600, 60) for d in (1, 2)]
    random.Random(1).shuffle(rows)
    mixed = kit.read({"a.csv": lines(*rows[:70]), "b.csv": lines(*rows[70:])}, chunk_rows=16)
    straight = kit.read(lines(*sorted(rows)))
    assert mixed.column("ts") == sorted(mixed.column("ts"))
    assert mixed.log == straight.log


def test_more_runs_than_are_merged_at_once_are_merged_in_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runs_module, "FAN_IN", 3)
    lots = random.Random(2)
    frame = pl.DataFrame(
        {
            "ts": [lots.randrange(50) for _ in range(500)],
            "city": ["A"] * 500,
            "device": [f"d{lots.randrange(4)}" for _ in range(500)],
            "file": [0] * 500,
            "line": list(range(500)),
        }
    )
    spill = Spill(tmp_path, piece_rows=7)
    for at in range(0, 500, 23):
        spill.add(frame[at : at + 23])
    pieces = list(spill.merged())
    assert pl.concat(pieces).equals(frame.sort(KEY))
    ends = [(piece["ts"][0], piece["ts"][-1]) for piece in pieces]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends)), "no instant is cut apart"
    assert list(tmp_path.iterdir()) == []


def test_joining_the_quick_way_and_the_careful_way_agree():
    base = {"ts": [1] * 4, "city": ["A"] * 4, "device": ["d"] * 4, "file": [0, 1, 2, 3], "line": [5, 6, 7, 8]}
    quick = pl.DataFrame(
        {**base, "x": [1.0, None, None, None], "y": [None, 2.0, None, None], "z": [None, None, None, 3]}
    )
    kept, repeats = unify(quick, ["x", "y", "z"], ["a", "b", "c", "d"], join=True)
    assert repeats == []
    assert kept.select("file", "line", "x", "y", "z").rows() == [(0, 5, 1.0, 2.0, 3)]
    clash = quick.with_columns(pl.Series("x", [1.0, None, 9.0, None]))
    kept, repeats = unify(clash, ["x", "y", "z"], ["a", "b", "c", "d"], join=True)
    assert kept.select("x", "y", "z").rows() == [(1.0, 2.0, 3)]
    assert [(file, line) for file, line, _, _ in repeats] == [(2, 7)]


# ------------------------------------------------------------------ ticks


@pytest.mark.parametrize(
    ("cadence", "grid", "slot"),
    [(3600, 3_600_000, 60_000), (300, 300_000, 60_000), (60, 60_000, 60_000), (10, 10_000, 10_000), (1, 5_000, 5_000)],
)
def test_ticks_come_once_per_cadence_but_no_closer_than_five_seconds(cadence: float, grid: int, slot: int):
    assert Pace.of(cadence) == Pace(grid, slot)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seconds=st.lists(st.integers(0, 40_000), min_size=1, max_size=60), cadence=st.sampled_from([1, 10, 60, 300, 3600])
)
def test_every_reading_arrives_under_a_tick_that_is_neither_late_nor_far_before_it(
    kit: Kit, seconds: list[int], cadence: int
):
    mapping = kit_mapping(cadence_s=cadence)
    outcome = kit.read(lines(*(f"{stamp(s)},d{s % 3},20" for s in seconds)), mapping)
    clocks = [clock for clock, _ in outcome.log]
    assert clocks == sorted(set(clocks)), "time only goes forward"
    assert max(b - a for a, b in itertools.pairwise(clocks)) <= max(5_000, cadence * 1000)
    assert outcome.log[0][1] == [], "a tick comes before the first frame"
    arrival = None
    rows = 0
    for clock, frames in outcome.log:
        for _, count, payload in frames:
            times = pl.read_ipc_stream(payload)["ts"]
            assert arrival is not None
            assert arrival <= int(times.min() or 0)
            assert int(times.max() or 0) < arrival + 60_000
            rows += count
        arrival = clock
    assert rows == outcome.survey.readings


def prepared(kit: Kit, text: str, mapping: dict[str, Any]) -> Import:
    job = Import(resolve(parse_mapping(mapping), kit.program.catalogue), kit.program)
    with job:
        job.prepare(kit.files({"a.csv": text}))
        job._sorted.rename(kit.folder / "kept.arrow")
        job._sorted = kit.folder / "kept.arrow"
    return job


def test_frames_are_cut_at_the_rows_that_the_feed_says(kit: Kit):
    outcome = kit.read(lines(*(f"2016-01-01 00:00:{d % 60:02d},d{d},20" for d in range(1200))))
    sizes = [rows for _, frames in outcome.log for _, rows, _ in frames]
    assert sizes == [500, 500, 200]


def test_cities_go_to_frames_and_partitions_of_their_own(kit: Kit):
    text = lines(*(f"{stamp(60 * m)},d1,{c},20" for m in range(3) for c in ("XX-A", "XX-B")), header="t,who,city,temp")
    job = prepared(kit, text, kit_mapping(city="{city}"))
    logs = logs_of(job.steps(), "00000000", 6)
    keys = [{record.key for record in log.records if record.key} for log in logs]
    assert sorted(key for some in keys for key in some) == [b"XX-A", b"XX-B"]
    ticks = [[read_tick(record) for record in log.records if record.key is None] for log in logs]
    assert all(some == ticks[0] for some in ticks), "every partition has every tick"
    frames = [record for log in logs for record in log.records if record.key]
    assert {header(record.headers, "gateway") for record in frames} == {"import-kit"}
    assert {header(record.headers, "sim") for record in frames} == {None}


def test_the_clock_goes_on_until_every_window_is_settled(kit: Kit):
    job = prepared(kit, minutes(["20"] * 90), kit_mapping())
    folded = fold_import(job, partitions=3)
    assert (folded.accepted, folded.late, folded.duplicate, folded.quarantined) == (90, 0, 0, {})
    assert folded.panes["n"].sum() == 90
    complete = folded.indicators.filter(indicator="X09", dims="feed=test.kit").sort("window_end_ms")
    assert complete["maturity"].unique().to_list() == ["settled"]
    assert complete["window_end_ms"].to_list() == [BASE + 300_000 * n for n in range(1, 19)]
    assert complete["value"].to_list() == [100.0] * 18


def test_settling_waits_for_the_longest_window_of_the_feed(kit_catalogue: Program):
    last = BASE + 10
    end = settled_by(kit_catalogue, "air.quality", ["XX-A"], last)
    assert end >= BASE + 3_600_000 + 10_000 + 30_000
    assert settled_by(kit_catalogue, "test.kit", ["XX-A"], last) < end


def test_spacings_are_counted_across_cuts(kit: Kit):
    resolved = resolve(parse_mapping(kit_mapping()), kit.program.catalogue)
    frame = pl.DataFrame({"ts": [0, 0, 5, 7, 10, 12], "city": ["A"] * 6, "device": ["a", "b", "a", "b", "a", "b"]})
    whole, cut = DeviceBook(resolved), DeviceBook(resolved)
    whole.note(frame)
    for at in range(6):
        cut.note(frame[at : at + 1])
    assert whole.spacings == cut.spacings == {5: 3, 7: 1}
    assert whole.seen == cut.seen
