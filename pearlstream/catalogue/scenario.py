"""What a scenario declares: what happens to the cluster, and the claims that score the alerts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pearlstream.catalogue.models import CityCode, Entry, FeedId, Identifier, IndicatorId, Name, Seconds


class Envelope(Entry):
    """How an effect comes and goes, in minutes of event time: from `start`, over `rise`, for `hold`, over `fall`."""

    start: float = 0
    rise: float = Field(0, ge=0)
    hold: float = Field(0, ge=0)
    fall: float = Field(0, ge=0)


class Track(Entry):
    """The way of something that moves: (hour from the scenario's start, lon, lat), joined by straight lines.

    Before the first point and after the last it stays where it is.
    """

    id: Identifier
    points: tuple[tuple[float, float, float], ...] = Field(min_length=1)


class Driver(Entry):
    """What moves effects: a number for each place and moment, computed before anything else.

    Either a field around a `track` (or around `at`, a fixed lon and lat; or, without either, the same everywhere):
    `amount` times the `course` (hour, factor; straight lines between) times the shape at distance r, "vortex":
    r / radius inside, (radius / r)^exponent outside; "gauss": exp(-(r / radius)^2); "even": 1 within the radius, 0
    beyond. Or `value`, a term over drivers declared before and columns of the registry. `coast`, `inland`: factors by
    kind of city. `lag`: minutes by which it comes later. `memory_h`: it falls off with this time constant, however
    fast its cause does.
    """

    name: Identifier
    track: Identifier | Literal[""] = ""
    at: tuple[float, float] | None = None
    shape: Literal["vortex", "gauss", "even"] = "gauss"
    radius_km: float = Field(100.0, gt=0)
    exponent: float = Field(0.6, gt=0)
    amount: float = 1.0
    course: tuple[tuple[float, float], ...] = ()
    value: str = ""
    coast: float = 1.0
    inland: float = 1.0
    lag: float = Field(0.0, ge=0)
    memory_h: float = Field(0.0, ge=0)


class Effect(Entry):
    """What a scenario does to one quantity of a feed.

    `field`: a measured field or a named quantity of the feed's simulation. multiply: x * (1 + (amount - 1) *
    e * w); add: x + amount * e * w; set: amount where e * w >= 0.5; at_least, at_most: bounds where e * w >= 0.5.
    `amount`: a number, or a term over the scenario's drivers and the feed's quantities and registry columns.
    `envelope`: when (default: always while the scenario lasts); `daily`: the envelope comes again each day.
    `where`: a term on registry columns. `share`: part of the devices it touches (the same ones for the same
    `group`); `lag`: minutes by city; `cities`: weight w by city, `elsewhere` in all others.
    """

    feed: FeedId
    field: Identifier
    op: Literal["multiply", "add", "set", "at_least", "at_most"]
    amount: float | str
    envelope: Envelope | None = None
    daily: bool = False
    cities: dict[CityCode, float] = Field(default_factory=dict)
    elsewhere: float = 0.0
    lag: dict[CityCode, float] = Field(default_factory=dict)
    where: str = ""
    share: float = Field(1.0, gt=0, le=1)
    group: str = ""
    note: str = ""


class Disturbance(Entry):
    """What a scenario does to the telemetry plane, which leaves what is measured as it is.

    outage: gateways of these feeds and cities hold everything from minute `start` for `minutes`, then send it within
    `flush_min`, shuffled, `duplicates` of it twice. clock: the clocks of a `share` of the devices are off by
    `offset_s` meanwhile. `lost`: the share of devices that do not buffer.
    """

    kind: Literal["outage", "clock"]
    feeds: tuple[FeedId, ...]
    cities: tuple[CityCode, ...]
    start: float = 0
    minutes: float = Field(gt=0)
    flush_min: float = Field(5, gt=0)
    duplicates: float = Field(0.03, ge=0, le=1)
    lost: float = Field(0.0, ge=0, le=1)
    share: float = Field(1.0, gt=0, le=1)
    offset_s: float = 0
    note: str = ""


class Truth(Entry):
    """A testable claim about one indicator or field in some cities, times in minutes from the scenario's start.

    fire: an alert of `indicator` opens with its window end in `between`, in each of `cities` (or in `at_least` of
    them), and is closed by `clear_by`; `reach`: its value gets that far; `stays_open`: it is never closed.
    stay_clear: none opens. may: it may open, which is neither right nor wrong (say why in `note`).
    move: the mean of `field` of `feed` over `between` (with `count`: the number of its readings), or the mean of the
    windows of `indicator` that end in `between`, set against the same run without the scenario: `factor` is the ratio
    that it must reach (above 1: at least, below 1: at most), `difference` the same for the difference (positive: at
    least, negative: at most). same: in the end, rows, numerators and denominators of the windows of
    `indicator` that end in `between` add up to those of the same run without the scenario's disturbances, to a part of
    `within`. `daily`: the claim holds for each day of the scenario. `after`: it opens later than the first alert of
    that indicator.
    """

    indicator: IndicatorId | Literal[""] = ""
    cities: tuple[CityCode, ...] = ()
    at_least: int | None = Field(None, ge=1)
    dims: str = ""
    must: Literal["fire", "stay_clear", "may", "move", "same"]
    between: tuple[float, float] | None = None
    clear_by: float | None = None
    stays_open: bool = False
    reach: float | None = None
    daily: bool = False
    after: IndicatorId | Literal[""] = ""
    feed: FeedId | Literal[""] = ""
    field: Identifier | Literal[""] = ""
    count: bool = False
    factor: float | None = Field(None, gt=0)
    difference: float | None = None
    within: float = Field(0.005, gt=0)
    note: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Truth:
        if self.must == "move":
            if bool(self.feed and self.field) == bool(self.indicator):
                raise ValueError("a claim that something moves needs `feed` and `field`, or `indicator`")
            if (self.factor is None) == (self.difference is None):
                raise ValueError("a claim that something moves needs `factor` or `difference`")
            if self.between is None:
                raise ValueError("a claim that something moves needs `between`")
        elif not self.indicator:
            raise ValueError(f"a claim {self.must!r} needs `indicator`")
        if self.must in ("fire", "same") and self.between is None:
            raise ValueError(f"a claim {self.must!r} needs `between`")
        return self


class Scenario(Entry):
    """A story that the cluster lives through, with the claims that score the alerts.

    `cities` of a claim may be empty: all cities.
    """

    id: str = Field(pattern=r"^[A-Z0-9]{2,12}$")
    alias: str = Field(pattern=r"^[a-z][a-z0-9-]{1,40}$")
    name: Name
    start: str = Field(description="ISO 8601 with offset")
    length_s: Seconds
    track: tuple[Track, ...] = ()
    driver: tuple[Driver, ...] = ()
    effect: tuple[Effect, ...] = ()
    disturb: tuple[Disturbance, ...] = ()
    truth: tuple[Truth, ...] = ()
    note: str = ""
