"""Alert rules: what is watched, and the state machine of one rule over one series. Pure: no log, no clock.

    OK --raise--> PENDING --n windows--> FIRING --clear--> CLEARING --m windows--> OK

A window without data freezes all counters: silence is neither good nor bad news. Between the two thresholds an
alert stays what it is. `pearlstream.alerts` runs the machines of many series side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from pearlstream.catalogue.indicator import Alert, Condition, Indicator, Thresholds
from pearlstream.errors import CatalogueError

if TYPE_CHECKING:
    from pearlstream.catalogue import Catalogue

FLAP_SPAN_MS = 3_600_000
FLAP_OPENINGS = 2
"""More openings of one series than this within the span make it flap."""
QUIET_MS = 1_800_000
"""A flapping alert is only resolved after so long without a window that would have raised it."""
REMEMBERED_MS = 2 * 86_400_000
"""How long a resolved alert can still be annulled: longer than late readings may correct a window."""

BaseOf = Callable[[str, str, str, int], float | None]
"""What is ordinary: indicator, name of the base, city, start of the window in ms."""


class Phase(IntEnum):
    """Where one series stands."""

    OK = 0
    PENDING = 1
    FIRING = 2
    CLEARING = 3


@dataclass(frozen=True)
class Rule:
    """One indicator's alert rule with what it needs to know of the indicator. `feeds` empty: any feed; times in ms."""

    id: str
    sub_item: str
    unit: str
    alert: Alert
    stage: str
    per_feed: bool
    feeds: frozenset[str]
    length_ms: int
    hop_ms: int

    @classmethod
    def of(cls, indicator: Indicator) -> Rule | None:
        """The rule of an indicator, or None if it has none."""
        if indicator.alert is None:
            return None
        feeds = {measure.feed for measure in indicator.measures.values()}
        return cls(
            id=indicator.id,
            sub_item=indicator.sub_item,
            unit=indicator.unit,
            alert=indicator.alert,
            stage=indicator.stage,
            per_feed=indicator.per == "feed",
            feeds=frozenset() if "*" in feeds else frozenset(feeds),
            length_ms=indicator.window.length_s * 1000,
            hop_ms=indicator.window.hop_s * 1000,
        )

    def watches(self, dims: str) -> bool:
        """Whether a series with these dimensions is watched."""
        return self.alert.dims == "each" or not dims or (self.per_feed and "," not in dims)

    def in_words(self, condition: Condition) -> str:
        """A condition for people: `>= 1.8 x in 3 windows`."""
        limit = f"{condition.op} {condition.value:g}"
        limit += " times the ordinary" if condition.times == "base" else f" {self.unit}" if self.unit else ""
        return f"{limit} in {condition.count} window{'s' if condition.count > 1 else ''}"


@dataclass(frozen=True)
class Rules:
    """A set of rules, by indicator. A value: `replace` and `without` give another set and another version.

    `slack_ms`: how much later than others of its city a window may settle.
    """

    by_id: Mapping[str, Rule]
    version: str
    slack_ms: int = 60_000
    base_of: BaseOf | None = None

    @classmethod
    def of(cls, catalogue: Catalogue) -> Rules:
        """The rules that the catalogue declares. Raises CatalogueError if rules suppress each other in a circle."""
        made = [rule for one in catalogue.indicators.values() if (rule := Rule.of(one)) is not None]
        slack = max((feed.hold_s for feed in catalogue.feeds.values()), default=0) * 1000
        return _checked(cls({rule.id: rule for rule in made}, catalogue.version, slack, catalogue.bases.at))

    def replace(self, rule_id: str, alert: Alert | None = None, **changes: Any) -> Rules:
        """The same rules but for one, whose alert is `alert`, or its own with `changes` (as in TOML).

        Raises KeyError for an unknown rule, ValueError (pydantic) or CatalogueError for a wrong one.
        """
        rule = self.by_id[rule_id]
        changed = alert or Alert.model_validate({**rule.alert.model_dump(by_alias=True), **changes})
        return self._with({**self.by_id, rule_id: replace(rule, alert=changed)}, rule_id, changed)

    def without(self, *rule_ids: str) -> Rules:
        """The same rules but for these."""
        return self._with({i: rule for i, rule in self.by_id.items() if i not in rule_ids}, *rule_ids)

    def _with(self, by_id: Mapping[str, Rule], *what: str | Alert) -> Rules:
        facts = [one if isinstance(one, str) else one.model_dump(mode="json", by_alias=True) for one in what]
        version = hashlib.sha256(orjson.dumps([self.version, facts])).hexdigest()[:8]
        return _checked(replace(self, by_id=by_id, version=version))

    @cached_property
    def rank(self) -> Mapping[str, int]:
        """Order within one window end: rules that explain others come first."""
        found: dict[str, int] = {}

        def of(id_: str, path: tuple[str, ...]) -> int:
            if id_ in path:
                raise CatalogueError(
                    f"the rules {' and '.join(sorted({*path}))} suppress each other in a circle",
                    remedy="remove one of them from `suppressed_by`",
                )
            if id_ not in found:
                others = [of(other, (*path, id_)) for other in self.explaining(id_)]
                found[id_] = 1 + max(others, default=-1)
            return found[id_]

        for id_ in self.by_id:
            of(id_, ())
        return found

    def explaining(self, id_: str) -> Iterable[str]:
        """The rules of this set that suppress a rule."""
        return [other for other in self.by_id[id_].alert.suppressed_by if other in self.by_id]

    def base(self, rule: Rule, pair: Thresholds, city: str, start_ms: int) -> float | None:
        """The ordinary value that thresholds of a rule are multiples of, if they are and it is known."""
        if self.base_of is None or "base" not in (pair.raise_.times, pair.clear.times):
            return None
        return self.base_of(rule.id, "value", city, start_ms)


def _checked(rules: Rules) -> Rules:
    for rule in rules.by_id.values():
        for other in rules.explaining(rule.id):
            if rules.by_id[other].stage != rule.stage:
                raise CatalogueError(
                    f"indicator {rule.id}.alert: suppressed_by {other!r} is of another stage",
                    remedy="a city's partition and the cluster's do not see each other: name one of its own stage",
                )
    assert rules.rank is not None
    return rules


@dataclass
class Told:
    """One alert and what has been said of it. `windows`: the ends of those that raised it, the last one opened it."""

    windows: tuple[int, ...]
    said: int = 0
    """How many transitions."""
    stale: bool = False
    annulled: bool = False
    flapping: bool = False
    ended: bool = False
    held_back: tuple[int, str] | None = None
    """Since which window end, and by which alert, it was kept from opening."""

    @property
    def opened_ms(self) -> int:
        """The window end that opened it."""
        return self.windows[-1]


class Said(NamedTuple):
    """One transition of one alert, in the words of its series."""

    alert: Told
    transition: str
    number: int
    end_ms: int
    value: float | None


@dataclass
class Series:
    """The machine of one rule over one series. Windows must come in order, each once; corrections at any time."""

    rule: Rule
    pair: Thresholds
    phase: Phase = Phase.OK
    count: int = 0
    last_end: int = -1
    nodata: int = 0
    run: tuple[int, ...] = ()
    """Ends of the windows that count towards opening."""
    doubted: frozenset[int] = frozenset()
    """Those of them that have been corrected to something that would not have counted."""
    raised_end: int = -1
    """The last window that met the raise condition."""
    held_back: tuple[int, str] | None = None
    alerts: list[Told] = field(default_factory=list)
    """Those of the last days, the newest last."""

    @property
    def open(self) -> Told | None:
        """The alert that is open."""
        return self.alerts[-1] if self.phase >= Phase.FIRING else None

    @property
    def idle(self) -> bool:
        """Whether nothing is known that a new series would not know, too."""
        return self.phase is Phase.OK and not self.alerts

    def window(
        self, end_ms: int, value: float | None, base: float | None, blocker: Callable[[], str] = str
    ) -> list[Said]:
        """Take the next settled window. `blocker` names the alert that explains this one away, if there is any."""
        skipped = max(0, (end_ms - self.last_end) // self.rule.hop_ms - 1) if self.last_end >= 0 else 0
        self.last_end = end_ms
        if value is None:
            self.nodata += skipped + 1
            return self.overdue(self.nodata, end_ms)
        self.nodata = 0
        alert, said = self.open, []
        if alert is not None and alert.stale:
            alert.stale = False
            said.append(self._say(alert, "fresh", end_ms, value))
        raised = self.pair.raise_.met(value, base)
        if raised:
            self.raised_end = end_ms
        if alert is None:
            return self._rise(end_ms, value, raised, blocker)
        return said + self._fall(alert, end_ms, value, not raised and self.pair.clear.met(value, base))

    def overdue(self, windows: int, end_ms: int) -> list[Said]:
        """Say that an open alert is stale if so many windows in a row are without data; once until data are back."""
        alert = self.open
        if alert is None or alert.stale or windows <= self.rule.alert.nodata_after:
            return []
        alert.stale = True
        return [self._say(alert, "stale", end_ms, None)]

    def correct(self, end_ms: int, value: float | None, base: float | None) -> list[Said]:
        """Take a corrected window: it neither raises nor clears, but it may show that an alert was told in error."""
        if value is not None and self.pair.raise_.met(value, base):
            return []
        if end_ms in self.run:
            self.doubted |= {end_ms}
        said = []
        for alert in self.alerts:
            if end_ms in alert.windows and not alert.annulled:
                alert.annulled = True
                said.append(self._say(alert, "annulled", end_ms, value))
        return said

    def forget(self, before_ms: int) -> None:
        """Drop resolved alerts whose opening windows cannot be corrected any more."""
        self.alerts = [one for one in self.alerts if not one.ended or one.opened_ms > before_ms]

    def _rise(self, end_ms: int, value: float, raised: bool, blocker: Callable[[], str]) -> list[Said]:
        if not raised:
            self.phase, self.count, self.run, self.doubted, self.held_back = Phase.OK, 0, (), frozenset(), None
            return []
        needed = self.pair.raise_.count
        self.phase, self.count = Phase.PENDING, min(self.count + 1, needed)
        self.run = (*self.run, end_ms)[-needed:]
        self.doubted &= frozenset(self.run)
        if self.count < needed:
            return []
        name = blocker()
        if name:
            self.held_back = self.held_back or (end_ms, name)
            return []
        return self._open(end_ms, value)

    def _open(self, end_ms: int, value: float) -> list[Said]:
        alert = Told(self.run, held_back=self.held_back)
        self.alerts.append(alert)
        said = [self._say(alert, "opened", end_ms, value)]
        if self.doubted:
            alert.annulled = True
            said.append(self._say(alert, "annulled", end_ms, value))
        if sum(one.opened_ms > end_ms - FLAP_SPAN_MS for one in self.alerts) > FLAP_OPENINGS:
            alert.flapping = True
            said.append(self._say(alert, "flapping", end_ms, value))
        self.phase, self.count, self.run, self.doubted, self.held_back = Phase.FIRING, 0, (), frozenset(), None
        return said

    def _fall(self, alert: Told, end_ms: int, value: float, cleared: bool) -> list[Said]:
        if not cleared:
            self.phase, self.count = Phase.FIRING, 0
            return []
        needed = self.pair.clear.count
        self.phase, self.count = Phase.CLEARING, min(self.count + 1, needed)
        if self.count < needed or (alert.flapping and end_ms - self.raised_end < QUIET_MS):
            return []
        alert.ended = True
        said = self._say(alert, "resolved", end_ms, value)
        self.phase, self.count = Phase.OK, 0
        return [said]

    def _say(self, alert: Told, transition: str, end_ms: int, value: float | None) -> Said:
        alert.said += 1
        return Said(alert, transition, alert.said - 1, end_ms, value)
