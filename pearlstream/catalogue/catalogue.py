"""The effective catalogue: the shipped declarations with the overlays laid over them, checked as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pearlstream.catalogue.loader import Declarations, read_declarations
from pearlstream.catalogue.models import City, Feed, Group, Indicator, Scenario
from pearlstream.errors import CatalogueError


@dataclass(frozen=True)
class Catalogue:
    """Everything that is declared, by id. `sha` is one SHA-256 over all of it."""

    cities: Mapping[str, City]
    groups: Mapping[str, Group]
    feeds: Mapping[str, Feed]
    indicators: Mapping[str, Indicator]
    scenarios: Mapping[str, Scenario]
    sha: str

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
    catalogue = Catalogue(
        cities=declared.of("city", City),
        groups=declared.of("group", Group),
        feeds=declared.of("feed", Feed),
        indicators=declared.of("indicator", Indicator),
        scenarios=declared.of("scenario", Scenario),
        sha=declared.sha,
    )
    _check_references(catalogue, declared)
    return catalogue


def _check_references(catalogue: Catalogue, declared: Declarations) -> None:
    def check(known: Iterable[str], name: str, table: str, id_: str, keys: list[str | int], what: str) -> None:
        if name not in known:
            near = get_close_matches(name, list(known), 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"declare the {what} or mend the name"
            raise declared.places[table, id_].error(keys, f"there is no {what} {name!r}", remedy)

    for group in catalogue.groups.values():
        for city in group.cities:
            check(catalogue.cities, city, "group", group.id, ["cities"], "city")
    for indicator in catalogue.indicators.values():
        for name, measure in indicator.measures.items():
            if measure.feed != "*":
                check(catalogue.feeds, measure.feed, "indicator", indicator.id, ["measures", name, "feed"], "feed")
    for scenario in catalogue.scenarios.values():
        _check_scenario(catalogue, scenario, check)


def _check_scenario(catalogue: Catalogue, scenario: Scenario, check: Callable[..., None]) -> None:
    for index, effect in enumerate(scenario.effect):
        at = ["effect", index]
        check(catalogue.feeds, effect.feed, "scenario", scenario.id, [*at, "feed"], "feed")
        for city in (*effect.cities, *effect.lag):
            check(catalogue.cities, city, "scenario", scenario.id, [*at, "cities"], "city")
    for index, claim in enumerate(scenario.truth):
        at = ["truth", index]
        check(catalogue.indicators, claim.indicator, "scenario", scenario.id, [*at, "indicator"], "indicator")
        for city in claim.cities:
            check(catalogue.cities, city, "scenario", scenario.id, [*at, "cities"], "city")
