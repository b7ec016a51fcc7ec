"""Health checks, metrics, the stuck detector."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from test_stage import FakeHost, batch, make_stage

from pearlstream.testing.folds import Adding
from streams.health import Check, checks
from streams.metrics import COUNTERS, GAUGES, UNACKED, render
from streams.stage import Stage
from streams.watchdog import Watchdog


def app_of(*stages: Stage, recovering: bool = False, crashed: bool = False, broker: str = "") -> Any:
    event = asyncio.Event()
    if crashed:
        event.set()
    return SimpleNamespace(
        stages=list(stages), recovering=recovering, _crashed=event, crash_reason="why", broker_error=broker
    )


def failing(app: Any) -> list[Check]:
    return [check for check in checks(app) if not check.ok]


async def test_a_worker_that_has_its_partitions_is_ready() -> None:
    assert failing(app_of(make_stage(FakeHost()))) == []


def stalled(stage: Stage) -> None:
    stage.progress_at -= 16


def without_ticks(stage: Stage) -> None:
    stage.lanes[0].last_tick_at -= 11


def broken(stage: Stage) -> None:
    stage.broken = "it broke"


def waiting(stage: Stage) -> None:
    stage.lanes[0].waiting_for = "registry cafe"


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (stalled, "admit.progress"),
        (without_ticks, "admit.ticks"),
        (broken, "admit.agent"),
        (waiting, "admit.registry"),
    ],
)
async def test_what_is_wrong_is_listed_with_its_remedy(harm: Callable[[Stage], None], name: str) -> None:
    host = FakeHost()
    host.ends[0] = 5
    stage = make_stage(host)
    assert failing(app_of(stage)) == []
    harm(stage)
    (check,) = failing(app_of(stage))
    assert check.name == name
    assert check.remedy
    assert check.message


async def test_without_waiting_records_neither_silence_nor_timelessness_is_a_fault() -> None:
    host = FakeHost()
    host.ends[0] = 0
    stage = make_stage(host)
    stalled(stage)
    without_ticks(stage)
    assert failing(app_of(stage)) == []


async def test_while_recovering_and_after_a_crash_the_worker_is_not_ready() -> None:
    stage = make_stage(FakeHost())
    assert [check.name for check in failing(app_of(stage, recovering=True))] == ["recovered"]
    assert [check.name for check in failing(app_of(stage, crashed=True))] == ["running"]
    assert [check.name for check in failing(app_of(stage, broker="refused"))] == ["broker"]


async def test_every_metric_is_served() -> None:
    host = FakeHost()
    host.ends[0] = 5
    stage = make_stage(host)
    await stage.take(batch(b"abc", 1234))
    text = render([stage]).decode()
    for metric in (*COUNTERS, *GAUGES, UNACKED):
        assert f"pearlstream_worker_{metric.name}" in text
        assert metric.meaning in text
    assert 'pearlstream_worker_lag_records{partition="0",stage="admit"} 3.0' in text
    assert 'pearlstream_worker_clock_ms{partition="0",stage="admit"} 1234.0' in text
    assert 'pearlstream_worker_records_total{stage="admit"} 2.0' in text


# --- the stuck detector -----------------------------------------------------------------------------------


class Deaths(list[str]):
    """What the watchdog would have ended the process for."""

    def die(self, code: int, message: str, **facts: object) -> None:
        assert code == 70
        self.append(message)


def watch(deaths: Deaths, *stages: Stage, idle: bool = False) -> Watchdog:
    dog = Watchdog(list(stages), deaths.die, idle=lambda: idle, after=6, beat_s=0.05)
    dog.start()
    return dog


@pytest.mark.parametrize("how", ["records wait", "a batch is in hand"])
async def test_a_stage_that_gets_nowhere_ends_the_process_and_shows_where_it_hangs(
    how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    host = FakeHost()
    stage = make_stage(host)
    if how == "records wait":
        host.ends[0] = 7
    else:
        stage.busy = True
    deaths = Deaths()
    watch(deaths, stage)
    await asyncio.sleep(1)
    (message,) = deaths
    assert "the stage admit" in message
    assert "threads and tasks" in capfd.readouterr().err


async def test_a_stage_that_moves_or_waits_for_input_is_left_alone() -> None:
    host = FakeHost()
    moving, resting = make_stage(host), make_stage(host, Adding())
    moving.busy = True
    deaths = Deaths()
    dog = watch(deaths, moving, resting)
    for _ in range(30):
        await asyncio.sleep(0.02)
        moving.progress += 1
    dog.stop()
    assert deaths == []


async def test_a_stage_that_gets_no_records_while_another_catches_up_is_not_stuck() -> None:
    """Found under load: all stages share one reader, and the one that is behind takes it for itself."""
    host = FakeHost()
    starved, busy = make_stage(host), make_stage(host, Adding())
    host.ends[0] = 7
    deaths = Deaths()
    dog = watch(deaths, starved, busy)
    for _ in range(40):
        await asyncio.sleep(0.02)
        busy.progress += 1
    assert deaths == []
    await asyncio.sleep(1)
    dog.stop()
    assert deaths, "nobody moves any more"


async def test_a_stage_with_a_batch_in_hand_answers_for_itself() -> None:
    host = FakeHost()
    hanging, moving = make_stage(host), make_stage(host, Adding())
    hanging.busy = True
    deaths = Deaths()
    dog = watch(deaths, hanging, moving)
    for _ in range(60):
        await asyncio.sleep(0.02)
        moving.progress += 1
    dog.stop()
    (message,) = deaths
    assert "the stage admit" in message


async def test_the_process_ends_though_what_hangs_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise TypeError("a task was gone meanwhile")

    monkeypatch.setattr(Watchdog, "_show", broken)
    stage = make_stage(FakeHost())
    stage.busy = True
    deaths = Deaths()
    watch(deaths, stage)
    await asyncio.sleep(1)
    assert len(deaths) == 1


async def test_during_recovery_stages_are_not_watched() -> None:
    stage = make_stage(FakeHost())
    stage.busy = True
    deaths = Deaths()
    dog = watch(deaths, stage, idle=True)
    await asyncio.sleep(0.6)
    dog.stop()
    assert deaths == []


async def test_an_event_loop_that_does_not_turn_ends_the_process() -> None:
    deaths = Deaths()
    dog = watch(deaths)
    await asyncio.sleep(0.1)
    assert deaths == []
    time.sleep(1)  # noqa: ASYNC251 - blocking the loop is the point
    dog.stop()
    assert "the event loop" in deaths[0]
