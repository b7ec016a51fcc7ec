"""The effective catalogue: the shipped declarations with the overlays laid over them, checked as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pearlstream.catalogue.bases import Bases, Ordinary, known_jurisdiction
from pearlstream.catalogue.indicator import Indicator
from pearlstream.catalogue.loader import Declarations, read_declarations
from pearlstream.catalogue.models import Card, City, Feed, Group, SubItem, Task
from pearlstream.catalogue.scenario import Scenario
from pearlstream.errors import CatalogueError


@dataclass(frozen=True)
class Catalogue:
    """Everything that is declared, by id. `sha` is one SHA-256 over all of it."""

    cities: Mapping[str, City]
    groups: Mapping[str, Group]
    feeds: Mapping[str, Feed]
    indicators: Mapping[str, Indicator]
    scenarios: Mapping[str, Scenario]
    tasks: Mapping[str, Task]
    sub_items: Mapping[str, SubItem]
    cards: Mapping[str, Card]
    sha: str
    bases: Bases = Bases()  # noqa: RUF009 - immutable

    @property
    def version(self) -> str:
        """The first 8 hex digits of the hash: what the header `catalogue` carries."""
        return self.sha[:8]

    def scenario(self, name: str) -> Scenario:
        """A scenario by id or alias (`SC02`, `rush`). Raises CatalogueError naming the nearest known one."""
        for scenario in self.scenarios.values():
            if name in (scenario.id, scenario.alias):
                return scenario
        known = [word for s in self.scenarios.values() for word in (s.id, s.alias)]
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise CatalogueError(f"there is no scenario {name!r}", remedy=hint)


def load_catalogue(overlays: Iterable[Path] = ()) -> Catalogue:
    """Read and check the catalogue. Raises CatalogueError naming file, line, key and remedy."""
    declared = read_declarations(overlays)
    cities, groups = declared.of("city", City), declared.of("group", Group)
    catalogue = Catalogue(
        cities=cities,
        groups=groups,
        feeds=declared.of("feed", Feed),
        indicators=declared.of("indicator", Indicator),
        scenarios=declared.of("scenario", Scenario),
        tasks=declared.of("task", Task),
        sub_items=declared.of("sub_item", SubItem),
        cards=declared.of("card", Card),
        sha=declared.sha,
        bases=Bases.of(declared.of("base", Ordinary).values(), cities, groups),
    )
    _check_references(catalogue, declared)
    return catalogue


def _check_references(catalogue: Catalogue, declared: Declarations) -> None:
    def check(known: Iterable[str], name: str, table: str, id_: str, keys: list[str | int], what: str) -> None:
        if name not in known:
            near = get_close_matches(name, list(known), 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"declare the {what} or mend the name"
            raise declared.places[table, id_].error(keys, f"there is no {what} {name!r}", remedy)

    for place in catalogue.cities.values():
        if place.holidays and not known_jurisdiction(place.holidays):
            what = f"there is no calendar of holidays for {place.holidays!r}"
            remedy = "a country's code in ISO 3166 (CN, HK, MO), or nothing for none"
            raise declared.places["city", place.id].error(["holidays"], what, remedy)
    for group in catalogue.groups.values():
        for city in group.cities:
            check(catalogue.cities, city, "group", group.id, ["cities"], "city")
    for indicator in catalogue.indicators.values():
        for name, measure in indicator.measures.items():
            if measure.feed != "*":
                check(catalogue.feeds, measure.feed, "indicator", indicator.id, ["measures", name, "feed"], "feed")
        if indicator.scope:
            check(catalogue.groups, indicator.scope, "indicator", indicator.id, ["scope"], "group")
        if "." in indicator.sub_item:
            check(catalogue.sub_items, indicator.sub_item, "indicator", indicator.id, ["sub_item"], "sub-item")
        for other in indicator.alert.suppressed_by if indicator.alert else ():
            check(catalogue.indicators, other, "indicator", indicator.id, ["alert", "suppressed_by"], "indicator")
    for sub_item in catalogue.sub_items.values():
        check(catalogue.tasks, sub_item.task, "sub_item", sub_item.id, ["id"], "task")
    for scenario in catalogue.scenarios.values():
        _check_scenario(catalogue, scenario, check)


def _check_scenario(catalogue: Catalogue, scenario: Scenario, check: Callable[..., None]) -> None:
    id_ = scenario.id
    tracks = [track.id for track in scenario.track]
    for index, driver in enumerate(scenario.driver):
        if driver.track:
            check(tracks, driver.track, "scenario", id_, ["driver", index, "track"], "track")
    for index, effect in enumerate(scenario.effect):
        check(catalogue.feeds, effect.feed, "scenario", id_, ["effect", index, "feed"], "feed")
        for city in (*effect.cities, *effect.lag):
            check(catalogue.cities, city, "scenario", id_, ["effect", index, "cities"], "city")
    for index, disturbance in enumerate(scenario.disturb):
        for feed in disturbance.feeds:
            check(catalogue.feeds, feed, "scenario", id_, ["disturb", index, "feeds"], "feed")
        for city in disturbance.cities:
            check(catalogue.cities, city, "scenario", id_, ["disturb", index, "cities"], "city")
    scopes = [group.upper() for group in catalogue.groups]
    for index, claim in enumerate(scenario.truth):
        for indicator in filter(None, (claim.indicator, claim.after)):
            check(catalogue.indicators, indicator, "scenario", id_, ["truth", index, "indicator"], "indicator")
        if claim.feed:
            check(catalogue.feeds, claim.feed, "scenario", id_, ["truth", index, "feed"], "feed")
        for city in claim.cities:
            check([*catalogue.cities, *scopes], city, "scenario", id_, ["truth", index, "cities"], "city")
