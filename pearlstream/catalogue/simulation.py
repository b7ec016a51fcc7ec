"""What `[feed.simulate]` can declare: the statistical shape of a feed, from which the simulator makes readings.

A feed is simulated by *quantities*, computed for each reading in the order of their declaration; each may use
those before it, the device's constants (`device`, among them its static fields), `span_s` (seconds since the
device's last report), `turn` (number of the cadence, counted from the epoch), `hour` and `dow` (hour of the day and
day of the week on the city's clock, Monday is 1). A quantity with the name of a field is what the field reports; any
other is latent, and is there for formulas and for scenarios to act on. `catalogue.simulation_check` proves that all
names and terms fit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from pearlstream.catalogue.models import Entry, Feed, Identifier
from pearlstream.errors import CatalogueError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Words = dict[str, float]
Ref = float | Identifier
"""A number, or the name of a device constant."""


class Day(Entry):
    """The course of a day in the city's local time.

    `points`: (hour, value), joined by smooth steps around the clock. `peaks`: (hour, width in hours, height),
    bells added on top. `scale`: a factor on the whole day.
    """

    points: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    peaks: tuple[tuple[float, Positive, float], ...] = ()
    scale: float = 1.0

    @model_validator(mode="after")
    def _hours(self) -> Day:
        hours = [hour for hour, _ in self.points]
        if not hours or hours != sorted(set(hours)) or hours[0] < 0 or hours[-1] > 24:
            raise ValueError("`points` need rising hours from 0 to 24")
        return self


class Profile(Entry):
    """The course of a week and of a year. A day that is not given is like the day before it in this list.

    `months`: a factor for each month, January first.
    """

    weekday: Day
    saturday: Day | None = None
    sunday: Day | None = None
    months: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _twelve(self) -> Profile:
        if self.months and len(self.months) != 12:
            raise ValueError("`months` needs twelve factors")
        return self


# ---------------------------------------------------------------- constants of a device


class Constant(Entry):
    """What a device keeps for life: a static field, or a latent constant of its own.

    All are spread over the devices of each city by quota rather than by lot, so that a small fleet looks like
    a large one. choice: `weights` by word or number. by: `values` by the value of another constant. lognormal:
    `median`, `sigma`. uniform: `low` to `high`. site: one text per site. populace: `total` shared out over cities by
    population^`exponent`, and within a city evenly over its devices. given: what the roster says.
    `spread`: sigma of a lognormal factor (kind by). `per = "site"`: the same for all devices of a site.
    """

    kind: Literal["choice", "by", "lognormal", "uniform", "share", "site", "populace", "given"]
    per: Literal["device", "site"] = "device"
    weights: Words = Field(default_factory=dict)
    of: Identifier = ""
    values: Words = Field(default_factory=dict)
    spread: float = Field(0.0, ge=0)
    median: float = 1.0
    sigma: float = Field(0.0, ge=0)
    low: float = 0.0
    high: float = 1.0
    share: Share = 0.5
    total: float = 1.0
    exponent: float = 1.1
    min: float | None = None
    max: float | None = None
    decimals: int = Field(1, ge=0, le=6)

    @model_validator(mode="after")
    def _complete(self) -> Constant:
        if self.kind == "choice" and not self.weights:
            raise ValueError("kind = 'choice' needs `weights`")
        if self.kind == "by" and not (self.of and self.values):
            raise ValueError("kind = 'by' needs `of` and `values`")
        return self


# ---------------------------------------------------------------- quantities


class Quantity(Entry):
    """What all kinds of quantities have. `min`, `max`: bounds that it is clipped to."""

    name: Identifier
    min: float | None = None
    max: float | None = None


class Events(Quantity):
    """How many events a source emits with this report: a count with mean `mean` (a term), over-dispersed by `k`.

    What is declared after it is computed for each event, what is before for each report; a feed has at most one.
    Events are spread over the time since the last report, and each has a `seq` of its own. An effect on this
    quantity acts on the mean.
    """

    kind: Literal["events"]
    mean: str
    k: Positive | None = 15.0


class Pick(Quantity):
    """One word by lot. `weights`: a number or a term by word; `own`: a weight besides for the source's own city.

    `of = "cities"`: the words are the codes of the catalogue's cities; `others` is the weight of all those together
    that have none of their own, shared out among them by population^`exponent`.
    """

    kind: Literal["pick"]
    of: Literal["words", "cities"] = "words"
    weights: dict[str, float | str] = Field(default_factory=dict)
    own: float | str = 0.0
    others: float = Field(0.0, ge=0)
    exponent: float = 1.1


class Chance(Quantity):
    """True with probability `p` (a term)."""

    kind: Literal["chance"]
    p: str


class Draw(Quantity):
    """A number by lot. lognormal: `scale` (a term) is the median, `sigma` the width; normal: mean and deviation;
    exponential: the mean; gamma: the mean, with shape `k`; uniform: 0 to `scale`; rayleigh: the mode."""

    kind: Literal["draw"]
    dist: Literal["lognormal", "normal", "exponential", "gamma", "uniform", "rayleigh"]
    scale: str
    sigma: float = Field(0.5, ge=0)
    k: Positive = 1.0


class Serial(Quantity):
    """A whole number that names one thing (an order, a case): random, 48 bits, no two alike in practice."""

    kind: Literal["serial"]


class Queue(Quantity):
    """A queue: q' = max(0, q + `arrivals` - `capacity`), both terms per report (Lindley's recursion, 1952).

    Its terms and those after it also see `<name>_before`, the length before this report.
    """

    kind: Literal["queue"]
    arrivals: str
    capacity: str


class Accrue(Quantity):
    """What adds up until it is taken away: x' = x + `add` per report, and 0 where `reset` (a condition) holds.

    `first`: it begins anywhere between 0 and this. Its terms and those after it also see `<name>_before`.
    """

    kind: Literal["accrue"]
    add: str
    reset: str = "false"
    first: float = Field(0.0, ge=0)


class Level(Quantity):
    """A level that follows the clock and wanders around it.

    multiply: base * profile * by * exp(sigma * u - sigma^2 / 2); add: base + amplitude * profile + by + sigma * u.
    `u` is standard normal: AR(1) with `phi` from one report to the next, correlated over a distance d as
    (1 - own) * exp(-d / length_km). `spread`: how much devices differ for good. `by`: a factor or addend by
    the value of a constant.
    """

    kind: Literal["level"]
    base: Ref = 1.0
    mode: Literal["multiply", "add"] = "multiply"
    profile: Identifier = ""
    amplitude: float = 1.0
    by: dict[Identifier, Words] = Field(default_factory=dict)
    spread: float = Field(0.0, ge=0)
    sigma: float = Field(0.0, ge=0)
    phi: float = Field(0.0, ge=0, lt=1)
    length_km: float = Field(0.0, ge=0)
    own: Share = 0.3


class Formula(Quantity):
    """A term over the quantities before it and the device's constants (the syntax of measures)."""

    kind: Literal["formula"]
    value: str


class Poisson(Quantity):
    """A count with mean `mean` (a term); over-dispersed (negative binomial) where `k` is given."""

    kind: Literal["poisson"]
    mean: str
    k: Positive | None = None


class Binomial(Quantity):
    """How many of `n` (a term) happen, each with probability `p` (a term)."""

    kind: Literal["binomial"]
    n: str
    p: str


class Pieces(Quantity):
    """Whole pieces out of a steady rate: `amount` (a term, per report) adds up, full units are reported."""

    kind: Literal["pieces"]
    amount: str


class Stay(Entry):
    """How long a state lasts, and what follows: exponential with `mean_s`, lognormal with `median_s` and `sigma`, or
    exactly `fixed_s`. `next`: weight of each follower, a number or a term over what is computed before."""

    mean_s: Positive | None = None
    fixed_s: Positive | None = None
    median_s: Positive | None = None
    sigma: float = Field(0.0, ge=0)
    next: dict[str, float | str] = Field(min_length=1)

    @model_validator(mode="after")
    def _one(self) -> Stay:
        if sum(given is not None for given in (self.mean_s, self.median_s, self.fixed_s)) != 1:
            raise ValueError("a state lasts one of `mean_s`, `median_s`, `fixed_s`")
        return self


class States(Quantity):
    """A semi-Markov machine. Its value is the code of a word of `words`, the enum of the field.

    `planned`: a word, and the profile that says which share of the devices is off by plan (always the same
    devices first). `override`: a quantity; where it is 0 or more, it is the state's code.
    """

    kind: Literal["states"]
    words: tuple[str, ...] = ()
    stay: dict[str, Stay] = Field(min_length=1)
    planned: str = ""
    off: Identifier = ""
    override: Identifier = ""


AnyQuantity = Annotated[
    Level | Formula | Poisson | Binomial | Pieces | States | Events | Pick | Chance | Draw | Serial | Queue | Accrue,
    Field(discriminator="kind"),
]


# ---------------------------------------------------------------- faults


class Network(Entry):
    """The way from the device to the log, on a good day.

    Delay is lognormal. `loss`: readings that never arrive. `duplicates`: sent again, as at-least-once
    protocols do. `disorder`: held up by up to `disorder_s`.
    """

    median_s: Positive = 0.4
    p99_s: Positive = 6.0
    loss: Share = 0.003
    duplicates: Share = 0.002
    disorder: Share = 0.01
    disorder_s: Positive = 10.0


class Outage(Entry):
    """A gateway without uplink. `per_day`: per city, over all its feeds. Duration is lognormal.

    `buffered` of the devices keep their readings and send them at `speedup` afterwards, shuffled in blocks of
    `block`; of these, `duplicates` twice, and `stragglers` up to `straggle_s` later still.
    """

    per_day: float = Field(0.05, ge=0)
    median_min: Positive = 12.0
    p95_min: Positive = 90.0
    buffered: Share = 0.8
    speedup: Positive = 20.0
    block: int = Field(50, ge=1)
    duplicates: Share = 0.03
    stragglers: Share = 0.02
    straggle_s: Positive = 120.0


class DeviceClock(Entry):
    """How wrong the clocks of devices are: offset and drift are normal; `resync` of them set it once a day.

    `wrong` of the devices are off by minutes, or by exactly eight hours.
    """

    offset_s: float = Field(0.2, ge=0)
    drift_ppm: float = Field(5.0, ge=0)
    resync: Share = 0.95
    wrong: Share = 0.002


class Sensor(Entry):
    """How sensors fail. Rates are per device; every episode has its label on `truth.labels`.

    outlier: a share of samples jumps by 5 to 15 times the field's ordinary noise, for 1 to 3 samples. stuck: episodes
    a device-day in which a value stands still, lognormal. drift: a share of devices gains or loses since it was
    calibrated, by -0.5 to 1 times `drift_per_month`. dropout: episodes a device-day of silence; the device goes on
    sampling and counting. dead: devices that are silent for the whole run. unit: devices that report ten times or a
    tenth of the value, on any day. reset: counters that start again (`seq` at 0), a device-day. calibration: all
    fields at zero, then at `calibration_span` of their range.
    `fields`: which fields these faults touch (empty: every float field that is simulated). An outlier, a stuck value
    or a wrong unit befalls one of them, drift and calibration all. `drift_where`, `calibration_where`: conditions on
    devices (empty: all of them).
    """

    fields: tuple[Identifier, ...] = ()
    outlier: Share = 0.0005
    stuck_per_day: float = Field(0.004, ge=0)
    stuck_median_h: Positive = 3.0
    drift: Share = 0.0
    drift_per_month: float = 0.02
    drift_where: str = ""
    dropout_per_day: float = Field(0.02, ge=0)
    dropout_median_min: Positive = 40.0
    dead: Share = 0.0
    unit: Share = 0.001
    reset_per_day: float = Field(0.0, ge=0)
    calibration: bool = Field(False, description="30 min of zero and span values at 02:00 every third day")
    calibration_where: str = ""
    calibration_span: Share = 0.2


class Faults(Entry):
    """What goes wrong between a device and the log when nothing special happens."""

    network: Network = Network()
    outage: Outage = Outage()
    clock: DeviceClock = DeviceClock()
    sensor: Sensor = Sensor()


class Roster(Entry):
    """Devices that are named one by one, because each is a piece of infrastructure: never scaled, never sampled.

    `values`: their constants. `count`: so many alike.
    """

    city: str
    count: int = Field(1, ge=1)
    zone: Identifier = "core"
    values: dict[Identifier, float | bool | str] = Field(default_factory=dict)


class Simulate(Entry):
    """The table `[feed.simulate]`.

    `roster`: the fleet, device by device, instead of a number of alike ones. `silent`: a condition; a report for
    which it holds is not sent (and owes nothing: the feed emits events).
    """

    profile: dict[Identifier, Profile] = Field(default_factory=dict)
    device: dict[Identifier, Constant] = Field(default_factory=dict)
    roster: tuple[Roster, ...] = ()
    quantity: tuple[AnyQuantity, ...] = Field(min_length=1)
    silent: str = ""
    faults: Faults = Faults()


def simulation_of(feed: Feed) -> Simulate | None:
    """The feed's statistical shape, or None if it has none. Raises CatalogueError naming feed, key and remedy."""
    if not feed.simulate:
        return None
    try:
        return Simulate.model_validate(feed.simulate)
    except ValidationError as error:
        first = error.errors()[0]
        keys = ".".join(str(key) for key in first["loc"])
        raise CatalogueError(
            f"feed {feed.id}: simulate.{keys}: {first['msg'].removeprefix('Value error, ')}",
            remedy="see `pearlstream.catalogue.simulation` for what can be declared",
        ) from None


def picked_words(feed: Feed, quantity: Pick, cities: Sequence[str]) -> tuple[str, ...]:
    """The words that a pick chooses from: the field's own, or all cities and whatever else has a weight."""
    if quantity.of == "cities":
        return tuple(dict.fromkeys([*cities, *quantity.weights]))
    field = feed.fields.get(quantity.name)
    return field.values if field is not None and field.values else tuple(quantity.weights)


def given_type(feed: Feed, shape: Simulate, name: str) -> Literal["bool", "float", "text"]:
    """What a constant of kind `given` holds: what its field holds, else what the roster's values are."""
    spec = feed.static.get(name) or feed.fields.get(name)
    if spec is not None:
        return spec.type if spec.type in ("bool", "float", "text") else "float" if spec.type == "int" else "text"
    values = [entry.values[name] for entry in shape.roster if name in entry.values]
    if any(isinstance(value, str) for value in values):
        return "text"
    return "bool" if values and all(isinstance(value, bool) for value in values) else "float"


def words_of(feed: Feed, quantity: States) -> tuple[str, ...]:
    """The words that a machine's codes stand for: its own, or those of the field that has its name."""
    field = feed.fields.get(quantity.name)
    return quantity.words or (field.values if field is not None else tuple(quantity.stay))
