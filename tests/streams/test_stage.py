"""A stage without a broker: the order of its effects, what it waits for, and what ends the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from faust.types import TP

import streams.stage
import streams.waiting
from pearlstream.errors import PositionError
from pearlstream.fold import Fold, Record
from pearlstream.position import Source
from pearlstream.runner import Folding, Limits
from pearlstream.testing.folds import POISON, Counting, frame, tick
from streams.lane import Lane
from streams.stage import Stage


class Died(BaseException):
    """The process would have ended."""


class FakeHost:
    """Takes effects down in their order; sends stay unanswered until `answer`."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.open: list[tuple[str, asyncio.Future[Any]]] = []
        self.deaths: list[tuple[int, str]] = []
        self.ends: dict[int, int] = {}
        self.headers: list[dict[str, str]] = []

    async def put(self, topic: str, partition: int, key: Any, value: bytes, headers: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.done.append(topic)
        self.headers.append({name: text.decode() for name, text in headers})
        self.open.append((topic, future))
        return future

    async def reread(self, tp: TP, offset: int) -> None:
        self.done.append(("reread", offset))

    def safe_below(self, tp: TP, offset: int) -> None:
        self.done.append(("safe", offset))

    def end_of(self, tp: TP) -> int | None:
        return self.ends.get(tp.partition)

    def die(self, code: int, message: str, **facts: object) -> None:
        self.deaths.append((code, message))
        raise Died(message)

    async def answer(self, *topics: str, error: Exception | None = None) -> None:
        """Acknowledge (or fail) what was sent to these topics, all if none is named."""
        for topic, future in self.open:
            if not future.done() and (not topics or topic in topics):
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


@pytest.fixture
async def host() -> FakeHost:
    """The worker around the stage; failures in callbacks are what `die` raises, and expected."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    return FakeHost()


def make_stage(host: FakeHost, fold: Fold[Any] | None = None) -> Stage:
    limits = Limits(records=3, bytes=1 << 30)
    stage = Stage(fold or Counting(), host, "nowhere:1", "t.", "cat", limits, topic_id="life")
    folding = Folding(stage.fold, Source("life", 0), limits=limits)
    stage.lanes[0] = Lane(0, folding)
    return stage


def batch(*values: bytes | int, start: int = 0) -> list[tuple[int, Record]]:
    """Records of partition 0: bytes are frames, numbers are ticks of that clock."""
    return [
        (0, tick(at, value) if isinstance(value, int) else frame(at, value)) for at, value in enumerate(values, start)
    ]


class Events:
    """A stream that gives these batches and then fails or ends."""

    def __init__(self, batches: Sequence[Sequence[tuple[int, Record]]] = (), error: Exception | None = None) -> None:
        self.batches, self.error = batches, error

    async def noack_take(self, count: int, within: float) -> Any:
        for records in self.batches:
            yield [Event(partition, record) for partition, record in records]
            await settle()  # as between two reads
        if self.error is not None:
            raise self.error


class Event:
    """What Faust hands to an agent, as far as a stage looks at it."""

    def __init__(self, partition: int, record: Record) -> None:
        self.message = self
        self.partition = partition
        self.offset, self.key, self.value, self.headers = record.offset, record.key, record.value, list(record.headers)


async def test_a_snapshot_follows_its_outputs_and_the_commit_follows_the_snapshot(host: FakeHost) -> None:
    stage = make_stage(host)
    await stage.take(batch(b"a", b"b", 1))
    await stage.take(batch(b"c", start=3))
    assert host.done == ["t.accepted", "t.accepted", "t.rollups", "t.accepted"]
    host.open[3][1].set_result(None)
    host.open[1][1].set_result(None)
    await settle()
    assert "t.state.admit" not in host.done
    await host.answer()
    assert host.done[4:] == ["t.state.admit"], "folding had gone on, the snapshot covers the tick"
    assert host.headers[4]["applied"] == "2"
    await host.answer("t.state.admit")
    assert host.done[5:] == [("safe", 3)]


class Slow(Counting):
    """A fold that waits, when it is first called, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.batches: list[list[int]] = []

    def apply(self, state: Any, records: Sequence[Record]) -> Any:
        self.batches.append([record.offset for record in records])
        assert self.go.wait(10)
        return super().apply(state, records)


async def test_what_comes_while_a_batch_is_folded_is_the_next_batch(host: FakeHost) -> None:
    fold = Slow()
    stage = make_stage(host, fold)
    run = asyncio.ensure_future(stage.run(Events([batch(b"a", start=at) for at in range(20)])))
    await until(lambda: len(stage._waiting) == 19)
    fold.go.set()
    await run
    assert fold.batches == [[0], list(range(1, 20))]


async def test_no_more_is_read_than_may_wait(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.waiting, "MOST_BYTES", 10)
    fold = Slow()
    stage = make_stage(host, fold)
    events = Events([batch(b"abcd", start=at) for at in range(20)])
    run = asyncio.ensure_future(stage.run(events))
    await until(lambda: len(stage._waiting) == 3)
    await settle()
    assert len(stage._waiting) == 3, "the third has exceeded the limit of ten bytes"
    fold.go.set()
    await run
    assert [offset for offsets in fold.batches for offset in offsets] == list(range(20))


async def test_what_waits_of_a_partition_that_is_read_again_is_dropped(host: FakeHost) -> None:
    stage = make_stage(host)
    await stage._waiting.add([(0, frame(5, b"x")), (1, frame(3, b"y"))])
    await stage.positions({0})
    assert await stage._waiting.take() == [(1, frame(3, b"y"))]


async def test_records_of_a_partition_that_is_not_ours_are_left_alone(host: FakeHost) -> None:
    stage = make_stage(host)
    await stage.take([(1, frame(0, b"x"))])
    assert host.done == []


@pytest.mark.parametrize("topic", ["t.accepted", "t.state.admit"])
async def test_the_first_send_that_fails_ends_the_process(host: FakeHost, topic: str) -> None:
    stage = make_stage(host)
    await stage.take(batch(b"a", b"b", 1))
    if topic == "t.state.admit":
        await host.answer()
    await host.answer(topic, error=OSError("gone"))
    assert host.deaths[0][0] == 70
    assert "gone" in host.deaths[0][1]
    assert ("safe", 3) not in host.done


async def test_folding_waits_while_too_many_bytes_are_unacknowledged(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.stage, "UNACKED_BYTES", 100)
    stage = make_stage(host)
    task = asyncio.ensure_future(stage.take(batch(*[b"x" * 60] * 4)))
    await asyncio.sleep(0.05)
    assert len(host.done) == 2
    assert stage.unacked_bytes == 120
    await host.answer()
    await host.answer()
    await task
    assert len(host.done) == 4


async def test_a_stage_waits_for_the_registry_and_then_goes_on(host: FakeHost) -> None:
    known: set[str] = set()
    stage = make_stage(host, Counting(registries=known))
    task = asyncio.ensure_future(stage.take(batch(b"a", 1)))
    await asyncio.sleep(0.05)
    assert "00000000" in stage.lanes[0].waiting_for
    assert host.done == []
    known.add("00000000")
    await task
    assert host.done == ["t.accepted", "t.rollups"]
    assert stage.lanes[0].waiting_for == ""


async def test_a_registry_that_never_comes_ends_the_process_with_try_again(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.stage, "REGISTRY_TIMEOUT_S", 0.1)
    stage = make_stage(host, Counting(registries=set()))
    with pytest.raises(Died):
        await stage.take(batch(1))
    assert host.deaths[0][0] == 75


async def test_a_bad_record_is_counted_and_reading_goes_back(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    seeks: list[int] = []

    async def seek(self: Stage, lane: Lane, offset: int) -> None:
        seeks.append(offset)

    monkeypatch.setattr(Stage, "_seek", seek)
    stage = make_stage(host)
    records = batch(1, b"a", POISON, b"b")
    await stage.take(records)
    assert seeks == [0]
    await stage.take(records)
    assert stage.counts.refused == 1
    assert host.done.count("t.quarantine") == 1


@pytest.mark.parametrize("error", [RuntimeError("broke"), PositionError("overlap")])
async def test_an_exception_does_not_leave_the_agent_but_ends_the_process(host: FakeHost, error: Exception) -> None:
    stage = make_stage(host)
    with pytest.raises(Died):
        await stage.run(Events([batch(b"a")], error))
    assert host.deaths[0][0] == 70
    assert str(error) in stage.broken


async def test_a_clean_stop_takes_a_snapshot_and_waits_for_every_acknowledgement(host: FakeHost) -> None:
    stage = make_stage(host)
    await stage.take(batch(b"a", 1))
    drain = asyncio.ensure_future(stage.drain())
    for _ in range(2):
        await asyncio.sleep(0.05)
        assert not drain.done()
        await host.answer()
    await drain
    assert host.done == ["t.accepted", "t.rollups", "t.state.admit", ("safe", 2)]
    await stage.run(Events([batch(b"b", start=2)]))
    assert len(host.done) == 4, "nothing is taken any more"


async def test_a_clean_stop_does_not_wait_for_ever(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.stage, "DRAIN_TIMEOUT_S", 0.05)
    stage = make_stage(host)
    await stage.take(batch(b"a", 1))
    await stage.drain()


async def test_where_records_wait_and_none_comes_reading_begins_again(host: FakeHost) -> None:
    stage = make_stage(host)
    await stage.take(batch(b"a"))
    await stage.nudge()
    assert ("reread", 1) not in host.done, "nothing waits"
    host.ends[0] = 3
    await stage.nudge()
    await stage.take(batch(b"b", start=1))
    await stage.nudge()
    assert ("reread", 2) not in host.done, "something came since the last look"
    await stage.nudge()
    assert ("reread", 2) in host.done


@pytest.mark.parametrize(("others_move", "tries"), [(False, [1, 3, 7, 15, 31]), (True, [7, 15, 31])])
async def test_reading_again_is_tried_ever_more_seldom_until_something_comes(
    host: FakeHost, others_move: bool, tries: list[int]
) -> None:
    """Each time throws away what is under way: on a machine without CPU nothing would ever arrive. While others get
    records from the same reader, this partition's turn may come."""
    stage = make_stage(host)
    await stage.take(batch(b"a"))
    host.ends[0] = 9
    looks = []
    for _ in range(32):
        await stage.nudge(others_move=others_move)
        looks.append(host.done.count(("reread", 1)))
    assert [number for number in range(1, 32) if looks[number] > looks[number - 1]] == tries
    await stage.take(batch(b"b", start=1))
    await stage.nudge()
    await stage.nudge()
    assert host.done.count(("reread", 2)) == 1


async def test_a_partition_that_stays_goes_on_from_memory(host: FakeHost) -> None:
    stage = make_stage(host)
    await stage.take(batch(b"a", b"b"))
    lane = stage.lanes[0]
    assert await stage.positions({0}) == {TP("t.readings", 0): 2}
    assert stage.lanes[0] is lane
    assert await stage.positions(set()) == {}
    assert stage.lanes == {}
