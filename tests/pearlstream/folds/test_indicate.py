"""The stage indicate: when a window settles, what corrects it, and what it says when data are missing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pearlstream.catalogue import load_catalogue
from pearlstream.fold import InProcess, Output, Record
from pearlstream.folds.indicate import Indicate
from pearlstream.position import Source
from pearlstream.testing.world import T0, World, headers_by_name, table

CITY = "440300"
ROAD, MACHINE, AIR = "traffic.flow", "factory.machine", "air.quality"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
CATALOGUE = load_catalogue()


def road(world: World, minute: int, speed: float = 25.0, devices: int = 4, at: int | None = None) -> None:
    """One reading of each device in a minute; a free flow of 50 km/h makes the travel-time index 50 / speed."""
    names = [f"d{i}" for i in range(devices)]
    world.frame(
        ROAD, CITY, [minute * MINUTE + 1000] * devices, device=names, seq=[minute] * devices,
        flow_vpm=[10.0] * devices, speed_kmh=[speed] * devices,
    )  # fmt: skip


def roads(minutes: int, **columns: Any) -> World:
    world = World(CATALOGUE)
    world.register(ROAD, CITY, 4, freeflow_kmh=50.0, seg_len_m=1000.0, **columns)
    world.tick(0)
    for minute in range(minutes):
        road(world, minute)
        world.tick((minute + 1) * MINUTE)
    return world


def test_a_window_settles_at_the_first_tick_past_its_end_and_hold() -> None:
    world = roads(5)
    world.tick(5 * MINUTE + 10_000)
    assert world.rows(indicator="I43a") == []
    world.tick(5 * MINUTE + 10_001)
    (row,) = world.rows(indicator="I43a")
    assert (row["value"], row["state"], row["coverage"], row["n"]) == (2.0, "RAISED", 1.0, 20)
    assert (row["window_start_ms"], row["window_end_ms"]) == (T0, T0 + 5 * MINUTE)
    assert (row["maturity"], row["rev"], row["known_at_ms"]) == ("settled", 0, T0 + 5 * MINUTE + 10_001)
    assert (row["numerator"], row["denominator"]) == (8_000_000, 4_000_000)


def test_the_settled_value_holds_what_came_up_to_the_settling_tick() -> None:
    world = roads(4)
    world.tick(5 * MINUTE + 10_000)
    road(world, 4)
    world.tick(5 * MINUTE + 10_001)
    (row,) = world.rows(indicator="I43a")
    assert row["n"] == 20


def test_late_readings_correct_a_settled_window_once_per_thirty_seconds_of_clock() -> None:
    world = roads(4)
    world.tick(6 * MINUTE)
    road(world, 4)
    world.tick(6 * MINUTE + 10_000)
    assert [row["rev"] for row in world.rows(indicator="I43a")] == [0]
    world.tick(6 * MINUTE + 30_000)
    first, second = world.rows(indicator="I43a")
    assert (first["n"], first["maturity"], first["rev"]) == (16, "settled", 0)
    assert (second["n"], second["maturity"], second["rev"]) == (20, "corrected", 1)


def test_a_late_reading_does_not_count_as_on_time_in_completeness() -> None:
    world = roads(4)
    world.tick(6 * MINUTE)
    road(world, 4)
    world.tick(7 * MINUTE)
    rows = world.rows(indicator="X09", dims=f"feed={ROAD}")
    assert [(row["value"], row["coverage"]) for row in rows] == [(80.0, 0.8), (80.0, 1.0)]


def test_coverage_below_half_is_no_data_and_a_silent_city_too() -> None:
    world = World(CATALOGUE)
    world.register(ROAD, CITY, 4, freeflow_kmh=50.0, seg_len_m=1000.0)
    world.register(ROAD, "440100", 4)
    world.tick(0)
    road(world, 0, devices=3)
    world.tick(6 * MINUTE)
    spoken, silent = sorted(world.rows(indicator="I43a"), key=lambda row: row["city"] != CITY)
    assert (spoken["value"], spoken["state"], spoken["coverage"]) == (None, "NODATA", 0.15)
    assert (silent["value"], silent["state"], silent["coverage"], silent["n"]) == (None, "NODATA", 0.0, 0)


def test_a_city_without_a_device_of_the_feed_says_nothing() -> None:
    assert {row["city"] for row in [*roads(6).rows()]} == {CITY}
    found = {(row["indicator"], row["dims"]) for row in roads(6).rows()}
    assert {dims for name, dims in found if name == "X09"} == {f"feed={ROAD}"}
    assert not {"I41a", "I41b", "I43b"} & {name for name, _ in found}


def test_a_reading_without_speed_drops_out_of_both_sums() -> None:
    world = roads(5)
    world.frame(ROAD, CITY, [1500], device=["d9"], seq=[0], flow_vpm=[100.0], speed_kmh=[None])
    world.tick(6 * MINUTE)
    (row,) = world.rows(indicator="I43a")
    assert row["value"] == 2.0


def test_a_value_out_of_range_is_kept_but_does_not_count() -> None:
    world = roads(5)
    world.frame(ROAD, CITY, [1500], device=["d9"], seq=[0], flow_vpm=[100.0], speed_kmh=[-5.0])
    world.tick(6 * MINUTE)
    (row,) = world.rows(indicator="I43a")
    assert (row["value"], row["n"]) == (2.0, 21)


def test_a_reading_of_an_earlier_registry_does_not_change_what_is_expected_of_then() -> None:
    world = roads(5)
    world.register(ROAD, CITY, 4, prefix="new", from_ms=4 * MINUTE)
    world.tick(6 * MINUTE)
    (row,) = world.rows(indicator="I43a")
    assert row["coverage"] == 1.0


def machines(world: World, minutes: range, state: str = "RUN", count: int = 4) -> None:
    """Readings of `count` machines, the first half of which is in `state`."""
    for minute in minutes:
        for second in range(0, 60, 10):
            at = minute * MINUTE + second * 1000
            world.frame(
                MACHINE, CITY, [at] * count, device=[f"m{i}" for i in range(count)], seq=[at // 10_000] * count,
                state=[state if i < count // 2 else "RUN" for i in range(count)], span_s=[10.0] * count,
                good_inc=[1] * count, rej_inc=[0] * count, pri_s=[9.0] * count,
            )  # fmt: skip
        world.tick((minute + 1) * MINUTE)


def two_sectors(count: int) -> World:
    """An hour and more of machines of two sectors; those of the first are down."""
    world = World(CATALOGUE)
    world.register(
        MACHINE, CITY, count, prefix="m", sector=["electronics"] * (count // 2) + ["machinery"] * (count // 2)
    )
    world.tick(0)
    machines(world, range(70), "DOWN", count)
    world.tick(71 * MINUTE)
    return world


def test_hopping_windows_overlap_and_dimensions_are_kept_apart_with_a_total() -> None:
    world = two_sectors(24)
    rows = world.rows(indicator="I41a", window_end_ms=T0 + HOUR + 5 * MINUTE)
    assert [(row["dims"], row["value"]) for row in rows] == [
        ("sector=electronics", None), ("sector=machinery", pytest.approx(0.9)), ("", pytest.approx(0.9)),
    ]  # fmt: skip
    ends = [row["window_end_ms"] - T0 for row in world.rows(indicator="I41a", dims="")]
    assert ends == list(range(5 * MINUTE, 71 * MINUTE, 5 * MINUTE))


def test_a_handful_of_machines_says_something_of_its_sector_and_nothing_of_the_city() -> None:
    rows = two_sectors(4).rows(indicator="I41a", window_end_ms=T0 + HOUR + 5 * MINUTE)
    assert [(row["dims"], row["value"]) for row in rows] == [
        ("sector=electronics", None), ("sector=machinery", pytest.approx(0.9)), ("", None),
    ]  # fmt: skip


def test_connectivity_counts_each_machine_once_per_pane() -> None:
    world = World(CATALOGUE)
    world.register(MACHINE, CITY, 4, prefix="m")
    world.tick(0)
    machines(world, range(5))
    world.tick(6 * MINUTE)
    (row,) = world.rows(indicator="I41b")
    assert row["value"] == 100.0


def test_rolling_means_per_station_need_three_quarters_of_their_samples() -> None:
    world = World(CATALOGUE)
    world.register(AIR, CITY, 2, prefix="a")
    world.tick(-30 * HOUR)
    for step in range(-30 * 12, 12):
        at = step * 5 * MINUTE
        if step < -26 * 12 or step >= -19 * 12:
            names = ["a0", "a1"] if step % 2 else ["a0"]
            world.frame(
                AIR, CITY, [at] * len(names), device=names, seq=[step + 10_000] * len(names),
                pm25=[90.0 if n == "a0" else 30.0 for n in names], pm10=[30.0] * len(names), o3=[20.0] * len(names),
            )  # fmt: skip
        world.tick(at + 5 * MINUTE)
    world.tick(HOUR + MINUTE)
    by_end = {(row["window_end_ms"] - T0) // HOUR: row["value"] for row in world.rows(indicator="I43b")}
    assert by_end[-5] == pytest.approx(20 / 160)
    assert by_end[1] == pytest.approx(90 / 60)


def outputs_of(fold: Indicate, records: list[Record]) -> list[Output]:
    return InProcess(fold, Source("rollups-1", 0)).feed(records)


def rollups(world: World) -> list[Record]:
    found = [output for output in world.admit() if output.target == "rollups"]
    return [Record(n, None, output.value, output.headers) for n, output in enumerate(found)]


def renumbered(records: list[Record]) -> list[Record]:
    return [record._replace(offset=n) for n, record in enumerate(records)]


def settled(outputs: list[Output]) -> list[dict[str, Any]]:
    rows = table(outputs).to_dicts()
    return [row for row in rows if row["maturity"] != "provisional"]


def test_a_repeated_rollup_is_skipped_and_one_that_comes_too_early_is_held() -> None:
    world = roads(12)
    fold = Indicate(world.program, world.book, provisional=False)
    records = rollups(world)
    expected = settled(outputs_of(fold, records))
    twice = renumbered([record for record in records for _ in range(2)])
    swapped = [*records[:3], records[4], records[3], *records[5:]]
    assert len(expected) > 3
    assert settled(outputs_of(fold, twice)) == expected
    assert settled(outputs_of(fold, renumbered(swapped))) == expected
    assert settled(outputs_of(fold, renumbered(records[:4] + records[2:]))) == expected


def test_a_gap_is_passed_after_too_many_held_records_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pearlstream.folds.chains.MAX_HELD", 3)
    world = roads(12)
    records = rollups(world)
    fold = Indicate(world.program, world.book, provisional=False)
    runner = InProcess(fold, Source("rollups-1", 0))
    runner.feed(renumbered(records[:3] + records[4:]))
    assert runner.state.chains.lost == ["readings-1/0/4/6"]
    assert runner.state.chains.held == []
    assert runner.state.reckoning.clock == T0 + 12 * MINUTE


def test_positions_of_the_output_are_a_chain() -> None:
    outputs = roads(12).indicate(provisional=True)
    positions = [headers_by_name(output)["from"].split("/") for output in outputs]
    assert [p[2] for p in positions] == ["-1", *(p[3] for p in positions[:-1])]


def test_open_windows_are_shown_as_provisional_and_do_not_change_what_settles() -> None:
    world = roads(12)
    shown = table(world.indicate(provisional=True))
    assert set(shown["maturity"]) == {"provisional", "settled"}
    assert set(shown.filter(shown["maturity"] == "provisional")["rev"]) == {-1}
    assert settled(world.indicate(provisional=True)) == settled(world.indicate(provisional=False))


def test_an_open_window_owes_only_what_is_due_by_now() -> None:
    world = roads(2)
    rows = table(world.indicate(provisional=True)).to_dicts()
    shown = [row for row in rows if row["indicator"] == "X09" and row["known_at_ms"] == T0 + 2 * MINUTE]
    assert [(row["value"], row["coverage"]) for row in shown] == [(100.0, 1.0)]


@pytest.mark.parametrize("seed", range(4))
def test_any_cut_into_batches_and_any_snapshot_gives_the_same_bytes(seed: int) -> None:
    world = noisy(seed, late=True)
    whole = world.indicate(provisional=True)
    for cut in range(4):
        assert world.indicate(random.Random(cut), provisional=True) == whole


def noisy(seed: int, *, late: bool) -> World:
    """An hour of two feeds; with `late`, a tenth of the frames arrive up to 40 minutes after their time."""
    rng = random.Random(seed)
    world = World(CATALOGUE)
    world.register(ROAD, CITY, 4, freeflow_kmh=50.0, seg_len_m=1000.0)
    world.register(MACHINE, CITY, 4, prefix="m", sector=["electronics", "semicon", "electronics", "semicon"])
    arrivals: list[tuple[float, int, int, str]] = []
    for second in range(0, 3600, 10):
        for device in range(4):
            delay = rng.choice((300, 1200, 2400)) if late and rng.random() < 0.1 else 0
            arrivals.append((second + delay, second, device, MACHINE))
            if second % 60 == 0:
                arrivals.append((second + delay, second, device, ROAD))
    clock = -1
    for arrival, second, device, feed in sorted(arrivals):
        if arrival // 30 > clock:
            clock = int(arrival // 30)
            world.tick(clock * 30_000)
        speed = 20.0 + (second * 7 + device * 13) % 60
        common = {"seq": [second // (60 if feed == ROAD else 10)]}
        if feed == ROAD:
            world.frame(feed, CITY, [second * 1000], device=[f"d{device}"], flow_vpm=[7.5], speed_kmh=[speed], **common)
        else:
            world.frame(
                feed, CITY, [second * 1000], device=[f"m{device}"], state=["RUN" if speed > 30 else "DOWN"],
                span_s=[10.0], good_inc=[1], rej_inc=[int(speed) % 2], pri_s=[9.5], **common,
            )  # fmt: skip
    world.tick(3 * HOUR)
    return world


@pytest.mark.parametrize("seed", range(3))
def test_late_data_end_at_the_values_of_data_in_order(seed: int) -> None:
    def last_told(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        return {
            (row["indicator"], row["dims"], row["window_end_ms"]): (row["value"], row["n"], row["numerator"])
            for row in rows
            if row["indicator"] in ("I41a", "I41b", "I43a") and row["window_end_ms"] <= T0 + 2 * HOUR
        }

    in_order, shuffled = noisy(seed, late=False).rows(), noisy(seed, late=True).rows()
    assert any(row["rev"] > 0 for row in shuffled)
    assert last_told(shuffled) == last_told(in_order)
