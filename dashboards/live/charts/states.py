"""States over time: a row per signal, a cell per interval, the worst word of each stretch written into it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from dashboards.live.look import Look
from dashboards.model import Panel

Json = dict[str, Any]
LEAST_STEP_MS = 60_000


def states(panel: Panel, rows: Sequence[Mapping[str, Any]], look: Look) -> Json:
    """The chart, as a heat map. A state holds until the next one of its row."""
    lines: dict[str, dict[int, int]] = defaultdict(dict)
    for row in rows:
        if row["value"] is not None:
            lines[str(row["label"])][look.wall_ms(row["time"])] = int(row["value"])
    moments = _moments([at for line in lines.values() for at in line], look)
    labels = sorted(lines)
    data = [cell for place, label in enumerate(labels) for cell in _cells(place, lines[label], moments, panel)]
    return {
        "xAxis": {"type": "category", "data": [look.written(at - look.offset_ms) for at in moments]},
        "yAxis": {"type": "category", "inverse": True, "data": labels},
        "visualMap": {
            "type": "piecewise", "orient": "horizontal", "bottom": 0, "left": "center", "selectedMode": False,
            "pieces": [
                {"value": int(value), "label": word.text, "color": word.colour} for value, word in panel.words.items()
            ],
        },
        "series": [{"id": "states", "type": "heatmap", "data": data, "label": {"fontSize": 9, "color": "#111"}}],
    }  # fmt: skip


def _moments(found: Sequence[int], look: Look) -> list[int]:
    """The starts of all intervals from the first to the end of what is shown, as far apart as the nearest two."""
    starts = sorted(set(found))
    if not starts:
        return []
    step = max(LEAST_STEP_MS, min((after - before for before, after in pairwise(starts)), default=LEAST_STEP_MS))
    return list(range(starts[0], look.to_ms + look.offset_ms + 1, step)) or starts[:1]


def _cells(place: int, line: Mapping[int, int], moments: Sequence[int], panel: Panel) -> list[Json]:
    cells: list[Json] = []
    state: int | None = None
    for column, moment in enumerate(moments):
        before, state = state, line.get(moment, state)
        if state is None:
            continue
        cell: Json = {"value": [column, place, state]}
        word = panel.words.get(str(state))
        if word and state != before:
            cell["label"] = {"show": True, "formatter": word.text[:1]}
        cells.append(cell)
    return cells
