"""The catalogue made ready to run: every term and formula parsed, every measure resolved to a feed.

`compile_catalogue` is where a wrong formula is found, with file and line, before anything starts. Folds,
store schema and dashboards read programs, never the raw text of a declaration.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pearlstream.catalogue.catalogue import Catalogue
from pearlstream.catalogue.models import Feed, Indicator, Measure, Reduction
from pearlstream.catalogue.simulation_check import check_effect, check_simulation
from pearlstream.errors import CatalogueError
from pearlstream.formula import Formula
from pearlstream.measures import MeasureKind, MeasureSpec, PaneOf, rows_measure
from pearlstream.quality import FLAGS
from pearlstream.terms import ColumnType, Term

DERIVED: Mapping[str, ColumnType] = {
    "hour": ColumnType.NUMBER,
    "dow": ColumnType.NUMBER,
    "delay_ms": ColumnType.NUMBER,
    "zone": ColumnType.TEXT,
    "site": ColumnType.TEXT,
    "device": ColumnType.TEXT,
}
"""Columns that every feed's terms see besides its own: hour and day of week (Monday is 1) in the city's zone,
milliseconds between the reading's time and its arrival, and the device's place."""

RESERVED = ("expected", "devices", "panes", "population", "base")
"""Names that a formula sees besides its measures."""

_TYPES = {
    "float": ColumnType.NUMBER,
    "int": ColumnType.NUMBER,
    "bool": ColumnType.BOOLEAN,
    "enum": ColumnType.TEXT,
    "text": ColumnType.TEXT,
}


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
    """A measure as an indicator uses it: by the name that stands in partials."""

    measure: str
    feed: str
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
class IndicatorProgram:
    """One series family: an indicator, for one feed if it is declared per feed.

    `dims_prefix` is the canonical text that marks the feed. Times in ms.
    """

    indicator: Indicator
    feeds: tuple[str, ...]
    dims_prefix: str
    measures: Mapping[str, MeasureRef]
    reductions: tuple[ReductionProgram, ...]
    formula: Formula
    coverage: MeasureRef
    among: Term | None
    length_ms: int
    hop_ms: int
    hold_ms: int
    pane_ms: int

    @property
    def key(self) -> str:
        """Names the program: the indicator, and the feed where it is one of several."""
        return f"{self.indicator.id}/{self.dims_prefix}"

    @property
    def span_ms(self) -> int:
        """The longest look-back of anything in it."""
        return max(self.length_ms, *(r.span_ms for r in self.reductions)) if self.reductions else self.length_ms


@dataclass(frozen=True)
class Program:
    """Everything that the folds run."""

    catalogue: Catalogue
    feeds: Mapping[str, FeedProgram]
    indicators: tuple[IndicatorProgram, ...]

    @property
    def kinds(self) -> dict[str, MeasureKind]:
        """How each measure merges, by the name that stands in partials."""
        return {spec.name: spec.kind for feed in self.feeds.values() for spec in feed.specs}


def columns_of(feed: Feed) -> dict[str, ColumnType]:
    """Every column that a term over this feed may name."""
    own = {name: _TYPES[spec.type] for name, spec in feed.fields.items()}
    own |= {name: _TYPES[spec.type] for name, spec in feed.static.items()}
    codes = {f"{name}_code": ColumnType.NUMBER for name in feed.words}
    return {**DERIVED, **own, **codes}


def registry_columns(feed: Feed) -> dict[str, ColumnType]:
    """Columns of the registry that an `among` may name."""
    return {"zone": ColumnType.TEXT, "site": ColumnType.TEXT} | {n: _TYPES[s.type] for n, s in feed.static.items()}


def compile_catalogue(catalogue: Catalogue) -> Program:
    """Parse everything. Raises CatalogueError naming the indicator, the key and the remedy."""
    specs: dict[str, list[MeasureSpec]] = {feed: [rows_measure(feed)] for feed in catalogue.feeds}
    programs: list[IndicatorProgram] = []
    for indicator in catalogue.indicators.values():
        targets = list(catalogue.feeds) if indicator.per == "feed" else [None]
        for target in targets:
            program, made = _indicator(catalogue, indicator, target)
            programs.append(program)
            for spec in made:
                specs[spec.feed].append(spec)
    for feed in catalogue.feeds.values():
        check_simulation(feed)
    for scenario in catalogue.scenarios.values():
        for effect in scenario.effect:
            check_effect(catalogue.feeds[effect.feed], effect)
    feeds = {name: _feed_program(catalogue.feeds[name], some) for name, some in specs.items()}
    return Program(catalogue, feeds, tuple(programs))


def _feed_program(feed: Feed, specs: list[MeasureSpec]) -> FeedProgram:
    named = frozenset().union(*(spec.columns for spec in specs))
    lengths = sorted(int(name.rsplit("_", 1)[1]) for name in named if name.startswith("first_in_pane_"))
    masks = sorted(int(name.rsplit("_", 1)[1]) for name in named if name.startswith("unflagged_"))
    return FeedProgram(feed, tuple(specs), tuple(lengths), tuple(masks))


def _indicator(
    catalogue: Catalogue, indicator: Indicator, feed: str | None
) -> tuple[IndicatorProgram, list[MeasureSpec]]:
    _check_computable(indicator)
    measures = dict(indicator.measures)
    coverage_name = indicator.coverage
    if coverage_name is None and (indicator.among or indicator.dims):
        coverage_name = "rows"
        first = next(iter(measures.values()))
        measures["rows"] = Measure(feed=first.feed, decimals=0, by=indicator.dims)
    groups = _guards(indicator, catalogue, feed)
    made = {
        name: _spec(catalogue.feeds[feed or m.feed], indicator, name, m, groups.get(name, frozenset()))
        for name, m in measures.items()
    }
    refs = {name: _ref(made[name], measures[name]) for name in measures}
    feeds = tuple(dict.fromkeys(ref.feed for ref in refs.values()))
    rows = rows_measure(feeds[0])
    coverage = refs[coverage_name] if coverage_name else _ref(rows, Measure(feed=feeds[0], decimals=0))
    program = IndicatorProgram(
        indicator=indicator,
        feeds=feeds,
        dims_prefix=f"feed={feed}" if feed else "",
        measures=refs,
        reductions=tuple(_reduction(indicator, name, r) for name, r in indicator.reduce.items()),
        formula=_parse(indicator, ("value",), indicator.value, [*_names(indicator), *indicator.reduce, *RESERVED]),
        coverage=coverage,
        among=_among(catalogue.feeds[feeds[0]], indicator),
        length_ms=indicator.window.length_s * 1000,
        hop_ms=indicator.window.hop_s * 1000,
        hold_ms=max(catalogue.feeds[name].hold_s for name in feeds) * 1000,
        pane_ms=max(m.pane_s for m in measures.values()) * 1000,
    )
    return program, list(made.values())


def _check_computable(indicator: Indicator) -> None:
    """Refuse what can be declared and is not computed yet: a wrong value would be worse than none."""
    declared = {
        "stage": indicator.stage == "cluster",
        "smooth_s": indicator.smooth_s is not None,
        "measures.*.city": any(measure.city for measure in indicator.measures.values()),
    }
    for key, used in declared.items():
        if used:
            raise CatalogueError(
                f"indicator {indicator.id}: `{key}` can be declared but is not computed yet",
                remedy="leave the indicator out, or lay an overlay with `remove` over it",
            )


def _ref(spec: MeasureSpec, measure: Measure) -> MeasureRef:
    return MeasureRef(
        spec.name, spec.feed, spec.kind, spec.decimals, spec.edges, tuple(sorted(spec.by)), measure.late == "include"
    )


def _names(indicator: Indicator) -> list[str]:
    return [*indicator.measures, *(f"{name}_n" for name in indicator.measures)]


def _parse(indicator: Indicator, keys: Iterable[str], text: str, names: Iterable[str]) -> Formula:
    try:
        return Formula.parse(text, list(names))
    except CatalogueError as error:
        raise _located(indicator, keys, error) from None


def _located(indicator: Indicator, keys: Iterable[str], error: CatalogueError) -> CatalogueError:
    where = ".".join((indicator.id, *keys))
    return CatalogueError(f"indicator {where}: {error.message}", remedy=error.remedy)


def _reduction(indicator: Indicator, name: str, declared: Reduction) -> ReductionProgram:
    formula = _parse(indicator, ("reduce", name, "value"), declared.value, [*_names(indicator), "expected"])
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


def _among(feed: Feed, indicator: Indicator) -> Term | None:
    if not indicator.among:
        return None
    try:
        term = Term.parse(indicator.among, registry_columns(feed))
        term.as_condition()
        return term
    except CatalogueError as error:
        raise _located(indicator, ("among",), error) from None


def _guards(indicator: Indicator, catalogue: Catalogue, feed: str | None) -> dict[str, frozenset[str]]:
    """Which fields a reading must have to count for a measure: those of all measures that meet in one formula.

    A travel time and a free-flow time share one guard, so a missing speed drops out of both; the means of two
    pollutants meet nowhere before they are complete, so a missing ozone value leaves the particles counted.
    """
    formulas = [r.value for r in indicator.reduce.values()] + [indicator.value]
    sets = [{name for name in indicator.measures if re.search(rf"\b{name}(_n)?\b", text)} for text in formulas]
    groups: list[set[str]] = []
    for found in sets:
        touching = [group for group in groups if group & found]
        groups = [group for group in groups if not group & found] + [found.union(*touching)]
    guards: dict[str, frozenset[str]] = {}
    for group in groups:
        for name in group:
            own = feed or indicator.measures[name].feed
            same = [m for m in group if (feed or indicator.measures[m].feed) == own]
            declared = catalogue.feeds[own]
            fields = {*declared.fields, *declared.static}
            terms = [indicator.measures[m].value for m in same] + [indicator.measures[m].key for m in same]
            guards[name] = frozenset(f for f in fields if any(re.search(rf"\b{f}\b", term) for term in terms))
    return guards


def _spec(feed: Feed, indicator: Indicator, name: str, measure: Measure, guard: frozenset[str]) -> MeasureSpec:
    columns = columns_of(feed)
    first = f"first_in_pane_{measure.pane_s}"
    columns[first] = ColumnType.NUMBER
    mask = 0
    for flag in indicator.exclude:
        if flag not in FLAGS:
            raise CatalogueError(
                f"indicator {indicator.id}.exclude: no quality flag {flag!r}", remedy=f"known: {', '.join(FLAGS)}"
            )
        mask |= int(FLAGS[flag])
    conditions = [text for text in (measure.where, indicator.where, indicator.among) if text]
    if mask:
        columns[f"unflagged_{mask}"] = ColumnType.BOOLEAN
        conditions.append(f"unflagged_{mask}")

    def term(text: str) -> Term:
        return Term.parse(re.sub(r"\bfirst_in_pane\b", first, text), columns)

    try:
        return MeasureSpec(
            name=f"{indicator.id}.{name}",
            feed=feed.id,
            kind=MeasureKind(measure.kind),
            value=term("1" if measure.edges else measure.value),
            where=term(" AND ".join(f"({text})" for text in conditions)) if conditions else None,
            key=term(measure.key or measure.value) if measure.kind == "map" else None,
            edges=measure.edges,
            decimals=0 if measure.edges else measure.decimals,
            required=guard,
            by=measure.by,
            pane_len_s=measure.pane_s,
            pane_of=PaneOf(measure.pane_of),
        )
    except CatalogueError as error:
        raise _located(indicator, ("measures", name), error) from None


def common_hop_ms(programs: Iterable[IndicatorProgram]) -> int:
    """The greatest step that divides every hop: the grain in which shared measures are kept."""
    return math.gcd(*(program.hop_ms for program in programs)) or 10_000
