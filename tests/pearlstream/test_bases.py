"""What is ordinary: hours of the week, holidays, and bases as a part of the catalogue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pearlstream.catalogue import City, load_catalogue
from pearlstream.catalogue.bases import HOURS, hour_of_week
from pearlstream.errors import CatalogueError

CITIES = load_catalogue().cities
GUANGZHOU, HONG_KONG, MACAO = CITIES["440100"], CITIES["810000"], CITIES["820000"]


def hour(city: City, day: str, clock: str = "08:30") -> tuple[int, int]:
    """Day of the week (Monday is 0) and hour that a moment of Guangdong's clocks counts for."""
    moment = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=timezone(timedelta(hours=8)))
    return divmod(hour_of_week(city, round(moment.timestamp() * 1000)), 24)


def test_hours_are_those_of_the_citys_clock() -> None:
    assert hour(GUANGZHOU, "2026-05-11") == (0, 8)
    assert hour(GUANGZHOU, "2026-05-17", "23:59") == (6, 23)
    utc = GUANGZHOU.model_copy(update={"utc_offset_h": 0.0})
    assert hour(utc, "2026-05-11", "00:30") == (6, 16)


def test_a_holiday_is_like_a_sunday_under_the_calendar_of_its_jurisdiction() -> None:
    assert [hour(city, "2026-07-01")[0] for city in (GUANGZHOU, HONG_KONG, MACAO)] == [2, 6, 2]
    assert [hour(city, "2027-12-20")[0] for city in (GUANGZHOU, HONG_KONG, MACAO)] == [0, 0, 6]
    nobodys = GUANGZHOU.model_copy(update={"holidays": ""})
    assert (hour(GUANGZHOU, "2026-10-01")[0], hour(nobodys, "2026-10-01")[0]) == (6, 3)


def test_a_weekend_day_on_which_people_work_for_a_bridge_is_a_working_day() -> None:
    assert hour(GUANGZHOU, "2026-02-14")[0] == 4  # Saturday before the Spring Festival
    assert hour(GUANGZHOU, "2026-01-04")[0] == 0  # Sunday after the New Year's bridge
    assert hour(HONG_KONG, "2026-02-14")[0] == 5


BASE = """
[[base]]
indicator = "I43a"
name = "value"
city = "440300"
values = [{values}]
weeks = 4
samples = 40
"""


def overlay(folder: Path, values: list[str]) -> Path:
    (folder / "bases").mkdir()
    (folder / "bases" / "mine.toml").write_text(BASE.format(values=", ".join(values)))
    return folder


def test_a_base_is_a_part_of_the_catalogue_and_of_its_version(tmp_path: Path) -> None:
    catalogue = load_catalogue([overlay(tmp_path, ["nan", *(str(float(n)) for n in range(1, HOURS))])])
    monday = round(datetime(2026, 5, 10, 16, tzinfo=UTC).timestamp() * 1000)
    assert catalogue.bases.at("I43a", "value", "440300", monday) is None
    assert catalogue.bases.at("I43a", "value", "440300", monday + 5 * 3_600_000) == 5.0
    assert catalogue.bases.at("I43a", "value", "440100", monday) is None
    assert catalogue.version != load_catalogue().version


def test_a_base_of_another_length_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"mine\.toml:6: base\.values: a week has 168 hours, not 3"):
        load_catalogue([overlay(tmp_path, ["1.0", "2.0", "3.0"])])


def test_an_unknown_calendar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cities").mkdir()
    city = 'id = "X1"\nname = { en = "X", zh = "X" }\nlon = 0\nlat = 0\npopulation = 1\nholidays = "ZZ"\n'
    (tmp_path / "cities" / "x.toml").write_text(f"[[city]]\n{city}")
    with pytest.raises(CatalogueError, match="no calendar of holidays for 'ZZ'"):
        load_catalogue([tmp_path])
