"""The machines of many series side by side: suppression between rules, silence, and alerts as records.

`Watch` is what the stage `alert` keeps of a partition; `run_rules` feeds the same machines with a frame of
indicator rows, without a log: what would have fired.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import orjson
import polars as pl

from pearlstream.measures import parse_dims
from pearlstream.panes import crossed
from pearlstream.rules import REMEMBERED_MS, Phase, Rule, Rules, Said, Series, Told

DEFAULT_NAMESPACE = "pearl."
HOUR_MS = 3_600_000
SETTLED, CORRECTED = "settled", "corrected"


class Window(NamedTuple):
    """What of an indicator row concerns a rule. `late`: it corrects a window."""

    known_at_ms: int
    corrected: bool
    end_ms: int
    rank: int
    indicator: str
    city: str
    dims: str
    start_ms: int
    value: float | None
    sim: bool


class Transition(NamedTuple):
    """What is said of an alert. `alert_id` and `transition_no` name it for ever, however often it is said.

    opened, resolved; stale and fresh: data ceased and are back; flapping: it opened too often and now stays open
    until it is quiet; annulled: corrected windows would not have raised it. `held_back`: since which window end
    and by which alert it was kept from opening.
    """

    alert_id: str
    transition: str
    transition_no: int
    indicator: str
    city: str
    dims: str
    severity: str
    sub_item: str
    window_end_ms: int
    value: float | None
    threshold: str
    opened_ms: int
    known_at_ms: int
    rules: str
    sim: bool
    held_back: tuple[int, str] | None = None

    def encode(self) -> bytes:
        """As JSON; equal transitions give equal bytes."""
        said = self._asdict()
        if self.held_back is None:
            del said["held_back"]
        else:
            said["held_back"] = {"since_ms": self.held_back[0], "by": self.held_back[1]}
        return orjson.dumps(said)


def alert_id(namespace: str, rule: str, city: str, dims: str, opened_ms: int) -> str:
    """The id of the alert that a window end opened: the same in every repeat, another one in every namespace."""
    said = "\0".join((namespace, rule, city, dims, str(opened_ms)))
    return b32encode(hashlib.blake2b(said.encode(), digest_size=16).digest()).decode().rstrip("=").lower()


@lru_cache(maxsize=65_536)
def feed_in(dims: str) -> str:
    """The feed that canonical dimensions name; empty if they name none."""
    return parse_dims(dims).get("feed", "") if "feed=" in dims else ""


@dataclass
class Town:
    """Everything known of one city in one stage. Only what speaks to each other stands together here."""

    seen_ms: int = -1
    """The newest window end of any of its rules."""
    newest: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """By rule and feed: the newest window end, and when it was told. What settles behind it came late."""
    series: dict[str, dict[str, Series]] = field(default_factory=dict)
    """By rule and dimensions: the series of which there is anything to remember."""


@dataclass
class Watch:
    """The state of all rules over some cities: `towns` by stage and city."""

    rules: Rules
    namespace: str = DEFAULT_NAMESPACE
    towns: dict[tuple[str, str], Town] = field(default_factory=dict)

    def take(self, windows: Sequence[Window]) -> list[Transition]:
        """Take what became known at one moment, in the order of `Window`; return what is to be said."""
        made: list[Transition] = []
        touched: dict[tuple[str, str], tuple[Town, int, Window]] = {}
        by_id, towns = self.rules.by_id, self.towns
        for window in windows:
            rule = by_id[window.indicator]
            at = (rule.stage, window.city)
            town = towns.get(at)
            if town is None:
                town = towns[at] = Town()
            if at not in touched:
                touched[at] = (town, town.seen_ms, window)
            said = self._correct(town, rule, window) if window.corrected else self._settle(town, rule, window)
            if said:
                made += [self._transition(rule, window, one) for one in said]
        for town, before, window in touched.values():
            if town.series and town.seen_ms > before:
                made += self._overdue(town, window)
                if crossed(before, town.seen_ms, HOUR_MS):
                    _forget(town)
        return made

    def _settle(self, town: Town, rule: Rule, window: Window) -> list[Said]:
        end = window.end_ms
        place = (rule.id, feed_in(window.dims) if rule.per_feed else "")
        newest = town.newest.get(place)
        if newest is None or end > newest[0]:
            town.newest[place] = (end, window.known_at_ms)
            town.seen_ms = max(town.seen_ms, end)
        elif end < newest[0] or window.known_at_ms != newest[1]:
            return []  # a group that was heard of late: old news opens no alert
        by_dims = town.series.get(rule.id)
        series = by_dims.get(window.dims) if by_dims is not None else None
        pair = rule.alert.for_city(window.city) if series is None else series.pair
        base = self.rules.base(rule, pair, window.city, window.start_ms)
        if series is None:
            if window.value is None or not pair.raise_.met(window.value, base):
                return []
            series = Series(rule, pair)
            town.series.setdefault(rule.id, {})[window.dims] = series
        said = series.window(end, window.value, base, partial(self._blocker, town, rule, window.dims))
        if series.idle:
            _drop(town, rule.id, window.dims)
        return said

    def _correct(self, town: Town, rule: Rule, window: Window) -> list[Said]:
        series = town.series.get(rule.id, {}).get(window.dims)
        if series is None:
            return []
        base = self.rules.base(rule, series.pair, window.city, window.start_ms)
        return series.correct(window.end_ms, window.value, base)

    def _blocker(self, town: Town, rule: Rule, dims: str) -> str:
        """The alert that explains this rule's away: one that is open, or about to be.

        A rule about the data needs several windows until it is sure. Meanwhile it holds others back, or whatever
        needs fewer windows would be told just before its explanation.
        """
        own = feed_in(dims)
        feeds = {own} if own else rule.feeds
        for other in self.rules.explaining(rule.id):
            for its_dims, series in town.series.get(other, {}).items():
                about = feed_in(its_dims)
                if series.phase is not Phase.OK and (not about or not feeds or about in feeds):
                    return f"{other} {its_dims}".strip()
        return ""

    def _overdue(self, town: Town, window: Window) -> Iterator[Transition]:
        """Open alerts whose series has ceased, judged by how far other series of the city have come."""
        for by_dims in town.series.values():
            for dims, series in by_dims.items():
                rule = series.rule
                missing = (town.seen_ms - self.rules.slack_ms - series.last_end) // rule.hop_ms + series.nodata
                for said in series.overdue(missing, town.seen_ms):
                    yield self._transition(rule, window._replace(dims=dims), said)

    def _transition(self, rule: Rule, window: Window, said: Said) -> Transition:
        pair = rule.alert.for_city(window.city)
        alert = said.alert
        return Transition(
            alert_id=alert_id(self.namespace, rule.id, window.city, window.dims, alert.opened_ms),
            transition=said.transition,
            transition_no=said.number,
            indicator=rule.id,
            city=window.city,
            dims=window.dims,
            severity=rule.alert.severity,
            sub_item=rule.sub_item,
            window_end_ms=said.end_ms,
            value=said.value,
            threshold=rule.in_words(pair.clear if said.transition == "resolved" else pair.raise_),
            opened_ms=alert.opened_ms,
            known_at_ms=window.known_at_ms,
            rules=self.rules.version,
            sim=window.sim,
            held_back=alert.held_back,
        )

    # ------------------------------------------------------------------ snapshots

    def pack(self) -> list[Any]:
        """The state as plain data."""
        return [
            [*at, town.seen_ms, [[*place, *newest] for place, newest in town.newest.items()],
             [[rule, dims, *_pack(series)] for rule, some in town.series.items() for dims, series in some.items()]]
            for at, town in self.towns.items()
        ]  # fmt: skip

    def unpack(self, towns: Iterable[Sequence[Any]]) -> None:
        """Inverse of `pack`."""
        for stage, city, seen, newest, series in towns:
            town = self.towns[stage, city] = Town(seen, {(rule, feed): (end, at) for rule, feed, end, at in newest})
            for id_, dims, *fields in series:
                rule = self.rules.by_id[id_]
                made = _unpack(Series(rule, rule.alert.for_city(city)), fields)
                town.series.setdefault(id_, {})[dims] = made


def _forget(town: Town) -> None:
    for rule, by_dims in list(town.series.items()):
        for dims, series in list(by_dims.items()):
            series.forget(town.seen_ms - REMEMBERED_MS)
            if series.idle:
                _drop(town, rule, dims)


def _drop(town: Town, rule: str, dims: str) -> None:
    del town.series[rule][dims]
    if not town.series[rule]:
        del town.series[rule]


def _pack(one: Series) -> list[Any]:
    alerts = [[a.windows, a.said, a.stale, a.annulled, a.flapping, a.ended, a.held_back] for a in one.alerts]
    return [
        int(one.phase), one.count, one.last_end, one.nodata, one.run, sorted(one.doubted), one.raised_end,
        one.held_back, alerts,
    ]  # fmt: skip


def _unpack(series: Series, fields: Sequence[Any]) -> Series:
    phase, series.count, series.last_end, series.nodata, run, doubted, series.raised_end, held_back, alerts = fields
    series.phase, series.run, series.doubted = Phase(phase), tuple(run), frozenset(doubted)
    series.held_back = _pair(held_back)
    series.alerts = [
        Told(tuple(windows), said, stale, annulled, flapping, ended, _pair(by))
        for windows, said, stale, annulled, flapping, ended, by in alerts
    ]
    return series


def _pair(fields: Sequence[Any] | None) -> tuple[int, str] | None:
    return (fields[0], fields[1]) if fields else None


# ------------------------------------------------------------------ rows


def windows_of(rules: Rules, rows: pl.DataFrame) -> list[Window]:
    """The windows that the rules watch, in the order in which they are judged.

    `rows` has the columns of an indicator row. What became known at one moment is judged by window end; at one end
    rules that explain others come first, and corrections come after all that is new.
    """
    if not rules.by_id:
        return []
    wanted = rows.filter(pl.col("indicator").is_in(list(rules.by_id)) & pl.col("maturity").is_in([SETTLED, CORRECTED]))
    total = [rule.id for rule in rules.by_id.values() if rule.alert.dims == "total"]
    if total:
        feeds = [id_ for id_ in total if rules.by_id[id_].per_feed]
        one_feed = pl.col("indicator").is_in(feeds) & ~pl.col("dims").str.contains(",", literal=True)
        wanted = wanted.filter(~pl.col("indicator").is_in(total) | (pl.col("dims") == "") | one_feed)
    ranked = wanted.select(
        "known_at_ms",
        (pl.col("maturity") == CORRECTED).alias("corrected"),
        pl.col("window_end_ms").alias("end_ms"),
        pl.col("indicator").replace_strict(rules.rank, return_dtype=pl.Int64).alias("rank"),
        "indicator", "city", "dims",
        pl.col("window_start_ms").alias("start_ms"),
        "value", "sim", "rev",
    )  # fmt: skip
    order = ["known_at_ms", "corrected", "end_ms", "rank", "indicator", "city", "dims", "rev"]
    return [Window(*row) for row in ranked.sort(order).drop("rev").iter_rows()]


def run_rules(rules: Rules, rows: pl.DataFrame, namespace: str = DEFAULT_NAMESPACE) -> list[Transition]:
    """What the rules say to indicator rows of any number of cities, whatever order they come in.

    The same machines as in the stage `alert`, hence the same transitions with the same ids.
    """
    watch = Watch(rules, namespace)
    made: list[Transition] = []
    for _, known in groupby(windows_of(rules, rows), key=itemgetter(0)):
        made += watch.take(list(known))
    return made
