"""What the catalogue can declare: cities, feeds, indicators, scenarios.

Every class is one kind of table in the TOML files. Adding a feed or an indicator is adding such a table;
simulator, validation, tables, rollups, panels, alerts and reference pages follow from it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

CityCode = Annotated[str, Field(pattern=r"^[A-Z0-9-]{2,12}$")]
FeedId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(\.[a-z][a-z0-9]*)+$", max_length=48)]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
IndicatorId = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{1,15}$")]
Seconds = Annotated[int, Field(gt=0)]


class Entry(BaseModel):
    """A table of the catalogue: unknown keys are errors, so that a misspelt key is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Name(Entry):
    """A name in the languages of the cluster; English and Simplified Chinese are required."""

    en: str
    zh: str
    zh_hant: str = ""
    pt: str = ""


class City(Entry):
    """One city of the cluster. `lon`, `lat` in degrees (WGS 84); `utc_offset_h` cuts its days and hours of week."""

    id: CityCode
    name: Name
    lon: float = Field(ge=-180, le=180)
    lat: float = Field(ge=-90, le=90)
    population: int = Field(gt=0)
    utc_offset_h: float = Field(8.0, ge=-12, le=14)
    coast: bool = False
    known_for: str = ""
    shards: int = Field(1, ge=1, le=64)


class Group(Entry):
    """A list of cities that is shown or summed together. A city belongs to no group by itself."""

    id: Identifier
    name: Name
    cities: tuple[CityCode, ...]


class FieldSpec(Entry):
    """A measured field of a feed.

    `min`, `max`: plausible range in `unit`; a value outside is kept with a `range` flag, or sets the row
    aside where `hard`. `decimals`: the grid of a float field; values are quantised to it before use.
    """

    type: Literal["float", "int", "bool", "enum", "text"] = "float"
    unit: str = ""
    min: float | None = None
    max: float | None = None
    hard: bool = False
    decimals: int = Field(2, ge=0, le=6)
    required: bool = False
    values: tuple[str, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> FieldSpec:
        if (self.type == "enum") != bool(self.values):
            raise ValueError("`values` lists the words of an enum field, and of no other")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class StaticSpec(Entry):
    """A field that a device keeps for life (free-flow speed, sector): it stands in the registry, not in frames."""

    type: Literal["float", "int", "bool", "enum", "text"] = "float"
    unit: str = ""
    values: tuple[str, ...] = ()
    note: str = ""


class Fleet(Entry):
    """How many devices a city has: `total` spread by weight, or max(`least`, round(`k` * sqrt(population in millions)))
    in each of `cities` (empty: in all).

    `per_site`: devices at one site; `zones`: shares of core, suburb, rural.
    """

    k: float | None = Field(None, gt=0)
    total: int | None = Field(None, ge=1)
    least: int = Field(2, ge=0)
    cities: tuple[CityCode, ...] = ()
    per_site: int = Field(1, ge=1)
    zones: dict[Identifier, float] = Field(default_factory=lambda: {"core": 0.5, "suburb": 0.35, "rural": 0.15})


class Framing(Entry):
    """When a gateway closes a frame: after `rows`, or `seconds` of event time, whichever comes first."""

    rows: int = Field(500, ge=1, le=100_000)
    seconds: float = Field(5, gt=0, le=3600)


class Feed(Entry):
    """A kind of reading: which device emits it, how often, with which fields.

    `hold_s`: how long the clock waits for readings on the way before a window settles.
    `simulate`: the statistical shape, read by the simulator (see `catalogue.simulation`).
    """

    id: FeedId
    number: str = ""
    version: int = Field(1, ge=1)
    name: Name
    device: str
    cadence_s: Seconds
    hold_s: Seconds = 10
    seq: Literal["required", "optional", "none"] = "required"
    framing: Framing = Framing()
    fleet: Fleet = Fleet(k=4)
    fields: dict[Identifier, FieldSpec]
    static: dict[Identifier, StaticSpec] = Field(default_factory=dict)
    simulate: dict[str, Any] = Field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def schema(self) -> str:  # type: ignore[override]
        """The value of the header `schema`: `traffic.flow@1`."""
        return f"{self.id}@{self.version}"

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """The words of each enumeration, measured or static."""
        own = {name: spec.values for name, spec in self.fields.items() if spec.values}
        return own | {name: spec.values for name, spec in self.static.items() if spec.values}

    @model_validator(mode="after")
    def _names(self) -> Feed:
        reserved = {"device", "ts", "seq", "boot", "run", "qc", "city", "feed", "site", "zone", "late", "pane"}
        for name in (*self.fields, *self.static):
            if name in reserved:
                raise ValueError(f"the field name {name!r} is reserved")
        both = set(self.fields) & set(self.static)
        if both:
            raise ValueError(f"{sorted(both)} are declared both as measured and as static")
        return self


class Measure(Entry):
    """A mergeable sum, minimum, maximum or map over the readings of one feed.

    `value`, `where`, `key`: terms, see `pearlstream.terms`. `by`: dimensions kept apart. `edges`: buckets
    of a histogram of `value` (kind map). `pane_s`: the length of its panes. `pane_of`: cut panes by the
    device's time or by arrival. `late`: whether late readings count.
    `feed = "*"` measures every feed by itself.
    """

    feed: FeedId | Literal["*"]
    kind: Literal["sum", "min", "max", "map"] = "sum"
    value: str = "1"
    where: str = ""
    key: str = ""
    edges: tuple[float, ...] = ()
    decimals: int = Field(3, ge=0, le=9)
    by: tuple[Identifier, ...] = ()
    city: str = Field("", description="the column that names the city it counts for, if not the frame's")
    pane_s: Seconds = 10
    pane_of: Literal["event", "arrival"] = "event"
    late: Literal["include", "exclude"] = "include"
    merge: Literal["sum", "none"] = "sum"

    @model_validator(mode="after")
    def _kind(self) -> Measure:
        if self.kind == "map" and bool(self.key) == bool(self.edges):
            raise ValueError("a map needs either `key` (an integer term) or `edges` (buckets of `value`)")
        if self.kind != "map" and (self.key or self.edges):
            raise ValueError("`key` and `edges` belong to kind = 'map'")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("`edges` must rise")
        return self


class Reduction(Entry):
    """A value per member of a dimension first, and over the members then.

    `each`: the dimension (site). `value`: a formula over that member's measures (`<name>_n` is the number of
    rows of a measure). `valid`: members with a smaller share of their expected samples are left out.
    `over`: how members become one value. `span_s`: look-back, if not the window's length.
    """

    each: Identifier = "site"
    value: str
    over: Literal["mean", "max", "min", "sum", "share", "count"]
    valid: float = Field(0.0, ge=0, le=1)
    span_s: Seconds | None = None


class Window(Entry):
    """Event-time windows of `length_s`, one each `every_s` (default: tumbling).

    `cut = "city"` aligns them to the city's midnight, otherwise to 1970 UTC.
    """

    length_s: Seconds
    every_s: Seconds | None = None
    cut: Literal["utc", "city"] = "utc"

    @model_validator(mode="after")
    def _multiple(self) -> Window:
        if self.length_s % self.hop_s:
            raise ValueError("`length_s` must be a multiple of `every_s`")
        return self

    @property
    def hop_s(self) -> int:
        """Seconds between two window ends."""
        return self.every_s or self.length_s


class Condition(Entry):
    """`value op threshold`, met by `count` windows in a row. `times = "base"`: threshold is a multiple of the base."""

    op: Literal[">=", ">", "<=", "<"]
    value: float
    count: int = Field(3, ge=1)
    times: Literal["one", "base"] = "one"

    def met(self, value: float, base: float | None = None) -> bool:
        """Whether one value meets it. False if it is relative to a base that is not known."""
        if self.times == "base" and base is None:
            return False
        limit = self.value if self.times == "one" or base is None else self.value * base
        return {">=": value >= limit, ">": value > limit, "<=": value <= limit, "<": value < limit}[self.op]


class Thresholds(Entry):
    """When an alert is raised and when it is cleared; the gap between the two is the hysteresis."""

    raise_: Condition = Field(alias="raise")
    clear: Condition
    cities: tuple[CityCode, ...] = ()
    """Cities for which this pair holds; empty: all others."""

    @model_validator(mode="after")
    def _apart(self) -> Thresholds:
        if self.raise_.op[0] == self.clear.op[0]:
            raise ValueError("raise and clear must look in opposite directions")
        rising = self.raise_.op[0] == ">"
        if (rising and self.clear.value > self.raise_.value) or (not rising and self.clear.value < self.raise_.value):
            raise ValueError("raise and clear overlap: a value would be both")
        return self


class Alert(Entry):
    """The alert rule of an indicator. `suppressed_by`: indicators whose alert explains this one."""

    thresholds: tuple[Thresholds, ...] = Field(min_length=1)
    severity: Literal["info", "warning", "critical"] = "warning"
    suppressed_by: tuple[IndicatorId, ...] = ()
    nodata_after: int = Field(3, ge=1)

    def for_city(self, city: str) -> Thresholds:
        """The pair that holds for a city; the first that names it, else the first that names none."""
        for pair in self.thresholds:
            if city in pair.cities:
                return pair
        return next((pair for pair in self.thresholds if not pair.cities), self.thresholds[0])


class Reference(Entry):
    """A limit from a norm. Everything else is a demo default."""

    value: float
    label: str


class Indicator(Entry):
    """Arithmetic over merged measures, per city and window, tied to a sub-item of the plan.

    `value`: a formula over measures, reductions, and the names `expected` (samples that the registry lets
    expect), `devices` (in service at the window's start), `panes` (panes of the window), `population`.
    `per = "feed"`: one series per feed. `dims`: one series per value of a dimension. `among`: a term on
    registry columns that narrows the fleet (and every measure). `coverage`: the measure whose rows are
    counted against the expected ones (default: all readings of the feed).
    """

    id: IndicatorId
    sub_item: str = Field(pattern=r"^([1-6]\.[1-6]|safety|health)$")
    name: Name
    unit: str = ""
    decimals: int = Field(2, ge=0, le=6)
    direction: Literal["up", "down", "info"]
    window: Window
    measures: dict[Identifier, Measure]
    reduce: dict[Identifier, Reduction] = Field(default_factory=dict)
    value: str
    where: str = ""
    among: str = ""
    dims: tuple[Identifier, ...] = ()
    total: bool = Field(False, description="besides one row per value of `dims`, one over all of them")
    exclude: tuple[str, ...] = Field(
        ("range", "clock_ahead", "time_zone_suspect"), description="readings with these quality flags do not count"
    )
    per: Literal["city", "feed"] = "city"
    stage: Literal["city", "cluster"] = "city"
    coverage: Identifier | None = None
    min_coverage: float = Field(0.5, ge=0, le=1)
    base: Identifier | None = Field(None, description="the measure whose hour-of-week median is `base`")
    smooth_s: Seconds | None = Field(None, description="time constant of exponential smoothing over windows")
    alert: Alert | None = None
    reference: tuple[Reference, ...] = ()
    definition: str = ""
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Indicator:
        for name, measure in self.measures.items():
            missing = [dim for dim in self.dims if dim not in measure.by]
            if missing:
                raise ValueError(f"measure {name} must be kept `by` {missing}, which the indicator has as `dims`")
            if self.window.hop_s % measure.pane_s:
                raise ValueError(f"measure {name}: the hop of {self.window.hop_s} s is no multiple of its pane")
            if (measure.feed == "*") != (self.per == "feed"):
                raise ValueError(f"measure {name}: feed = '*' and per = 'feed' belong together")
        for name in (*self.reduce, "expected", "devices", "panes", "population"):
            if name in self.measures:
                raise ValueError(f"the measure name {name!r} is taken")
        for named in (self.coverage, self.base):
            if named is not None and named not in self.measures:
                raise ValueError(f"no measure {named!r}")
        return self


class Envelope(Entry):
    """How an effect comes and goes, in minutes of event time: from `start`, over `rise`, for `hold`, over `fall`."""

    start: float = 0
    rise: float = Field(0, ge=0)
    hold: float = Field(0, ge=0)
    fall: float = Field(0, ge=0)


class Effect(Entry):
    """What a scenario does to one quantity of a feed.

    `field`: a measured field or a named quantity of the feed's simulation. multiply: x * (1 + (amount - 1) *
    e * w); add: x + amount * e * w; set: amount where e * w >= 0.5. `where`: a term on registry columns.
    `share`: part of the devices it touches; `lag`: minutes by city; `cities`: weight w by city.
    """

    feed: FeedId
    field: Identifier
    op: Literal["multiply", "add", "set"]
    amount: float
    envelope: Envelope
    cities: dict[CityCode, float] = Field(default_factory=dict)
    elsewhere: float = 0.0
    lag: dict[CityCode, float] = Field(default_factory=dict)
    where: str = ""
    share: float = Field(1.0, gt=0, le=1)
    track: tuple[tuple[float, float, float], ...] = ()
    reach_km: float | None = None
    note: str = ""


class Truth(Entry):
    """A testable claim: which alert must open (or stay shut) in which cities, in minutes from the start."""

    indicator: IndicatorId
    cities: tuple[CityCode, ...] = ()
    at_least: int | None = None
    dims: str = ""
    must: Literal["fire", "stay_clear", "move"]
    between: tuple[float, float] | None = None
    clear_by: float | None = None
    note: str = ""


class Scenario(Entry):
    """A story that the cluster lives through, with the claims that score the alerts."""

    id: str = Field(pattern=r"^[A-Z0-9]{2,12}$")
    alias: str = Field(pattern=r"^[a-z][a-z0-9-]{1,40}$")
    name: Name
    start: str = Field(description="ISO 8601 with offset")
    length_s: Seconds
    effect: tuple[Effect, ...] = ()
    truth: tuple[Truth, ...] = ()
    note: str = ""
