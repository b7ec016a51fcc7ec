"""The stage admit: what is accepted, what is set aside, and that neither depends on how records are batched."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pytest

from pearlstream.catalogue import load_catalogue
from pearlstream.errors import RegistryMissing
from pearlstream.fold import Log, Output
from pearlstream.folds.admit import Admit
from pearlstream.frame import ARROW, JSON, Tick, encode_arrow, frame_headers, tick_record
from pearlstream.position import Position, Source
from pearlstream.quality import Quality
from pearlstream.seal import UNSEALED, Seal
from pearlstream.testing.world import T0, World, headers_by_name, run, table

CITY = "440300"
FEED = "factory.machine"
HOUR, DAY, MINUTE = 3_600_000, 86_400_000, 60_000
CATALOGUE = load_catalogue()


@pytest.fixture
def world() -> World:
    made = World(CATALOGUE)
    made.register(FEED, CITY, 4)
    made.tick(0)
    return made


def machine(world: World, ts: list[int], seq: list[int] | None = None, **columns: object) -> None:
    rows = len(ts)
    values = {
        "device": ["d0"] * rows,
        "seq": seq or list(range(rows)),
        "state": ["RUN"] * rows,
        "span_s": [10.0] * rows,
    }
    world.frame(FEED, CITY, ts, **(values | columns))


def of(outputs: list[Output], target: str) -> list[dict[str, str]]:
    return [headers_by_name(output) for output in outputs if output.target == target]


def reasons(outputs: list[Output]) -> dict[str, int]:
    found: dict[str, int] = {}
    for accepted in of(outputs, "accepted"):
        for reason, rows in json.loads(accepted["bad"]).items():
            found[reason] = found.get(reason, 0) + rows
    return found


def test_a_clean_frame_is_passed_on_byte_for_byte(world: World) -> None:
    machine(world, [1000, 2000])
    accepted = [output for output in world.admit() if output.target == "accepted"]
    assert [output.value for output in accepted] == [world.log.records[-1].value]
    assert headers_by_name(accepted[0])["accepted"] == "2"


def test_every_frame_has_exactly_one_accepted_record_even_if_nothing_of_it_survives(world: World) -> None:
    world.raw(CITY, b"junk", ("content-type", ARROW.encode()), ("schema", b"factory.machine@1"))
    machine(world, [1000])
    machine(world, [1000])
    accepted = of(world.admit(), "accepted")
    assert [(a["rows"], a["accepted"], a["dup"]) for a in accepted] == [
        ("0", "0", "0"),
        ("1", "1", "0"),
        ("1", "0", "1"),
    ]


def test_positions_of_each_target_are_a_chain_without_holes(world: World) -> None:
    for minute in range(5):
        machine(world, [minute * MINUTE + 1000], [minute])
        world.raw(CITY, b"junk")
        world.tick((minute + 1) * MINUTE)
    outputs = world.admit()
    for target in ("accepted", "rollups", "quarantine"):
        positions = [Position.parse(h["from"]) for h in of(outputs, target)]
        assert positions
        assert [p.after for p in positions] == [-1, *(p.upto for p in positions[:-1])]


def test_a_retransmitted_reading_counts_once_and_the_good_rows_beside_it_are_kept(world: World) -> None:
    machine(world, [1000, 2000])
    machine(world, [2000, 3000], [1, 2])
    world.tick(20_000)
    outputs = world.admit()
    assert [h["dup"] for h in of(outputs, "accepted")] == ["0", "1"]
    second = pa.ipc.open_stream([o for o in outputs if o.target == "accepted"][1].value).read_all()
    assert second["seq"].to_pylist() == [2]
    assert second.schema.names[-2:] == ["run", "qc"]
    counted = table([o for o in outputs if o.target == "rollups"])
    assert counted.filter(counted["measure"] == f"{FEED}.rows")["n"].sum() == 3


CASES = {
    "B15-null_required": ([1000], {"state": [None]}, "null_required"),
    "B22-future": ([11 * MINUTE], {}, "future"),
    "B23-time_unset": ([-T0], {}, "time_unset"),
    "B23-too_late": ([-25 * HOUR], {}, "too_late"),
    "B24-seconds": ([T0 // 1000 - T0], {}, "time_unit"),
    "B24-microseconds": ([T0 * 1000 - T0], {}, "time_unit"),
    "B25-ahead": ([8 * HOUR], {}, "time_zone_suspect"),
    "B30-bad_id": ([1000], {"device": ["a b"]}, "bad_id"),
    "B31-injection": ([1000], {"device": ["'; DROP TABLE x"]}, "bad_id"),
    "B10-not_finite": ([1000], {"power_kw": [float("inf")]}, "not_finite"),
    "not_in_values": ([1000], {"state": ["FLYING"]}, "not_in_values"),
}


@pytest.mark.parametrize(("ts", "columns", "reason"), CASES.values(), ids=CASES)
def test_a_bad_row_is_set_aside_with_its_reason_and_the_rest_goes_on(
    world: World, ts: list[int], columns: dict[str, list[object]], reason: str
) -> None:
    both = {
        name: [*values, *({"device": ["d1"], "state": ["RUN"]}.get(name, [1.0]))] for name, values in columns.items()
    }
    machine(world, [*ts, 1000], [0, 1], **({"device": ["d0", "d1"]} | both))
    machine(world, [2000], [2], device=["d1"])
    outputs = world.admit()
    assert reasons(outputs) == {reason: 1}
    assert [h["accepted"] for h in of(outputs, "accepted")] == ["1", "1"]
    quarantined = of(outputs, "quarantine")
    assert [(q["reason"], q["rows"], q["part"]) for q in quarantined] == [(reason, "0", "1/1")]
    assert Position.parse(quarantined[0]["from"]).upto == 1
    assert quarantined[0]["message"].startswith(FEED)


FLAGGED = {
    "B22-clock_ahead": ([5 * MINUTE], {}, Quality.CLOCK_AHEAD),
    "B33-range": ([1000], {"power_kw": [9000.0]}, Quality.RANGE),
    "B33-negative": ([1000], {"power_kw": [-1.0]}, Quality.RANGE),
}


@pytest.mark.parametrize(("ts", "columns", "flag"), FLAGGED.values(), ids=FLAGGED)
def test_a_doubtful_row_is_accepted_with_a_flag(
    world: World, ts: list[int], columns: dict[str, list[float]], flag: Quality
) -> None:
    machine(world, ts, **columns)
    accepted = [output for output in world.admit() if output.target == "accepted"]
    assert pa.ipc.open_stream(accepted[0].value).read_all()["qc"].to_pylist() == [int(flag)]


def test_a_zone_behind_in_an_unbroken_sequence_is_flagged(world: World) -> None:
    machine(world, [-8 * HOUR, -8 * HOUR + 10_000])
    accepted = [output for output in world.admit() if output.target == "accepted"]
    flags = pa.ipc.open_stream(accepted[0].value).read_all()["qc"].to_pylist()
    assert flags == [0, int(Quality.TIME_ZONE_SUSPECT)]


def test_a_reading_is_late_once_the_clock_has_passed_its_pane_and_hold(world: World) -> None:
    world.tick(20_000)
    machine(world, [5_000], [0])
    world.tick(20_001)
    machine(world, [6_000], [1])
    assert [h["late"] for h in of(world.admit(), "accepted")] == ["0", "1"]


def test_before_the_first_tick_nothing_is_late_or_ahead() -> None:
    world = World(CATALOGUE)
    machine(world, [-40 * DAY, 40 * DAY])
    assert of(world.admit(), "accepted")[0]["accepted"] == "2"


def test_a_tick_that_is_not_above_the_clock_is_ignored(world: World) -> None:
    world.tick(10_000)
    world.tick(10_000)
    world.tick(5_000)
    assert [h["clock"] for h in of(world.admit(), "rollups")] == [str(T0), str(T0 + 10_000)]


def test_a_tick_that_names_an_unknown_registry_leaves_the_state_alone(world: World) -> None:
    machine(world, [1000])
    world.log.append(*tick_record(Tick(T0 + 5000, "x/1", "deadbeef")))
    with pytest.raises(RegistryMissing):
        world.admit()


def test_a_tick_nobody_can_read_is_quarantined_and_the_stream_goes_on(world: World) -> None:
    world.raw(None, b"", ("clock", b"soon"))
    world.tick(10_000)
    outputs = world.admit()
    assert reasons(outputs) == {"tick_malformed": 0}
    assert of(outputs, "rollups")[-1]["clock"] == str(T0 + 10_000)


def test_the_tick_of_a_stranger_is_quarantined_and_moves_no_time() -> None:
    world, seal = World(CATALOGUE), Seal((b"k" * 16,), "pearl.")
    for ms, by in ((10_000, seal), (3_600_000, UNSEALED), (20_000, seal)):
        world.log.append(*tick_record(Tick(T0 + ms, "x/1"), by))
    fold = Admit(world.program, world.book, seal=seal)
    _, outputs = fold.apply(fold.start(Source("readings-1", 0)), world.log.records)
    assert reasons(outputs) == {"tick_forged": 0}
    assert [h["clock"] for h in of(outputs, "rollups")] == [str(T0 + 10_000), str(T0 + 20_000)]


def test_two_reasons_in_one_frame_are_two_quarantine_records_of_one_position(world: World) -> None:
    machine(world, [11 * MINUTE, 1000, 2000], state=["RUN", "FLYING", "RUN"])
    quarantined = of(world.admit(), "quarantine")
    assert sorted((q["reason"], q["part"]) for q in quarantined) == [("future", "2/2"), ("not_in_values", "1/2")]
    assert len({q["from"] for q in quarantined}) == 1


def hostile(world: World, rng: random.Random) -> None:
    """A log in which everything happens: repeats, disorder, restarts, bad frames, late data, other encodings."""
    seq = dict.fromkeys(("d0", "d1", "d2", "d3", "new"), 0)
    sent: list[tuple[str, int, int]] = []
    for step in range(60):
        now = step * 10_000
        rows = []
        for device in seq:
            if rng.random() < 0.05:
                seq[device] = 0
            if rng.random() > 0.03:
                rows.append((device, seq[device], now + rng.randrange(10_000)))
            seq[device] += 1
        sent += rows
        rows += rng.sample(sent, min(len(sent), rng.choice((0, 0, 1, 5))))
        rng.shuffle(rows)
        columns = {"device": [r[0] for r in rows], "seq": [r[1] for r in rows]}
        power = [rng.choice((1.25, 7.1, -4.0, None)) for _ in rows]
        if rows:
            machine(world, [r[2] for r in rows], power_kw=power, state=["RUN"] * len(rows), **columns)
        if rng.random() < 0.2:
            world.raw(rng.choice((CITY, "440100", "nowhere", None)), rng.randbytes(40), ("content-type", JSON.encode()))
        if rng.random() < 0.7:
            world.tick(now + 10_000)
        if rng.random() < 0.05:
            world.register(FEED, CITY, 2, prefix=f"late{step}-")


@pytest.mark.parametrize("seed", range(8))
def test_any_cut_into_batches_and_any_snapshot_gives_the_same_bytes(seed: int) -> None:
    world = World(CATALOGUE)
    world.register(FEED, CITY, 4)
    hostile(world, random.Random(seed))
    whole = world.admit()
    assert {output.target for output in whole} == {"accepted", "rollups", "crossings", "quarantine"}
    for cut in range(6):
        assert world.admit(random.Random(cut)) == whole


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_accepted_repeated_or_set_aside_and_the_accepted_ones_are_all_rolled_up(seed: int) -> None:
    world = World(CATALOGUE)
    world.register(FEED, CITY, 4)
    hostile(world, random.Random(seed))
    world.tick(DAY)
    outputs = world.admit()
    total = {"rows": 0, "accepted": 0, "dup": 0, "bad": 0}
    for h in of(outputs, "accepted"):
        total["bad"] += sum(json.loads(h["bad"]).values())
        for name in ("rows", "accepted", "dup"):
            total[name] += int(h[name])
    assert total["rows"] == total["accepted"] + total["dup"] + total["bad"]
    partials = table([o for o in outputs if o.target == "rollups"])
    assert partials.filter(partials["measure"] == f"{FEED}.rows")["n"].sum() == total["accepted"] > 100


def test_a_rollup_is_cut_when_too_many_readings_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pearlstream.folds.admit.ROWS_PER_ROLLUP", 5)
    for n in range(4):
        machine(world, [1000 + n, 2000 + n], [2 * n, 2 * n + 1])
    world.tick(10_000)
    whole = world.admit()
    cuts = of(whole, "rollups")
    assert [(Position.parse(h["from"]).upto, h["clock"]) for h in cuts] == [
        (0, str(T0)), (3, str(T0)), (5, str(T0 + 10_000)),
    ]  # fmt: skip
    assert world.admit(random.Random(1)) == whole


def test_frames_of_another_partitions_city_are_set_aside() -> None:
    world = World(CATALOGUE)
    value = encode_arrow(CATALOGUE.feeds[FEED], {"device": ["d0"], "ts": [T0], "seq": [0], "state": ["RUN"]})
    log = Log()
    log.append(CITY.encode(), value, frame_headers(CATALOGUE.feeds[FEED], ARROW, "g", None, sim=True))
    fold = Admit(world.program, world.book, partitions=6)
    found = [reasons(run(fold, Source("t", partition), log.records)) for partition in range(6)]
    assert sorted(found, key=str).count({"wrong_partition": 0}) == 5
