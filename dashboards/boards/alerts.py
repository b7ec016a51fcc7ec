"""Alerts: what opened and ended, and whether the alarm system itself is well.

The measures of an alarm system's health (alarms per ten minutes, floods, chattering and standing alarms) are those of
ISA-18.2 and EEMUA 191.
"""

from __future__ import annotations

from dashboards import words
from dashboards.boards.common import address, board_of, cities_variable, firing_panel, marks
from dashboards.look import AMBER, GREEN, RED
from dashboards.model import Board, Column, Kind, Panel, Query, Section, Step, Tongue
from dashboards.queries import alerting, names
from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Name


def alert_board(tongue: Tongue, catalogue: Catalogue) -> Board:
    """The board of whoever is on call."""
    history = Panel(
        kind=Kind.TABLE,
        title=tongue(words.HISTORY),
        width=24,
        height=11,
        queries=(alerting.alerts_of_time(tongue, names.CITIES),),
        columns={
            "since": Column(tongue(words.SINCE), width=160),
            "until": Column(tongue(words.UNTIL), width=160),
            "lasted": Column(tongue(words.LASTED), width=110, unit="s"),
            "severity": Column(tongue(words.SEVERITY), width=90),
            "place": Column(tongue(words.CITY), link=address("city", tongue, "var-city=${__data.fields.city}")),
            "what": Column(tongue(words.INDICATOR)),
            "dims": Column(tongue(words.DIMS), width=130),
            "value": Column(tongue(words.VALUE), width=90, decimals=2),
            "city": Column(hidden=True),
        },
        no_data=tongue(words.NOTHING_FIRES),
        empty="nothing was wrong",
    )
    health = [
        _number(tongue, words.FLOODS, alerting.FLOODS, 8),
        _number(tongue, words.CHATTERING, alerting.CHATTERING, 8),
        _number(tongue, words.STANDING, alerting.STANDING, 8),
        Panel(
            kind=Kind.TREND,
            title=tongue(words.PER_TEN_MINUTES),
            width=24,
            height=8,
            queries=(alerting.OPENED_PER_TEN_MINUTES,),
            decimals=0,
            least=0,
            steps=(Step(None, GREEN), Step(alerting.FLOOD, RED)),
            no_data=tongue(words.NOTHING_FIRES),
            empty="nothing was wrong",
        ),
    ]
    panels = [firing_panel(tongue, 24, 9, names.CITIES), history, *health]
    return board_of(
        "alerts", tongue(words.ALERT_BOARD), tongue, catalogue, [Section("", panels)],
        variables=[cities_variable(tongue)], annotations=marks(tongue, names.CITIES), span="now-24h",
    )  # fmt: skip


def _number(tongue: Tongue, title: Name, sql: str, width: int) -> Panel:
    return Panel(
        kind=Kind.STAT,
        title=tongue(title),
        width=width,
        height=4,
        queries=(Query(sql),),
        decimals=0,
        steps=(Step(None, GREEN), Step(1, AMBER)),
    )
