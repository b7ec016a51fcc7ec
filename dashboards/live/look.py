"""What drawing needs to know besides a panel and its rows: language, time, the colours of series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dashboards.look import AMBER, BLUE, GREEN, GREY, PURPLE, RED, STATE_SIGNS
from dashboards.model import Tongue
from pearlstream.catalogue import Catalogue

SERIES_COLOURS = (
    BLUE, AMBER, GREEN, RED, PURPLE, "#56B4E9", "#882255", "#999933", "#44AA99", "#AA4499", "#6699CC", "#B8860B",
)  # fmt: skip
"""Colours of lines: those of Okabe and Ito, then of Tol's muted scheme, all to be seen on white and on black."""
SIGNS = {GREEN: STATE_SIGNS["OK"], AMBER: STATE_SIGNS["WATCH"], RED: STATE_SIGNS["RAISED"], GREY: STATE_SIGNS["NODATA"]}
"""What stands beside a colour that judges, for those who do not see it."""


@dataclass(frozen=True)
class Look:
    """A language, the stretch of event time that is shown (ms since 1970 UTC), how far the cluster's wall clocks are
    ahead of UTC (ms), and the places of names that keep their colour whatever else is shown."""

    tongue: Tongue
    from_ms: int
    to_ms: int
    offset_ms: int = 0
    places: Mapping[str, int] = field(default_factory=dict)

    def wall_ms(self, moment: Any) -> int:
        """A moment of the store as milliseconds of the cluster's wall clocks, which is what charts are given."""
        return ms_of(moment) + self.offset_ms

    def colour(self, label: str, rank: int) -> str:
        """The colour of a series: by its place if its name, or what it begins with, has one, else by its rank among
        those that are shown."""
        place = self.places.get(label)
        if place is None:
            place = next((at for name, at in self.places.items() if label.startswith(f"{name} ")), rank)
        return SERIES_COLOURS[place % len(SERIES_COLOURS)]

    def written(self, moment: Any) -> str:
        """A moment for a person: the time of day, with the date unless it is that of the end of what is shown."""
        there = _utc(self.wall_ms(moment))
        pattern = "%H:%M:%S" if there.second else "%H:%M"
        if there.date() != _utc(self.to_ms + self.offset_ms).date():
            pattern = f"%m-%d {pattern}"
        return there.strftime(pattern)


def ms_of(moment: datetime | int) -> int:
    """Milliseconds since 1970 UTC of what the store gives for a time; one without a zone is UTC."""
    if isinstance(moment, int):
        return moment
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def offset_of(catalogue: Catalogue) -> int:
    """How far the wall clocks of all cities are ahead of UTC, ms; 0 if they do not agree."""
    offsets = {city.utc_offset_h for city in catalogue.cities.values()}
    return round(offsets.pop() * 3_600_000) if len(offsets) == 1 else 0


def places_of(catalogue: Catalogue, tongue: Tongue) -> dict[str, int]:
    """The cities by name, the largest first, each with its place."""
    by_size = sorted(catalogue.cities.values(), key=lambda city: -city.population)
    return {tongue(city.name): place for place, city in enumerate(by_size)}
