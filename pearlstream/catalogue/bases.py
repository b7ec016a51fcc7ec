"""What an ordinary hour looks like: a value for each hour of the week, by indicator and city.

Bases are data, learned by `pearlstream base learn` and kept in the folder `bases/` of the catalogue or of an
overlay, so that a run names them by the catalogue's version and a replay knows the ordinary of then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache

from pydantic import Field, field_validator

from pearlstream.catalogue.models import City, CityCode, Entry, Group, Identifier, IndicatorId

HOURS = 168
"""Hours of a week; the first is Monday, 00 h to 01 h in the city's zone."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SATURDAY, SUNDAY = 5, 6
EPOCH = date(1970, 1, 1)


class Ordinary(Entry):
    """The base `name` of an indicator in a city (or in a group of cities that is one row).

    `values`: a median for each hour of the week, `nan` where nothing is known. `weeks`: how many weeks stand behind
    it; `samples`: how many windows behind the hour that has fewest of them, hours that are not known left out.
    """

    indicator: IndicatorId
    name: Identifier
    city: CityCode
    values: tuple[float | None, ...]
    weeks: float = Field(gt=0)
    samples: int = Field(ge=0)

    @property
    def id(self) -> str:
        """What an overlay replaces it by."""
        return f"{self.indicator}.{self.name}.{self.city}"

    @field_validator("values")
    @classmethod
    def _a_week(cls, values: tuple[float | None, ...]) -> tuple[float | None, ...]:
        if len(values) != HOURS:
            raise ValueError(f"a week has {HOURS} hours, not {len(values)}")
        return tuple(None if value is None or not math.isfinite(value) else value for value in values)


@dataclass(frozen=True)
class Bases:
    """All bases of a catalogue. `places`: the city whose zone and calendar hold for a code."""

    entries: Mapping[tuple[str, str, str], Ordinary] = field(default_factory=dict)
    places: Mapping[str, City] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Ordinary], cities: Mapping[str, City], groups: Mapping[str, Group]) -> Bases:
        """The bases of these cities; a group that is one row lives in the zone of its first city.

        What speaks of another city or of an indicator that an overlay has taken away is never asked for.
        """
        firsts = {id_.upper(): cities.get(next(iter(group.cities), "")) for id_, group in groups.items()}
        places = {**{scope: city for scope, city in firsts.items() if city is not None}, **cities}
        known = {(one.indicator, one.name, one.city): one for one in entries if one.city in places}
        return cls(known, places)

    def at(self, indicator: str, name: str, city: str, window_start_ms: int) -> float | None:
        """What is ordinary in the hour in which a window starts; None if it is not known."""
        found = self.entries.get((indicator, name, city))
        return None if found is None else found.values[hour_of_week(self.places[city], window_start_ms)]


def hour_of_week(city: City, ms: int) -> int:
    """The hour of the week, 0..167, that a moment counts for in a city: on holidays that of a Sunday."""
    local = ms + round(city.utc_offset_h * HOUR_MS)
    return 24 * weekday_like(city.holidays, local // DAY_MS) + local % DAY_MS // HOUR_MS


@lru_cache(maxsize=65_536)
def weekday_like(jurisdiction: str, day: int) -> int:
    """The day of the week (Monday is 0) that a day, counted from 1970, resembles under a calendar.

    A public holiday is like a Sunday. A Saturday or Sunday on which people work in exchange for a bridged day is
    like the Friday before or the Monday after it. Without a jurisdiction every day is what it is.
    """
    when = EPOCH + timedelta(days=day)
    weekday = when.weekday()
    if not jurisdiction:
        return weekday
    calendar = _calendar(jurisdiction)
    if when in calendar:
        return SUNDAY
    if weekday >= SATURDAY and when in calendar.weekend_workdays:
        return 4 if weekday == SATURDAY else 0
    return weekday


@lru_cache(maxsize=64)
def _calendar(jurisdiction: str):  # type: ignore[no-untyped-def]  # the package's own type is internal
    import holidays

    return holidays.country_holidays(jurisdiction)


def known_jurisdiction(code: str) -> bool:
    """Whether there is a calendar of that name (ISO 3166, for instance CN, HK, MO)."""
    import holidays

    try:
        holidays.country_holidays(code)  # loads this one; the list of all of them would load all of them
    except NotImplementedError:
        return False
    return True
