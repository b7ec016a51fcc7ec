"""Things where they stand: points on a grid of degrees. No outlines, as long as there are none that we may ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.live.cells import filled, written
from dashboards.live.look import Look
from dashboards.model import Panel

Json = dict[str, Any]
SHAPES = {"OK": "circle", "WATCH": "triangle", "RAISED": "diamond", "NODATA": "emptyCircle"}
"""A state has a form of its own besides its colour."""
SIZES = {"RAISED": 20, "WATCH": 16}
SCALE = ("#440154", "#3B528B", "#21918C", "#5EC962", "#FDE725")
"""Viridis: from little to much, in any kind of colour blindness and in print."""
MARGIN = 0.08
NAMED = 60
"""Up to so many points have their names beside them."""


def places(panel: Panel, rows: Sequence[Mapping[str, Any]], look: Look) -> Json:
    """The chart: `series` on `geo`, and in `box` the degrees (west, south, east, north) that it covers."""
    there = [row for row in rows if row.get("lon") is not None and row.get("lat") is not None]
    box = _box(there)
    points = [_point(panel, row, look) for row in there]
    series: Json = {
        "id": "places", "type": "scatter", "coordinateSystem": "geo", "data": points, "symbolSize": 13,
        "label": {"show": len(points) <= NAMED, "position": "right", "fontSize": 11},
        "labelLayout": {"hideOverlap": True},
    }  # fmt: skip
    made: Json = {"box": box, "series": [series]}
    if not panel.words:
        values = [point["value"][2] for point in points if point["value"][2] is not None]
        made["visualMap"] = {
            "min": min(values, default=0), "max": max(values, default=1), "dimension": 2, "seriesIndex": 0,
            "inRange": {"color": list(SCALE)}, "orient": "horizontal", "left": 8, "bottom": 4, "itemHeight": 90,
            "itemWidth": 10, "precision": 2, "text": [panel.unit, ""],
        }  # fmt: skip
    return made


def _point(panel: Panel, row: Mapping[str, Any], look: Look) -> Json:
    name, coloured = str(row[panel.extra["named_by"]]), row[panel.extra["colour_by"]]
    point: Json = {"name": name, "value": [row["lon"], row["lat"]], "facts": _facts(panel, row, look)}
    word = panel.words.get(str(coloured))
    if word is None:
        point["value"].append(coloured)
    else:
        state = str(coloured)
        point |= {"symbol": SHAPES.get(state, "circle"), "itemStyle": {"color": word.colour, "opacity": 1}}
        if state in SIZES:
            point["symbolSize"] = SIZES[state]
        point["label"] = {"formatter": f"{name} {word.text[:1]}" if state in SIZES else name}
    link = next((column.link for column in panel.columns.values() if column.link), "")
    if link:
        point["link"] = filled(link, row)
    return point


def _facts(panel: Panel, row: Mapping[str, Any], look: Look) -> list[list[str]]:
    """What stands beside the pointer: head and value of each declared column that is no link."""
    facts = []
    for name, column in panel.columns.items():
        if name in row and not column.link and not column.hidden and name != panel.extra["named_by"]:
            word = panel.words.get(str(row[name]))
            said = word.text if word else written(row[name], look, column.unit, column.decimals)
            facts.append([column.title or name, said])
    by = panel.extra["colour_by"]
    if by not in panel.columns:
        facts.append([by, written(row[by], look, panel.unit, panel.decimals)])
    return facts


def _box(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """The degrees around all points, with a margin; a degree around a single one."""
    if not rows:
        return [0.0, 0.0, 1.0, 1.0]
    west, east = min(row["lon"] for row in rows), max(row["lon"] for row in rows)
    south, north = min(row["lat"] for row in rows), max(row["lat"] for row in rows)
    wide, high = max(east - west, 0.05), max(north - south, 0.05)
    return [west - MARGIN * wide, south - MARGIN * high, east + MARGIN * wide, north + MARGIN * high]
