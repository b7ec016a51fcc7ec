"""Values as a person reads them, and the tables and single numbers made of them: text and colours, never HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from dashboards.boards.common import TIME
from dashboards.live.look import SIGNS, Look
from dashboards.look import GREY
from dashboards.model import Column, Panel, Step

NOTHING = "–"
_FIELD = re.compile(r"\$\{__data\.fields\.(\w+)\}")
_SPACELESS = ("%", "°C", "°")
Row = Mapping[str, Any]
Json = dict[str, Any]


def written(value: Any, look: Look, unit: str = "", decimals: int | None = None) -> str:
    """A value with its unit."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, datetime):
        return look.written(value)
    if isinstance(value, bool):
        return "✓" if value else NOTHING
    if not isinstance(value, int | float):
        return str(value)
    if unit == "grafana:percentunit":
        return f"{100 * value:.{decimals or 0}f}%"
    if unit == "grafana:bytes":
        return _bytes(value)
    if unit == "s" and decimals is None:
        return _lasting(value)
    number = _number(value, decimals)
    if unit in ("", "ratio"):
        return number
    return f"{number}{'' if unit in _SPACELESS else ' '}{unit}"


def _number(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if isinstance(value, int) or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.{max(0, 3 - len(str(int(abs(value)))))}f}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _lasting(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def colour_of(value: float | None, steps: Sequence[Step]) -> str:
    """The colour of the last step that a value has reached; empty if there is none."""
    if value is None:
        return ""
    reached = [step.colour for step in steps if step.value is None or value >= step.value]
    return reached[-1] if reached else ""


# ---------------------------------------------------------------- a number


def number(panel: Panel, rows: Sequence[Row], look: Look) -> Json:
    """What a stat shows: the first number of the answer."""
    values = [value for row in rows[:1] for value in row.values() if isinstance(value, int | float)]
    if not values:
        return {"text": panel.no_data or NOTHING}
    colour = colour_of(values[0], panel.steps)
    return {
        "text": written(values[0], look, decimals=panel.decimals),
        "unit": panel.unit,
        "sign": SIGNS.get(colour, ""),
        "colour": colour,
    }


# ---------------------------------------------------------------- a table


def table(panel: Panel, rows: Sequence[Row], look: Look) -> Json:
    """What a table shows: heads and rows of cells."""
    names = [name for name in (rows[0] if rows else panel.columns) if not _column(panel, name).hidden]
    return {
        "heads": [_head(_column(panel, name), name, rows) for name in names],
        "rows": [[_cell(_column(panel, name), row[name], row, look) for name in names] for row in rows],
    }


def _column(panel: Panel, name: str) -> Column:
    return panel.columns.get(name) or Column()


def _head(column: Column, name: str, rows: Sequence[Row]) -> Json:
    """`number`: its cells are set to the right; `moment`: they are times; `short`: they are not broken into lines."""
    head: Json = {"text": column.title.strip() or ("" if column.title else name)}
    if any(_is_number(row[name]) for row in rows):
        head["number"] = True
    if any(isinstance(row[name], datetime) for row in rows):
        head["moment"] = True
    if column.width or "moment" in head:
        head["short"] = True
    return head


def _cell(column: Column, value: Any, row: Row, look: Look) -> Json:
    word = column.words.get(str(value))
    cell: Json = {"text": word.text if word else written(value, look, column.unit, column.decimals)}
    colour = word.colour if word else colour_of(value, column.steps) if _is_number(value) else ""
    if colour and (word or colour != GREY):
        cell["colour"] = colour
    if column.link:
        cell["link"] = filled(column.link, row)
    return cell


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def filled(link: str, row: Row) -> str:
    """A link with the row's own values in it; the page adds the time when it is followed."""
    own = _FIELD.sub(lambda found: quote(str(row.get(found[1], "")), safe=""), link)
    return own.replace(TIME, "").rstrip("?&")
