"""What the store is asked, once for everybody who looks.

A question is known by what it asks, not by who does; while one is under way nobody asks it again, and what it brought
is kept for a moment. So a hundred open pages cost the store what one does, and a store that is slow gets no more than
it can answer: a few questions at a time, and those that nobody waits for any more are dropped.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dashboards.live.address import Span
from dashboards.live.pulse import Pulse
from dashboards.macros import Shown, expand
from pearlstream.errors import PearlstreamError
from pearlstream.logs import get_logger
from pearlstream.store import StoreError, Trouble

log = get_logger(__name__)

Rows = list[dict[str, Any]]
Read = Callable[[str], Awaitable[Rows]]
"""Asks the store. Raises StoreError."""

LIVE_KEEP_S = 1.5
"""A live answer is good for so long, at the least; pages ask every two seconds."""
PATIENCE = 4
"""... and for so many times as long as it took to get: one question takes a fifth of the store's time at most."""
STILL_KEEP_S = 10.0
"""... and for so long while nothing new has come."""
PAST_KEEP_S = 60.0
"""An answer about the past is good for so long: corrections come late."""
UNWANTED_S = 5.0
"""A question that nobody has asked for so long is not put to the store any more."""
DOWN_S = 2.0
"""A store that was away is left alone for so long."""
KEPT = 400
POINTS = 300
_VARIABLE = re.compile(r"\$\{(\w+):")


class Question(NamedTuple):
    """A query of a board with what was chosen and the time that is shown; in live time, whatever is newest."""

    sql: str
    chosen: tuple[tuple[str, tuple[str, ...]], ...]
    span: Span


def question(sql: str, chosen: Mapping[str, tuple[str, ...]], span: Span) -> Question:
    """A question that depends on nothing but what its query names."""
    named = set(_VARIABLE.findall(sql))
    return Question(sql, tuple((name, chosen[name]) for name in sorted(named) if name in chosen), span)


@dataclass(frozen=True)
class Answer:
    """What the store said; `error` if it said no. `shown`: for which time it was asked."""

    rows: Rows
    shown: Shown
    error: str = ""


@dataclass
class _Entry:
    answer: Answer | None = None
    task: asyncio.Task[None] | None = None
    wanted: float = 0.0
    good_until: float = 0.0
    failed: bool = field(default=False)


class Asker:
    """Asks questions by way of `read`, at most `at_once` at a time. `clock`: steady, in seconds."""

    def __init__(
        self, read: Read, pulse: Pulse, *, at_once: int = 2, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.trouble = ""
        """Why the store cannot be asked; empty while it can."""
        self._read, self._pulse, self._clock = read, pulse, clock
        self._gate = asyncio.Semaphore(at_once)
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()
        self._down_until = 0.0

    async def answers(self, questions: Sequence[Question], wait_s: float) -> dict[Question, Answer | None]:
        """What is known after at most so long; None where the store has not answered yet."""
        entries = {one: self._wanted(one) for one in questions}
        tasks = {entry.task for entry in entries.values() if entry.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=wait_s)
        return {one: None if entry.task is not None else entry.answer for one, entry in entries.items()}

    def _wanted(self, one: Question) -> _Entry:
        entry = self._entries.setdefault(one, _Entry())
        self._entries.move_to_end(one)
        entry.wanted = self._clock()
        if entry.task is None and not self._good(one, entry):
            entry.task = asyncio.create_task(self._ask(one, entry))
        self._forget()
        return entry

    def _good(self, one: Question, entry: _Entry) -> bool:
        now = self._clock()
        if entry.answer is None or entry.answer.error:
            return now < entry.good_until
        if now < entry.good_until:
            return True
        still = one.span.live and self._pulse.newest_ms == entry.answer.shown.to_ms
        return still and now < entry.good_until + STILL_KEEP_S

    async def _ask(self, one: Question, entry: _Entry) -> None:
        try:
            async with self._gate:
                if self._clock() - entry.wanted > UNWANTED_S:
                    return
                if self._clock() < self._down_until:
                    return
                await self._put(one, entry)
        finally:
            entry.task = None

    async def _put(self, one: Question, entry: _Entry) -> None:
        to_ms = self._pulse.newest_ms if one.span.to_ms is None else one.span.to_ms
        shown = Shown(to_ms - one.span.length_ms, to_ms, dict(one.chosen), POINTS)
        begun = self._clock()
        try:
            entry.answer = Answer(await self._read(expand(one.sql, shown)), shown)
            self.trouble = ""
        except StoreError as failure:
            said = str(failure.message)
            log.warning("the store did not answer a question of the page", error=said)
            if failure.trouble is Trouble.AWAY:
                # what was drawn before stays; the page says that it is old
                self.trouble, self._down_until = said, self._clock() + DOWN_S
                return
            entry.answer = Answer([], shown, said)
        except PearlstreamError as failure:
            entry.answer = Answer([], shown, str(failure.message))
        took = self._clock() - begun
        keep_s = max(LIVE_KEEP_S, PATIENCE * took) if one.span.live else PAST_KEEP_S
        entry.good_until = self._clock() + keep_s

    def _forget(self) -> None:
        while len(self._entries) > KEPT:
            oldest, entry = next(iter(self._entries.items()))
            if entry.task is not None:
                return
            del self._entries[oldest]
