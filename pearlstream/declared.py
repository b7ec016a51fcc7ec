"""From the text of a declaration to terms, formulas and measures over the columns of a feed.

The parts of `pearlstream.program` that look at one measure at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pearlstream.catalogue.catalogue import Catalogue
from pearlstream.catalogue.indicator import Indicator, Measure
from pearlstream.catalogue.models import Feed
from pearlstream.errors import CatalogueError
from pearlstream.formula import Formula
from pearlstream.measures import MeasureKind, MeasureSpec, PaneOf
from pearlstream.quality import COLUMNS as QUALITY_COLUMNS
from pearlstream.quality import FLAGS
from pearlstream.terms import ColumnType, Term

DERIVED: Mapping[str, ColumnType] = {
    "hour": ColumnType.NUMBER,
    "dow": ColumnType.NUMBER,
    "delay_ms": ColumnType.NUMBER,
    "zone": ColumnType.TEXT,
    "site": ColumnType.TEXT,
    "device": ColumnType.TEXT,
} | dict.fromkeys(QUALITY_COLUMNS, ColumnType.BOOLEAN)
"""Columns that every feed's terms see besides its own: hour and day of week (Monday is 1) in the city's zone,
milliseconds between the reading's time and its arrival, the device's place, and what `admit` noted about it."""

_TYPES = {
    "float": ColumnType.NUMBER,
    "int": ColumnType.NUMBER,
    "bool": ColumnType.BOOLEAN,
    "enum": ColumnType.TEXT,
    "text": ColumnType.TEXT,
}


def columns_of(feed: Feed) -> dict[str, ColumnType]:
    """Every column that a term over this feed may name."""
    own = {name: _TYPES[spec.type] for name, spec in feed.fields.items()}
    own |= {name: _TYPES[spec.type] for name, spec in feed.static.items()}
    codes = {f"{name}_code": ColumnType.NUMBER for name in feed.words}
    return {**DERIVED, **own, **codes}


def registry_columns(feed: Feed) -> dict[str, ColumnType]:
    """Columns of the registry that an `among` may name."""
    return {"zone": ColumnType.TEXT, "site": ColumnType.TEXT} | {n: _TYPES[s.type] for n, s in feed.static.items()}


def sampled_feeds(catalogue: Catalogue) -> tuple[str, ...]:
    """The feeds whose devices owe samples: what `feed = "*"` stands for."""
    return tuple(feed.id for feed in catalogue.feeds.values() if feed.emits == "samples")


def feeds_of(catalogue: Catalogue, feed: str | None, measure: Measure) -> tuple[str, ...]:
    """The feeds that a measure reads. `feed`: the one that the indicator is computed for, if it is one per feed."""
    if feed is not None:
        return (feed,)
    return sampled_feeds(catalogue) if measure.feed == "*" else (measure.feed,)


def parse(indicator: Indicator, keys: Iterable[str], text: str, names: Iterable[str]) -> Formula:
    """A formula of an indicator. Raises CatalogueError naming the indicator and the key."""
    try:
        return Formula.parse(text, list(names))
    except CatalogueError as error:
        raise located(indicator, keys, error) from None


def located(indicator: Indicator, keys: Iterable[str], error: CatalogueError) -> CatalogueError:
    """The same error, with its place in front."""
    where = ".".join((indicator.id, *keys))
    return CatalogueError(f"indicator {where}: {error.message}", remedy=error.remedy)


def guards_of(indicator: Indicator, catalogue: Catalogue, feed: str | None) -> dict[tuple[str, str], frozenset[str]]:
    """Which fields a reading must have to count, by measure and feed: those of all measures that meet in one formula.

    A travel time and a free-flow time share one guard, so a missing speed drops out of both; the means of two
    pollutants meet nowhere before they are complete, so a missing ozone value leaves the particles counted.
    Measures of different feeds count different readings: only those of the same feed guard each other.
    """
    formulas = [r.value for r in indicator.reduce.values()] + [indicator.value]
    sets = [{name for name in indicator.measures if re.search(rf"\b{name}(_n)?\b", text)} for text in formulas]
    groups: list[set[str]] = []
    for found in sets:
        touching = [group for group in groups if group & found]
        groups = [group for group in groups if not group & found] + [found.union(*touching)]
    guards: dict[tuple[str, str], frozenset[str]] = {}
    for group in groups:
        by_feed: dict[str, list[Measure]] = {}
        for name in group:
            for own in feeds_of(catalogue, feed, indicator.measures[name]):
                by_feed.setdefault(own, []).append(indicator.measures[name])
        for name in group:
            for own in feeds_of(catalogue, feed, indicator.measures[name]):
                declared = catalogue.feeds[own]
                terms = [text for measure in by_feed[own] for text in (measure.value, measure.key)]
                fields = {*declared.fields, *declared.static}
                guards[name, own] = frozenset(f for f in fields if any(re.search(rf"\b{f}\b", t) for t in terms))
    return guards


def spec_of(
    catalogue: Catalogue, feed: Feed, indicator: Indicator, name: str, measure: Measure, guard: frozenset[str] | None
) -> MeasureSpec:
    """A measure over the columns of one feed. Raises CatalogueError naming the indicator and the measure."""
    columns = columns_of(feed)
    first = f"first_in_pane_{measure.pane_s}"
    columns[first] = ColumnType.NUMBER
    mask = _mask(indicator)
    conditions = [text for text in (measure.where, indicator.where, indicator.among) if text]
    if mask:
        columns[f"unflagged_{mask}"] = ColumnType.BOOLEAN
        conditions.append(f"unflagged_{mask}")

    def term(text: str) -> Term:
        return Term.parse(re.sub(r"\bfirst_in_pane\b", first, text), columns)

    try:
        if measure.city and columns.get(measure.city) is not ColumnType.TEXT:
            raise CatalogueError(
                f"`city` names {measure.city!r}, which is no column of text of {feed.id}",
                remedy="name a text or enum field that holds city codes",
            )
        return MeasureSpec(
            name=f"{indicator.id}.{name}",
            feed=feed.id,
            kind=MeasureKind(measure.kind),
            value=term("1" if measure.edges else measure.value),
            where=term(" AND ".join(f"({text})" for text in conditions)) if conditions else None,
            key=term(measure.key or measure.value) if measure.kind == "map" else None,
            edges=measure.edges,
            decimals=0 if measure.edges else measure.decimals,
            required=guard or frozenset(),
            by=measure.by,
            pane_len_s=measure.pane_s,
            pane_of=PaneOf(measure.pane_of),
            city=measure.city,
            cities=tuple(catalogue.cities) if measure.city else (),
        )
    except CatalogueError as error:
        raise located(indicator, ("measures", name), error) from None


def _mask(indicator: Indicator) -> int:
    """The quality flags with which a reading does not count, as one number."""
    mask = 0
    for flag in indicator.exclude:
        if flag not in FLAGS:
            raise CatalogueError(
                f"indicator {indicator.id}.exclude: no quality flag {flag!r}", remedy=f"known: {', '.join(FLAGS)}"
            )
        mask |= int(FLAGS[flag])
    return mask
