"""Mutants: rules changed a little, to see whether any claim would notice. Nothing is simulated again.

A claim that passes with the rule as it is and fails with the mutant *notices* it. A rule whose mutants all live on
could as well be another: its thresholds follow from nothing that is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import polars as pl
from pydantic import ValidationError

from deploy.score.evidence import Evidence, episodes_of
from deploy.score.judge import judge
from pearlstream.alerts import run_rules
from pearlstream.catalogue.indicator import Alert, Condition, Indicator, Thresholds
from pearlstream.rules import Rules

NUDGES = (0.1, 0.5, 1.0, 3.0)
"""How far thresholds are moved, as parts of the hysteresis (or of the step below, where there is none)."""
STEP = 0.1
"""The step, as a part of the threshold, where a rule has no hysteresis."""


class Mutant(NamedTuple):
    """A rule with one thing changed. `change`: what, for people."""

    rule: str
    change: str


@dataclass
class Coverage:
    """Which mutants were noticed, and which rules are touched by any claim at all."""

    noticed: dict[Mutant, bool] = field(default_factory=dict)
    rules: set[str] = field(default_factory=set)
    """All rules."""

    @property
    def tested(self) -> set[str]:
        """Rules of which some mutant was tried."""
        return {mutant.rule for mutant in self.noticed}

    @property
    def untested(self) -> list[str]:
        """Rules that no claim touches."""
        return sorted(self.rules - self.tested)

    @property
    def unnoticed(self) -> list[Mutant]:
        """Mutants that no claim tells from the rule as it is."""
        return sorted(mutant for mutant, seen in self.noticed.items() if not seen)

    def merge(self, other: Coverage) -> None:
        """Add what another run found: a mutant is noticed if any run notices it."""
        self.rules |= other.rules
        for mutant, seen in other.noticed.items():
            self.noticed[mutant] = self.noticed.get(mutant, False) or seen

    def as_json(self) -> dict[str, Any]:
        """As a part of the report."""
        return {
            "mutants": len(self.noticed),
            "noticed": sum(self.noticed.values()),
            "unnoticed": [mutant._asdict() for mutant in self.unnoticed],
            "untested": self.untested,
        }


def mutants(rule: str, alert: Alert) -> Iterator[tuple[Mutant, Alert]]:
    """All mutants of a rule that are still rules."""
    for at, pair in enumerate(alert.thresholds):
        for change, mutated in _pairs(pair):
            place = f"{','.join(pair.cities)}: " if pair.cities else ""
            thresholds = (*alert.thresholds[:at], mutated, *alert.thresholds[at + 1 :])
            yield Mutant(rule, place + change), alert.model_copy(update={"thresholds": thresholds})


def _pairs(pair: Thresholds) -> Iterator[tuple[str, Thresholds]]:
    gap = abs(pair.raise_.value - pair.clear.value)
    step = gap or STEP * abs(pair.raise_.value) or STEP
    for name, condition in (("raise", pair.raise_), ("clear", pair.clear)):
        for nudge in NUDGES:
            for delta in (nudge * step, -nudge * step):
                yield from _changed(pair, name, condition, value=condition.value + delta)
        for count in (condition.count - 1, condition.count + 1):
            yield from _changed(pair, name, condition, count=count)


def _changed(pair: Thresholds, name: str, condition: Condition, **change: float) -> Iterator[tuple[str, Thresholds]]:
    """The pair with one condition changed; nothing if it would be none."""
    both = {"raise": pair.raise_.model_dump(), "clear": pair.clear.model_dump(), "cities": pair.cities}
    both[name] = {**condition.model_dump(), **change}
    try:
        mutated = Thresholds.model_validate(both)
    except ValidationError:
        return
    (key, value), old = next(iter(change.items())), getattr(condition, next(iter(change)))
    yield f"{name} {key} {old:g} -> {value:g}", mutated


def coverage(evidence: Evidence, rules: Rules, indicators: Mapping[str, Indicator]) -> Coverage:
    """Try all mutants of the rules that a run's claims touch. The evidence must have its rows."""
    found = Coverage(rules=set(rules.by_id))
    claimed = {truth.indicator for truth in evidence.scenario.truth if truth.must in ("fire", "stay_clear")}
    for rule in sorted(claimed & set(rules.by_id)):
        trial = _Trial.of(evidence, rules, rule, indicators)
        for mutant, alert in mutants(rule, rules.by_id[rule].alert):
            found.noticed[mutant] = trial.notices(alert)
    return found


@dataclass(frozen=True)
class _Trial:
    """A run narrowed to one rule, those it has to do with, and the claims about them."""

    evidence: Evidence
    rules: Rules
    rule: str
    indicators: Mapping[str, Indicator]
    passed: frozenset[tuple[int, str, str]]

    @classmethod
    def of(cls, evidence: Evidence, rules: Rules, rule: str, indicators: Mapping[str, Indicator]) -> _Trial:
        family = _family(rules, rule)
        truth = tuple(
            one
            for one in evidence.scenario.truth
            if one.must in ("fire", "stay_clear") and (one.indicator in family or one.after in family)
        )
        narrow = replace(
            evidence,
            scenario=evidence.scenario.model_copy(update={"truth": truth}),
            rows=evidence.rows.filter(pl.col("indicator").is_in(sorted(family))),
            episodes=[one for one in evidence.episodes if one.indicator not in family],
        )
        trial = cls(narrow, rules.without(*(set(rules.by_id) - family)), rule, indicators, frozenset())
        return replace(trial, passed=trial._passed(trial.rules))

    def notices(self, alert: Alert) -> bool:
        """Whether a claim that passes now would fail with this alert."""
        return not self.passed <= self._passed(self.rules.replace(self.rule, alert))

    def _passed(self, rules: Rules) -> frozenset[tuple[int, str, str]]:
        fresh = episodes_of(run_rules(rules, self.evidence.rows))
        episodes = sorted([*self.evidence.episodes, *fresh], key=lambda one: one.opened_ms)
        verdicts = judge(replace(self.evidence, episodes=episodes), self.indicators)
        return frozenset((one.row, one.city, one.claim) for one in verdicts if one.passed)


def _family(rules: Rules, rule: str) -> set[str]:
    """The rule with all that it suppresses or is suppressed by, however far."""
    family = {rule}
    while True:
        more = {
            other for other in rules.by_id if other not in family and (
                set(rules.explaining(other)) & family or any(other in rules.explaining(one) for one in family)
            )
        }  # fmt: skip
        if not more:
            return family
        family |= more
