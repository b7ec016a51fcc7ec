"""What a board shows, said once for every way of showing it: Grafana, a check without Grafana, a page of our own.

A board is sections of panels, a panel asks queries and says how their answer looks. Texts are `Name`s, in the
languages of the cluster; a rendering picks one. Queries are ClickHouse SQL (or PromQL) with Grafana's macros and
variables, which `dashboards.macros` expands where there is no Grafana.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from pearlstream.catalogue.models import Name

COLUMNS = 24
"""A row of panels is so many units wide, in Grafana as on our own page."""


class Kind(StrEnum):
    """How a panel draws what it gets."""

    TREND = "trend"
    BARS = "bars"
    STAT = "stat"
    TABLE = "table"
    MAP = "map"
    STATES = "states"
    TEXT = "text"


class Query(NamedTuple):
    """One question. `sql`: ClickHouse SQL, or PromQL where `of` says so. `series`: the answer is time, label and value,
    in the order of time; otherwise a table. `name`: which of a panel's queries it is (A, B, ...). `unsettled`: what it
    gives may still change, and there may be nothing of the kind."""

    sql: str
    series: bool = False
    name: str = "A"
    of: Literal["clickhouse", "prometheus"] = "clickhouse"
    legend: str = ""
    unsettled: bool = False


class Step(NamedTuple):
    """From `value` on (None: from below everything) a number has this colour."""

    value: float | None
    colour: str


class Word(NamedTuple):
    """How one value of a column reads and what colour it has."""

    text: str
    colour: str


@dataclass(frozen=True)
class Column:
    """How one column of a table looks. `title`: its heading; `hidden`: asked for, not shown; `link`: where a click on
    it leads, with Grafana's `${__data.fields.x}`; `words`: its values as words."""

    title: str = ""
    unit: str = ""
    decimals: int | None = None
    hidden: bool = False
    link: str = ""
    width: int | None = None
    words: Mapping[str, Word] = field(default_factory=dict)
    steps: Sequence[Step] = ()


@dataclass(frozen=True)
class Panel:
    """One panel. `width` in units of `COLUMNS`, `height` in units of about 30 pixels. `steps`: thresholds, drawn as
    dashed lines in a trend. `empty`: why an empty answer is right, empty: it is not; `settles_s`: so much time must
    have been seen before there is anything to show. `links`: title and address."""

    kind: Kind
    title: str
    width: int
    height: int
    queries: tuple[Query, ...] = ()
    description: str = ""
    unit: str = ""
    decimals: int | None = None
    least: float | None = None
    steps: Sequence[Step] = ()
    words: Mapping[str, Word] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    links: Sequence[tuple[str, str]] = ()
    text: str = ""
    no_data: str = ""
    empty: str = ""
    settles_s: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What only its kind knows: of bars the field that they show, of a map the columns that colour and name."""


@dataclass(frozen=True)
class Section:
    """Panels under one heading. `repeat`: the variable for each of whose values it is shown again."""

    title: str
    panels: Sequence[Panel]
    repeat: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Variable:
    """What the viewer chooses. `sql` gives value and label; `choices`: a fixed list of both; `typed`: any text. `many`:
    several at once, with a choice "all"; `first`: what is chosen at first (None: all, or the first)."""

    name: str
    label: str
    sql: str = ""
    choices: Sequence[tuple[str, str]] = ()
    typed: bool = False
    many: bool = False
    first: str | None = None


class Annotation(NamedTuple):
    """Marks on the time axis: columns `time`, optionally `timeEnd`, `text`, `tags`."""

    name: str
    sql: str
    colour: str
    shown: bool = True


@dataclass(frozen=True)
class Board:
    """One dashboard in one language. `span`: how much time it shows at first (Grafana's `now-6h`)."""

    uid: str
    title: str
    sections: Sequence[Section]
    variables: Sequence[Variable] = ()
    annotations: Sequence[Annotation] = ()
    links: Sequence[tuple[str, str]] = ()
    span: str = "now-6h"
    refresh: str = "10s"
    tags: Sequence[str] = ()

    @property
    def panels(self) -> list[Panel]:
        """All panels, in their order."""
        return [panel for section in self.sections for panel in section.panels]


class Tongue(NamedTuple):
    """A language of the boards. `code`: as in the catalogue's names; `tag`: as in addresses and uids."""

    code: Literal["en", "zh", "zh_hant", "pt"]
    tag: str

    def __call__(self, name: Name) -> str:
        """A name in this language; where it is missing, in the nearest one that there is."""
        nearest = {"zh_hant": name.zh, "pt": name.en}
        own: str = getattr(name, self.code)
        return own or nearest.get(self.code, name.en)


TONGUES = (
    Tongue("en", "en"),
    Tongue("zh", "zh"),
    Tongue("zh_hant", "zh-hant"),
    Tongue("pt", "pt"),
)
