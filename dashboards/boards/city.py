"""One city, or several one below the other: everything that is said about it."""

from __future__ import annotations

from dashboards import words
from dashboards.boards.common import board_of, cities_variable, firing_panel, marks, states_panel
from dashboards.look import state_words
from dashboards.model import Board, Column, Kind, Panel, Section, Tongue
from dashboards.queries import names, windows
from pearlstream.catalogue import Catalogue


def city_board(tongue: Tongue, catalogue: Catalogue) -> Board:
    """The board of a city; repeated for each that is chosen."""
    shown = [one for one in catalogue.indicators.values() if not one.scope]
    sections = [
        Section(
            "${city:text}",
            [
                Panel(
                    kind=Kind.TABLE,
                    title=tongue(words.SIGNALS),
                    width=14,
                    height=14,
                    queries=(windows.signals_of_city(tongue, shown),),
                    columns={
                        "what": Column(tongue(words.INDICATOR)),
                        "dims": Column(tongue(words.DIMS), width=130),
                        "value": Column(tongue(words.VALUE), width=90, decimals=2),
                        "unit": Column(" ", width=70),
                        "state": Column(tongue(words.STATE), width=90, words=state_words(tongue)),
                        "coverage": Column(tongue(words.COVERAGE), width=90, unit="grafana:percentunit", decimals=0),
                        "until": Column(tongue(words.WINDOW_END), width=150),
                    },
                    no_data=tongue(words.NO_DATA),
                ),
                firing_panel(tongue, 10, 14, names.CITIES),
                states_panel(tongue, tongue(words.TIMELINE), windows.states_over_time(tongue, shown), 24, 16),
            ],
            repeat="city",
        )
    ]
    return board_of(
        "city", tongue(words.CITY_BOARD), tongue, catalogue, sections,
        variables=[cities_variable(tongue, first="440300")], annotations=marks(tongue, names.CITIES),
    )  # fmt: skip
