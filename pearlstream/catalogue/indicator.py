"""What an indicator declares: measures, windows, formula, alert rule.

An indicator is arithmetic over mergeable measures; `pearlstream.program` parses its terms and formulas.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pearlstream.catalogue.models import CityCode, Entry, FeedId, Identifier, IndicatorId, Name, Seconds


class Measure(Entry):
    """A mergeable sum, minimum, maximum or map over the readings of one feed.

    `value`, `where`, `key`: terms, see `pearlstream.terms`. `by`: dimensions kept apart. `edges`: buckets
    of a histogram of `value` (kind map). `pane_s`: the length of its panes. `pane_of`: cut panes by the
    device's time or by arrival. `late`: whether late readings count.
    `feed = "*"` measures every feed of samples: one by one where the indicator is `per = "feed"`, all of them
    together otherwise. `city`: the column that names the city it counts for (needs stage = "cluster").
    """

    feed: FeedId | Literal["*"]
    kind: Literal["sum", "min", "max", "map"] = "sum"
    value: str = "1"
    where: str = ""
    key: str = ""
    edges: tuple[float, ...] = ()
    decimals: int = Field(3, ge=0, le=9)
    by: tuple[Identifier, ...] = ()
    city: Identifier | Literal[""] = ""
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


class Base(Entry):
    """What an ordinary hour looks like: the hour-of-week median of `value`, a formula over the indicator's measures.

    `per`: how it grows with the fleet: "device" keeps it per device in service, the name of a numeric static field per
    unit of its sum over the devices in service (a source's nominal rate), "one" is for ratios. Formulas of the
    indicator see it as `base_<name>`, null where nothing is known.
    """

    value: str
    per: Identifier = "device"


_HOLDS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


class Condition(Entry):
    """`value op threshold`, met by `count` windows in a row.

    `times = "base"`: the threshold is a multiple of the indicator's base named `value`.
    """

    op: Literal[">=", ">", "<=", "<"]
    value: float
    count: int = Field(3, ge=1)
    times: Literal["one", "base"] = "one"

    def met(self, value: float, base: float | None = None) -> bool:
        """Whether one value meets it. False if it is relative to a base that is not known."""
        if self.times == "one":
            return bool(_HOLDS[self.op](value, self.value))
        return base is not None and bool(_HOLDS[self.op](value, self.value * base))

    def met_each(self, values: NDArray[np.float64], bases: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where values meet it; NaN, as value or as base, does not."""
        met: NDArray[np.bool_] = _HOLDS[self.op](values, self.value if self.times == "one" else self.value * bases)
        return met


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
    """The alert rule of an indicator.

    `dims`: the series it watches: "total" those without dimensions, "each" every one. `suppressed_by`: indicators
    whose open alert in the same city (and on a feed that this indicator reads, where they are per feed) explains
    this one: it is not raised meanwhile.
    """

    thresholds: tuple[Thresholds, ...] = Field(min_length=1)
    severity: Literal["info", "warning", "critical"] = "warning"
    dims: Literal["total", "each"] = "each"
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
    expect), `devices` (in service at the window's start), `panes` (panes of the window), `population`, `whole` (1 in a
    row over all dimensions, 0 in the row of one).
    `base_<name>` are what `bases` declares. `per = "feed"`: one series per feed. `stage = "cluster"`: computed from
    all partitions, for what crosses cities; `scope` names a group that is one row (its id in capitals stands as
    the city), empty: a row per city. `smooth_s`: an exponential mean over windows. `dims`: one series per value of a
    dimension. `among`: a term on registry columns that narrows the fleet (and every measure). `coverage`: the measure
    whose rows are counted against the expected ones (default: all readings of the feed).
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
    scope: Identifier | Literal[""] = ""
    bases: dict[Identifier, Base] = Field(default_factory=dict)
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
            if self.per == "feed" and measure.feed != "*":
                raise ValueError(f"measure {name}: an indicator per feed measures feed = '*'")
            if measure.city and self.stage != "cluster":
                raise ValueError(f"measure {name}: `city` needs stage = 'cluster'")
        for name in (*self.reduce, "expected", "devices", "panes", "population", "whole"):
            if name in self.measures:
                raise ValueError(f"the measure name {name!r} is taken")
        if self.scope and self.stage != "cluster":
            raise ValueError("`scope` needs stage = 'cluster'")
        if self.coverage is not None and self.coverage not in self.measures:
            raise ValueError(f"no measure {self.coverage!r}")
        return self
