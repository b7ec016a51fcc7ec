"""Options of ECharts: what they say of a panel's rows, without a browser."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from dashboards.live.asking import Answer
from dashboards.live.charts.bars import bars
from dashboards.live.charts.places import places
from dashboards.live.charts.states import states
from dashboards.live.charts.trend import LABELS, Mark, trend
from dashboards.live.drawing import draw, marks_of
from dashboards.live.look import SERIES_COLOURS, Look
from dashboards.look import AMBER, GREEN, GREY, PURPLE, RED, state_words
from dashboards.macros import Shown
from dashboards.model import TONGUES, Annotation, Column, Kind, Panel, Query, Step

EN = TONGUES[0]
NOON_MS = 1_780_000_200_000
EIGHT_HOURS_MS = 8 * 3_600_000
LOOK = Look(EN, NOON_MS - 3_600_000, NOON_MS, EIGHT_HOURS_MS, {"Shenzhen": 1, "Guangzhou": 0})
STEPS = (Step(None, GREEN), Step(1.5, AMBER), Step(2, RED))
TREND = Panel(
    Kind.TREND, "T", 12, 8, (Query("A", series=True), Query("B", series=True, name="B", unsettled=True)), unit="km/h",
    decimals=2, steps=STEPS,
)  # fmt: skip


def at(minute: int) -> datetime:
    return datetime.fromtimestamp((NOON_MS - 3_600_000 + minute * 60_000) / 1000, UTC)


def wall(minute: int) -> int:
    return NOON_MS - 3_600_000 + minute * 60_000 + EIGHT_HOURS_MS


def row(minute: int, label: str, value: float | None) -> dict[str, Any]:
    return {"time": at(minute), "label": label, "value": value}


def by_id(option: dict[str, Any]) -> dict[str, Any]:
    return {one["id"]: one for one in option["series"]}


def test_a_trend_has_a_line_per_label_in_the_clusters_own_time() -> None:
    made = trend(TREND, [[row(0, "Shenzhen", 1.25), row(5, "Shenzhen", None), row(0, "Guangzhou", 2)], []], LOOK)
    series = by_id(made)
    assert series["Shenzhen"]["data"] == [[wall(0), 1.25], [wall(5), None]]
    assert series["Guangzhou"]["data"] == [[wall(0), 2.0]]
    assert made["legend"]["data"] == ["Guangzhou", "Shenzhen"]
    assert made["yAxis"]["name"] == "km/h"


def test_what_may_still_change_is_dashed_and_joined_to_what_does_not() -> None:
    made = by_id(trend(TREND, [[row(0, "Shenzhen", 1)], [row(5, "Shenzhen", 2)]], LOOK))
    dashed = made["Shenzhen ~"]
    assert dashed["lineStyle"]["type"] == "dashed"
    assert dashed["data"] == [[wall(0), 1.0], [wall(5), 2.0]]
    assert dashed["color"] == made["Shenzhen"]["color"]
    assert "type" not in made["Shenzhen"]["lineStyle"]


def test_thresholds_are_dashed_lines_in_their_colours() -> None:
    lines = by_id(trend(TREND, [[], []], LOOK))["background"]["markLine"]
    assert lines["lineStyle"]["type"] == "dashed"
    assert [(one["yAxis"], one["lineStyle"]["color"]) for one in lines["data"]] == [(1.5, AMBER), (2, RED)]


def test_marks_lie_within_what_is_shown() -> None:
    mark = Mark(NOON_MS - 9_000_000, NOON_MS + 9_000_000, "SC02", PURPLE)
    areas = by_id(trend(TREND, [[], []], LOOK, [mark]))["background"]["markArea"]["data"]
    assert [edge["xAxis"] for edge in areas[0]] == [wall(0), wall(60)]
    assert areas[0][0]["name"] == "SC02"


def test_a_city_keeps_its_colour_whatever_else_is_shown() -> None:
    alone = by_id(trend(TREND, [[row(0, "Shenzhen", 1)], []], LOOK))
    beside = by_id(trend(TREND, [[row(0, name, 1) for name in ("A", "B", "Shenzhen", "Shenzhen zone=port")], []], LOOK))
    assert alone["Shenzhen"]["color"] == beside["Shenzhen"]["color"] == SERIES_COLOURS[1]
    assert beside["Shenzhen zone=port"]["color"] == SERIES_COLOURS[1]
    assert beside["A"]["color"] != beside["B"]["color"]


def test_more_lines_than_can_be_told_apart_are_left_out() -> None:
    made = trend(TREND, [[row(0, f"device {number:03}", 1) for number in range(200)], []], LOOK)
    assert len(made["legend"]["data"]) == LABELS


def test_bars_have_colour_and_sign_of_what_they_have_reached() -> None:
    panel = Panel(Kind.BARS, "B", 9, 8, (Query("A"),), decimals=1, steps=STEPS)
    rows = [{"name": name, "value": value} for name, value in (("a", 2.04), ("b", 1.5), ("c", 1.0), ("d", None))]
    made = bars(panel, rows, LOOK)
    assert made["yAxis"]["data"] == ["a", "b", "c", "d"]
    data = made["series"][0]["data"]
    assert [one["itemStyle"].get("color") for one in data] == [RED, AMBER, GREEN, None]
    assert [one["label"]["formatter"] for one in data] == ["2.0 ✗", "1.5 !", "1.0 ✓", "–"]


WORDS = {str(place): state_words(EN)[state] for place, state in enumerate(("OK", "NODATA", "WATCH", "RAISED"))}
STATES = Panel(Kind.STATES, "S", 24, 16, (Query("A", series=True),), words=WORDS)


def test_a_state_holds_until_the_next_one_of_its_row() -> None:
    rows = [row(0, "I1", 0), row(10, "I1", 3), row(5, "I2", 2), row(60, "I2", 0)]
    made = states(STATES, rows, LOOK)
    assert made["yAxis"]["data"] == ["I1", "I2"]
    cells = {(x, y): value for x, y, value in (cell["value"] for cell in made["series"][0]["data"])}
    assert [cells[column, 0] for column in range(13)] == [0, 0] + [3] * 11
    assert (0, 1) not in cells, "nothing is known before the first state"
    assert [cells[column, 1] for column in range(1, 13)] == [2] * 11 + [0]


def test_a_change_of_state_has_its_sign_besides_its_colour() -> None:
    made = states(STATES, [row(0, "I1", 0), row(5, "I1", 3), row(10, "I1", 3)], LOOK)
    signs = [cell.get("label", {}).get("formatter") for cell in made["series"][0]["data"]]
    assert signs[:3] == ["✓", "✗", None]
    assert {piece["color"] for piece in made["visualMap"]["pieces"]} == {GREEN, GREY, AMBER, RED}


def city(name: str, state: str, lon: float | None = 113.0) -> dict[str, Any]:
    return {"name": name, "lon": lon, "lat": 22.5, "value": 1.234, "state": state, "until": at(60), "city": "440300"}


MAP = Panel(
    Kind.MAP, "M", 12, 15, (Query("A"),), words=state_words(EN),
    columns={
        "name": Column("City"),
        "value": Column("Value", decimals=2),
        "state": Column("State"),
        "city": Column("Look", link="/d/city?var-city=${__data.fields.city}&${__url_time_range}"),
    },
    extra={"colour_by": "state", "named_by": "name"},
)  # fmt: skip


def test_a_city_on_the_map_has_colour_form_sign_facts_and_a_way_to_its_board() -> None:
    made = places(MAP, [city("Shenzhen", "RAISED"), city("Macao", "OK", 114.0)], LOOK)
    raised, fine = made["series"][0]["data"]
    assert raised["itemStyle"]["color"] == RED
    assert raised["symbol"] != fine["symbol"]
    assert raised["label"]["formatter"] == "Shenzhen ✗"
    assert raised["facts"] == [["Value", "1.23"], ["State", "✗ raised"]]
    assert raised["link"] == "/d/city?var-city=440300"


def test_the_box_of_a_map_has_all_points_in_it() -> None:
    west, south, east, north = places(MAP, [city("a", "OK", 110.0), city("b", "OK", 117.0)], LOOK)["box"]
    assert west < 110 < 117 < east
    assert south < 22.5 < north


def test_what_stands_nowhere_is_on_no_map() -> None:
    assert places(MAP, [city("a", "OK", None)], LOOK)["series"][0]["data"] == []


def test_devices_are_coloured_by_their_value() -> None:
    columns = {"device": Column("Device")}
    extra = {"colour_by": "pm25", "named_by": "device"}
    panel = Panel(Kind.MAP, "M", 12, 12, (Query("A"),), unit="µg/m³", columns=columns, extra=extra)
    rows = [{"device": f"d{n}", "lon": 113 + n / 10, "lat": 22.5, "pm25": 10.0 * n} for n in range(3)]
    made = places(panel, rows, LOOK)
    assert (made["visualMap"]["min"], made["visualMap"]["max"]) == (0.0, 20.0)
    assert made["series"][0]["data"][2]["value"] == [113.2, 22.5, 20.0]
    assert made["series"][0]["data"][2]["facts"] == [["pm25", "20 µg/m³"]]


def answer(*rows: dict[str, Any], error: str = "") -> Answer:
    return Answer(list(rows), Shown(LOOK.from_ms, LOOK.to_ms, {}), error)


def test_an_error_is_told_in_the_panel() -> None:
    assert draw(TREND, [answer(), answer(error="no such column")], LOOK) == {"said": "no such column", "failed": True}


def test_an_empty_panel_says_why_as_far_as_it_knows() -> None:
    daily = replace(TREND, settles_s=90_000, no_data="no data")
    assert draw(TREND, [answer(), answer()], LOOK) == {"said": "no data"}
    assert "1500 min" in draw(daily, [answer(), answer()], LOOK)["said"]
    assert draw(replace(daily, empty="all is well"), [answer(), answer()], LOOK) == {"said": "no data"}


@pytest.mark.parametrize(
    ("panel", "rows", "key"),
    [
        (TREND, [row(0, "a", 1)], "option"),
        (STATES, [row(0, "a", 1)], "option"),
        (MAP, [city("a", "OK")], "option"),
        (Panel(Kind.STAT, "S", 4, 4, (Query("A"),)), [{"n": 3}], "number"),
        (Panel(Kind.TABLE, "T", 4, 4, (Query("A"),)), [{"n": 3}], "table"),
        (Panel(Kind.BARS, "T", 4, 4, (Query("A"),)), [{"name": "a", "value": 3}], "option"),
    ],
    ids=["trend", "states", "map", "stat", "table", "bars"],
)
def test_every_kind_of_panel_is_drawn_as_plain_json(panel: Panel, rows: list[dict[str, Any]], key: str) -> None:
    drawn = draw(panel, [answer(*rows)] * len(panel.queries), LOOK)
    assert drawn["kind"] == panel.kind.value
    assert orjson.loads(orjson.dumps(drawn))[key]


def test_marks_come_from_rows_with_or_without_an_end() -> None:
    rows = [{"time": at(0), "timeEnd": at(5), "text": "x"}, {"time": at(7), "timeEnd": None, "text": "y"}]
    found = marks_of(Annotation("n", "SELECT 1", RED), rows)
    assert [mark.until_ms is None for mark in found] == [False, True]
    assert found[0].colour == RED
