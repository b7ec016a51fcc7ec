"""Proves that what a scenario declares fits together and fits the feeds: tracks, drivers, effects, disturbances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from sqlglot import exp

from pearlstream.catalogue.models import Feed
from pearlstream.catalogue.scenario import Driver, Effect, Scenario
from pearlstream.catalogue.simulation import Pick, Simulate, States, picked_words, simulation_of, words_of
from pearlstream.catalogue.simulation_check import REGISTRY_TYPES, known_columns
from pearlstream.errors import CatalogueError, TermError
from pearlstream.expression import parse_expression
from pearlstream.terms import ColumnType, Term


def check_scenario(scenario: Scenario, feeds: Mapping[str, Feed]) -> None:
    """Check everything that moves in a scenario, whose feeds, cities and tracks are known to exist.

    Raises CatalogueError naming scenario, table, and remedy.
    """
    check_drivers(scenario)
    drivers = [driver.name for driver in scenario.driver]
    for index, effect in enumerate(scenario.effect):
        try:
            check_effect(feeds[effect.feed], effect, drivers)
        except CatalogueError as error:
            where = f"effect {index + 1} ({effect.feed}.{effect.field})"
            raise _fail(scenario, where, error.message, error.remedy) from None
    for index, disturbance in enumerate(scenario.disturb):
        if disturbance.kind == "clock" and not disturbance.offset_s:
            where = f"disturb {index + 1} (clock)"
            raise _fail(scenario, where, "clocks are off by nothing", "say by how much with `offset_s`")


def check_drivers(scenario: Scenario) -> None:
    """Check tracks and drivers. Raises CatalogueError."""
    for track in scenario.track:
        _rising(scenario, f"track {track.id}", "points", [hour for hour, _, _ in track.points])
    types: dict[str, ColumnType] = dict(REGISTRY_TYPES)
    for driver in scenario.driver:
        where = f"driver {driver.name}"
        if driver.name in types:
            raise _fail(scenario, where, "the name is taken", "give each driver a name of its own")
        _check_driver(scenario, where, driver, types)
        types[driver.name] = ColumnType.NUMBER


def _check_driver(scenario: Scenario, where: str, driver: Driver, types: Mapping[str, ColumnType]) -> None:
    given = [name for name, value in (("track", driver.track), ("at", driver.at), ("value", driver.value)) if value]
    if len(given) > 1:
        raise _fail(scenario, where, f"has {' and '.join(given)}", "a driver is a field around one place, or a value")
    _rising(scenario, where, "course", [hour for hour, _ in driver.course])
    if driver.value:
        if driver.course or driver.amount != 1.0:
            raise _fail(scenario, where, "`amount` and `course` are for fields", "put them into the term of `value`")
        try:
            Term.parse(driver.value, types).as_number()
        except TermError as error:
            raise _fail(scenario, where, error.message, error.remedy) from None


def check_effect(feed: Feed, effect: Effect, drivers: Iterable[str] = ()) -> None:
    """Check what a scenario with these drivers does to a feed: the quantity, `where`, `amount`.

    Raises CatalogueError.
    """
    shape = simulation_of(feed)
    if shape is None:
        raise CatalogueError(f"feed {feed.id} is not simulated", remedy="give it a table [feed.simulate]")
    names = dict.fromkeys([*feed.fields, *(quantity.name for quantity in shape.quantity)])
    if effect.field not in names:
        raise CatalogueError(f"feed {feed.id} has no quantity {effect.field!r}", remedy=_hint(effect.field, names))
    if effect.where:
        Term.parse(effect.where, known_columns(feed, shape, "constants")).as_condition()
    if effect.daily and effect.envelope is None:
        raise CatalogueError("`daily` without `envelope` says nothing", remedy="declare the envelope of one day")
    words = _words(feed, shape, effect.field)
    if words and not (isinstance(effect.amount, str) and _is_word(effect.amount)):
        raise CatalogueError(
            f"{effect.field!r} of feed {feed.id} is a word, and {effect.op} {effect.amount} does nothing to it",
            remedy=f"set it to one of {', '.join(words)}, quoted as in a term",
        )
    if isinstance(effect.amount, str):
        _check_amount(feed, shape, effect, effect.amount, drivers)


def _check_amount(feed: Feed, shape: Simulate, effect: Effect, amount: str, drivers: Iterable[str]) -> None:
    """A number over what is computed by then, or a word that the quantity knows."""
    words = _words(feed, shape, effect.field)
    tree = parse_expression(amount, "term")
    if tree.args.get("is_string"):
        if effect.op != "set" or str(tree.this) not in words:
            hint = f"{effect.field!r} can be set to {', '.join(words)}" if words else "give a number"
            raise CatalogueError(f"amount {amount!r}: {effect.op} does not take this word", remedy=hint)
        return
    latent = effect.field not in feed.fields
    types = known_columns(feed, shape, effect.field if latent else "")
    named = {str(column.name) for column in tree.find_all(exp.Column)}
    for name in drivers:
        if name in types and name in named:
            raise CatalogueError(
                f"amount {amount!r}: {name!r} is a driver and a column of {feed.id}", remedy="rename the driver"
            )
        types[name] = ColumnType.NUMBER
    Term.parse(amount, types).as_number()


def _is_word(amount: str) -> bool:
    return bool(parse_expression(amount, "term").args.get("is_string"))


def _words(feed: Feed, shape: Simulate, name: str) -> tuple[str, ...]:
    """The words that a quantity's codes stand for; none if it is a number."""
    for quantity in shape.quantity:
        if quantity.name == name and isinstance(quantity, States):
            return words_of(feed, quantity)
        if quantity.name == name and isinstance(quantity, Pick):
            return picked_words(feed, quantity, ())
    return feed.fields[name].values if name in feed.fields else ()


def _rising(scenario: Scenario, where: str, key: str, hours: list[float]) -> None:
    if hours != sorted(set(hours)):
        raise _fail(scenario, where, f"`{key}` needs rising hours", "sort them, and give each hour once")


def _hint(name: str, names: Mapping[str, object]) -> str:
    near = get_close_matches(name, list(names), 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"


def _fail(scenario: Scenario, where: str, why: str, remedy: str) -> CatalogueError:
    return CatalogueError(f"scenario {scenario.id}: {where}: {why}", remedy=remedy)
