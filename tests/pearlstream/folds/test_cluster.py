"""The stage cluster: what crosses cities, from all partitions, however these meet in the log."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.fold import InProcess, Log, Output, Record, header
from pearlstream.folds.admit import Admit
from pearlstream.folds.alert import AlertFold
from pearlstream.folds.cluster import Cluster, Patience
from pearlstream.folds.indicate import Indicate
from pearlstream.frame import expected_partition, read_tick
from pearlstream.indicators import fingerprint
from pearlstream.inprocess import Lane, gathered
from pearlstream.position import Source
from pearlstream.testing.simulated import ROUGH, crash_points
from pearlstream.testing.simulated import run as simulated
from pearlstream.testing.world import T0, World, headers_by_name, run, table

SHENZHEN, GUANGZHOU, ZHUHAI, SHAOGUAN = "440300", "440100", "440400", "440200"
CITIES = (SHENZHEN, GUANGZHOU, ZHUHAI, SHAOGUAN)
TRIP, METER = "parcel.trip", "meter.node"
MINUTE = 60_000
PARTITIONS = 3
SOURCE = Source("crossings-1", 0)

FEEDS = """
[[feed]]
id = "parcel.trip"
name = { en = "Trips", zh = "行程" }
device = "depot"
emits = "events"
cadence_s = 10
[feed.fields]
to_city = { type = "text" }
kg = { decimals = 1 }

[[feed]]
id = "meter.node"
name = { en = "Meters", zh = "电表" }
device = "meter"
cadence_s = 20
[feed.fields]
load_kw = { decimals = 1 }
[feed.static]
rated_kw = { unit = "kW" }
"""
INDICATORS = """
[[indicator]]
id = "Z21"
sub_item = "2.1"
name = { en = "Weight of what arrives", zh = "到货重量" }
direction = "info"
window = { length_s = 60 }
stage = "cluster"
value = "kg / trips"
[indicator.measures]
kg = { feed = "parcel.trip", value = "kg", city = "to_city" }
trips = { feed = "parcel.trip", city = "to_city" }
[indicator.alert]
thresholds = [{ raise = { op = ">=", value = 25, count = 1 }, clear = { op = "<", value = 20, count = 1 } }]

[[indicator]]
id = "Z22"
sub_item = "2.2"
name = { en = "Load of the Bay Area", zh = "湾区负荷" }
direction = "info"
window = { length_s = 120, every_s = 60 }
stage = "cluster"
scope = "gba"
value = "kw / base_kw"
[indicator.bases]
kw = { value = "kw", per = "rated_kw" }
[indicator.measures]
kw = { feed = "meter.node", value = "load_kw" }

[[indicator]]
id = "Z23"
sub_item = "2.2"
name = { en = "Highest site and the people behind", zh = "最高站点" }
direction = "info"
window = { length_s = 60 }
stage = "cluster"
scope = "gba"
value = "peak * 1000000 + population / 1000000"
[indicator.measures]
kw = { feed = "meter.node", value = "load_kw", by = ["site"] }
[indicator.reduce]
peak = { each = "site", value = "kw / kw_n", over = "max", valid = 0.5 }
"""
BASE = f"""
[[base]]
indicator = "Z22"
name = "kw"
city = "GBA"
values = [{", ".join(["0.5"] * 168)}]
weeks = 4
samples = 40
"""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder: Path = tmp_path_factory.mktemp("overlay")
    for name, text in (("feeds", FEEDS), ("indicators", INDICATORS), ("bases", BASE)):
        (folder / name).mkdir()
        (folder / name / "made_up.toml").write_text(text)
    return load_catalogue([folder])


@pytest.fixture(scope="module")
def world(catalogue: Catalogue) -> World:
    return life(catalogue, 6)


def trip(world: World, city: str, at: int, seq: int, to: Sequence[str], kg: Sequence[float]) -> None:
    world.frame(TRIP, city, [at] * len(to), device=["p0"] * len(to), seq=[seq + n for n in range(len(to))],
                to_city=list(to), kg=list(kg))  # fmt: skip


def meters(world: World, city: str, at: int, loads: Sequence[float]) -> None:
    names = [f"m{n}" for n in range(len(loads))]
    world.frame(METER, city, [at] * len(loads), device=names, seq=[at // 1000] * len(loads), load_kw=list(loads))


def life(catalogue: Catalogue, minutes: int, seed: int = 1) -> World:
    """Parcels and meters in four cities, some of them late."""
    rng = random.Random(seed)
    made = World(catalogue)
    for city in CITIES:
        made.register(TRIP, city, 1, prefix="p")
        made.register(METER, city, 2, prefix="m", rated_kw=[10.0, 30.0])
    made.tick(0)
    for step in range(minutes * 3):
        at = step * 20_000 + 1000
        for city in CITIES:
            back = 2 * MINUTE if rng.random() < 0.2 else 0
            to = [rng.choice((*CITIES, "820000", "OUT")) for _ in range(rng.randrange(4))]
            if to:
                trip(made, city, max(0, at - back), 10 * step, to, [rng.randrange(100) / 2 for _ in to])
            if rng.random() < 0.9:
                meters(made, city, at, [rng.randrange(20) / 2, rng.randrange(60) / 2])
        made.tick((step + 1) * 20_000)
    return made


def crossings(world: World, partitions: int = PARTITIONS, skipping: random.Random | None = None) -> list[list[Record]]:
    """The records of `crossings` by the partition they come from; with `skipping`, partitions leave ticks out."""
    found = []
    for partition in range(partitions):
        log, last = Log(), world.log.records[-1]
        for record in world.log.records:
            if record.key is None:
                if skipping is None or record is last or skipping.random() < 0.7:
                    log.append(record.key, record.value, record.headers)
            elif expected_partition(record.key, partitions) == partition:
                log.append(record.key, record.value, record.headers)
        outputs = run(Admit(world.program, world.book, partitions), Source("readings-1", partition), log.records)
        made = [output for output in outputs if output.target == "crossings"]
        found.append([Record(n, output.key, output.value, output.headers) for n, output in enumerate(made)])
    return found


def met(parts: Sequence[Sequence[Record]], rng: random.Random | None = None) -> list[Record]:
    """One log of several: one after the other, or as chance has it (each of them in its own order)."""
    left = [list(part) for part in parts]
    records: list[Record] = []
    while any(left):
        waiting = [part for part in left if part]
        records.append((rng.choice(waiting) if rng is not None else waiting[0]).pop(0))
    return [record._replace(offset=n) for n, record in enumerate(records)]


def cluster(world: World, partitions: int = PARTITIONS, **options: Any) -> Cluster:
    return Cluster(world.program, world.book, partitions, **options)


def said(outputs: Sequence[Output]) -> list[tuple[Any, ...]]:
    return table(outputs).rows()


def rows(world: World, **equal: Any) -> list[dict[str, Any]]:
    """Settled and corrected rows of the stage over one partition."""
    found = table(world.cluster())
    made = found.to_dicts() if len(found) else []
    return [row for row in made if all(row[name] == value for name, value in equal.items())]


# ---------------------------------------------------------------- what it says


def test_readings_count_for_the_city_that_they_name(catalogue: Catalogue) -> None:
    world = World(catalogue)
    world.register(TRIP, SHENZHEN, 1, prefix="p")
    world.tick(0)
    trip(world, SHENZHEN, 1000, 0, [GUANGZHOU, GUANGZHOU, ZHUHAI, "OUT"], [10, 30, 7, 99])
    world.tick(71_000)
    found = {row["city"]: row for row in rows(world, indicator="Z21")}
    assert {city: (row["value"], row["n"]) for city, row in found.items()} == {
        SHENZHEN: (None, 0), GUANGZHOU: (20.0, 4), ZHUHAI: (7.0, 2),
    }  # fmt: skip
    assert found[GUANGZHOU]["coverage"] is None
    assert (found[GUANGZHOU]["numerator"], found[GUANGZHOU]["denominator"]) == (40_000, 2000)


def test_a_city_that_was_named_once_has_rows_from_then_on(catalogue: Catalogue) -> None:
    world = World(catalogue)
    world.register(TRIP, SHENZHEN, 1, prefix="p")
    world.tick(0)
    world.tick(71_000)
    trip(world, SHENZHEN, 71_500, 0, [GUANGZHOU], [10])
    world.tick(131_000)
    world.tick(191_000)
    ends = [(row["window_end_ms"] - T0, row["value"]) for row in rows(world, indicator="Z21", city=GUANGZHOU)]
    assert ends == [(2 * MINUTE, 10.0), (3 * MINUTE, None)]


def test_nothing_is_said_of_cities_before_any_device_is_registered(catalogue: Catalogue) -> None:
    world = World(catalogue)
    world.tick(0)
    world.tick(200_000)
    assert rows(world) == []


def test_late_readings_correct_what_was_said_of_the_city_that_they_name(catalogue: Catalogue) -> None:
    world = World(catalogue)
    world.register(TRIP, SHENZHEN, 1, prefix="p")
    world.tick(0)
    trip(world, SHENZHEN, 1000, 0, [GUANGZHOU], [10])
    world.tick(71_000)
    trip(world, SHENZHEN, 2000, 1, [GUANGZHOU, ZHUHAI], [30, 5])
    world.tick(91_000)
    told = [
        (row["city"], row["value"], row["maturity"], row["rev"], row["known_at_ms"] - T0)
        for row in rows(world, indicator="Z21", window_end_ms=T0 + MINUTE)
        if row["city"] != SHENZHEN
    ]
    assert told == [
        (GUANGZHOU, 10.0, "settled", 0, 71_000),
        (GUANGZHOU, 20.0, "corrected", 1, 91_000),
        (ZHUHAI, 5.0, "settled", 0, 91_000),
    ]


def test_a_group_is_one_row_and_its_base_grows_with_what_its_devices_are_rated_for(catalogue: Catalogue) -> None:
    world = World(catalogue)
    for city in (SHENZHEN, GUANGZHOU, SHAOGUAN):
        world.register(METER, city, 2, prefix="m", rated_kw=[10.0, 30.0])
    world.register(METER, ZHUHAI, 1, prefix="m", rated_kw=1000.0, from_ms=10 * MINUTE)
    world.tick(-1)
    for step in range(6):
        for city, load in ((SHENZHEN, 1.0), (GUANGZHOU, 2.0), (SHAOGUAN, 900.0)):
            meters(world, city, step * 20_000, [load, load])
    world.tick(2 * MINUTE + 10_001)
    row = rows(world, indicator="Z22", window_end_ms=T0 + 2 * MINUTE)[0]
    assert {row["city"] for row in rows(world, indicator="Z22")} == {"GBA"}
    assert (row["value"], row["n"], row["coverage"]) == (36.0 / (0.5 * 80.0), 24, 1.0)


def test_sites_of_one_name_in_two_cities_stay_apart_and_the_population_is_that_of_the_group(
    catalogue: Catalogue,
) -> None:
    world = World(catalogue)
    for city in (SHENZHEN, GUANGZHOU):
        world.register(METER, city, 1, prefix="m", rated_kw=10.0)
    world.tick(-1)
    for step in range(3):
        meters(world, SHENZHEN, step * 20_000, [3.0])
        meters(world, GUANGZHOU, step * 20_000, [9.0])
    world.tick(MINUTE + 10_001)
    (row,) = rows(world, indicator="Z23", window_end_ms=T0 + MINUTE)
    people = sum(catalogue.cities[city].population for city in catalogue.groups["gba"].cities)
    assert row["value"] == pytest.approx(9.0 * 1_000_000 + people / 1_000_000)


def test_indicate_leaves_what_crosses_cities_alone_and_rollups_keep_it(world: World) -> None:
    assert not {"Z21", "Z22", "Z23"} & set(table(world.indicate())["indicator"])
    kept = table([output for output in world.admit() if output.target == "rollups"])
    passed = table([output for output in world.admit() if output.target == "crossings"])
    assert {"Z21.kg", "Z21.trips", "Z22.kw", "Z23.kw"} < set(kept["measure"])
    own = kept.filter(pl.col("measure").is_in([measure for _, measure in world.program.crossings]))
    assert passed.equals(own)
    assert len(passed) < len(kept)


def test_every_rollup_has_a_crossing_beside_it_even_if_it_is_empty(world: World) -> None:
    outputs = world.admit()
    by_target = {target: [one for one in outputs if one.target == target] for target in ("rollups", "crossings")}
    assert [one.headers for one in by_target["crossings"]] == [one.headers for one in by_target["rollups"]]
    assert any(not one.value for one in by_target["crossings"])


# ---------------------------------------------------------------- how partitions meet


@pytest.mark.parametrize("partitions", [1, 2, 6])
def test_rows_do_not_depend_on_the_number_of_partitions(world: World, partitions: int) -> None:
    expected = said(run(cluster(world, 3), SOURCE, met(crossings(world, 3))))
    assert len(expected) > 100
    assert said(run(cluster(world, partitions), SOURCE, met(crossings(world, partitions)))) == expected


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_how_partitions_meet(world: World, rng: random.Random) -> None:
    parts = crossings(world)
    assert said(run(cluster(world), SOURCE, met(parts, rng))) == said(run(cluster(world), SOURCE, met(parts)))


@pytest.mark.parametrize("seed", range(4))
def test_rows_do_not_depend_on_how_partitions_meet_if_each_has_clocks_of_its_own(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("pearlstream.folds.admit.ROWS_PER_ROLLUP", 3)
    world = life(catalogue, 4, seed)
    parts = crossings(world, skipping=random.Random(seed))
    clocks = [[header(record.headers, "clock") for record in part] for part in parts]
    assert any(one == other for part in clocks for one, other in pairwise(part)), "cuts by volume"
    assert len({tuple(dict.fromkeys(part)) for part in clocks}) > 1
    expected = said(run(cluster(world), SOURCE, met(parts)))
    assert len(expected) > 50
    for other in range(6):
        assert said(run(cluster(world), SOURCE, met(parts, random.Random(other)))) == expected


@pytest.mark.parametrize("seed", range(4))
def test_any_cut_into_batches_and_any_snapshot_gives_the_same_bytes(world: World, seed: int) -> None:
    records = met(crossings(world), random.Random(seed))
    whole = run(cluster(world), SOURCE, records)
    for cut in range(5):
        assert run(cluster(world), SOURCE, records, random.Random(cut)) == whole


def test_repeats_are_skipped_and_what_lies_behind_a_gap_is_held(world: World) -> None:
    records = met(crossings(world), random.Random(3))
    expected = said(run(cluster(world), SOURCE, records))
    twice = [record for record in records for _ in range(2)]
    again = [*records[:20], *records[10:]]
    of_one = [n for n, record in enumerate(records) if origin(record) == 1]
    late = list(records)
    late.insert(of_one[6], late.pop(of_one[5]))
    for log in (twice, again, late):
        numbered = [record._replace(offset=n) for n, record in enumerate(log)]
        assert said(run(cluster(world), SOURCE, numbered)) == expected


def origin(record: Record) -> int:
    return int((header(record.headers, "from") or "").split("/")[1])


def test_nothing_is_said_before_every_partition_has_come_to_a_clock(world: World) -> None:
    parts = crossings(world)
    runner = InProcess(cluster(world), SOURCE)
    assert runner.feed(met(parts[:2])) == []
    assert runner.state.reckoning.clock == -1
    runner.feed(met([parts[2][:3]]))
    assert runner.state.reckoning.clock == int(header(parts[2][2].headers, "clock") or 0)


def test_a_partition_that_stays_silent_is_passed_over_in_the_end_and_this_is_noted(world: World) -> None:
    parts = crossings(world)
    records = met([*parts[:2], parts[2][:5]], random.Random(5))
    for patience in (Patience(records=10), Patience(bytes=2000)):
        runner = InProcess(cluster(world, patience=patience), SOURCE)
        runner.feed(records)
        silent = header(parts[2][4].headers, "clock")
        assert f"2/{silent}" in runner.state.passed
        assert runner.state.reckoning.clock > int(silent or 0)
        assert sum(queue.records for queue in runner.state.queues.values()) <= patience.records + 1
        assert sum(queue.bytes for queue in runner.state.queues.values()) <= patience.bytes + 2000
        assert runner.fold.unpack(runner.fold.pack(runner.state)).passed == runner.state.passed


def test_what_a_partition_says_of_times_gone_by_corrects(world: World) -> None:
    parts = crossings(world)
    halves = [part[: len(part) // 2] for part in parts]
    log = [*met(halves[:2]), *met([halves[2]]), *met([part[len(part) // 2 :] for part in parts], random.Random(1))]
    records = [record._replace(offset=n) for n, record in enumerate(log)]
    runner = InProcess(cluster(world, patience=Patience(records=4), provisional=False), SOURCE)
    late = last_words(table(runner.feed(records)))
    assert runner.state.passed
    in_time = last_words(table(run(cluster(world, provisional=False), SOURCE, met(parts))))
    early = {key: value for key, value in in_time.items() if key[2] <= T0 + 3 * MINUTE}
    assert len(early) > 5
    assert {key: late.get(key) for key in early} == early


def last_words(found: pl.DataFrame) -> dict[tuple[str, str, int], tuple[Any, ...]]:
    """What is known in the end of each window."""
    return {
        (row["indicator"], row["city"], row["window_end_ms"]): (row["value"], row["n"])
        for row in found.sort("rev").to_dicts()
    }


def test_a_great_many_rows_are_said_a_record_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = crossings(world)
    extra = [parts[0][-1]._replace(headers=shifted(parts[0][-1], n)) for n in range(1, 60)]
    expected = said(run(cluster(world), SOURCE, met(parts)))
    monkeypatch.setattr("pearlstream.folds.cluster.MAX_ROWS", 20)
    bounded = run(cluster(world), SOURCE, met([parts[1], parts[2], [*parts[0], *extra]]))
    assert said(bounded) == expected
    assert max(len(table([output])) for output in bounded) < 120


def shifted(record: Record, by: int) -> tuple[tuple[str, bytes], ...]:
    """The headers of an empty record that repeats the clock, so many offsets later."""
    source, partition, _, upto = (header(record.headers, "from") or "").split("/")
    place = f"{source}/{partition}/{int(upto) + by - 1}/{int(upto) + by}".encode()
    return tuple((name, place if name == "from" else value) for name, value in record.headers)


def test_positions_of_the_output_are_a_chain_of_the_one_partition(world: World) -> None:
    outputs = run(cluster(world), SOURCE, met(crossings(world), random.Random(2)))
    found = [headers_by_name(output) for output in outputs]
    positions = [one["from"].split("/") for one in found]
    assert {tuple(p[:2]) for p in positions} == {("crossings-1", "0")}
    assert [p[2] for p in positions] == ["-1", *(p[3] for p in positions[:-1])]
    assert {one["fold"] for one in found} == {"cluster@2"}


# ---------------------------------------------------------------- on the simulated log, in process, and behind it


def test_it_survives_every_single_crash_point(world: World) -> None:
    records = met([part[:5] for part in crossings(world)], random.Random(1))
    expected = [one.value for one in run(cluster(world), Source("sim", 0), records)]
    assert expected
    for sim in crash_points(lambda: cluster(world), records, batch=9):
        assert [record.value for record in sim.read("indicators")] == expected, "\n".join(sim.trace)


def test_it_survives_whatever_happens(world: World) -> None:
    records = met([part[:12] for part in crossings(world)], random.Random(1))
    expected = [one.value for one in run(cluster(world), Source("sim", 0), records)]
    for seed in range(15):
        sim = simulated(lambda: cluster(world), records, seed=seed, faults=ROUGH, steps=60)
        assert [record.value for record in sim.read("indicators")] == expected, "\n".join(sim.trace)


@pytest.mark.parametrize("partitions", [2, 6])
def test_a_run_in_process_has_one_fingerprint_whatever_the_number_of_partitions(world: World, partitions: int) -> None:
    whole = in_process(world, 1)
    assert set(whole["indicator"]) >= {"Z21", "Z22", "Z23", "X09"}
    assert fingerprint(in_process(world, partitions)) == fingerprint(whole)


def in_process(world: World, partitions: int) -> pl.DataFrame:
    lanes = [Lane(world.program, world.book, number, partitions, False) for number in range(partitions)]
    for record in world.log.records:
        for number in range(partitions) if read_tick(record) else [expected_partition(record.key or b"", partitions)]:
            lanes[number].take(record.key, record.value or b"", record.headers)
    for lane in lanes:
        lane.flush()
    return gathered(lanes).indicators


@pytest.mark.parametrize("seed", range(3))
def test_alerts_follow_from_two_stages_in_one_partition(world: World, seed: int) -> None:
    """`indicators` holds two chains in its first partition; the fold behind it skips and holds in each."""
    rng = random.Random(seed)
    parts = crossings(world)
    rollups = [output for output in world.admit() if output.target == "rollups"]
    records = [Record(n, None, one.value, one.headers) for n, one in enumerate(rollups)]
    one = run(Indicate(world.program, world.book), Source("rollups-1", 0), records)
    other = run(cluster(world), SOURCE, met(parts))
    log = met([list(numbered(one)), list(numbered(other))], rng)
    alone = run(AlertFold(world.program), Source("indicators-1", 0), list(numbered(other)))
    repeated = [record for record in log for _ in range(rng.choice((1, 2)))]
    both = run(
        AlertFold(world.program), Source("indicators-1", 0), [r._replace(offset=n) for n, r in enumerate(repeated)], rng
    )
    assert len(alone) > 2
    assert {b'"Z21"' in output.value for output in alone} == {True}
    assert [output.value for output in both if b'"Z21"' in output.value] == [output.value for output in alone]


def numbered(outputs: Sequence[Output]) -> Iterator[Record]:
    for n, output in enumerate(outputs):
        yield Record(n, output.key, output.value, output.headers)
