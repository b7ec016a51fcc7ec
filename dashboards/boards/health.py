"""Whether the data can be trusted: completeness, lateness, repeats, quarantine, corrections."""

from __future__ import annotations

from dashboards import words
from dashboards.boards.common import board_of, cities_variable, marks, trend_panel
from dashboards.model import Board, Column, Kind, Panel, Query, Section, Tongue
from dashboards.queries import flow, names
from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Name
from pearlstream.catalogue.plan_view import indicators_of


def health_board(tongue: Tongue, catalogue: Catalogue) -> Board:
    """The board for whoever answers for the data."""
    frames = [
        _rate(tongue, words.RATE, flow.readings_over_time("accepted"), 12),
        _rate(tongue, words.QUARANTINE, flow.QUARANTINED_OVER_TIME, 12, empty="nothing was set aside"),
        _rate(tongue, words.DELAY, flow.readings_over_time("late"), 12, empty="nothing came late"),
        _rate(tongue, words.REPEATS, flow.readings_over_time("dup"), 12, empty="nothing was repeated"),
    ]
    newest = Panel(
        kind=Kind.TABLE,
        title=tongue(words.QUARANTINE_NEWEST),
        width=24,
        height=9,
        queries=(flow.quarantine_newest(tongue),),
        columns={
            "at": Column(tongue(words.SINCE), width=160),
            "reason": Column(tongue(words.REASON), width=160),
            "feed": Column(tongue(words.FEED), width=140),
            "place": Column(tongue(words.CITY), width=120),
            "message": Column(tongue(words.MESSAGE)),
        },
        no_data=tongue(words.NOTHING_SET_ASIDE),
        empty="nothing was set aside",
    )
    corrected = Panel(
        kind=Kind.TABLE,
        title=tongue(words.CORRECTIONS),
        width=24,
        height=8,
        queries=(flow.corrections(tongue),),
        columns={
            "what": Column(tongue(words.INDICATOR)),
            "windows": Column(tongue(words.TIMES), width=120, decimals=0),
            "most": Column("rev", width=90, decimals=0),
        },
        no_data=tongue(words.NO_CORRECTION),
        empty="nothing was corrected",
    )
    signals = [trend_panel(tongue, one, width=24) for one in indicators_of(catalogue, "health")]
    sections = [Section("", [*frames, newest, corrected]), Section(tongue(words.HEALTH_SIGNALS), signals)]
    return board_of(
        "health", tongue(words.HEALTH_BOARD), tongue, catalogue, sections,
        variables=[cities_variable(tongue, first="440300")], annotations=marks(tongue, names.CITIES),
    )  # fmt: skip


def _rate(tongue: Tongue, title: Name, query: Query, width: int, empty: str = "") -> Panel:
    return Panel(
        kind=Kind.TREND, title=tongue(title), width=width, height=8, queries=(query,), unit="/s", decimals=1, least=0,
        no_data=tongue(words.NO_DATA), empty=empty,
    )  # fmt: skip
