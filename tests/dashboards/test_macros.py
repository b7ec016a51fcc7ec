"""Macros and variables, as Grafana's ClickHouse plugin expands them."""

from __future__ import annotations

import pytest

from dashboards.macros import Shown, expand
from pearlstream.errors import PearlstreamError

SHOWN = Shown(1_000, 3_601_000, {"city": ["440300", "810000"], "device": ["o'clock"]}, points=360)


def test_the_time_filter_is_closed_on_both_sides() -> None:
    assert expand("$__timeFilter_ms(ts)", SHOWN) == (
        "ts >= fromUnixTimestamp64Milli(1000) AND ts <= fromUnixTimestamp64Milli(3601000)"
    )


def test_times_and_interval() -> None:
    assert expand("$__fromTime_ms $__toTime_ms $__interval_s", SHOWN) == (
        "fromUnixTimestamp64Milli(1000) fromUnixTimestamp64Milli(3601000) 10"
    )


def test_several_choices_are_a_list_of_literals() -> None:
    assert expand("city IN (${city:singlequote})", SHOWN) == "city IN ('440300','810000')"


def test_a_choice_cannot_leave_its_literal() -> None:
    assert expand("device = ${device:singlequote}", SHOWN) == "device = 'o\\'clock'"
    assert expand("${device:singlequote}", SHOWN._replace(chosen={"device": ["\\"]})) == "'\\\\'"


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("$__timeGroup(ts)", "timeGroup"),
        ("$__timeFilter(ts)", "timeFilter"),
        ("${feed:singlequote}", "feed"),
        ("${city}", "singlequote"),
        ("${city:csv}", "singlequote"),
    ],
)
def test_what_is_not_known_is_an_error(sql: str, word: str) -> None:
    with pytest.raises(PearlstreamError, match=word):
        expand(sql, SHOWN)
