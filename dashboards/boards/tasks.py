"""One board per task of the plan, a row per sub-item; one more for what the plan does not number."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards import words
from dashboards.boards.common import board_of, cities_variable, comparison_panel, marks, trend_panel
from dashboards.model import Board, Panel, Section, Tongue
from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.plan_view import indicators_of


def task_boards(tongue: Tongue, catalogue: Catalogue) -> Iterator[Board]:
    """The boards of the tasks."""
    for task in catalogue.tasks.values():
        sections = [
            Section(f"{item.id} {tongue(item.name)}", _panels(tongue, catalogue, item.id))
            for item in catalogue.sub_items.values()
            if item.task == task.id
        ]
        title = f"{tongue(words.TASK)} {task.id}, {tongue(task.name)}"
        yield _board(tongue, catalogue, f"task{task.id}", title, sections)


def safety_board(tongue: Tongue, catalogue: Catalogue) -> Board:
    """Weather, water, air: what endangers people and things, whatever the plan says."""
    sections = [Section("", _panels(tongue, catalogue, "safety"))]
    return _board(tongue, catalogue, "safety", tongue(words.SAFETY), sections)


def _board(tongue: Tongue, catalogue: Catalogue, name: str, title: str, sections: list[Section]) -> Board:
    return board_of(
        name, title, tongue, catalogue, sections, variables=[cities_variable(tongue)], annotations=marks(tongue)
    )


def _panels(tongue: Tongue, catalogue: Catalogue, sub_item: str) -> list[Panel]:
    panels: list[Panel] = []
    for one in indicators_of(catalogue, sub_item):
        if one.scope or one.per == "feed":
            panels.append(trend_panel(tongue, one, width=24, where="1 = 1"))
        else:
            panels += [trend_panel(tongue, one), comparison_panel(tongue, one)]
    return panels
