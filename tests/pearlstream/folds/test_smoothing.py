"""`smooth_s`: the mean that goes on from window to window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_indicate import CATALOGUE, CITY, MINUTE, ROAD, road, rollups

from pearlstream.catalogue import Catalogue
from pearlstream.fold import InProcess
from pearlstream.folds.indicate import Indicate
from pearlstream.position import Source
from pearlstream.testing.world import World

WINDOW = 5 * MINUTE
SOURCE = Source("test", 0)


def smoothed() -> Catalogue:
    """The travel-time index alone, smoothed over ten minutes: a third of each step is followed."""
    index = CATALOGUE.indicators["I43a"].model_copy(update={"smooth_s": 600, "alert": None})
    return replace(CATALOGUE, indicators={"I43a": index}, scenarios={})


def drive(world: World, speeds: list[float | None], **columns: Any) -> None:
    """A window of each speed (None: nobody speaks), settled."""
    world.register(ROAD, CITY, 4, freeflow_kmh=50.0, seg_len_m=1000.0, **columns)
    world.tick(0)
    for window, speed in enumerate(speeds):
        for minute in range(5 * window, 5 * window + 5):
            if speed is not None:
                road(world, minute, speed=speed)
            world.tick((minute + 1) * MINUTE)
    world.tick(len(speeds) * WINDOW + 11_000)


def values(world: World, maturity: str = "settled") -> list[float | None]:
    return [row["value"] for row in world.rows(indicator="I43a") if row["maturity"] == maturity]


def test_a_step_is_followed_by_a_third_each_window() -> None:
    world = World(smoothed())
    drive(world, [50.0, 25.0, 25.0])
    assert values(world) == pytest.approx([1.0, 1 + 1 / 3, 1 + 1 / 3 + 2 / 9])


def test_a_window_without_a_value_says_nothing_and_leaves_the_mean() -> None:
    world = World(smoothed())
    drive(world, [50.0, None, 25.0])
    first, silent, last = values(world)
    assert silent is None
    assert (first, last) == pytest.approx((1.0, 1 + 1 / 3))


def test_a_correction_changes_its_own_window_and_no_other() -> None:
    world = World(smoothed())
    drive(world, [50.0, 50.0, 50.0])
    before = values(world)
    world.frame(
        ROAD, CITY, [7 * MINUTE + 2_000] * 4, device=[f"d{i}" for i in range(4)], seq=[100] * 4,
        flow_vpm=[10.0] * 4, speed_kmh=[25.0] * 4,
    )  # fmt: skip
    world.tick(3 * WINDOW + 60_000)
    corrected = [row for row in world.rows(indicator="I43a") if row["maturity"] == "corrected"]
    assert values(world) == before == pytest.approx([1.0, 1.0, 1.0])
    assert {row["window_end_ms"] for row in corrected} == {
        world.rows(indicator="I43a")[0]["window_start_ms"] + 2 * WINDOW
    }
    assert corrected[-1]["value"] > 1.0


def test_the_mean_survives_a_snapshot() -> None:
    world = World(smoothed())
    drive(world, [50.0, 25.0, 25.0, 10.0])
    records = rollups(world)
    whole = InProcess(Indicate(world.program, world.book, provisional=False), SOURCE).feed(records)
    runner = InProcess(Indicate(world.program, world.book, provisional=False), SOURCE)
    cut = []
    for record in records:
        cut += runner.feed([record])
        runner.state = runner.fold.unpack(runner.fold.pack(runner.state))
    assert cut == whole
