"""The judge: every claim of a scenario held against what a run has shown. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from deploy.score.evidence import Episode, Evidence, matches
from deploy.score.explain import explained
from pearlstream.catalogue.indicator import Indicator
from pearlstream.catalogue.scenario import Scenario, Truth

DAY_MIN = 1440
OPENINGS = 2
"""An alert may open so often in one city, or once a day where that is more; beyond, it flaps."""


class Verdict(NamedTuple):
    """What became of one claim, in one city where it names cities. `row`: its number among the scenario's truth rows,
    0 for what holds in every scenario. `fired`: whether it fired in time, None unless it had to. `delays_s`: from the
    earliest moment that the claim allows to the window end that opened each alert.
    """

    scenario: str
    seed: int
    row: int
    city: str
    claim: str
    passed: bool
    reason: str = ""
    fired: bool | None = None
    delays_s: tuple[float, ...] = ()


class _Fired(NamedTuple):
    """What became of a claim that an alert fires in one city."""

    in_time: bool
    faults: tuple[str, ...]
    delay_s: float | None = None


def length_min(scenario: Scenario) -> float:
    """Minutes until nothing of a scenario is undecided any more: its own length, or what its claims wait for."""
    latest = scenario.length_s / 60
    for truth in scenario.truth:
        last_day = (days_of(scenario, truth) - 1) * DAY_MIN
        ends = [end for end in (truth.between and truth.between[1], truth.clear_by) if end is not None]
        latest = max([latest, *(last_day + end for end in ends)])
    return latest


def days_of(scenario: Scenario, truth: Truth) -> int:
    """How often a claim has to come true: once, or on each day of the scenario that is long enough for it."""
    if not truth.daily or truth.between is None:
        return 1
    return max(1, math.floor((scenario.length_s / 60 - truth.between[1]) / DAY_MIN) + 1)


def judge(evidence: Evidence, indicators: Mapping[str, Indicator]) -> list[Verdict]:
    """Every claim of the scenario, and what holds in all of them."""
    found: list[Verdict] = []
    for number, truth in enumerate(evidence.scenario.truth, 1):
        for day in range(days_of(evidence.scenario, truth)):
            found += _judge(evidence, indicators, number, truth, day)
    return found + list(_always(evidence, indicators))


def _judge(
    evidence: Evidence, indicators: Mapping[str, Indicator], number: int, truth: Truth, day: int
) -> Iterator[Verdict]:
    cities = truth.cities or tuple(evidence.cities)
    claim = f"{in_words(truth)}{f', day {day + 1}' if truth.daily else ''}"
    shift = day * DAY_MIN

    def verdict(city: str, reason: str, fired: bool | None = None, delays: Sequence[float] = ()) -> Verdict:
        scenario = evidence.scenario.id
        return Verdict(scenario, evidence.seed, number, city, claim, not reason, reason, fired, tuple(delays))

    match truth.must:
        case "fire":
            fired = {city: _fire(evidence, indicators, truth, city, shift) for city in cities}
            if truth.at_least is None:
                for city, one in fired.items():
                    delays = () if one.delay_s is None else (one.delay_s,)
                    yield verdict(city, "; ".join(one.faults), one.in_time, delays)
            else:
                yield verdict("", _too_few(fired, truth.at_least), *_in_some(fired, truth.at_least))
        case "stay_clear":
            groups: list[tuple[str, ...]] = [(city,) for city in truth.cities]
            for group in groups or [cities]:
                yield verdict(group[0] if truth.cities else "", _not_clear(evidence, indicators, truth, group, shift))
        case "move":
            for city in truth.cities or (
                cities if truth.indicator else evidence.ordinary.cities(truth.feed, truth.field)
            ):
                yield verdict(city, _not_moved(evidence, truth, city, shift))
        case "same":
            for city in cities:
                yield verdict(city, _not_same(evidence, truth, city, shift))


def in_words(truth: Truth) -> str:
    """A claim in a few words: `I43a fires in 15-75 min, clear by 300`."""
    what = f"{truth.indicator} {truth.dims}".strip()
    when = f" in {_span(truth.between)}" if truth.between else ""
    match truth.must:
        case "fire":
            some = f" in at least {truth.at_least} cities" if truth.at_least else ""
            clear = f", clear by {truth.clear_by:g}" if truth.clear_by is not None else ""
            return f"{what} fires{some}{when}{clear}{', stays open' if truth.stays_open else ''}"
        case "stay_clear":
            return f"{what} stays clear{when}"
        case "may":
            return f"{what} may fire{when}"
        case "move":
            how = f"x {truth.factor:g}" if truth.factor is not None else f"by {truth.difference:+g}"
            what = what or f"{'number of ' if truth.count else ''}{truth.feed}.{truth.field}"
            return f"{what} moves {how}{when}"
        case "same":
            return f"{what} is made whole{when}"


def _span(between: tuple[float, float]) -> str:
    return f"{between[0]:g}-{between[1]:g} min"


def openings(
    evidence: Evidence, indicator: str, city: str, dims: str = "", between: tuple[float, float] | None = None
) -> list[Episode]:
    """The alerts of an indicator in a city that opened in these minutes."""
    return [
        one
        for one in evidence.episodes
        if one.indicator == indicator
        and one.city == city
        and matches(dims, one.dims)
        and (between is None or between[0] <= evidence.minute(one.opened_ms) <= between[1])
    ]


# ---------------------------------------------------------------- fire


def _fire(evidence: Evidence, indicators: Mapping[str, Indicator], truth: Truth, city: str, shift: float) -> _Fired:
    assert truth.between is not None
    wanted = (truth.between[0] + shift, truth.between[1] + shift)
    found = openings(evidence, truth.indicator, city, truth.dims, wanted)
    if not found:
        return _Fired(False, (_missed(evidence, truth, city, wanted),))
    clear_by = None if truth.clear_by is None else truth.clear_by + shift
    faults = [
        *_not_cleared(evidence, truth, found, clear_by),
        *_not_reached(evidence, indicators[truth.indicator], truth, city, (wanted[0], clear_by)),
        *_not_after(evidence, truth, found[0]),
    ]
    delay_s = (found[0].opened_ms - evidence.at_ms(wanted[0])) / 1000
    return _Fired(True, tuple(faults), delay_s)


def _missed(evidence: Evidence, truth: Truth, city: str, wanted: tuple[float, float]) -> str:
    """Why nothing opened in time: it opened at another time (the nearest is told), or never."""
    others = openings(evidence, truth.indicator, city, truth.dims)
    if not others:
        return f"never opened, wanted {_span(wanted)}"
    minutes = [evidence.minute(one.opened_ms) for one in others]
    nearest = min(minutes, key=lambda at: max(wanted[0] - at, at - wanted[1]))
    return f"opened at {nearest:+.0f} min, wanted {_span(wanted)}"


def _not_cleared(evidence: Evidence, truth: Truth, found: Sequence[Episode], clear_by: float | None) -> Iterator[str]:
    for one in found:
        ended = None if one.ended_ms is None else evidence.minute(one.ended_ms)
        if truth.stays_open and ended is not None:
            yield f"closed at {ended:+.0f} min, wanted to stay open"
        if clear_by is not None and (ended is None or ended > clear_by):
            state = "still open" if ended is None else f"closed at {ended:+.0f} min"
            yield f"{state}, wanted closed by {clear_by:g} min"


def _not_reached(
    evidence: Evidence,
    indicator: Indicator,
    truth: Truth,
    city: str,
    between: tuple[float, float | None],
) -> Iterator[str]:
    if truth.reach is None:
        return
    last_ms = evidence.end_ms if between[1] is None else evidence.at_ms(between[1])
    values = _windows(evidence.rows, truth, city, evidence.at_ms(between[0]), last_ms)["value"].drop_nulls()
    rising = indicator.alert is None or indicator.alert.for_city(city).raise_.op.startswith(">")
    extreme = (values.max() if rising else values.min()) if len(values) else None
    if not isinstance(extreme, int | float):
        yield f"has no value, wanted to reach {truth.reach:g}"
    elif (extreme < truth.reach) if rising else (extreme > truth.reach):
        yield f"reached {extreme:.4g}, wanted {truth.reach:g}"


def _not_after(evidence: Evidence, truth: Truth, opened: Episode) -> Iterator[str]:
    if not truth.after:
        return
    first = next((one for one in evidence.episodes if one.indicator == truth.after), None)
    if first is None:
        yield f"{truth.after} never opened before it"
    elif first.opened_ms >= opened.opened_ms:
        before, after = evidence.minute(opened.opened_ms), evidence.minute(first.opened_ms)
        yield f"opened at {before:+.0f} min, before {truth.after} at {after:+.0f} min"


def _too_few(fired: Mapping[str, _Fired], least: int) -> str:
    right = [city for city, one in fired.items() if not one.faults]
    if len(right) >= least:
        return ""
    why = "; ".join(f"{city}: {one.faults[0]}" for city, one in fired.items() if one.faults)
    return f"right in {len(right)} cities of {len(fired)}, wanted {least} ({why})"


def _in_some(fired: Mapping[str, _Fired], least: int) -> tuple[bool, list[float]]:
    delays = [one.delay_s for one in fired.values() if one.delay_s is not None]
    return len(delays) >= least, delays


# ---------------------------------------------------------------- everything else


def _not_clear(
    evidence: Evidence, indicators: Mapping[str, Indicator], truth: Truth, cities: Sequence[str], shift: float
) -> str:
    """What opened that must not. The claim is about the story: what a fault by lot explains is another matter."""
    between = None if truth.between is None else (truth.between[0] + shift, truth.between[1] + shift)
    found = [
        one
        for city in cities
        for one in openings(evidence, truth.indicator, city, truth.dims, between)
        if not explained(evidence, one, indicators[one.indicator])
    ]
    return ", ".join(
        f"opened at {evidence.minute(one.opened_ms):+.0f} min in {one.city}{f' ({one.dims})' if one.dims else ''}"
        for one in found[:5]
    ) + (f" and {len(found) - 5} times more" if len(found) > 5 else "")


def _not_moved(evidence: Evidence, truth: Truth, city: str, shift: float) -> str:
    assert truth.between is not None
    from_ms, until_ms = evidence.at_ms(truth.between[0] + shift), evidence.at_ms(truth.between[1] + shift)
    with_it, without = _compared(evidence, truth, city, from_ms, until_ms)
    if with_it is None or without is None:
        return "nothing was reported"
    if truth.factor is not None:
        if without == 0:
            return "the mean without the scenario is 0, so there is no ratio; claim a `difference`"
        ratio = with_it / without
        fine = ratio >= truth.factor if truth.factor > 1 else ratio <= truth.factor
        return "" if fine else f"moved x {ratio:.3f} ({without:.4g} to {with_it:.4g}), wanted x {truth.factor:g}"
    assert truth.difference is not None
    change = with_it - without
    fine = change >= truth.difference if truth.difference > 0 else change <= truth.difference
    return "" if fine else f"moved by {change:+.4g} ({without:.4g} to {with_it:.4g}), wanted {truth.difference:+g}"


def _compared(
    evidence: Evidence, truth: Truth, city: str, from_ms: int, until_ms: int
) -> tuple[float | None, float | None]:
    """What a claim is about, with the scenario and without it."""
    if truth.indicator:
        return (
            _mean_value(evidence.rows, truth, city, from_ms, until_ms),
            _mean_value(evidence.uneventful, truth, city, from_ms, until_ms),
        )
    key = (truth.feed, truth.field, city, from_ms, until_ms)
    if truth.count:
        return evidence.means.count(*key), evidence.ordinary.count(*key)
    return evidence.means.over(*key), evidence.ordinary.over(*key)


def _mean_value(rows: pl.DataFrame | None, truth: Truth, city: str, from_ms: int, until_ms: int) -> float | None:
    if rows is None:
        return None
    values = _windows(rows, truth, city, from_ms, until_ms)["value"].drop_nulls()
    return float(values.sum()) / len(values) if len(values) else None


def _not_same(evidence: Evidence, truth: Truth, city: str, shift: float) -> str:
    assert truth.between is not None
    if evidence.undisturbed is None:
        return "there is no run without the disturbances to compare with"
    from_ms, until_ms = evidence.at_ms(truth.between[0] + shift), evidence.at_ms(truth.between[1] + shift)
    sums = [_sums(_windows(rows, truth, city, from_ms, until_ms)) for rows in (evidence.rows, evidence.undisturbed)]
    if not sums[1].get("n"):
        return "nothing was counted in the run without the disturbances"
    for name, wanted in sums[1].items():
        found = sums[0].get(name, 0.0)
        if abs(found - wanted) > truth.within * abs(wanted):
            return f"{name} adds up to {found:.6g}, wanted {wanted:.6g} within {truth.within:.1%}"
    return ""


def _windows(rows: pl.DataFrame, truth: Truth, city: str, from_ms: int, until_ms: int) -> pl.DataFrame:
    """What is known in the end of the windows of a claim that end in these times."""
    some = rows.filter(
        (pl.col("indicator") == truth.indicator)
        & (pl.col("city") == city)
        & pl.col("window_end_ms").is_between(from_ms, until_ms)
    )
    if truth.dims:
        some = some.filter(pl.Series([matches(truth.dims, dims) for dims in some["dims"].to_list()], dtype=pl.Boolean))
    return some.sort("rev").unique(["dims", "window_end_ms"], keep="last", maintain_order=True)


def _sums(windows: pl.DataFrame) -> dict[str, float]:
    sums = {name: float(windows[name].sum() or 0) for name in ("n", "numerator", "denominator")}
    return {name: total for name, total in sums.items() if total}


def _always(evidence: Evidence, indicators: Mapping[str, Indicator]) -> Iterator[Verdict]:
    """What holds in every scenario: no alert flaps, and each names the sub-item that it speaks for."""
    own = [one for one in evidence.episodes if not explained(evidence, one, indicators[one.indicator])]
    often = Counter((one.indicator, one.city, one.dims) for one in own)
    allowed = max(OPENINGS, math.ceil(evidence.days))
    flaps = [f"{' '.join(filter(None, key))}: {count}" for key, count in sorted(often.items()) if count > allowed]
    unnamed = sorted({one.indicator for one in evidence.episodes if not one.sub_item})
    for claim, faults in (
        (f"no alert opens more than {allowed} times", flaps),
        ("every alert names its sub-item", unnamed),
    ):
        yield Verdict(evidence.scenario.id, evidence.seed, 0, "", claim, not faults, ", ".join(faults[:5]))
