"""The catalogue made ready to run: every term and formula parsed, every measure resolved to a feed.

`compile_catalogue` is where a wrong formula is found, with file and line, before anything starts. Folds,
store schema and dashboards read programs, never the raw text of a declaration.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pearlstream.catalogue.catalogue import Catalogue
from pearlstream.catalogue.indicator import Base, Indicator, Measure, Reduction
from pearlstream.catalogue.models import Feed
from pearlstream.catalogue.scenario_check import check_scenario
from pearlstream.catalogue.simulation_check import check_simulation
from pearlstream.declared import DERIVED as DERIVED
from pearlstream.declared import columns_of as columns_of
from pearlstream.declared import (
    feeds_of,
    guards_of,
    located,
    parse,
    sampled_feeds,
    spec_of,
)
from pearlstream.declared import registry_columns as registry_columns
from pearlstream.errors import CatalogueError
from pearlstream.formula import Formula
from pearlstream.measures import MeasureKind, MeasureSpec, rows_measure
from pearlstream.terms import Term

RESERVED = ("expected", "devices", "panes", "population", "whole")
"""Names that a formula sees besides its measures, reductions and bases."""


@dataclass(frozen=True)
class FeedProgram:
    """One feed with all measures over it. `pane_lengths_s`: for which `first_in_pane_<n>` is wanted; `masks`:
    quality masks for which `unflagged_<mask>` is wanted."""

    feed: Feed
    specs: tuple[MeasureSpec, ...]
    pane_lengths_s: tuple[int, ...]
    masks: tuple[int, ...]

    @property
    def columns(self) -> frozenset[str]:
        """Columns that the measures read."""
        return frozenset().union(*(spec.columns for spec in self.specs))


@dataclass(frozen=True)
class MeasureRef:
    """A measure as an indicator uses it: by the name that stands in partials, over the feeds that are merged in it."""

    measure: str
    feeds: tuple[str, ...]
    kind: MeasureKind
    decimals: int
    edges: tuple[float, ...]
    dims: tuple[str, ...]
    late: bool


@dataclass(frozen=True)
class ReductionProgram:
    """A value per member of a dimension, then over the members; see `catalogue.models.Reduction`."""

    name: str
    declared: Reduction
    formula: Formula
    measures: tuple[str, ...]
    span_ms: int


@dataclass(frozen=True)
class BaseProgram:
    """What an ordinary hour of the indicator's `declared.value` looks like; see `catalogue.indicator.Base`.

    `units`: the static field whose sum over the devices in service it grows with, empty if there is none.
    """

    name: str
    declared: Base
    formula: Formula
    units: str


@dataclass(frozen=True)
class IndicatorProgram:
    """One series family: an indicator, for one feed if it is declared per feed.

    `dims_prefix` is the canonical text that marks the feed. `coverage`: the measure whose rows are held against
    the expected ones, None where nobody owes samples: coverage is unknown then and does not decide about the value.
    `fleet`: the feeds whose devices are counted; `any_feed`: one of them is enough for a city to have the indicator.
    `group`: the cities that are one row together, empty: a row per city; `elsewhere`: rows count for a city that a
    column names, wherever the device is. Times in ms.
    """

    indicator: Indicator
    feeds: tuple[str, ...]
    dims_prefix: str
    measures: Mapping[str, MeasureRef]
    reductions: tuple[ReductionProgram, ...]
    formula: Formula
    coverage: MeasureRef | None
    fleet: tuple[str, ...]
    any_feed: bool
    group: tuple[str, ...]
    elsewhere: bool
    bases: Mapping[str, BaseProgram]
    among: Term | None
    length_ms: int
    hop_ms: int
    hold_ms: int
    pane_ms: int

    @property
    def key(self) -> str:
        """Names the program: the indicator, and the feed where it is one of several."""
        return f"{self.indicator.id}/{self.dims_prefix}"

    @cached_property
    def dims(self) -> tuple[str, ...]:
        """The dimensions that its rows are kept by, sorted."""
        return tuple(sorted(self.indicator.dims))

    @cached_property
    def named(self) -> tuple[tuple[str, str, MeasureRef], ...]:
        """The measures that the formula reads, by the names that it uses: of the value, and of the number of rows
        behind it. Of what nobody owes, every measure: all their rows together are what it rests on."""
        every = ((name, f"{name}_n", ref) for name, ref in self.measures.items())
        read = self.formula.names
        return tuple(one for one in every if self.coverage is None or one[0] in read or one[1] in read)

    @cached_property
    def refs(self) -> tuple[MeasureRef, ...]:
        """Every measure that it needs, each once."""
        return self._once(self.measures.values())

    @cached_property
    def read(self) -> tuple[MeasureRef, ...]:
        """The measures that its value and coverage come from, each once."""
        return self._once(ref for _, _, ref in self.named)

    def _once(self, used: Iterable[MeasureRef]) -> tuple[MeasureRef, ...]:
        gate = () if self.coverage is None else (self.coverage,)
        return tuple({ref.measure: ref for ref in (*used, *gate)}.values())

    @cached_property
    def span_ms(self) -> int:
        """The longest look-back of anything in it."""
        return max(self.length_ms, *(r.span_ms for r in self.reductions)) if self.reductions else self.length_ms


@dataclass(frozen=True)
class Program:
    """Everything that the folds run."""

    catalogue: Catalogue
    feeds: Mapping[str, FeedProgram]
    indicators: tuple[IndicatorProgram, ...]

    def only(self, indicators: Collection[str]) -> Program:
        """The same for some of the indicators, with the measures that those need."""
        some = tuple(one for one in self.indicators if one.indicator.id in indicators)
        needed = {ref.measure for one in some for ref in one.refs}
        feeds = {
            name: _feed_program(feed.feed, [spec for spec in feed.specs if spec.name in needed])
            for name, feed in self.feeds.items()
        }
        return replace(self, feeds=feeds, indicators=some)

    @property
    def crossings(self) -> frozenset[tuple[str, str]]:
        """Feed and name of the measures that indicators of stage cluster need."""
        programs = [one for one in self.indicators if one.indicator.stage == "cluster"]
        return frozenset((feed, ref.measure) for one in programs for ref in one.refs for feed in ref.feeds)

    @property
    def kinds(self) -> dict[str, MeasureKind]:
        """How each measure merges, by the name that stands in partials."""
        return {spec.name: spec.kind for feed in self.feeds.values() for spec in feed.specs}


def compile_catalogue(catalogue: Catalogue) -> Program:
    """Parse everything. Raises CatalogueError naming the indicator, the key and the remedy."""
    specs: dict[str, list[MeasureSpec]] = {feed: [rows_measure(feed)] for feed in catalogue.feeds}
    programs: list[IndicatorProgram] = []
    for indicator in catalogue.indicators.values():
        targets = sampled_feeds(catalogue) if indicator.per == "feed" else (None,)
        for target in targets:
            program, made = _indicator(catalogue, indicator, target)
            programs.append(program)
            for spec in made:
                specs[spec.feed].append(spec)
    for feed in catalogue.feeds.values():
        check_simulation(feed, catalogue.cities)
    for scenario in catalogue.scenarios.values():
        check_scenario(scenario, catalogue.feeds)
    feeds = {name: _feed_program(catalogue.feeds[name], some) for name, some in specs.items()}
    return Program(catalogue, feeds, tuple(programs))


def _feed_program(feed: Feed, specs: list[MeasureSpec]) -> FeedProgram:
    named = frozenset[str]().union(*(spec.columns for spec in specs))
    lengths = sorted(int(name.rsplit("_", 1)[1]) for name in named if name.startswith("first_in_pane_"))
    masks = sorted(int(name.rsplit("_", 1)[1]) for name in named if name.startswith("unflagged_"))
    return FeedProgram(feed, tuple(specs), tuple(lengths), tuple(masks))


def _indicator(
    catalogue: Catalogue, indicator: Indicator, feed: str | None
) -> tuple[IndicatorProgram, list[MeasureSpec]]:
    pairs = indicator.alert.thresholds if indicator.alert else ()
    if indicator.smooth_s is not None and any(c.times == "base" for pair in pairs for c in (pair.raise_, pair.clear)):
        raise CatalogueError(
            f"indicator {indicator.id}: a smoothed value cannot be set against a base that is not smoothed",
            remedy="give its thresholds in its own unit, or leave `smooth_s` out",
        )
    measures = dict(indicator.measures)
    feeds = {name: feeds_of(catalogue, feed, m) for name, m in measures.items()}
    everywhere = feed is None and any(m.feed == "*" for m in measures.values())
    elsewhere = any(m.city for m in measures.values())
    used = tuple(dict.fromkeys(name for some in feeds.values() for name in some))
    fleet = _fleet(catalogue, used, all_of_them=everywhere)
    owed = () if elsewhere else tuple(f for f in fleet if catalogue.feeds[f].emits == "samples")
    coverage_name = indicator.coverage
    if owed and coverage_name is None and (indicator.among or indicator.dims or everywhere):
        coverage_name = "rows"
        measures["rows"] = Measure(feed="*" if everywhere else owed[0], decimals=0, by=indicator.dims)
        feeds["rows"] = owed
    guards = guards_of(indicator, catalogue, feed)
    made = {
        name: [spec_of(catalogue, catalogue.feeds[f], indicator, name, m, guards.get((name, f))) for f in feeds[name]]
        for name, m in measures.items()
    }
    refs = {name: _ref(made[name], measures[name]) for name in measures}
    program = IndicatorProgram(
        indicator=indicator,
        feeds=used,
        dims_prefix=f"feed={feed}" if feed else "",
        measures=refs,
        reductions=tuple(_reduction(indicator, name, r) for name, r in indicator.reduce.items()),
        formula=parse(
            indicator, ("value",), indicator.value, _names(indicator, *(f"base_{n}" for n in indicator.bases))
        ),
        coverage=_coverage(refs, coverage_name, owed),
        fleet=fleet,
        any_feed=everywhere,
        group=catalogue.groups[indicator.scope].cities if indicator.scope else (),
        elsewhere=elsewhere,
        bases={name: _base(catalogue, indicator, name, one, fleet) for name, one in indicator.bases.items()},
        among=_among(catalogue, indicator, fleet),
        length_ms=indicator.window.length_s * 1000,
        hop_ms=indicator.window.hop_s * 1000,
        hold_ms=max(catalogue.feeds[name].hold_s for name in used) * 1000,
        pane_ms=max(m.pane_s for m in measures.values()) * 1000,
    )
    return program, [spec for specs in made.values() for spec in specs]


def _fleet(catalogue: Catalogue, used: tuple[str, ...], *, all_of_them: bool) -> tuple[str, ...]:
    """The feeds whose devices are counted: the first that owes samples, or the first of all if none does."""
    sampled = tuple(name for name in used if catalogue.feeds[name].emits == "samples")
    return sampled if all_of_them else (sampled or used)[:1]


def _coverage(refs: Mapping[str, MeasureRef], name: str | None, owed: tuple[str, ...]) -> MeasureRef | None:
    if not owed:
        return None
    return refs[name] if name else _ref([rows_measure(owed[0])], Measure(feed=owed[0], decimals=0))


def _base(catalogue: Catalogue, indicator: Indicator, name: str, declared: Base, fleet: tuple[str, ...]) -> BaseProgram:
    keys = ("bases", name)
    units = "" if declared.per in ("device", "one") else declared.per
    for feed in fleet if units else ():
        spec = catalogue.feeds[feed].static.get(units)
        if spec is None or spec.type not in ("float", "int"):
            error = CatalogueError(
                f"`per` names {units!r}, which is no numeric static field of {feed}",
                remedy='"device", "one", or a static field that is a number',
            )
            raise located(indicator, keys, error)
    formula = parse(indicator, (*keys, "value"), declared.value, _names(indicator))
    return BaseProgram(name, declared, formula, units)


def _ref(specs: Sequence[MeasureSpec], measure: Measure) -> MeasureRef:
    one = specs[0]
    return MeasureRef(
        measure=one.name,
        feeds=tuple(spec.feed for spec in specs),
        kind=one.kind,
        decimals=one.decimals,
        edges=one.edges,
        dims=tuple(sorted(one.by)),
        late=measure.late == "include",
    )


def _measure_names(indicator: Indicator) -> list[str]:
    return [*indicator.measures, *(f"{name}_n" for name in indicator.measures)]


def _names(indicator: Indicator, *more: str) -> list[str]:
    return [*_measure_names(indicator), *indicator.reduce, *RESERVED, *more]


def _reduction(indicator: Indicator, name: str, declared: Reduction) -> ReductionProgram:
    names = [*_measure_names(indicator), "expected"]
    formula = parse(indicator, ("reduce", name, "value"), declared.value, names)
    used = tuple(m for m in indicator.measures if m in formula.names or f"{m}_n" in formula.names)
    for measure in used:
        if declared.each not in indicator.measures[measure].by:
            raise CatalogueError(
                f"indicator {indicator.id}.reduce.{name}: measure {measure} is not kept by {declared.each!r}",
                remedy=f"add {declared.each!r} to its `by`",
            )
    span = (declared.span_s or indicator.window.length_s) * 1000
    if span % (indicator.window.hop_s * 1000):
        raise CatalogueError(
            f"indicator {indicator.id}.reduce.{name}: span_s is no multiple of the window's hop",
            remedy=f"choose a multiple of {indicator.window.hop_s}",
        )
    return ReductionProgram(name, declared, formula, used, span)


def _among(catalogue: Catalogue, indicator: Indicator, fleet: tuple[str, ...]) -> Term | None:
    if not indicator.among:
        return None
    try:
        terms = [Term.parse(indicator.among, registry_columns(catalogue.feeds[feed])) for feed in fleet]
        terms[0].as_condition()
        return terms[0]
    except CatalogueError as error:
        raise located(indicator, ("among",), error) from None


def common_hop_ms(programs: Iterable[IndicatorProgram]) -> int:
    """The greatest step that divides every hop: the grain in which shared measures are kept."""
    return math.gcd(*(program.hop_ms for program in programs)) or 10_000
