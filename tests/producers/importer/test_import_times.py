"""What the times of a file mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from importer_kit import Kit, kit_mapping, lines

from producers.importer import FileRefused
from producers.importer.zones import Zone


def utc(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("time", "cell", "wanted"),
    [
        ({"zone": "UTC"}, "2016-01-31 18:05", "2016-01-31T18:05"),
        ({"zone": "UTC"}, "2016-1-3 8", "2016-01-03T08:00"),
        ({"zone": "UTC"}, "2016/01/31", "2016-01-31"),
        ({"zone": "UTC"}, "2016-01-31 24:00:00", "2016-02-01"),
        ({"zone": "UTC"}, "2016-01-31T18:05:07.25", "2016-01-31T18:05:07.250"),
        ({"zone": "Asia/Shanghai"}, "2016-01-31 18:05", "2016-01-31T10:05"),
        ({"zone": "+08:00"}, "2016-01-31 18:05", "2016-01-31T10:05"),
        ({"zone": "-03:30"}, "2016-01-31 18:05", "2016-01-31T21:35"),
        ({"zone": "America/Chicago"}, "2016-07-01 12:00", "2016-07-01T17:00"),
        ({"zone": "America/Chicago"}, "2016-01-01 12:00", "2016-01-01T18:00"),
        ({"zone": "Asia/Shanghai"}, "2016-01-31T18:05Z", "2016-01-31T18:05"),
        ({}, "2016-01-31T18:05+08:00", "2016-01-31T10:05"),
        ({}, "2016-01-31 18:05 -0530", "2016-01-31T23:35"),
        ({"format": "%d.%m.%Y %H:%M", "zone": "UTC"}, "31.1.2016 18:05", "2016-01-31T18:05"),
        ({"format": "%d.%m.%Y %H", "zone": "UTC"}, "31.01.2016 18", "2016-01-31T18:00"),
        ({"format": "%d.%m.%Y", "zone": "UTC"}, "31.01.2016", "2016-01-31"),
        ({"format": "%m/%d/%Y %I:%M %p", "zone": "UTC"}, "1/31/2016 6:05 PM", "2016-01-31T18:05"),
        ({"format": "%Y%m%d%H%M", "zone": "UTC"}, "201601311805", "2016-01-31T18:05"),
        ({"format": "%Y-%m-%dT%H:%M:%S%z"}, "2016-01-31T18:05:00+0800", "2016-01-31T10:05"),
        ({"format": "unix"}, "1454263500", "2016-01-31T18:05"),
        ({"format": "unix"}, "1454263500.5", "2016-01-31T18:05:00.500"),
        ({"format": "unix_ms"}, "1454263500000", "2016-01-31T18:05"),
        ({"zone": "UTC", "shift_s": -3600}, "2016-01-31 18:05", "2016-01-31T17:05"),
    ],
)
def test_a_time_is_read_as_the_mapping_says(kit: Kit, time: dict[str, Any], cell: str, wanted: str):
    outcome = kit.read(lines(f"{cell},d1,20"), kit_mapping(time={"column": "t", **time}))
    assert outcome.column("ts") == [utc(wanted)]


@pytest.mark.parametrize(
    ("time", "cell"),
    [
        ({"zone": "UTC"}, "2016-02-30 00:00"),
        ({"zone": "UTC"}, "2016-01-01 24:01"),
        ({"zone": "UTC"}, "2016-01-01 12:60"),
        ({"zone": "UTC"}, "2016-13-01"),
        ({"zone": "UTC"}, ""),
        ({"zone": "UTC"}, "31.01.2016"),
        ({}, "2016-01-31 18:05"),
        ({"format": "%d.%m.%Y", "zone": "UTC"}, "2016-01-31"),
        ({"format": "unix"}, "soon"),
        ({"format": "unix"}, "NaN"),
        ({"format": "unix_ms"}, "1e300"),
    ],
)
def test_what_is_no_time_is_set_aside(kit: Kit, time: dict[str, Any], cell: str):
    with pytest.raises(FileRefused, match="time_malformed"):
        kit.read(lines(f"{cell},d1,20"), kit_mapping(time={"column": "t", **time}))


def test_the_parts_of_a_date_may_stand_in_columns(kit: Kit):
    text = lines("2016,1,1,0,d1,20", "2016,2,30,5,d1,20", "2016,12,31,24,d1,20", header="y,m,d,h,who,temp")
    time = {"parts": {"year": "y", "month": "m", "day": "d", "hour": "h"}, "zone": "Asia/Shanghai"}
    outcome = kit.read(text, kit_mapping(time=time))
    assert outcome.column("ts") == [utc("2015-12-31T16:00"), utc("2016-12-31T16:00")]
    assert outcome.reasons == {3: "time_malformed"}
    assert "2016 2 30 5" in outcome.rejects[0][3]


def test_date_and_time_may_stand_in_two_columns(kit: Kit):
    text = lines("2016-01-01,00:05,d1,20", header="day,clock,who,temp")
    outcome = kit.read(text, kit_mapping(time={"columns": ["day", "clock"], "zone": "UTC"}))
    assert outcome.column("ts") == [utc("2016-01-01T00:05")]


# ------------------------------------------------------------------ B37: clocks that are changed


def test_b37_an_hour_that_the_clocks_skipped_is_set_aside(kit: Kit):
    text = lines("2016-03-13 01:59,d1,1", "2016-03-13 02:00,d1,2", "2016-03-13 02:59,d1,3", "2016-03-13 03:00,d1,4")
    outcome = kit.read(text, kit_mapping(time={"column": "t", "zone": "America/Chicago"}))
    assert outcome.reasons == {3: "time_nonexistent", 4: "time_nonexistent"}
    assert "give an offset or UTC" in outcome.rejects[0][3]
    assert outcome.column("ts") == [utc("2016-03-13T07:59"), utc("2016-03-13T08:00")]


def test_b37_of_an_hour_that_exists_twice_the_first_is_taken_and_noted(kit: Kit):
    text = lines("2016-11-06 00:59,d1,1", "2016-11-06 01:00,d1,2", "2016-11-06 01:59,d1,3", "2016-11-06 02:00,d1,4")
    outcome = kit.read(text, kit_mapping(time={"column": "t", "zone": "America/Chicago"}))
    assert outcome.rejects == []
    assert outcome.notes == {"time_ambiguous": 2}
    wanted = ["2016-11-06T05:59", "2016-11-06T06:00", "2016-11-06T06:59", "2016-11-06T08:00"]
    assert outcome.column("ts") == [utc(text) for text in wanted]


def test_b37_times_with_their_own_offset_are_never_ambiguous(kit: Kit):
    text = lines("2016-11-06T01:30-05:00,d1,1", "2016-11-06T01:30-06:00,d1,2")
    outcome = kit.read(text, kit_mapping(time={"column": "t", "zone": "America/Chicago"}))
    assert outcome.notes == {}
    assert outcome.column("ts") == [utc("2016-11-06T06:30"), utc("2016-11-06T07:30")]


def test_b37_half_an_hour_of_summer_time(kit: Kit):
    text = lines("2016-10-02 02:15,d1,1", "2016-10-02 02:30,d1,2", "2016-04-03 01:45,d1,3")
    outcome = kit.read(text, kit_mapping(time={"column": "t", "zone": "Australia/Lord_Howe"}))
    assert outcome.reasons == {2: "time_nonexistent"}
    assert outcome.notes == {"time_ambiguous": 1}


MINUTES = st.integers(0, 20 * 366 * 24 * 60)


@given(MINUTES, st.sampled_from(["America/Chicago", "Asia/Shanghai"]))
def test_every_local_time_agrees_with_zoneinfo(minute: int, name: str):
    zone = Zone.of(name)
    local = datetime.fromisoformat("2015-01-02") + timedelta(minutes=minute)
    ms = round(local.replace(tzinfo=UTC).timestamp() * 1000)
    found = zone.offsets(np.array([ms]))
    aware = local.replace(tzinfo=ZoneInfo(name))
    exists = aware.astimezone(UTC).astimezone(ZoneInfo(name)).replace(tzinfo=None) == local
    assert bool(found.nonexistent[0]) is not exists
    if exists:
        assert ms - int(found.ms[0]) == round(aware.timestamp() * 1000)
