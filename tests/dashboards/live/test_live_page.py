"""HTML, cells and places of panels: what people and devices are called ends up as text, whatever it is."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.live.cells import number, table, written
from dashboards.live.layout import laid_out
from dashboards.live.look import Look
from dashboards.live.markup import data, joined, markdown, tag
from dashboards.live.shelf import tag_for
from dashboards.look import AMBER, GREEN, GREY, RED
from dashboards.model import TONGUES, Board, Column, Kind, Panel, Query, Section, Step, Word

LOOK = Look(TONGUES[0], 1_780_000_000_000, 1_780_003_600_000)
DAY = datetime(2026, 5, 28, 21, 30, tzinfo=UTC)


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_text_stays_text_inside_and_in_attributes(text: str) -> None:
    found = read(tag("p", text, title=text))
    assert found.tags == ["p"]
    assert found.text == text
    assert found.attributes == [("title", text)]


def test_a_tag_inside_a_tag_is_one() -> None:
    assert tag("ul", tag("li", "a & b"), joined("c", tag("br"))) == "<ul><li>a &amp; b</li>c<br></ul>"
    assert tag("input", checked=True, hidden=False, class_="x", data_key=3) == '<input checked class="x" data-key="3">'


def test_json_cannot_end_its_element() -> None:
    assert "</script><script>" not in data("page", b'{"name": "</script><script>alert(1)"}')


@pytest.mark.parametrize("text", ["<img src=x onerror=alert(1)>", "![x](http://e)", "[x](javascript:alert(1))"])
def test_markdown_brings_nothing_that_acts(text: str) -> None:
    found = read(markdown(text))
    assert set(found.tags) <= {"p", "a"}
    assert not [value for name, value in found.attributes if name != "href" or not str(value).startswith("http")]


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "expected"),
    [
        (None, "%", 1, "–"),
        (float("nan"), "", None, "–"),
        (97.25, "%", 1, "97.2%"),
        (12, "km/h", None, "12 km/h"),
        (1234567, "", 0, "1,234,567"),
        (0.98, "grafana:percentunit", 0, "98%"),
        (3 << 20, "grafana:bytes", None, "3.0 MiB"),
        (59, "s", None, "59 s"),
        (8100, "s", None, "2 h 15 min"),
        (0.123456, "", None, "0.12"),
        ("text", "x", None, "text"),
        (DAY, "", None, "21:30"),
        (DAY.replace(day=27), "", None, "05-27 21:30"),
    ],
)
def test_a_value_reads_as_a_person_writes_it(value: object, unit: str, decimals: int | None, expected: str) -> None:
    assert written(value, LOOK, unit, decimals) == expected


def test_times_are_those_of_the_clusters_wall_clocks() -> None:
    there = Look(TONGUES[0], LOOK.from_ms, LOOK.to_ms, 8 * 3_600_000)
    assert there.written(DAY) == "05:30"


def test_a_table_shows_words_colours_links_and_no_hidden_column() -> None:
    panel = Panel(
        Kind.TABLE, "T", 24, 8, (Query("A"),),
        columns={
            "place": Column("City", link="/d/city?var-city=${__data.fields.city}&${__url_time_range}"),
            "state": Column("State", words={"OK": Word("✓ ok", GREEN)}),
            "raised": Column("Raised", steps=(Step(None, GREY), Step(1, RED))),
            "city": Column(hidden=True),
        },
    )  # fmt: skip
    rows = [
        {"place": "Macao", "state": "OK", "raised": 2, "city": "MO&x"},
        {"place": "a", "state": "?", "raised": 0, "city": "b"},
    ]
    made = table(panel, rows, LOOK)
    assert [head["text"] for head in made["heads"]] == ["City", "State", "Raised"]
    assert [head.get("number", False) for head in made["heads"]] == [False, False, True]
    first, second = made["rows"]
    assert first[0] == {"text": "Macao", "link": "/d/city?var-city=MO%26x"}
    assert first[1] == {"text": "✓ ok", "colour": GREEN}
    assert first[2] == {"text": "2", "colour": RED}
    assert second[1:] == [{"text": "?"}, {"text": "0"}]


def test_a_number_has_its_sign() -> None:
    panel = Panel(Kind.STAT, "S", 4, 4, (Query("A"),), unit="raised", steps=(Step(None, GREEN), Step(1, AMBER)))
    assert number(panel, [{"n": 2}], LOOK) == {"text": "2", "unit": "raised", "sign": "!", "colour": AMBER}
    assert number(panel, [{"n": 0}], LOOK)["sign"] == "✓"


def test_a_section_is_repeated_for_each_chosen_value_with_keys_of_its_own() -> None:
    panel = Panel(Kind.TABLE, "of ${city:text}", 4, 4, (Query("A"),))
    board = Board("b", "B", [Section("", [panel]), Section("${city:text}", [panel, panel], repeat="city")])
    laid = laid_out(board, {"city": ("1", "2")}, {"city": {"1": "One"}})
    assert [section.title for section in laid] == ["", "One", "2"]
    assert [[one.key for one in section.panels] for section in laid] == [["0"], ["1@1", "2@1"], ["1@2", "2@2"]]
    assert laid[0].panels[0].panel.title == "of One, 2"
    assert laid[2].panels[0].chosen == {"city": ("2",)}


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-TW", "zh-hant"),
        ("zh-Hant-MO,pt;q=0.5", "zh-hant"),
        ("fr;q=0.9, pt-BR;q=0.8", "pt"),
        ("de", "en"),
        ("", "en"),
        ("en;q=x", "en"),
    ],
)
def test_the_first_language_is_the_browsers(accepted: str, expected: str) -> None:
    assert tag_for(accepted) == expected
