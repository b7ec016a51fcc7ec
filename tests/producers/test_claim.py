"""Time's claim: one driver per prefix, whoever comes and however they race."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
import pytest

from pearlstream.broker import LogRecord
from pearlstream.errors import DriverConflict, ServiceError
from producers.claim import ClaimKeeper, Role, TimeClaim


@dataclass
class World:
    """The topic and the wall clock that all drivers share."""

    records: list[LogRecord] = field(default_factory=list)
    now_ms: int = 1_000_000

    def driver(self, role: Role) -> TimeClaim:
        return TimeClaim(View(self), role, lambda: self.now_ms)

    def write(self, role: str, epoch: int) -> None:
        """A claim by somebody else."""
        value = orjson.dumps({"role": role, "epoch": epoch, "last_tick_ms": 0})
        self.records.append(LogRecord(len(self.records), role.encode(), value, (), self.now_ms))


@dataclass
class View:
    """What one driver has read of it. `before_reading` happens between its write and its next read."""

    world: World
    at: int = 0
    rival: str = ""
    away: bool = False
    """The broker does not answer."""

    def append(self, key: bytes, value: bytes) -> int:
        self._reach()
        if self.rival:
            self.world.write(self.rival, orjson.loads(value)["epoch"])
            self.rival = ""
        offset = len(self.world.records)
        self.world.records.append(LogRecord(offset, key, value, (), self.world.now_ms))
        return offset

    def _reach(self) -> None:
        if self.away:
            raise ServiceError("the broker does not answer")

    def read(self) -> list[LogRecord]:
        self._reach()
        found = self.world.records[self.at :]
        self.at = len(self.world.records)
        return found


def test_the_first_driver_gets_epoch_1_and_a_successor_the_next_at_once() -> None:
    world = World()
    assert world.driver("simulate").take() == "simulate/1"
    assert world.driver("simulate").take() == "simulate/2"


def test_another_roles_young_claim_is_respected_and_an_old_one_is_not() -> None:
    world = World()
    world.driver("worker").take()
    world.now_ms += 9_999
    with pytest.raises(DriverConflict, match="worker/1 drives time") as error:
        world.driver("simulate").take()
    assert error.value.exit_code == 78
    world.now_ms += 1
    assert world.driver("simulate").take() == "simulate/1"


def test_a_driver_that_refreshes_keeps_others_away() -> None:
    world = World()
    worker = world.driver("worker")
    worker.take()
    for _ in range(10):
        world.now_ms += 3_000
        worker.refresh(last_tick_ms=world.now_ms)
    with pytest.raises(DriverConflict):
        world.driver("replay").take()


def test_refreshing_often_writes_seldom() -> None:
    world = World()
    driver = world.driver("simulate")
    driver.take()
    for _ in range(100):
        world.now_ms += 100
        driver.refresh(0)
    assert len(world.records) == 1 + 10_000 // 2_000


def test_a_driver_that_ended_in_order_need_not_be_waited_for() -> None:
    world = World()
    simulator = world.driver("simulate")
    simulator.take()
    simulator.release()
    assert world.driver("worker").take() == "worker/1"
    world.now_ms += 60_000
    assert world.driver("simulate").take() == "simulate/2"


def test_a_replaced_driver_notices_stops_and_does_not_give_away_what_is_not_its_own() -> None:
    world = World()
    old = world.driver("simulate")
    old.take()
    world.driver("simulate").take()
    world.now_ms += 2_000
    with pytest.raises(DriverConflict, match="newer run"):
        old.refresh(0)
    count = len(world.records)
    old.release()
    assert len(world.records) == count


def test_a_driver_whose_broker_is_away_goes_on_and_is_heard_again_when_it_is_back() -> None:
    world = World()
    view = View(world)
    driver = TimeClaim(view, "simulate", lambda: world.now_ms)
    driver.take()
    view.away = True
    for _ in range(30):
        world.now_ms += 2_000
        driver.refresh(0)
    assert len(world.records) == 1
    view.away = False
    world.now_ms += 2_000
    driver.refresh(7)
    assert len(world.records) == 2
    with pytest.raises(DriverConflict):
        world.driver("worker").take()


@pytest.mark.parametrize("rival", ["simulate", "worker"])
def test_of_two_that_claim_at_once_the_first_in_the_log_wins(rival: str) -> None:
    world = World()
    late = TimeClaim(View(world, rival=rival), "simulate", lambda: world.now_ms)
    with pytest.raises(DriverConflict):
        late.take()


def test_lower_epochs_and_other_peoples_records_are_ignored() -> None:
    world = World()
    world.write("simulate", 7)
    world.write("simulate", 3)
    world.records.append(LogRecord(2, b"simulate", b"no claim", (), world.now_ms))
    world.records.append(LogRecord(3, None, None, (), world.now_ms))
    assert world.driver("simulate").take() == "simulate/8"


# --- kept by a thread -----------------------------------------------------------------------------------------


@dataclass
class SlowView(View):
    """A broker that does not answer until it is told to."""

    answers: threading.Event = field(default_factory=threading.Event)
    asked: int = 0

    def append(self, key: bytes, value: bytes) -> int:
        self.asked += 1
        assert self.answers.wait(10)
        return super().append(key, value)


def until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + 10
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_broker_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.claim.REFRESH_MS", 20)
    world = World()
    view = SlowView(world)
    view.answers.set()
    closed: list[bool] = []
    keeper = ClaimKeeper(TimeClaim(view, "simulate", lambda: world.now_ms), lambda: closed.append(True))
    assert keeper.take() == "simulate/1"
    view.answers.clear()
    world.now_ms += 10_000
    for clock in range(5):
        keeper.ticked(clock)
    until(lambda: view.asked == 2)
    keeper.ticked(9)
    assert not keeper.stop(0.2), "it asks, and is left alone"
    assert not closed
    view.answers.set()
    keeper.close()
    assert closed == [True]
    assert orjson.loads(world.records[-1].value or b"")["last_tick_ms"] in range(5)


def test_a_driver_that_was_replaced_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.claim.REFRESH_MS", 20)
    world = World()
    keeper = ClaimKeeper(world.driver("simulate"), lambda: None)
    keeper.take()
    keeper.check()
    world.write("simulate", 2)
    world.now_ms += 10_000

    def replaced() -> bool:
        try:
            keeper.check()
        except DriverConflict:
            return True
        return False

    until(replaced)
    with pytest.raises(DriverConflict, match="took over"):
        keeper.ticked(5)
    assert keeper.stop()
