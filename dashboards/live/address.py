"""What the address of a page says: what is chosen, and which time is shown. Everything in it is checked.

The names are Grafana's (`var-city=440300&from=now-6h&to=now`), so links of boards and of people work in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from dashboards.model import Board, Variable

ALL = "$__all"
GRAIN_MS = 10_000
"""Chosen moments lie on this grid, so that those who look at the same time ask the same."""
LEAST_SPAN_MS, GREATEST_SPAN_MS = 60_000, 400 * 86_400_000
_LATEST_MS = 4_102_444_800_000  # 2100
_AGO = re.compile(r"now-(\d{1,4})([smhdw])\Z")
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_MOMENT = re.compile(r"\d{1,13}\Z")
_TYPED = re.compile(r"[\w .:/#@+-]{0,64}\Z")
MOST_CHOSEN = 200
Choice = tuple[str, str]


class BadAddress(ValueError):
    """An address that no link of ours leads to; the message says which part of it."""


class Query(Protocol):
    """What of a parsed query string is needed."""

    def get(self, name: str, default: str) -> str: ...
    def getall(self, name: str, default: Sequence[str]) -> Sequence[str]: ...


class Span(NamedTuple):
    """Which time is shown: so much (ms), up to a moment (ms since 1970 UTC) or, with None, up to the newest."""

    length_ms: int
    to_ms: int | None = None

    @property
    def live(self) -> bool:
        """Whether it follows the newest."""
        return self.to_ms is None


class View(NamedTuple):
    """What of a board is looked at: what is chosen of each variable, and the time."""

    chosen: Mapping[str, tuple[str, ...]]
    span: Span


def ago_ms(text: str) -> int:
    """The milliseconds of `now-6h`. Raises BadAddress."""
    found = _AGO.match(text)
    if found is None:
        raise BadAddress(f"{text!r} is no time like now-6h")
    return int(found[1]) * _UNITS_MS[found[2]]


def span_of(query: Query, first: str) -> Span:
    """The time in an address; `first` is what a board shows if it says nothing. Raises BadAddress."""
    since, until = query.get("from", "") or first, query.get("to", "") or "now"
    if until == "now":
        # a moment up to now is a span that grows; ours do not
        return Span(_within(ago_ms(first if _MOMENT.match(since) else since)))
    to_ms = _moment(until)
    length = ago_ms(since) if since.startswith("now") else to_ms - _moment(since)
    return Span(_within(length), to_ms - to_ms % GRAIN_MS)


def _moment(text: str) -> int:
    if not _MOMENT.match(text) or int(text) > _LATEST_MS:
        raise BadAddress(f"{text!r} is no moment in milliseconds since 1970")
    return int(text)


def _within(length_ms: int) -> int:
    if not LEAST_SPAN_MS <= length_ms <= GREATEST_SPAN_MS:
        raise BadAddress("a time between a minute and 400 days can be shown")
    return length_ms


def chosen_of(query: Query, board: Board, options: Mapping[str, Sequence[Choice]]) -> dict[str, tuple[str, ...]]:
    """What is chosen of each variable of a board. Raises BadAddress if it is none of the `options` there are."""
    return {one.name: _chosen(query.getall(f"var-{one.name}", ()), one, options) for one in board.variables}


def _chosen(given: Sequence[str], variable: Variable, options: Mapping[str, Sequence[Choice]]) -> tuple[str, ...]:
    if variable.typed:
        typed = given[0] if given else variable.first or ""
        if not _TYPED.match(typed):
            raise BadAddress(f"{variable.label}: letters, digits and . : / # @ + - _ only, 64 at most")
        return (typed,)
    known = [value for value, _ in options.get(variable.name, ())]
    if not given:
        if variable.first is not None and (variable.first in known or not known):
            return (variable.first,)
        return tuple(known) if variable.many else tuple(known[:1])
    if variable.many and ALL in given:
        return tuple(known)
    wrong = [value for value in given if value not in known]
    if wrong and known:
        raise BadAddress(f"{variable.label}: there is no {wrong[0][:40]!r}")
    return tuple(dict.fromkeys(value for value in given if value in known))[: MOST_CHOSEN if variable.many else 1]
