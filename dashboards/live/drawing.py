"""What the page is told of a panel: its state and, if there is something to draw, how."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dashboards import words
from dashboards.live.asking import Answer
from dashboards.live.cells import number, table
from dashboards.live.charts.bars import bars
from dashboards.live.charts.places import places
from dashboards.live.charts.states import states
from dashboards.live.charts.trend import Mark, trend
from dashboards.live.look import Look, ms_of
from dashboards.model import Annotation, Kind, Panel

Json = dict[str, Any]
Rows = Sequence[dict[str, Any]]


def draw(panel: Panel, answers: Sequence[Answer], look: Look, marks: Sequence[Mark] = ()) -> Json:
    """Draw a panel from the answers to its queries, in their order.

    Gives `kind` with what that kind needs, or `said`: why there is nothing to draw; `failed` if that is an error.
    """
    wrong = next((answer.error for answer in answers if answer.error), "")
    if wrong:
        return {"said": wrong, "failed": True}
    rows = [answer.rows for answer in answers]
    if not any(rows):
        return {"said": nothing(panel, look)}
    drawn = _drawn(panel, rows, look, marks)
    return {"kind": panel.kind.value, "unit": panel.unit, "decimals": panel.decimals, **drawn}


def _drawn(panel: Panel, rows: Sequence[Rows], look: Look, marks: Sequence[Mark]) -> Json:
    if panel.kind is Kind.TREND:
        return {"option": trend(panel, rows, look, marks)}
    if panel.kind is Kind.BARS:
        return {"option": bars(panel, rows[0], look), "lines": len(rows[0])}
    if panel.kind is Kind.STATES:
        option = states(panel, rows[0], look)
        return {"option": option, "lines": len(option["yAxis"]["data"])}
    if panel.kind is Kind.MAP:
        return {"option": places(panel, rows[0], look)}
    if panel.kind is Kind.TABLE:
        return {"table": table(panel, rows[0], look)}
    return {"number": number(panel, rows[0], look)}


def nothing(panel: Panel, look: Look) -> str:
    """Why there is nothing to draw, as far as it is known: a window that is longer than what has been seen, say."""
    said = panel.no_data or look.tongue(words.NO_DATA)
    if not panel.empty and panel.settles_s * 1000 > look.to_ms - look.from_ms:
        return f"{said}: {look.tongue(words.NOT_SETTLED).format(panel.settles_s // 60)}"
    return said


def marks_of(annotation: Annotation, rows: Rows) -> list[Mark]:
    """The marks of one kind."""
    return [
        Mark(
            ms_of(row["time"]),
            ms_of(row["timeEnd"]) if isinstance(row.get("timeEnd"), datetime) else None,
            str(row.get("text", "")),
            annotation.colour,
        )
        for row in rows
    ]
