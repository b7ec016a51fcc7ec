"""What boards have in common: uids and links, variables, marks, the panels of an indicator."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards import words
from dashboards.look import BLUE, PURPLE, RED, state_words, steps_of, transition_words
from dashboards.model import Annotation, Board, Column, Kind, Panel, Query, Section, Tongue, Variable
from dashboards.queries import alerting, names, windows
from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.indicator import Indicator
from pearlstream.catalogue.wording import limits, thresholds, window

FOLDER_UID = "pearlstream"
TIME = "${__url_time_range}"


def uid(board: str, tongue: Tongue) -> str:
    """The uid of a board in a language; at most 40 characters, as Grafana wants it."""
    return f"pearlstream-{board}-{tongue.tag}"


def address(board: str, tongue: Tongue, variables: str = "") -> str:
    """Where a board is found, at the same time."""
    return f"/d/{uid(board, tongue)}?{variables + '&' if variables else ''}{TIME}"


def navigation(tongue: Tongue, catalogue: Catalogue) -> list[tuple[str, str]]:
    """Links from every board to every other."""
    boards = [
        ("overview", tongue(words.OVERVIEW)),
        *((f"task{task.id}", f"{tongue(words.TASK)} {task.id}") for task in catalogue.tasks.values()),
        ("safety", tongue(words.SAFETY)),
        ("city", tongue(words.CITY_BOARD)),
        ("feed", tongue(words.FEED_BOARD)),
        ("alerts", tongue(words.ALERT_BOARD)),
        ("scenario", tongue(words.SCENARIO_BOARD)),
        ("health", tongue(words.HEALTH_BOARD)),
        ("pipeline", tongue(words.PIPELINE_BOARD)),
    ]
    return [(title, f"/d/{uid(board, tongue)}") for board, title in boards]


def board_of(
    name: str,
    title: str,
    tongue: Tongue,
    catalogue: Catalogue,
    sections: Sequence[Section],
    *,
    variables: Sequence[Variable] = (),
    annotations: Sequence[Annotation] = (),
    span: str = "now-6h",
    refresh: str = "10s",
) -> Board:
    """A board of ours, with its links to the others."""
    return Board(
        uid=uid(name, tongue),
        title=f"Pearlstream: {title}",
        sections=sections,
        variables=variables,
        annotations=annotations,
        links=navigation(tongue, catalogue),
        span=span,
        refresh=refresh,
        tags=("pearlstream", tongue.tag),
    )


def cities_variable(tongue: Tongue, *, many: bool = True, first: str | None = None) -> Variable:
    """Which cities are shown; the code is the value, the name the label."""
    return Variable("city", tongue(words.CITY), sql=names.cities(tongue), many=many, first=first)


def marks(tongue: Tongue, where: str = "1 = 1") -> list[Annotation]:
    """Alerts, scenarios and what was done by hand, on the time axis."""
    return [
        Annotation(tongue(words.ALERT_BOARD), alerting.alert_marks(tongue, where), RED, shown=False),
        Annotation(tongue(words.SCENARIOS), alerting.SCENARIO_MARKS, PURPLE),
        Annotation(tongue(words.ACTS), alerting.ACT_MARKS, BLUE, shown=False),
    ]


def describe(tongue: Tongue, indicator: Indicator) -> str:
    """What an indicator is, when it alerts, and what its thresholds rest on."""
    lines = [f"**{indicator.id}** {tongue(indicator.name)} ({window(indicator)})"]
    if indicator.definition:
        lines.append(indicator.definition)
    if indicator.alert is not None:
        lines.append(thresholds(indicator.alert))
        lines += limits(indicator)
    if indicator.sources:
        lines.append(", ".join(indicator.sources))
    return "\n\n".join(lines)


def trend_panel(tongue: Tongue, indicator: Indicator, width: int = 15, where: str = names.CITIES) -> Panel:
    """The indicator over time, a line per city; windows that are still open dashed."""
    return Panel(
        kind=Kind.TREND,
        title=f"{indicator.id} {tongue(indicator.name)}",
        width=width,
        height=8,
        queries=windows.trend(tongue, indicator, where),
        description=describe(tongue, indicator),
        unit=indicator.unit,
        decimals=indicator.decimals,
        steps=steps_of(indicator),
        no_data=tongue(words.NO_DATA),
        settles_s=settles_s(indicator),
        links=[(tongue(words.MAP_OF), address("overview", tongue, f"var-indicator={indicator.id}"))],
    )


def comparison_panel(tongue: Tongue, indicator: Indicator, width: int = 9) -> Panel:
    """The last settled window of each city, the greatest first."""
    return Panel(
        kind=Kind.BARS,
        title=f"{indicator.id}: {tongue(words.COMPARISON)}",
        width=width,
        height=8,
        queries=(windows.newest_by_city(tongue, indicator),),
        description=describe(tongue, indicator),
        unit=indicator.unit,
        decimals=indicator.decimals,
        steps=steps_of(indicator),
        no_data=tongue(words.NO_DATA),
        extra={"shown": "/^value$/"},
        settles_s=settles_s(indicator),
    )


def firing_panel(tongue: Tongue, width: int, height: int, where: str = "1 = 1") -> Panel:
    """What is firing now."""
    return Panel(
        kind=Kind.TABLE,
        title=tongue(words.FIRING),
        width=width,
        height=height,
        queries=(alerting.firing(tongue, where),),
        columns={
            "since": Column(tongue(words.SINCE), width=150),
            "severity": Column(tongue(words.SEVERITY), width=80),
            "place": Column(tongue(words.CITY), link=address("city", tongue, "var-city=${__data.fields.city}")),
            "what": Column(tongue(words.INDICATOR)),
            "dims": Column(tongue(words.DIMS), width=110),
            "value": Column(tongue(words.VALUE), width=80, decimals=2),
            "state": Column(tongue(words.STATE), width=90, words=transition_words(tongue)),
            "city": Column(hidden=True),
        },
        no_data=tongue(words.NOTHING_FIRES),
        empty="nothing is wrong",
    )


def states_panel(tongue: Tongue, title: str, query: Query, width: int, height: int) -> Panel:
    """States over time, one line per series; the query gives places in `STATES`."""
    words_of = state_words(tongue)
    return Panel(
        kind=Kind.STATES,
        title=title,
        width=width,
        height=height,
        queries=(query,),
        words={str(place): words_of[state] for place, state in enumerate(windows.STATES)},
        no_data=tongue(words.NO_DATA),
        empty="every signal was fine all the time",
    )


def settles_s(indicator: Indicator) -> int:
    """After so much event time its first window has settled for sure: a window that began before the stream did
    not, one that is whole, and what is late."""
    return indicator.window.length_s + indicator.window.hop_s + 600
