"""The whole cluster at a glance: map, headline per task of the plan, sub-items, what is firing."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards import words
from dashboards.boards.common import address, board_of, firing_panel, marks
from dashboards.look import AMBER, GREEN, GREY, RED, state_words
from dashboards.model import Board, Column, Kind, Panel, Section, Step, Tongue, Variable
from dashboards.queries import windows
from pearlstream.catalogue import Catalogue


def overview(tongue: Tongue, catalogue: Catalogue) -> Board:
    """The board that everybody opens first."""
    panels = [
        *_headlines(tongue, catalogue),
        _map(tongue),
        _sub_items(tongue, catalogue),
        firing_panel(tongue, 15, 9),
        *_cards(tongue, catalogue),
    ]
    return board_of(
        "overview", tongue(words.OVERVIEW), tongue, catalogue, [Section("", panels)],
        variables=[_indicator_variable(tongue, catalogue)], annotations=marks(tongue),
    )  # fmt: skip


def _indicator_variable(tongue: Tongue, catalogue: Catalogue) -> Variable:
    choices = [
        (one.id, f"{one.id} {tongue(one.name)}".replace(",", " ").replace(":", " "))
        for one in catalogue.indicators.values()
        if one.per == "city" and not one.scope
    ]
    first = "I43a" if "I43a" in catalogue.indicators else None  # traffic moves first
    return Variable("indicator", tongue(words.INDICATOR), choices=choices, first=first)


def _headlines(tongue: Tongue, catalogue: Catalogue) -> Iterator[Panel]:
    """Per task, how many of its signals are raised."""
    steps = (Step(None, GREEN), Step(1, AMBER), Step(5, RED))
    for task in catalogue.tasks.values():
        own = [one for one in catalogue.indicators.values() if one.sub_item.startswith(f"{task.id}.")]
        yield Panel(
            kind=Kind.STAT,
            title=f"{task.id} {tongue(task.name)}",
            width=4,
            height=4,
            queries=(windows.count_of_raised(own),),
            description=f"{tongue(words.RAISED_SIGNALS)}: {', '.join(one.id for one in own)}",
            unit=tongue(words.RAISED),
            steps=steps,
            links=[(tongue(words.OPEN_BOARD), address(f"task{task.id}", tongue))],
            no_data=tongue(words.NO_DATA),
        )


def _map(tongue: Tongue) -> Panel:
    return Panel(
        kind=Kind.MAP,
        title=f"{tongue(words.MAP_OF)}: ${{indicator:text}}",
        width=12,
        height=15,
        queries=(windows.map_of_cities(tongue),),
        words=state_words(tongue),
        columns={
            "name": Column(tongue(words.CITY)),
            "value": Column(tongue(words.VALUE), decimals=2),
            "state": Column(tongue(words.STATE)),
            "until": Column(tongue(words.WINDOW_END)),
            "city": Column(tongue(words.OPEN_CITY), link=address("city", tongue, "var-city=${__data.fields.city}")),
        },
        extra={"colour_by": "state", "named_by": "name"},
        no_data=tongue(words.NO_DATA),
    )


def _sub_items(tongue: Tongue, catalogue: Catalogue) -> Panel:
    def counted(title: str, colour: str) -> Column:
        return Column(title, width=75, decimals=0, steps=(Step(None, GREY), Step(1, colour)))

    return Panel(
        kind=Kind.TABLE,
        title=tongue(words.SUB_ITEMS),
        width=12,
        height=15,
        queries=(windows.sub_items(tongue, catalogue),),
        columns={
            "name": Column(tongue(words.SUB_ITEM), link=address("task${__data.fields.task}", tongue)),
            "task": Column(hidden=True),
            "raised": counted(f"✗ {tongue(words.RAISED)}", RED),
            "watch": counted(f"! {tongue(words.WATCH)}", AMBER),
            "ok": counted(f"✓ {tongue(words.OK)}", GREEN),
            "nodata": counted(f"? {tongue(words.NO_DATA)}", GREY),
        },
    )


def _cards(tongue: Tongue, catalogue: Catalogue) -> Iterator[Panel]:
    """What the plan itself states: text, because no stream measures it."""
    for card in catalogue.cards.values():
        sources = f"\n\n*{'; '.join(card.sources)}*" if card.sources else ""
        yield Panel(
            kind=Kind.TEXT,
            title=tongue(words.CARD) if card.kind == "target" else tongue(card.name),
            width=9,
            height=5,
            text=f"### {tongue(card.name)}\n\n{_no_quote(tongue(card.text))}{sources}",
        )
    yield Panel(kind=Kind.TEXT, title=tongue(words.SIMULATED), width=9, height=4, text=tongue(words.SIMULATED_TEXT))


def _no_quote(text: str) -> str:
    """A text that may begin with "greater than", which Markdown would take for a quotation and leave out."""
    return text.replace(">", "\\>")
