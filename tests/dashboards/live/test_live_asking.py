"""The store is asked once for everybody, a few questions at a time, and left alone while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.live import asking
from dashboards.live.address import Span
from dashboards.live.asking import Asker, Question, question
from dashboards.live.pulse import Pulse
from pearlstream.store import StoreError, Trouble

LIVE, PAST = Span(3_600_000), Span(3_600_000, 1_780_000_000_000)


class Clock:
    """A steady clock that goes when it is told to."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


class Stored:
    """A store that answers when it is let."""

    def __init__(self, *, slow: bool = False) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.under_way = self.most = 0
        self.free = asyncio.Event()
        self.took: Callable[[], None] = lambda: None
        if not slow:
            self.free.set()

    async def __call__(self, sql: str) -> list[dict[str, Any]]:
        self.asked.append(sql)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.free.wait()
            self.took()
            if self.failure is not None:
                raise self.failure
            return [{"sql": sql}]
        finally:
            self.under_way -= 1


def asker(stored: Stored, clock: Clock, newest_ms: int = 1_780_000_000_000) -> Asker:
    pulse = Pulse(stored, clock=clock)
    pulse.newest_ms = newest_ms
    return Asker(stored, pulse, clock=clock)


def ask(number: int = 0, span: Span = LIVE) -> Question:
    return question(f"SELECT {number}", {}, span)


async def test_many_pages_ask_the_store_once() -> None:
    stored, clock = Stored(slow=True), Clock()
    some = asker(stored, clock)
    waiting = [asyncio.create_task(some.answers([ask()], 5)) for _ in range(50)]
    await asyncio.sleep(0.01)
    stored.free.set()
    found = await asyncio.gather(*waiting)
    assert len(stored.asked) == 1
    assert len({id(one[ask()]) for one in found}) == 1


async def test_a_slow_store_is_asked_two_things_at_a_time_and_nothing_twice() -> None:
    stored, clock = Stored(slow=True), Clock()
    some = asker(stored, clock)
    questions = [ask(number) for number in range(10)]
    for _ in range(20):
        assert set((await some.answers(questions, 0)).values()) == {None}
        await asyncio.sleep(0)
    assert len(stored.asked) == stored.most == 2


async def test_questions_that_nobody_waits_for_are_not_put_to_the_store_any_more() -> None:
    stored, clock = Stored(slow=True), Clock()
    some = asker(stored, clock)
    await some.answers([ask(number) for number in range(10)], 0.01)
    clock.s += asking.UNWANTED_S + 1
    await some.answers([ask(9)], 0)
    stored.free.set()
    await asyncio.sleep(0.02)
    assert stored.asked == ["SELECT 0", "SELECT 1", "SELECT 9"]


async def test_a_live_answer_is_asked_again_after_a_moment_and_one_about_the_past_is_not() -> None:
    stored, clock = Stored(), Clock()
    some = asker(stored, clock)
    await some.answers([ask(), ask(1, PAST)], 5)
    some._pulse.newest_ms += 5000
    clock.s += 1
    await some.answers([ask(), ask(1, PAST)], 5)
    assert stored.asked == ["SELECT 0", "SELECT 1"]
    clock.s += 1
    await some.answers([ask(), ask(1, PAST)], 5)
    assert stored.asked == ["SELECT 0", "SELECT 1", "SELECT 0"]


async def test_while_nothing_new_has_come_a_live_answer_stays_good() -> None:
    stored, clock = Stored(), Clock()
    some = asker(stored, clock)
    await some.answers([ask()], 5)
    clock.s += asking.STILL_KEEP_S
    await some.answers([ask()], 5)
    assert len(stored.asked) == 1
    clock.s += asking.LIVE_KEEP_S
    await some.answers([ask()], 5)
    assert len(stored.asked) == 2


async def test_what_took_long_is_asked_less_often() -> None:
    stored, clock = Stored(), Clock()
    some = asker(stored, clock)

    def take_three_seconds() -> None:
        clock.s += 3

    stored.took = take_three_seconds
    await some.answers([ask()], 5)
    some._pulse.newest_ms += 5000
    clock.s += 3 * asking.PATIENCE - 1
    await some.answers([ask()], 5)
    assert len(stored.asked) == 1
    clock.s += 2
    await some.answers([ask()], 5)
    assert len(stored.asked) == 2


async def test_a_store_that_is_away_is_said_and_left_alone_and_its_last_answer_stays() -> None:
    stored, clock = Stored(), Clock()
    some = asker(stored, clock)
    before = (await some.answers([ask()], 5))[ask()]
    some._pulse.newest_ms += 5000
    stored.failure = StoreError("cannot be reached", trouble=Trouble.AWAY)
    clock.s += asking.STILL_KEEP_S + asking.LIVE_KEEP_S
    for _ in range(10):
        assert (await some.answers([ask()], 5))[ask()] is before
    assert some.trouble == "cannot be reached"
    assert len(stored.asked) == 2
    stored.failure = None
    clock.s += asking.DOWN_S + 0.1
    assert (await some.answers([ask()], 5))[ask()] is not before
    assert some.trouble == ""


async def test_a_question_that_the_store_refuses_says_why_and_is_no_trouble_of_the_store() -> None:
    stored, clock = Stored(), Clock()
    some = asker(stored, clock)
    stored.failure = StoreError("no such table", trouble=Trouble.SCHEMA)
    answer = (await some.answers([ask()], 5))[ask()]
    assert answer is not None
    assert answer.error == "no such table"
    assert some.trouble == ""


async def test_a_question_depends_on_what_its_query_names_only() -> None:
    chosen = {"city": ("440300",), "device": ("x",)}
    assert question("SELECT 1", chosen, LIVE) == question("SELECT 1", {}, LIVE)
    named = question("SELECT ${city:singlequote}", chosen, LIVE)
    assert named.chosen == (("city", ("440300",)),)


async def test_memory_does_not_grow_with_questions() -> None:
    some = asker(Stored(), Clock())
    for number in range(asking.KEPT + 50):
        await some.answers([ask(number, PAST)], 5)
    assert len(some._entries) == asking.KEPT


async def test_the_pulse_is_felt_once_for_everybody_and_says_when_it_stands_still() -> None:
    clock, asked = Clock(), []

    async def read(sql: str) -> list[dict[str, Any]]:
        asked.append(sql)
        return [{"newest": 1_780_000_000_000, "oldest": 1_770_000_000_000}]

    pulse = Pulse(read, clock=clock)
    await asyncio.gather(*(pulse.feel(5) for _ in range(20)))
    assert (pulse.oldest_ms, pulse.newest_ms, len(asked)) == (1_770_000_000_000, 1_780_000_000_000, 1)
    clock.s += 30
    await pulse.feel(5)
    assert (pulse.still_s, len(asked)) == (30, 2)


@pytest.mark.parametrize("rows", [[], [{"newest": 5, "oldest": 5}]])
async def test_the_pulse_never_goes_back(rows: list[dict[str, Any]]) -> None:
    clock = Clock()

    async def read(_sql: str) -> list[dict[str, Any]]:
        return rows

    pulse = Pulse(read, clock=clock)
    pulse.newest_ms = 10
    await pulse.feel(5)
    assert pulse.newest_ms == 10
