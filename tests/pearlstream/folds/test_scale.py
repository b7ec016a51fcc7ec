"""What `admit` concludes from a device's neighbours: values that are ten times theirs, or a tenth."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.catalogue.models import FieldSpec
from pearlstream.fold import Output
from pearlstream.folds.scale import CADENCES, NEIGHBOURS, PERIOD_MS, STEPS, compared
from pearlstream.folds.watch import LAST, Watch
from pearlstream.quality import Quality
from pearlstream.testing.world import World, table

MINUTE = 60_000
CITY, OTHER = 1, 2
SPEC = {"no2": FieldSpec(min=0, decimals=1, comparable=True)}
SUSPECT = int(Quality.SCALE_SUSPECT)
NAN = float("nan")
ORDINARY = (40.0, 36.0, 44.0, 50.0, 33.0)
"""What the neighbours of the device under test measure."""


def told(periods: Sequence[Sequence[float]], watch: Watch | None = None) -> list[list[bool]]:
    """By period and device: whether its readings are flagged, all of them or none. Each says the same all period."""
    watch = watch or Watch(SPEC)
    found = []
    for number, values in enumerate(periods):
        device = np.tile(np.arange(len(values)), LAST)
        clock = np.full(len(device), number * PERIOD_MS, np.int64)
        flags = watch.flags(device, clock, clock, {"no2": np.tile(np.array(values), LAST)}).reshape(LAST, -1)
        assert (flags == flags[0]).all()
        found.append((flags[0] == SUSPECT).tolist())
    return found


def of_first(*values: float, others: Sequence[float] = ORDINARY) -> list[bool]:
    """The same of one device, which says one value after the other; nobody else may be flagged."""
    found = told([(value, *others) for value in values])
    assert not any(any(flags[1:]) for flags in found)
    return [flags[0] for flags in found]


@pytest.mark.parametrize("wrong", [8 * 40.0, 400.0, 12 * 40.0, 5.0, 4.0, 3.4])
def test_a_device_ten_times_its_neighbours_or_a_tenth_is_suspect_after_three_comparisons(wrong: float) -> None:
    assert of_first(*[wrong] * 5) == [False, False, False, True, True]


@pytest.mark.parametrize("value", [7.9 * 40, 12.1 * 40, 4000.0, 5.1, 3.2, 0.0, 160.0, 40.0])
def test_what_is_not_off_by_ten_is_not_suspect(value: float) -> None:
    assert not any(of_first(*[value] * 8))


def test_a_device_that_is_ordinary_again_is_cleared_after_as_many_comparisons() -> None:
    assert of_first(*[400.0] * 3, *[40.0] * 4, 400.0) == [False] * 3 + [True] * 3 + [False] * 2


def test_once_suspect_a_device_stays_so_while_it_is_far_off_in_the_same_way() -> None:
    assert of_first(*[400.0] * 3, *[220.0, 780.0] * 4)[3:] == [True] * 8
    for other_way in (4.0, 6.0):
        assert of_first(*[400.0] * 3, *[other_way] * 4)[3:] == [True, True, True, False]


def test_findings_this_way_and_that_do_not_add_up() -> None:
    assert not any(of_first(*[400.0, 4.0] * 6))
    assert not any(of_first(*[400.0, 400.0, 40.0, 40.0] * 4))


def test_nothing_is_said_with_too_few_neighbours_or_too_near_to_the_grid() -> None:
    few = ORDINARY[: NEIGHBOURS - 1]
    assert not any(of_first(*[400.0] * 6, others=few))
    assert of_first(*[400.0] * 4, others=ORDINARY[:NEIGHBOURS])[-1]
    assert not any(of_first(*[10 * (STEPS - 1) / 10] * 6, others=[(STEPS - 1) / 10] * 5))
    assert of_first(*[10 * STEPS / 10] * 4, others=[STEPS / 10] * 5)[-1]


def test_devices_of_another_city_are_no_neighbours() -> None:
    watch = Watch(SPEC)
    watch.settle(slice(0, 6), CITY)
    watch.settle(slice(6, 12), OTHER)
    assert not any(map(any, told([(*[40.0] * 6, *[400.0] * 6)] * 6, watch)))


def test_a_device_that_says_nothing_is_not_compared_and_its_verdict_stays() -> None:
    assert of_first(*[400.0] * 3, *[NAN] * 6, 400.0) == [False] * 3 + [False] * 6 + [True]
    assert of_first(400.0, NAN, NAN, NAN, 400.0, NAN, 400.0, 400.0)[-2:] == [False, True]


def test_one_odd_value_among_the_last_does_not_hide_a_unit() -> None:
    watch = Watch(SPEC)
    flags = []
    for number in range(4):
        device = np.tile(np.arange(6), LAST)
        value = np.tile(np.array([400.0, *ORDINARY]), LAST)
        value[-6] = 40.0
        clock = np.full(len(device), number * PERIOD_MS, np.int64)
        flags.append(watch.flags(device, clock, clock, {"no2": value})[0])
    assert flags == [0, 0, 0, SUSPECT]


def test_a_field_that_is_not_comparable_is_left_alone() -> None:
    assert not any(map(any, told([(400.0, *ORDINARY)] * 6, Watch({"no2": FieldSpec(min=0, spike=5000)}))))


@pytest.mark.parametrize("spec", [{}, {"min": -1}, {"type": "text"}, {"type": "bool", "min": 0}])
def test_only_numbers_that_are_never_below_zero_can_be_comparable(spec: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="never below zero"):
        FieldSpec(comparable=True, **spec)
    assert FieldSpec(type="int", min=0, comparable=True).comparable


def test_a_feed_whose_devices_speak_seldom_is_compared_seldom() -> None:
    feeds = load_catalogue().feeds
    assert Watch.of(feeds["traffic.flow"]).period_ms == PERIOD_MS
    seldom = feeds["air.quality"].model_copy(update={"cadence_s": 3600.0})
    assert Watch.of(seldom).period_ms == CADENCES * 3_600_000


def by_definition(values: Sequence[int], cities: Sequence[int]) -> dict[int, tuple[int, int]]:
    """What `compared` should say, one device at a time."""
    found = {}
    for place, (value, city) in enumerate(zip(values, cities, strict=True)):
        others = sorted(v for at, v in enumerate(values) if cities[at] == city and at != place)
        if len(others) >= NEIGHBOURS and others[(len(others) - 1) // 2] >= STEPS:
            typical = others[(len(others) - 1) // 2]
            ways = []
            for least, most in ((8, 12), (5, 20)):
                large = least * typical <= value <= most * typical
                small = least * value <= typical <= most * value
                ways.append(int(large) - int(small))
            found[place] = (ways[0], ways[1])
    return found


@given(
    st.lists(
        st.tuples(st.one_of(st.integers(-5, 60), st.integers(200, 6000)), st.integers(0, 2)), max_size=40, min_size=1
    )
)
def test_comparing_a_city_at_once_is_comparing_each_device_with_all_others(rows: list[tuple[int, int]]) -> None:
    values, cities = ([row[at] for row in rows] for at in (0, 1))
    places, hit, loose = compared(np.array(values), np.array(cities))
    said = zip(places.tolist(), zip(hit.tolist(), loose.tolist(), strict=True), strict=True)
    assert dict(said) == by_definition(values, cities)


Columns = dict[str, NDArray[Any]]
READINGS = st.lists(
    st.tuples(
        st.integers(0, 11),
        st.sampled_from([40.0, 41.0, 44.0, 400.0, 395.0, 4.0, 200.0, NAN]),
        st.sampled_from([0, 0, 0, MINUTE, PERIOD_MS // 2, PERIOD_MS, 3 * PERIOD_MS]),
    ),
    min_size=20,
    max_size=120,
)


def flags_of(rows: Columns, cuts: Sequence[int] = ()) -> list[int]:
    """The flags of readings in batches, through a snapshot after each."""
    watch = settled()
    flags: list[int] = []
    edges = sorted({0, len(rows["device"]), *(cut for cut in cuts if cut < len(rows["device"]))})
    for low, high in itertools.pairwise(edges):
        here = {name: column[low:high] for name, column in rows.items()}
        flags += watch.flags(here["device"], here["clock"], here["clock"], {"no2": here["no2"]}).tolist()
        packed = watch.pack(12)
        watch = settled()
        watch.unpack(packed)
    return flags


def settled() -> Watch:
    """Six devices in each of two cities."""
    watch = Watch(SPEC, size=12)
    watch.settle(slice(0, 6), CITY)
    watch.settle(slice(6, 12), OTHER)
    return watch


def columns_of(drawn: list[tuple[int, float, int]]) -> Columns:
    """Drawn readings, with a fleet that speaks in between so that there is something to compare with."""
    rows: list[tuple[int, float, int]] = []
    for at, one in enumerate(drawn):
        rows.append(one)
        rows += [(device, 400.0 if device == 3 else 40.0, 0) for device in range(12)] if at % 8 == 0 else []
    clock = np.cumsum([row[2] for row in rows]) + 10**12
    return {
        "device": np.array([row[0] for row in rows]),
        "no2": np.array([row[1] for row in rows]),
        "clock": clock.astype(np.int64),
    }


@settings(deadline=None)
@given(READINGS, st.lists(st.integers(0, 1000), max_size=8))
def test_any_cut_into_batches_through_any_snapshot_gives_the_same_flags(
    drawn: list[tuple[int, float, int]], cuts: list[int]
) -> None:
    rows = columns_of(drawn)
    assert flags_of(rows, cuts) == flags_of(rows)


@settings(deadline=None)
@given(READINGS)
def test_a_city_gets_the_same_flags_whoever_shares_its_partition(drawn: list[tuple[int, float, int]]) -> None:
    rows = columns_of(drawn)
    own = rows["device"] < 6
    alone = flags_of({name: column[own] for name, column in rows.items()})
    assert alone == np.array(flags_of(rows))[own].tolist()


# ---------------------------------------------------------------- B34, through the stage

FEED, TOWN = "traffic.flow", "440300"
DEVICES = 7


def rush(catalogue: Catalogue) -> World:
    """An hour and a half of seven detectors, the first of which reports a tenth of its speed for the first hour."""
    world = World(catalogue)
    world.register(FEED, TOWN, DEVICES)
    world.tick(0)
    for minute in range(90):
        speed = [(6.0 if minute < 60 and d == 0 else 60.0) + d + minute % 3 for d in range(DEVICES)]
        columns = {"device": [f"d{d}" for d in range(DEVICES)], "seq": [minute] * DEVICES, "speed_kmh": speed}
        rest = {"flow_vpm": [20.0 + minute % 7] * DEVICES, "occ_pct": [9.0 + minute % 5] * DEVICES}
        world.frame(FEED, TOWN, [minute * MINUTE + 1000] * DEVICES, **columns, **rest)
        world.tick((minute + 1) * MINUTE)
    return world


def flagged(outputs: Sequence[Output]) -> list[tuple[int, str]]:
    """Minute and device of the flagged readings."""
    frames = [output.value for output in outputs if output.target == "accepted"]
    found = []
    for minute, value in enumerate(frames):
        rows = pa.ipc.open_stream(value).read_all().to_pylist()
        found += [(minute, row["device"]) for row in rows if row.get("qc", 0) & SUSPECT]
    return found


def without_comparing(catalogue: Catalogue) -> Catalogue:
    """The same catalogue, in which no field of the feed is comparable."""
    feed = catalogue.feeds[FEED]
    fields = {name: spec.model_copy(update={"comparable": False}) for name, spec in feed.fields.items()}
    return replace(catalogue, feeds={**catalogue.feeds, FEED: feed.model_copy(update={"fields": fields})})


def test_readings_of_a_device_in_a_wrong_unit_are_accepted_with_the_flag_until_it_is_mended() -> None:
    found = flagged(rush(load_catalogue()).admit())
    assert {device for _, device in found} == {"d0"}
    minutes = [minute for minute, _ in found]
    assert minutes == list(range(minutes[0], minutes[-1] + 1))
    assert 3 * 10 <= minutes[0] <= 4 * 10, "three comparisons, ten minutes apart"
    assert 60 + 2 * 10 <= minutes[-1] < 60 + 4 * 10


def partials_of(catalogue: Catalogue) -> set[tuple[Any, ...]]:
    """The partials of an hour and a half."""
    return set(table([o for o in rush(catalogue).admit() if o.target == "rollups"]).drop("feed").rows())


def test_the_flag_changes_no_partial_but_of_measures_that_ask_for_it() -> None:
    catalogue = load_catalogue()
    differ = partials_of(catalogue) ^ partials_of(without_comparing(catalogue))
    assert {word for row in differ for word in row if isinstance(word, str) and "." in word} == {
        "I51b.valid",
        "X12.suspect",
    }


@pytest.mark.parametrize("seed", range(3))
def test_any_cut_of_the_log_through_any_snapshot_gives_the_same_bytes(seed: int) -> None:
    world = rush(load_catalogue())
    assert world.admit(random.Random(seed)) == world.admit()
