"""Repeats that are no copies: a number that comes again with other values is set aside, and the first counts."""

from __future__ import annotations

import math
import random
from collections import defaultdict, deque
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.catalogue import load_catalogue
from pearlstream.folds.order import DeviceOrder
from pearlstream.folds.recent import DEPTH, Recent, names_of, said_of
from pearlstream.testing.world import World, headers_by_name

CITY, ROAD = "440300", "traffic.flow"
CATALOGUE = load_catalogue()

verdicts = st.sampled_from(["new", "repeat", "bad"])
readings = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 2), verdicts), max_size=60)
"""Device, number, what it says, and the verdict on it."""


@given(some=readings, cuts=st.lists(st.integers(1, 20), max_size=8))
def test_a_repeat_conflicts_if_the_last_readings_hold_its_number_with_other_words_only(
    some: list[tuple[int, int, int, str]], cuts: list[int]
) -> None:
    recent, found, at = Recent(), [], 0
    recent.grow(3)
    for size in (*cuts, len(some)):
        part, at = some[at : at + size], at + size
        device, name, said = (np.array([one[n] for one in part], np.int64) for n in range(3))
        accepted, repeat = (np.array([one[3] == verdict for one in part], bool) for verdict in ("new", "repeat"))
        order = DeviceOrder.of(device)
        names, words = (column.astype(np.uint64) + np.uint64(1) for column in (name, said))
        found += recent.conflicts(order, names, words, accepted, repeat).tolist()
    expected, last = [], defaultdict(lambda: deque(maxlen=DEPTH))  # type: ignore[var-annotated]
    for device_, name_, said_, verdict in some:
        words_ = {word for known, word in last[device_] if known == name_}
        expected.append(verdict == "repeat" and bool(words_) and said_ not in words_)
        if verdict == "new":
            last[device_].append((name_, said_))
    assert found == expected


def test_equal_readings_have_equal_hashes_whatever_stands_beside_them() -> None:
    ts = np.array([1, 2, 1])
    columns = {"a": [1.5, math.nan, 1.5], "b": ["x", None, "x"], "c": [0.0, 1.0, -0.0]}
    fields = {name: pl.Series(name, values) for name, values in columns.items()}
    said = said_of(ts, fields)
    assert said[0] == said[2] != said[1]
    alone = said_of(ts[:1], {name: series[:1] for name, series in fields.items()})
    assert alone[0] == said[0]
    for name, other in (("a", 1.6), ("b", "y"), ("c", 2.0)):
        changed = fields | {name: pl.Series(name, [other, None, None])}
        assert said_of(ts, changed)[0] != said[0]


def test_a_reading_without_a_number_is_named_by_its_time_and_one_with_by_its_run() -> None:
    seq, ts, run = np.array([5, 5, -1, -1]), np.array([1, 2, 3, 3]), np.array([0, 1, 0, 1], np.uint32)
    names = names_of(seq, ts, run)
    assert names[0] != names[1]
    assert names[2] == names[3]


def roads(*frames: dict[str, Any]) -> World:
    world = World(CATALOGUE)
    world.register(ROAD, CITY, 1, freeflow_kmh=50.0, seg_len_m=1000.0)
    world.tick(0)
    for number, frame in enumerate(frames):
        size = len(frame["seq"])
        world.frame(
            ROAD, CITY, frame["ts"], device=["d0"] * size, seq=frame["seq"], flow_vpm=[10.0] * size,
            speed_kmh=frame["speed"],
        )  # fmt: skip
        world.tick((number + 1) * 10_000)
    return world


def counts(world: World) -> dict[str, int]:
    accepted = [headers_by_name(output) for output in world.admit() if output.target == "accepted"]
    return {name: sum(int(one[name]) for one in accepted) for name in ("accepted", "dup")}


def reasons(world: World) -> list[tuple[str, str]]:
    found = [headers_by_name(output) for output in world.admit() if output.target == "quarantine"]
    return [(one["reason"], one["rows"]) for one in found]


FIRST = {"ts": [1000, 2000], "seq": [0, 1], "speed": [25.0, 26.0]}


def test_a_copy_is_counted_and_another_reading_of_the_same_number_is_set_aside() -> None:
    world = roads(FIRST, {"ts": [1000, 2000], "seq": [0, 1], "speed": [25.0, 99.0]})
    assert counts(world) == {"accepted": 2, "dup": 1}
    assert reasons(world) == [("seq_conflict", "1")]


def test_another_time_is_a_conflict_too() -> None:
    world = roads(FIRST, {"ts": [1500], "seq": [1], "speed": [26.0]})
    assert reasons(world) == [("seq_conflict", "0")]


def test_a_repeat_of_what_is_no_longer_remembered_counts_as_a_copy() -> None:
    later = {"ts": list(range(3000, 3000 + DEPTH)), "seq": list(range(2, 2 + DEPTH)), "speed": [27.0] * DEPTH}
    assert counts(roads(FIRST, later, {"ts": [2000], "seq": [1], "speed": [99.0]})) == {
        "accepted": 6,
        "dup": 1,
    }


def test_after_a_restart_the_old_numbers_are_another_run_and_no_conflict() -> None:
    world = roads(FIRST, {"ts": [8000], "seq": [1], "speed": [31.0]}, {"ts": [2000], "seq": [1], "speed": [26.0]})
    assert counts(world) == {"accepted": 3, "dup": 1}


@pytest.mark.parametrize("seed", range(4))
def test_conflicts_do_not_depend_on_batches_or_snapshots(seed: int) -> None:
    rng = random.Random(seed)
    frames = []
    for minute in range(40):
        seq = [max(0, minute - rng.choice((0, 0, 1, 3, 6)))]
        frames.append({"ts": [seq[0] * 1000], "seq": seq, "speed": [float(rng.choice((20, 30)))]})
    world = roads(*frames)
    assert {reason for reason, _ in reasons(world)} == {"seq_conflict"}
    assert [o.value for o in world.admit(random.Random(seed))] == [o.value for o in world.admit()]
