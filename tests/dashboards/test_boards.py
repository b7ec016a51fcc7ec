"""What the boards show: everything that the catalogue declares, in four languages, within the chosen time."""

from __future__ import annotations

import re

import pytest

from dashboards.boards.common import uid
from dashboards.build import boards
from dashboards.look import STATE_COLOURS, state_words, steps_of
from dashboards.model import TONGUES, Board, Kind, Tongue
from pearlstream.catalogue import Catalogue

ENGLISH = TONGUES[0]


def named(catalogue: Catalogue, tongue: Tongue = ENGLISH) -> dict[str, Board]:
    return {board.uid: board for board in boards(catalogue, tongue)}


def test_every_sub_item_is_a_section_with_all_of_its_indicators(catalogue: Catalogue) -> None:
    found = named(catalogue)
    for item in catalogue.sub_items.values():
        board = found[uid(f"task{item.task}", ENGLISH)]
        section = next(one for one in board.sections if one.title.startswith(f"{item.id} "))
        own = {one.id for one in catalogue.indicators.values() if one.sub_item == item.id}
        assert own <= {panel.title.split(" ")[0].rstrip(":") for panel in section.panels}
        assert own, "no sub-item is without a signal"


def test_every_indicator_stands_on_some_board(catalogue: Catalogue) -> None:
    titles = " ".join(panel.title for board in named(catalogue).values() for panel in board.panels)

    assert {one for one in catalogue.indicators if not re.search(rf"\b{one}\b", titles)} == set()


def test_all_languages_have_the_same_boards_and_panels(catalogue: Catalogue) -> None:
    shapes = [
        [(board.uid.removesuffix(f"-{tongue.tag}"), [panel.kind for panel in board.panels]) for board in found.values()]
        for tongue in TONGUES
        for found in [named(catalogue, tongue)]
    ]

    assert all(shape == shapes[0] for shape in shapes)


@pytest.mark.parametrize("tongue", TONGUES[1:], ids=lambda tongue: tongue.tag)
def test_no_language_is_a_copy_of_the_english_one(catalogue: Catalogue, tongue: Tongue) -> None:
    pairs = zip(named(catalogue).values(), named(catalogue, tongue).values(), strict=True)
    same = [ours.title for ours, theirs in pairs if ours.title == theirs.title]
    words = [word.text for word in state_words(tongue).values()]

    assert same == []
    assert set(words).isdisjoint(word.text for word in state_words(ENGLISH).values())


def test_every_query_lies_within_the_chosen_time(catalogue: Catalogue) -> None:
    unbounded = [
        (board.uid, panel.title)
        for board in named(catalogue).values()
        for panel in board.panels
        for query in panel.queries
        if query.of == "clickhouse" and not re.search(r"\$__(timeFilter_ms|toTime_ms|fromTime_ms)", query.sql)
    ]

    assert unbounded == [(uid("pipeline", ENGLISH), "Sizes of tables")], "a matter of now"


def test_only_the_drill_down_reads_readings(catalogue: Catalogue) -> None:
    readers = {
        board.uid
        for board in named(catalogue).values()
        for panel in board.panels
        for query in panel.queries
        if "readings_" in query.sql
    }

    assert readers == {uid("feed", ENGLISH)}


def test_states_differ_by_sign_and_word_and_colour() -> None:
    words = state_words(ENGLISH).values()

    assert len({word.text[0] for word in words}) == len({word.text for word in words}) == len(STATE_COLOURS)


def test_a_threshold_that_is_a_multiple_of_an_ordinary_hour_draws_no_line(catalogue: Catalogue) -> None:
    for one in catalogue.indicators.values():
        relative = one.alert is not None and any(pair.raise_.times == "base" for pair in one.alert.thresholds)
        assert not (relative and steps_of(one)), one.id


def test_what_the_plan_states_itself_is_text_and_has_no_needle(catalogue: Catalogue) -> None:
    overview = named(catalogue)[uid("overview", ENGLISH)]
    for card in catalogue.cards.values():
        panel = next(one for one in overview.panels if card.name.en in one.text)
        assert panel.kind is Kind.TEXT


def test_a_trend_tells_open_windows_from_settled_ones(catalogue: Catalogue) -> None:
    board = named(catalogue)[uid("task4", ENGLISH)]
    trend = next(panel for panel in board.panels if panel.title.startswith("I43a ") and panel.kind is Kind.TREND)
    settled, still_open = trend.queries

    assert "rev >= 0" in settled.sql
    assert "newest.3 = -1" in still_open.sql
    assert (settled.unsettled, still_open.unsettled) == (False, True)


def test_the_plan_has_its_names_in_every_language(catalogue: Catalogue) -> None:
    named = [*catalogue.tasks.values(), *catalogue.sub_items.values(), *catalogue.cards.values()]

    assert [one.id for one in named if not all(one.name.model_dump().values())] == []
