"""The tally: verdicts and openings of many runs as recall, precision, delays, false alerts a day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from deploy.score.evidence import Episode, Evidence, matches
from deploy.score.explain import EXPLAINED_BY, explained
from deploy.score.judge import DAY_MIN, Verdict, days_of
from pearlstream.catalogue.indicator import Indicator

FALSE_PER_DAY = 2.0
"""Goal: false alerts a day in the whole cluster while nothing happens. With some seventy rules over two dozen cities
that is one in a thousand series a day; fewer would cost the rules the speed that the other scenarios ask of them."""


class Sort(StrEnum):
    """What an opening was. EXPECTED: a claim says that it must; ALLOWED: one says that it may; FAULT: a rule about
    data, and there was a fault; FALSE: nothing explains it."""

    EXPECTED = "expected"
    ALLOWED = "allowed"
    FAULT = "fault"
    FALSE = "false"


class Opening(NamedTuple):
    """An alert that opened, and what it was. `physical`: of a rule about the city, not about its data."""

    scenario: str
    seed: int
    episode: Episode
    sort: Sort
    physical: bool


@dataclass
class Tally:
    """What came of some runs."""

    verdicts: list[Verdict] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    days: float = 0.0
    quiet_days: float = 0.0
    """Days of runs in which nothing had to fire."""
    quiet: set[str] = field(default_factory=set)
    """Scenarios in which nothing has to fire."""
    flaps: int = 0
    runs: int = 0
    readings: int = 0

    def add(self, evidence: Evidence, verdicts: Sequence[Verdict], openings: Sequence[Opening], readings: int) -> None:
        """Add one run."""
        self.verdicts += verdicts
        self.openings += openings
        self.days += evidence.days
        if not any(truth.must == "fire" for truth in evidence.scenario.truth):
            self.quiet.add(evidence.scenario.id)
            self.quiet_days += evidence.days
        self.flaps += sum(one.flapped for one in evidence.episodes)
        self.runs += 1
        self.readings += readings

    @property
    def failed(self) -> list[Verdict]:
        """Claims that did not come true."""
        return [verdict for verdict in self.verdicts if not verdict.passed]

    @property
    def recall(self) -> float | None:
        """Of the alerts that had to fire, the share that fired in time; None if none had to."""
        fired = [verdict.fired for verdict in self.verdicts if verdict.fired is not None]
        return sum(fired) / len(fired) if fired else None

    @property
    def precision(self) -> float | None:
        """Of the alerts about the city that fired, the share that a claim expects; None if none fired."""
        count = Counter(one.sort for one in self.openings if one.physical)
        total = count[Sort.EXPECTED] + count[Sort.FALSE]
        return count[Sort.EXPECTED] / total if total else None

    def delay_s(self, percent: float) -> float | None:
        """The delay that so many per cent of the expected alerts do not exceed."""
        delays = [delay for verdict in self.verdicts for delay in verdict.delays_s]
        return float(np.percentile(delays, percent)) if delays else None

    @property
    def false_per_day(self) -> float:
        """False alerts a day in the whole cluster, in all runs."""
        return self._false(None) / self.days if self.days else 0.0

    @property
    def false_per_quiet_day(self) -> float | None:
        """The same, in runs in which nothing had to fire; None if there was none."""
        return self._false(self.quiet) / self.quiet_days if self.quiet_days else None

    def _false(self, scenarios: set[str] | None) -> int:
        return sum(one.sort is Sort.FALSE and (scenarios is None or one.scenario in scenarios) for one in self.openings)

    @property
    def missed_goals(self) -> list[str]:
        """Goals, besides the claims, that were missed."""
        false = self.false_per_quiet_day
        if false is None or false <= FALSE_PER_DAY:
            return []
        return [f"{false:.2f} false alerts a day in the cluster, at most {FALSE_PER_DAY:g} are allowed"]

    def as_json(self) -> dict[str, Any]:
        """The keys of the report."""
        quiet = self.false_per_quiet_day
        return {
            "rows": len(self.verdicts),
            "passed": len(self.verdicts) - len(self.failed),
            "recall": self.recall,
            "precision": self.precision,
            "delay_s": {"p50": self.delay_s(50), "p95": self.delay_s(95)},
            "false_per_cluster_day": self.false_per_day if quiet is None else quiet,
            "failed": [_told(verdict) for verdict in self.failed],
            "missed_goals": self.missed_goals,
            "openings": dict(Counter(one.sort.value for one in self.openings)),
            "false": [_opening(one) for one in self.openings if one.sort is Sort.FALSE],
            "flaps": self.flaps,
            "runs": self.runs,
            "days": self.days,
            "readings": self.readings,
        }


def _told(verdict: Verdict) -> dict[str, Any]:
    names = ("scenario", "seed", "row", "city", "claim", "reason")
    return {name: value for name, value in verdict._asdict().items() if name in names}


def _opening(one: Opening) -> dict[str, Any]:
    episode = one.episode
    return {
        "scenario": one.scenario,
        "seed": one.seed,
        "indicator": episode.indicator,
        "city": episode.city,
        "dims": episode.dims,
        "opened_ms": episode.opened_ms,
    }


def sorted_openings(evidence: Evidence, indicators: Mapping[str, Indicator]) -> list[Opening]:
    """Every alert that opened in a run, with what it was."""
    found = []
    for episode in evidence.episodes:
        indicator = indicators[episode.indicator]
        physical = indicator.id not in EXPLAINED_BY and indicator.sub_item != "health"
        sort = _claimed(evidence, episode)
        if sort is Sort.FALSE and not physical and explained(evidence, episode, indicator):
            sort = Sort.FAULT
        found.append(Opening(evidence.scenario.id, evidence.seed, episode, sort, physical))
    return found


def _claimed(evidence: Evidence, episode: Episode) -> Sort:
    """Whether a claim says that this alert must open, or that it may.

    One that must is right from the beginning of its interval until it has to be clear: if it comes too late, that is
    counted as missed and not as false besides.
    """
    at, sort = evidence.minute(episode.opened_ms), Sort.FALSE
    for truth in evidence.scenario.truth:
        if truth.indicator != episode.indicator or not matches(truth.dims, episode.dims):
            continue
        if truth.must not in ("fire", "may") or (truth.cities and episode.city not in truth.cities):
            continue
        begin, end = truth.between or (float("-inf"), float("inf"))
        if truth.must == "fire":
            end = float("inf") if truth.clear_by is None else truth.clear_by
        shifts = [day * DAY_MIN for day in range(days_of(evidence.scenario, truth))]
        if any(begin + shift <= at <= end + shift for shift in shifts):
            if truth.must == "fire":
                return Sort.EXPECTED
            sort = Sort.ALLOWED
    return sort


def tally_of(scored: Iterable[tuple[Evidence, Sequence[Verdict], Sequence[Opening], int]]) -> Tally:
    """Some runs as one tally."""
    tally = Tally()
    for one in scored:
        tally.add(*one)
    return tally
