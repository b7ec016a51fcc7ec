"""What the simulator did against what the rules said about it."""

from __future__ import annotations

from dashboards import words
from dashboards.boards.common import address, board_of, marks
from dashboards.model import Board, Column, Kind, Panel, Section, Tongue
from dashboards.queries import truth
from pearlstream.catalogue import Catalogue


def scenario_board(tongue: Tongue, catalogue: Catalogue) -> Board:
    """The board for judging rules by eye; `pearlstream score` judges them by number."""
    played = Panel(
        kind=Kind.TABLE,
        title=tongue(words.TRUTH),
        width=12,
        height=12,
        queries=(truth.truth(tongue),),
        columns={
            "since": Column(tongue(words.SINCE), width=150),
            "until": Column(tongue(words.UNTIL), width=150),
            "kind": Column(tongue(words.KIND), width=110),
            "id": Column("ID", width=100),
            "place": Column(tongue(words.CITY), width=110),
            "feed": Column(tongue(words.FEED), width=130),
            "note": Column(tongue(words.NOTE)),
        },
        no_data=tongue(words.NO_TRUTH),
    )
    opened = Panel(
        kind=Kind.TABLE,
        title=tongue(words.EXPLAINED),
        width=12,
        height=12,
        queries=(truth.alerts_with_truth(tongue),),
        columns={
            "since": Column(tongue(words.SINCE), width=150),
            "until": Column(tongue(words.UNTIL), width=150),
            "place": Column(tongue(words.CITY), link=address("city", tongue, "var-city=${__data.fields.city}")),
            "what": Column(tongue(words.INDICATOR)),
            "scenarios": Column(tongue(words.SCENARIOS), width=110),
            "city": Column(hidden=True),
        },
        no_data=tongue(words.NOTHING_FIRES),
        empty="no alert opened",
    )
    both = Panel(
        kind=Kind.TREND,
        title=tongue(words.TRUTH_AND_ALERTS),
        width=24,
        height=9,
        queries=(truth.truth_over_time(), truth.open_over_time(tongue)),
        decimals=0,
        least=0,
        no_data=tongue(words.NO_TRUTH),
    )
    sections = [Section("", [both, played, opened])]
    return board_of("scenario", tongue(words.SCENARIO_BOARD), tongue, catalogue, sections, annotations=marks(tongue))
