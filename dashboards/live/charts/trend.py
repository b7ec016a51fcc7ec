"""Values over time: a line per label, thresholds and what may still change dashed, marks behind them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dashboards.live.look import Look
from dashboards.model import Panel

Json = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
LABELS = 60
"""So many lines are drawn; more could not be told apart."""
FEW = 12
"""Up to so many points a line shows each of them."""


class Mark(NamedTuple):
    """Something that happened, on the time axis. `until` None: an instant."""

    since_ms: int
    until_ms: int | None
    text: str
    colour: str


def trend(panel: Panel, answers: Sequence[Rows], look: Look, marks: Sequence[Mark] = ()) -> Json:
    """The chart; `answers` stand in the order of the panel's queries."""
    settled: dict[str, list[list[Any]]] = defaultdict(list)
    waiting: dict[str, list[list[Any]]] = defaultdict(list)
    for query, rows in zip(panel.queries, answers, strict=True):
        lines = waiting if query.unsettled else settled
        for row in rows:
            lines[str(row["label"])].append([look.wall_ms(row["time"]), _rounded(row["value"], panel.decimals)])
    labels = sorted({*settled, *waiting})[:LABELS]
    series = [_background(panel, look, marks)]
    for rank, label in enumerate(labels):
        colour = look.colour(label, rank)
        series.append(_line(label, settled[label], colour))
        if waiting[label]:
            series.append(_dashed(label, settled[label][-1:] + waiting[label], colour))
    return {
        "xAxis": {"type": "time"},
        "yAxis": {"type": "value", "name": _unit(panel.unit), "scale": panel.least is None, "min": panel.least},
        "legend": {"data": labels, "type": "scroll", "bottom": 0},
        "series": series,
    }


def _unit(unit: str) -> str:
    return "" if unit == "ratio" else unit.removeprefix("grafana:")


def _rounded(value: Any, decimals: int | None) -> float | None:
    if value is None:
        return None
    return round(float(value), 4 if decimals is None else decimals + 2)


def _line(label: str, points: list[list[Any]], colour: str) -> Json:
    return {
        "id": label, "name": label, "type": "line", "data": points, "color": colour,
        "symbol": "circle", "showSymbol": len(points) <= FEW, "symbolSize": 4, "lineStyle": {"width": 1.6},
    }  # fmt: skip


def _dashed(label: str, points: list[list[Any]], colour: str) -> Json:
    """What may still change, joined to the last point that does not."""
    return {
        "id": f"{label} ~", "name": label, "type": "line", "data": points, "color": colour, "symbol": "emptyCircle",
        "showSymbol": True, "symbolSize": 7, "lineStyle": {"width": 1.2, "type": "dashed"},
    }  # fmt: skip


def _background(panel: Panel, look: Look, marks: Sequence[Mark]) -> Json:
    """A line without points that carries thresholds and marks: they stay when series come and go."""
    made: Json = {"id": "background", "name": "", "type": "line", "data": [], "silent": True}
    thresholds: list[Json] = [
        {"yAxis": step.value, "lineStyle": {"color": step.colour}, "label": {"color": step.colour}}
        for step in panel.steps
        if step.value is not None
    ]
    instants: list[Json] = [
        {"xAxis": mark.since_ms + look.offset_ms, "lineStyle": {"color": mark.colour}, "label": {"show": False}}
        for mark in marks
        if mark.until_ms is None
    ]
    made["markLine"] = {
        "symbol": "none", "silent": True, "animation": False, "data": thresholds + instants,
        "lineStyle": {"type": "dashed", "width": 1}, "label": {"position": "insideEndTop", "fontSize": 10},
    }  # fmt: skip
    made["markArea"] = {
        "silent": True, "animation": False,
        "data": [_area(mark, look) for mark in marks if mark.until_ms is not None],
        "label": {"position": "insideTopLeft", "fontSize": 10, "overflow": "truncate", "width": 160},
    }  # fmt: skip
    return made


def _area(mark: Mark, look: Look) -> list[Json]:
    since = max(mark.since_ms, look.from_ms) + look.offset_ms
    until = min(mark.until_ms or look.to_ms, look.to_ms) + look.offset_ms
    style = {"itemStyle": {"color": mark.colour, "opacity": 0.10}, "label": {"color": mark.colour}}
    return [{"xAxis": since, "name": mark.text, **style}, {"xAxis": until}]
