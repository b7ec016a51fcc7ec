"""Values compared: a bar per name, in the colour that its value has reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.live.cells import NOTHING, colour_of, written
from dashboards.live.look import SIGNS, Look
from dashboards.look import BLUE
from dashboards.model import Panel

Json = dict[str, Any]


def bars(panel: Panel, rows: Sequence[Mapping[str, Any]], look: Look) -> Json:
    """The chart: names from top to bottom as they come, value and sign at the end of each bar."""
    return {
        "yAxis": {"type": "category", "inverse": True, "data": [str(row["name"]) for row in rows]},
        "xAxis": {"type": "value", "scale": False, "min": panel.least, "splitNumber": 3},
        "series": [
            {
                "id": "bars", "type": "bar", "barCategoryGap": "25%", "data": [_bar(panel, row, look) for row in rows],
                "label": {"show": True, "position": "right", "fontSize": 10},
                "markLine": _thresholds(panel),
            }
        ],
    }  # fmt: skip


def _bar(panel: Panel, row: Mapping[str, Any], look: Look) -> Json:
    value = row["value"]
    if value is None:
        return {"value": 0, "label": {"formatter": NOTHING}, "itemStyle": {"opacity": 0}}
    colour = colour_of(value, panel.steps)
    sign = SIGNS.get(colour, "")
    said = written(value, look, decimals=panel.decimals)
    return {
        "value": round(value, 4 if panel.decimals is None else panel.decimals),
        "itemStyle": {"color": colour or BLUE},
        "label": {"formatter": f"{said} {sign}".strip()},
    }


def _thresholds(panel: Panel) -> Json:
    return {
        "symbol": "none", "silent": True, "animation": False, "label": {"show": False},
        "data": [
            {"xAxis": step.value, "lineStyle": {"color": step.colour, "type": "dashed", "width": 1}}
            for step in panel.steps
            if step.value is not None
        ],
    }  # fmt: skip
