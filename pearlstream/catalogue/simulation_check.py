"""Proves that what a feed's simulation and a scenario's effects declare fits together: names, terms, profiles."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from pearlstream.catalogue.models import Effect, Feed
from pearlstream.catalogue.simulation import (
    AnyQuantity,
    Binomial,
    Constant,
    Formula,
    Level,
    Pieces,
    Poisson,
    Simulate,
    States,
    simulation_of,
    words_of,
)
from pearlstream.errors import CatalogueError, TermError
from pearlstream.terms import ColumnType, Kind, Term

REGISTRY_TYPES: Mapping[str, ColumnType] = {
    "device": ColumnType.TEXT,
    "city": ColumnType.TEXT,
    "zone": ColumnType.TEXT,
    "site": ColumnType.TEXT,
    "lon": ColumnType.NUMBER,
    "lat": ColumnType.NUMBER,
    "cadence_s": ColumnType.NUMBER,
}
"""Columns of the registry that a term on devices may name, besides the static fields."""


def check_simulation(feed: Feed) -> Simulate | None:
    """Read and check the feed's shape: names, terms, profiles. Raises CatalogueError saying where and what."""
    shape = simulation_of(feed)
    if shape is not None:
        _Check(feed, shape).run()
    return shape


def check_effect(feed: Feed, effect: Effect) -> None:
    """Check what a scenario does to a feed: its quantity and its `where`. Raises CatalogueError."""
    shape = simulation_of(feed)
    if shape is None:
        raise CatalogueError(f"feed {feed.id} is not simulated", remedy="give it a table [feed.simulate]")
    names = dict.fromkeys([*feed.fields, *(quantity.name for quantity in shape.quantity)])
    if effect.field not in names:
        near = get_close_matches(effect.field, list(names), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        raise CatalogueError(f"feed {feed.id} has no quantity {effect.field!r}", remedy=hint)
    if effect.where:
        types = {**REGISTRY_TYPES, **_Check(feed, shape).constants()}
        Term.parse(effect.where, types).as_condition()


class _Check:
    """Walks the declarations of one feed in order, knowing at each step which names are there already."""

    def __init__(self, feed: Feed, shape: Simulate) -> None:
        self.feed = feed
        self.shape = shape
        self.types: dict[str, ColumnType] = {**REGISTRY_TYPES, "span_s": ColumnType.NUMBER}

    def fail(self, where: str, why: str, remedy: str) -> CatalogueError:
        """An error that names the feed and the key."""
        return CatalogueError(f"feed {self.feed.id}: simulate.{where}: {why}", remedy=remedy)

    def known(self, where: str, name: str, names: Mapping[str, object]) -> None:
        """Refuse a name that is not there (yet), with the nearest one that is."""
        if name not in names:
            near = get_close_matches(name, list(names), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
            raise self.fail(where, f"there is no {name!r}", hint)

    def constants(self) -> dict[str, ColumnType]:
        """What the device's constants hold."""
        return {name: self._constant_type(name, constant) for name, constant in self.shape.device.items()}

    def run(self) -> None:
        """Check everything, in the order of computation."""
        types = self.constants()
        for name, constant in self.shape.device.items():
            if constant.kind == "by":
                self.known(f"device.{name}", constant.of, self.types)
            self.types[name] = types[name]
        for name in self.feed.static:
            self.known(f"device.{name}", name, self.shape.device)
        for quantity in self.shape.quantity:
            self._quantity(quantity)
        made = {quantity.name for quantity in self.shape.quantity} | set(self.shape.device)
        for name, spec in self.feed.fields.items():
            if spec.required and name not in made | {"span_s"}:
                raise self.fail(f"quantity.{name}", "the field is required and nothing makes it", "declare a quantity")

    def _constant_type(self, name: str, constant: Constant) -> ColumnType:
        spec = self.feed.static.get(name) or self.feed.fields.get(name)
        if constant.kind == "site" or (spec is not None and spec.type in ("enum", "text")):
            return ColumnType.TEXT
        if spec is not None and spec.type == "bool":
            return ColumnType.BOOLEAN
        numbers = constant.kind != "choice" or all(_is_number(word) for word in constant.weights)
        return ColumnType.NUMBER if numbers else ColumnType.TEXT

    def _quantity(self, quantity: AnyQuantity) -> None:
        where = f"quantity.{quantity.name}"
        kind = ColumnType.NUMBER
        match quantity:
            case Level():
                if isinstance(quantity.base, str):
                    self.known(where, quantity.base, self.types)
                if quantity.profile:
                    self.known(where, quantity.profile, self.shape.profile)
                for column in quantity.by:
                    self.known(where, column, self.types)
            case Formula():
                if self._term(where, quantity.value).kind is Kind.CONDITION:
                    kind = ColumnType.BOOLEAN
            case Poisson():
                self._term(where, quantity.mean)
            case Binomial():
                self._term(where, quantity.n)
                self._term(where, quantity.p)
            case Pieces():
                self._term(where, quantity.amount)
            case States():
                self._states(where, quantity)
                kind = ColumnType.TEXT
        self.types[quantity.name] = kind

    def _states(self, where: str, quantity: States) -> None:
        words = dict.fromkeys(words_of(self.feed, quantity))
        for word, stay in quantity.stay.items():
            self.known(where, word, words)
            for follower in stay.next:
                self.known(f"{where}.stay.{word}.next", follower, quantity.stay)
        if quantity.planned:
            self.known(where, quantity.planned, words)
            self.known(where, quantity.off, self.shape.profile)
        if quantity.override:
            self.known(where, quantity.override, self.types)

    def _term(self, where: str, text: str) -> Term:
        try:
            return Term.parse(text, self.types)
        except TermError as error:
            raise self.fail(where, error.message, error.remedy) from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
