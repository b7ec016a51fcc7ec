"""Proves that what a feed's simulation declares fits together: names, terms, profiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from sqlglot import exp

from pearlstream.catalogue.models import Feed
from pearlstream.catalogue.simulation import (
    Accrue,
    AnyQuantity,
    Binomial,
    Chance,
    Constant,
    Draw,
    Events,
    Formula,
    Level,
    Pick,
    Pieces,
    Poisson,
    Queue,
    Sensor,
    Serial,
    Simulate,
    States,
    given_type,
    picked_words,
    simulation_of,
    words_of,
)
from pearlstream.errors import CatalogueError, TermError
from pearlstream.expression import parse_expression
from pearlstream.terms import ColumnType, Kind, Term

MOMENT = ("span_s", "turn", "hour", "dow")
"""What every term knows of the moment: seconds since the last report, number of the cadence, local hour and day."""

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


def check_simulation(feed: Feed, cities: Iterable[str] = ()) -> Simulate | None:
    """Read and check the feed's shape: names, terms, profiles, and the cities it names, if those are given.

    Raises CatalogueError saying where and what.
    """
    shape = simulation_of(feed)
    if shape is not None:
        _Check(feed, shape, cities).run()
    return shape


def known_columns(feed: Feed, shape: Simulate, before: str = "") -> dict[str, ColumnType]:
    """What a term on the feed's readings may name: registry columns, constants, and every quantity.

    `before`: only the quantities declared before this one; `constants`: none at all, as for terms on devices.
    """
    check = _Check(feed, shape)
    if before == "constants":
        return {**REGISTRY_TYPES, **check.constants()}
    check.run()
    names = [quantity.name for quantity in shape.quantity]
    later = set(names[names.index(before) :]) if before else set()
    return {name: kind for name, kind in check.types.items() if name not in later}


_GIVEN = {"bool": ColumnType.BOOLEAN, "float": ColumnType.NUMBER, "text": ColumnType.TEXT}


def check_sensor(feed: Feed, shape: Simulate, sensor: Sensor) -> None:
    """Check the names in a feed's sensor faults. Raises CatalogueError naming feed and key."""
    check = _Check(feed, shape)
    simulated = {quantity.name for quantity in shape.quantity} | set(shape.device)
    for name in sensor.fields:
        check.known("faults.sensor.fields", name, dict.fromkeys(name for name in feed.fields if name in simulated))
        if feed.fields[name].type not in ("float", "int"):
            raise check.fail("faults.sensor.fields", f"{name} is no number", "faults change numbers; leave it out")
    for key in ("drift_where", "calibration_where"):
        if condition := getattr(sensor, key):
            try:
                Term.parse(condition, {**REGISTRY_TYPES, **check.constants()}).as_condition()
            except TermError as error:
                raise check.fail(f"faults.sensor.{key}", error.message, error.remedy) from None


class _Check:
    """Walks the declarations of one feed in order, knowing at each step which names are there already."""

    def __init__(self, feed: Feed, shape: Simulate, cities: Iterable[str] = ()) -> None:
        self.feed = feed
        self.shape = shape
        self.cities = dict.fromkeys(cities)
        self.types: dict[str, ColumnType] = {**REGISTRY_TYPES, **dict.fromkeys(MOMENT, ColumnType.NUMBER)}
        self.made: set[str] = set()
        self.per_event = False

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
        self._roster()
        types = self.constants()
        for name, constant in self.shape.device.items():
            if constant.kind == "by":
                self.known(f"device.{name}", constant.of, self.types)
            self.types[name] = types[name]
        for name in self.feed.static:
            self.known(f"device.{name}", name, self.shape.device)
        for quantity in self.shape.quantity:
            self._quantity(quantity)
        if self.shape.silent:
            if self.feed.emits != "events":
                raise self.fail("silent", "a feed that emits samples owes every report", 'declare emits = "events"')
            self._condition("silent", self.shape.silent)
        made = self.made | set(self.shape.device)
        for name, spec in self.feed.fields.items():
            if spec.required and name not in made | {"span_s"}:
                raise self.fail(f"quantity.{name}", "the field is required and nothing makes it", "declare a quantity")
        check_sensor(self.feed, self.shape, self.shape.faults.sensor)

    def _constant_type(self, name: str, constant: Constant) -> ColumnType:
        spec = self.feed.static.get(name) or self.feed.fields.get(name)
        if constant.kind == "given":
            return _GIVEN[given_type(self.feed, self.shape, name)]
        if constant.kind == "site" or (spec is not None and spec.type in ("enum", "text")):
            return ColumnType.TEXT
        if spec is not None and spec.type == "bool":
            return ColumnType.BOOLEAN
        numbers = constant.kind != "choice" or all(_is_number(word) for word in constant.weights)
        return ColumnType.NUMBER if numbers else ColumnType.TEXT

    def _roster(self) -> None:
        given = {name for name, constant in self.shape.device.items() if constant.kind == "given"}
        if given and not self.shape.roster:
            raise self.fail(f"device.{min(given)}", "there is no roster to say it", "declare [[feed.simulate.roster]]")
        for number, entry in enumerate(self.shape.roster, 1):
            where = f"roster[{number}]"
            if self.cities:
                self.known(where, entry.city, self.cities)
            self.known(where, entry.zone, self.feed.fleet.zones)
            for name, value in entry.values.items():
                self.known(f"{where}.values", name, dict.fromkeys(given))
                if self.feed.words.get(name):
                    self.known(f"{where}.values.{name}", str(value), dict.fromkeys(self.feed.words[name]))

    def _quantity(self, quantity: AnyQuantity) -> None:
        where = f"quantity.{quantity.name}"
        if quantity.name in self.made:
            raise self.fail(where, "is declared twice", "give each quantity a name of its own")
        self.made.add(quantity.name)
        if self.per_event and _remembers(quantity):
            raise self.fail(where, f"{quantity.kind} is for reports, not for events", "declare it before `events`")
        kind = self._kind_of(where, quantity)
        field = self.feed.fields.get(quantity.name)
        if field is not None and field.type == "text" and kind is not ColumnType.TEXT:
            raise self.fail(where, "is no text, but the field is", "make the field a number, or yield words")
        self.types[quantity.name] = kind

    def _kind_of(self, where: str, quantity: AnyQuantity) -> ColumnType:
        """Check what the quantity declares, and say what it holds."""
        match quantity:
            case Level():
                self._level(where, quantity)
            case Formula():
                return self._formula(where, quantity.value)
            case Events():
                self._events(where, quantity)
            case Queue() | Accrue():
                self._carried(where, quantity)
            case Pick():
                return self._pick(where, quantity)
            case Chance():
                self._term(where, quantity.p)
                return ColumnType.BOOLEAN
            case States():
                self._states(where, quantity)
                return ColumnType.TEXT
            case Poisson():
                self._term(where, quantity.mean)
            case Binomial():
                self._term(where, quantity.n)
                self._term(where, quantity.p)
            case Pieces():
                self._term(where, quantity.amount)
            case Draw():
                self._term(where, quantity.scale)
            case Serial():
                pass
        return ColumnType.NUMBER

    def _level(self, where: str, level: Level) -> None:
        if isinstance(level.base, str):
            self.known(where, level.base, self.types)
        if level.profile:
            self.known(where, level.profile, self.shape.profile)
        for column in level.by:
            self.known(where, column, self.types)

    def _events(self, where: str, events: Events) -> None:
        if self.feed.emits != "events":
            raise self.fail(where, "the feed emits samples", 'declare emits = "events"')
        if self.per_event:
            raise self.fail(where, "the feed has `events` already", "a feed has one kind of event; leave one out")
        if events.name in self.feed.fields:
            raise self.fail(where, "is a field of the feed", "give it a name of its own")
        self._term(where, events.mean)
        self.per_event = True

    def _carried(self, where: str, quantity: Queue | Accrue) -> None:
        self.types[f"{quantity.name}_before"] = ColumnType.NUMBER
        if isinstance(quantity, Queue):
            self._term(where, quantity.arrivals)
            self._term(where, quantity.capacity)
            return
        self._term(where, quantity.add)
        self._condition(f"{where}.reset", quantity.reset)

    def _pick(self, where: str, pick: Pick) -> ColumnType:
        field = self.feed.fields.get(pick.name)
        for weight in (pick.own, *pick.weights.values()):
            if isinstance(weight, str):
                self._term(where, weight)
        if pick.of == "cities":
            for word in pick.weights if self.cities else ():
                self.known(f"{where}.weights", word, dict.fromkeys([*self.cities, *(field.values if field else ())]))
            if not (pick.weights or pick.own or pick.others):
                raise self.fail(where, "no city has any weight", "declare `weights`, `own` or `others`")
            return ColumnType.TEXT
        if not pick.weights:
            raise self.fail(where, "no word has a weight", "declare `weights`")
        if pick.own or pick.others:
            raise self.fail(where, "`own` and `others` are for cities", 'declare of = "cities", or leave them out')
        words = picked_words(self.feed, pick, ())
        for word in pick.weights:
            self.known(f"{where}.weights", word, dict.fromkeys(words))
        numbers = (field is None or field.type in ("int", "float")) and all(_is_number(word) for word in words)
        return ColumnType.NUMBER if numbers else ColumnType.TEXT

    def _states(self, where: str, quantity: States) -> None:
        words = dict.fromkeys(words_of(self.feed, quantity))
        for word, stay in quantity.stay.items():
            self.known(where, word, words)
            for follower, weight in stay.next.items():
                self.known(f"{where}.stay.{word}.next", follower, quantity.stay)
                if isinstance(weight, str):
                    self._term(f"{where}.stay.{word}.next.{follower}", weight)
        if quantity.planned:
            self.known(where, quantity.planned, words)
            self.known(where, quantity.off, self.shape.profile)
        if quantity.override:
            self.known(where, quantity.override, self.types)

    def _formula(self, where: str, text: str) -> ColumnType:
        """What a formula yields: words where every arm of its CASE does, else what the term is."""
        try:
            tree = parse_expression(text, "term")
        except TermError as error:
            raise self.fail(where, error.message, error.remedy) from None
        if self._words(where, tree):
            return ColumnType.TEXT
        condition = self._term(where, text).kind is Kind.CONDITION
        return ColumnType.BOOLEAN if condition else ColumnType.NUMBER

    def _words(self, where: str, tree: exp.Expr) -> bool:
        """Whether an expression yields words; the conditions on the way to them are checked."""
        if isinstance(tree, exp.Paren):
            return self._words(where, tree.this)
        if isinstance(tree, exp.Column):
            return self.types.get(str(tree.name)) is ColumnType.TEXT
        if not isinstance(tree, exp.Case):
            return bool(tree.args.get("is_string"))
        arms = tree.args["ifs"]
        values = [arm.args["true"] for arm in arms] + [tree.args.get("default")]
        worded = [value is not None and self._words(where, value) for value in values]
        if any(worded) and not all(worded):
            raise self.fail(where, "some arms of CASE are words and others are not", "give a word in every arm")
        for arm in arms if any(worded) else ():
            self._condition(where, arm.this.sql())
        return any(worded)

    def _condition(self, where: str, text: str) -> None:
        if self._term(where, text).kind is not Kind.CONDITION:
            raise self.fail(where, f"{text!r} is a number where a condition is needed", "compare it")

    def _term(self, where: str, text: str) -> Term:
        try:
            return Term.parse(text, self.types)
        except TermError as error:
            raise self.fail(where, error.message, error.remedy) from None


def _remembers(quantity: AnyQuantity) -> bool:
    """Whether a quantity goes on from one report of a device to the next."""
    if isinstance(quantity, Level):
        return bool(quantity.sigma and (quantity.phi or quantity.length_km))
    return isinstance(quantity, Pieces | Queue | Accrue | States)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
