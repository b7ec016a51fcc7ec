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
    """One city of the cluster. `lon`, `lat` in degrees (WGS 84); `utc_offset_h` cuts its days and hours of week.

    `holidays`: whose public holidays are like Sundays there (a country's code in ISO 3166; empty: nobody's).
    """

    id: CityCode
    name: Name
    lon: float = Field(ge=-180, le=180)
    lat: float = Field(ge=-90, le=90)
    population: int = Field(gt=0)
    utc_offset_h: float = Field(8.0, ge=-12, le=14)
    holidays: str = Field("CN", pattern=r"^([A-Z]{2})?$")
    coast: bool = False
    known_for: str = ""


class Group(Entry):
    """A list of cities that is shown or summed together. A city belongs to no group by itself."""

    id: Identifier
    name: Name
    cities: tuple[CityCode, ...]


class Task(Entry):
    """One of the plan's tasks. `id` is its number."""

    id: str = Field(pattern=r"^[1-9]$")
    name: Name


class SubItem(Entry):
    """A sub-item of the plan: what indicators speak for. `id` begins with the number of its task (`2.2`)."""

    id: str = Field(pattern=r"^[1-9]\.[1-9]$")
    name: Name

    @property
    def task(self) -> str:
        """The id of the task that it belongs to."""
        return self.id[0]


class Card(Entry):
    """A figure that the plan itself states and no stream can measure: shown as text, never with a needle.

    `kind`: "target" only for what the plan sets as one; "reported" for what others report of it.
    """

    id: Identifier
    name: Name
    kind: Literal["target", "reported"]
    text: Name
    note: str = ""
    sources: tuple[str, ...] = ()


class FieldSpec(Entry):
    """A measured field of a feed.

    `min`, `max`: plausible range in `unit`; a value outside is kept with a `range` flag, or sets the row
    aside where `hard`. `spike`: a value that is further than this from the median of the device's last five gets a
    `spike` flag. `stuck_after`: so many equal values in a row get a `stuck` flag. `comparable`: the devices of a city
    measure much the same, on a scale with a true zero, so that one whose values are some ten times or a tenth of its
    neighbours' gets a `scale_suspect` flag. `decimals`: the grid of a float field; values are quantised to it before
    use.
    """

    type: Literal["float", "int", "bool", "enum", "text"] = "float"
    unit: str = ""
    min: float | None = None
    max: float | None = None
    hard: bool = False
    spike: float | None = Field(None, gt=0)
    stuck_after: int | None = Field(None, ge=2)
    comparable: bool = False
    decimals: int = Field(2, ge=0, le=6)
    required: bool = False
    values: tuple[str, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> FieldSpec:
        if (self.type == "enum") != bool(self.values):
            raise ValueError("`values` lists the words of an enum field, and of no other")
        if self.type not in ("float", "int") and (self.spike is not None or self.stuck_after is not None):
            raise ValueError("`spike` and `stuck_after` are for numbers")
        if self.comparable and (self.type not in ("float", "int") or self.min is None or self.min < 0):
            raise ValueError("`comparable` is for numbers that are never below zero; declare a `min` of 0 or more")
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
    in each of `cities` (empty: in all); `counts` names a number for each city that has any.

    `per_site`: devices at one site; `zones`: shares of core, suburb, rural. `poll_s`: the devices of a city report
    within so many seconds of each other, as a gateway polls them (empty: spread over the cadence).
    """

    k: float | None = Field(None, gt=0)
    total: int | None = Field(None, ge=1)
    counts: dict[CityCode, int] = Field(default_factory=dict)
    poll_s: float | None = Field(None, gt=0)
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

    `emits`: a device of samples owes one reading each cadence, a source of events owes nothing. `hold_s`: how long
    the clock waits for readings on the way before a window settles. `simulate`: the statistical shape, read by the
    simulator (see `catalogue.simulation`).
    """

    id: FeedId
    number: str = ""
    version: int = Field(1, ge=1)
    name: Name
    device: str
    emits: Literal["samples", "events"] = "samples"
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
        reserved |= {"has_seq", "src", "part", "off", "row", "keep", "withdrawn", "arrived", "stored_at", "clock"}
        for name in (*self.fields, *self.static):
            if name in reserved:
                raise ValueError(f"the field name {name!r} is reserved")
        both = set(self.fields) & set(self.static)
        if both:
            raise ValueError(f"{sorted(both)} are declared both as measured and as static")
        return self
