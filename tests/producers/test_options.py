"""Words of the command line: durations, speeds, scenarios with a delay; and the pace of event time."""

from __future__ import annotations

import threading
import time

import click
import pytest

from deploy.demo.cli import demo
from producers.options import ScenarioDelay, Speed, duration_ms, joined
from producers.pacing import Pacer
from producers.simulator.cli import simulate


@pytest.mark.parametrize(
    ("text", "ms"),
    [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("1h30m", 5_400_000), ("1.5h", 5_400_000), ("250ms", 250),
     ("1d", 86_400_000), ("30", 30_000)],
)  # fmt: skip
def test_durations_are_read_as_people_write_them(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "soon", "5x", "1h 30", "-5s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="90s, 15m, 2h"):
        duration_ms(text)


@pytest.mark.parametrize(("text", "speed"), [("1", 1.0), ("60x", 60.0), ("max", 0.0), ("0", 0.0), ("0.5", 0.5)])
def test_speeds(text: str, speed: float) -> None:
    assert Speed().convert(text, None, None) == speed


@pytest.mark.parametrize("text", ["fast", "-1", ""])
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Speed().convert(text, None, None)


def test_a_scenario_may_begin_later() -> None:
    assert ScenarioDelay().convert("rush", None, None) == ("rush", 0)
    assert ScenarioDelay().convert("SC02+30m", None, None) == ("SC02", 1_800_000)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("--scenario typhoon --scenario rush --at +6h", "--scenario typhoon --scenario rush+6h"),
        ("--scenario rush --seed 3 --at 45m", "--scenario rush+45m --seed 3"),
        ("--scenario=rush --at=+1h30m --scenario haze", "--scenario rush+1h30m --scenario haze"),
        ("--scenario rush+45m --speed max", "--scenario rush+45m --speed max"),
        ("--scenario rush -- --at +6h", "--scenario rush -- --at +6h"),
        ("--seed 1 --scenario", "--seed 1 --scenario"),
    ],
)
def test_at_belongs_to_the_scenario_before_it(said: str, meant: str) -> None:
    assert joined(said.split()) == meant.split()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("--at +6h --scenario rush", "belongs to no scenario"),
        ("--scenario rush+45m --at +6h", "has a delay already"),
        ("--scenario rush --at 1h --at 2h", "has a delay already"),
    ],
)
def test_an_at_that_belongs_nowhere_is_refused(said: str, why: str) -> None:
    with pytest.raises(click.UsageError, match=why):
        joined(said.split())


@pytest.mark.parametrize("command", [simulate, demo], ids=["simulate", "demo"])
def test_both_commands_take_several_scenarios_each_with_its_moment(command: click.Command) -> None:
    context = command.make_context("it", ["--scenario", "typhoon", "--scenario", "rush", "--at", "+6h"])
    assert context.params["scenarios"] == (("typhoon", 0), ("rush", 6 * 3_600_000))


def test_without_a_limit_nobody_waits() -> None:
    pacer = Pacer(0, 0)
    began = time.monotonic()
    assert pacer.wait_until(10**12)
    assert time.monotonic() - began < 1
    assert pacer.behind_s(0) == 0.0


def test_event_time_passes_at_the_speed_asked_for() -> None:
    pacer = Pacer(1_000_000, 100)
    began = time.monotonic()
    assert pacer.wait_until(1_000_000)
    assert pacer.wait_until(1_005_000)
    assert time.monotonic() - began >= 0.05


def test_who_waits_long_is_heard_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.pacing.BEAT_S", 0.02)
    beats: list[float] = []
    pacer = Pacer(0, 1, beat=lambda: beats.append(time.monotonic()))
    assert pacer.wait_until(0)
    assert pacer.wait_until(200)
    assert len(beats) >= 3


def test_a_stopped_run_waits_no_more() -> None:
    pacer = Pacer(0, 1)
    threading.Timer(0.05, pacer.stop.set).start()
    assert not pacer.wait_until(3_600_000)
    assert not pacer.wait_until(7_200_000)
