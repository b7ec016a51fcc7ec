"""Boards as Grafana's classic dashboard JSON, schema version 42 (read by Grafana 12.3 to 13).

Classic JSON, because file provisioning refuses the newer one. Nothing here depends on time, on a random number or on
the order of a set: the same board is the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dashboards.look import BLUE, grafana_unit
from dashboards.model import COLUMNS, Annotation, Board, Column, Kind, Panel, Query, Section, Step, Variable, Word

SCHEMA_VERSION = 42
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "pearlstream-clickhouse"}
PROMETHEUS = {"type": "prometheus", "uid": "pearlstream-prometheus"}
PLUGIN_VERSION = "4.20.0"
"""The version of the ClickHouse plugin that the query model is taken from."""
Json = dict[str, Any]


def dashboard(board: Board) -> Json:
    """The dashboard."""
    return {
        "uid": board.uid,
        "id": None,
        "title": board.title,
        "tags": list(board.tags),
        "schemaVersion": SCHEMA_VERSION,
        "version": 0,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": board.refresh,
        "liveNow": False,
        "time": {"from": board.span, "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m", "15m", "1h"]},
        "templating": {"list": [_variable(one) for one in board.variables]},
        "annotations": {"list": [_annotation(one) for one in board.annotations]},
        "links": [_board_link(title, address) for title, address in board.links],
        "panels": list(_laid_out(board.sections)),
    }


# ---------------------------------------------------------------- layout


def _laid_out(sections: Sequence[Section]) -> Iterator[Json]:
    """Panels from left to right and from top to bottom, each section under its row."""
    number, top = 1, 0
    for section in sections:
        inner: list[Json] = []
        row: Json | None = None
        if section.title:
            row = {
                "id": number, "type": "row", "title": section.title, "collapsed": section.folded, "panels": [],
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            }  # fmt: skip
            if section.repeat:
                row["repeat"] = section.repeat
            number, top = number + 1, top + 1
        left, height = 0, 0
        for panel in section.panels:
            if left + panel.width > COLUMNS:
                left, top, height = 0, top + height, 0
            grid = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            inner.append({"id": number, "gridPos": grid, **_panel(panel)})
            number, left, height = number + 1, left + panel.width, max(height, panel.height)
        top += height
        if row is not None:
            yield row | ({"panels": inner} if section.folded else {})
        if not section.folded:
            yield from inner


# ---------------------------------------------------------------- panels


def _panel(panel: Panel) -> Json:
    made: Json = {
        "type": _TYPES[panel.kind],
        "title": panel.title,
        "description": panel.description,
        "transparent": panel.kind is Kind.TEXT,
    }
    if panel.kind is Kind.TEXT:
        return made | {"options": {"mode": "markdown", "content": panel.text}}
    source = PROMETHEUS if panel.queries[0].of == "prometheus" else CLICKHOUSE
    made |= {
        "datasource": source,
        "targets": [_target(query) for query in panel.queries],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _OPTIONS[panel.kind](panel),
    }
    if panel.links:
        made["links"] = [{"title": title, "url": url, "targetBlank": False} for title, url in panel.links]
    return made


_TYPES = {
    Kind.TREND: "timeseries",
    Kind.BARS: "bargauge",
    Kind.STAT: "stat",
    Kind.TABLE: "table",
    Kind.MAP: "geomap",
    Kind.STATES: "state-timeline",
    Kind.TEXT: "text",
}


def _target(query: Query) -> Json:
    if query.of == "prometheus":
        return {
            "refId": query.name, "datasource": PROMETHEUS, "expr": query.sql, "legendFormat": query.legend,
            "instant": not query.series, "range": query.series, "editorMode": "code",
        }  # fmt: skip
    return {
        "refId": query.name,
        "datasource": CLICKHOUSE,
        "editorType": "sql",
        "queryType": "timeseries" if query.series else "table",
        "format": 0 if query.series else 1,
        "rawSql": query.sql,
        "pluginVersion": PLUGIN_VERSION,
        "meta": {"timezone": "UTC"},
    }


def _steps(steps: Sequence[Step]) -> Json:
    some = steps or (Step(None, BLUE),)
    return {"mode": "absolute", "steps": [{"value": one.value, "color": one.colour} for one in some]}


def _mappings(words: Mapping[str, Word]) -> list[Json]:
    if not words:
        return []
    options = {
        value: {"text": word.text, "color": word.colour, "index": index}
        for index, (value, word) in enumerate(words.items())
    }
    return [{"type": "value", "options": options}]


def _defaults(panel: Panel) -> Json:
    defaults: Json = {
        "unit": grafana_unit(panel.unit),
        "thresholds": _steps(panel.steps),
        "mappings": _mappings(panel.words),
        "color": _colour_mode(panel),
        "noValue": panel.no_data or "–",
    }
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.least is not None:
        defaults["min"] = panel.least
    if panel.kind is Kind.TREND:
        defaults["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 0, "showPoints": "auto", "pointSize": 4,
            "spanNulls": False, "lineInterpolation": "linear",
            "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
        }  # fmt: skip
    if panel.kind is Kind.STATES:
        defaults["custom"] = {"fillOpacity": 80, "lineWidth": 0}
    return defaults


def _colour_mode(panel: Panel) -> Json:
    if panel.kind is Kind.TREND:
        # by name: a city keeps its colour whatever else is shown
        return {"mode": "palette-classic-by-name"}
    return {"mode": "thresholds"}


def _overrides(panel: Panel) -> list[Json]:
    overrides = [
        {"matcher": {"id": "byName", "options": name}, "properties": _column(column)}
        for name, column in panel.columns.items()
    ]
    overrides += [
        {"matcher": {"id": "byFrameRefID", "options": query.name}, "properties": _UNSETTLED}
        for query in panel.queries
        if query.unsettled
    ]
    return overrides


_UNSETTLED: list[Json] = [
    {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [4, 6]}},
    {"id": "custom.showPoints", "value": "always"},
    {"id": "custom.pointSize", "value": 7},
    {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": False, "viz": False}},
]
"""What may still change: points on a dashed line, whose label stands in the legend already."""


def _column(column: Column) -> list[Json]:
    properties: list[Json] = []

    def put(name: str, value: Any) -> None:
        properties.append({"id": name, "value": value})

    if column.title:
        put("displayName", column.title)
    if column.hidden:
        put("custom.hidden", True)
    if column.unit:
        put("unit", grafana_unit(column.unit))
    if column.decimals is not None:
        put("decimals", column.decimals)
    if column.width is not None:
        put("custom.width", column.width)
    if column.words:
        put("mappings", _mappings(column.words))
    if column.steps:
        put("thresholds", _steps(column.steps))
    if column.words or column.steps:
        put("custom.cellOptions", {"type": "color-text"})
    if column.link:
        put("links", [{"title": column.title or "", "url": column.link}])
    return properties


# ---------------------------------------------------------------- options by kind


def _trend_options(panel: Panel) -> Json:
    del panel
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _reduce(panel: Panel, *, every: bool) -> Json:
    return {"calcs": ["lastNotNull"], "fields": panel.extra.get("shown", ""), "values": every}


def _bars_options(panel: Panel) -> Json:
    return {
        "reduceOptions": _reduce(panel, every=True), "orientation": "horizontal", "displayMode": "basic",
        "showUnfilled": True, "valueMode": "color", "minVizHeight": 12, "minVizWidth": 8, "namePlacement": "left",
    }  # fmt: skip


def _stat_options(panel: Panel) -> Json:
    return {
        "reduceOptions": _reduce(panel, every=False), "colorMode": "value", "graphMode": "none", "textMode": "value",
        "justifyMode": "center", "orientation": "auto",
    }  # fmt: skip


def _table_options(panel: Panel) -> Json:
    del panel
    return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": [], "fields": ""}}


def _map_options(panel: Panel) -> Json:
    style = {
        "size": {"fixed": 9, "min": 6, "max": 16},
        "color": {"field": panel.extra["colour_by"], "fixed": BLUE},
        "text": {"mode": "field", "field": panel.extra["named_by"]},
        "textConfig": {"fontSize": 11, "offsetX": 0, "offsetY": 14, "textAlign": "center", "textBaseline": "middle"},
        "opacity": 0.9,
        "symbol": {"mode": "fixed", "fixed": "img/icons/marker/circle.svg"},
    }
    layer = {
        "type": "markers", "name": panel.title, "tooltip": True,
        "config": {"showLegend": True, "style": style},
        "location": {"mode": "coords", "longitude": "lon", "latitude": "lat"},
    }  # fmt: skip
    return {
        "view": {"id": "fit", "allLayers": True, "padding": 8, "zoom": 7, "lat": 22.8, "lon": 113.4},
        "controls": {"mouseWheelZoom": False, "showZoom": True, "showAttribution": True, "showScale": False},
        "basemap": {"type": "default", "name": "Layer 0"},
        "layers": [layer],
        "tooltip": {"mode": "details"},
    }


def _states_options(panel: Panel) -> Json:
    del panel
    return {
        "mergeValues": True, "showValue": "never", "alignValue": "left", "rowHeight": 0.8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single", "sort": "none"},
    }  # fmt: skip


_OPTIONS: Mapping[Kind, Callable[[Panel], Json]] = {
    Kind.TREND: _trend_options,
    Kind.BARS: _bars_options,
    Kind.STAT: _stat_options,
    Kind.TABLE: _table_options,
    Kind.MAP: _map_options,
    Kind.STATES: _states_options,
}


# ---------------------------------------------------------------- variables, marks, links


def _variable(variable: Variable) -> Json:
    made: Json = {"name": variable.name, "label": variable.label, "hide": 0, "skipUrlSync": False}
    if variable.typed:
        return made | {"type": "textbox", "query": "", "current": {"value": "", "text": ""}, "options": []}
    if variable.choices:
        first = variable.first or variable.choices[0][0]
        text = dict(variable.choices)
        return made | {
            "type": "custom",
            "query": ",".join(f"{label} : {value}" for value, label in variable.choices),
            "options": [
                {"value": value, "text": label, "selected": value == first} for value, label in variable.choices
            ],
            "current": {"value": first, "text": text[first]},
            "multi": variable.many,
            "includeAll": variable.many,
        }
    made |= {
        "type": "query",
        "datasource": CLICKHOUSE,
        "query": variable.sql,
        "definition": variable.sql,
        "refresh": 2,
        "sort": 0,
        "multi": variable.many,
        "includeAll": variable.many,
    }
    if variable.many and variable.first is None:
        return made | {"current": {"value": ["$__all"], "text": ["All"]}}
    if variable.first is not None:
        return made | {"current": {"value": variable.first, "text": variable.first}}
    return made


def _annotation(mark: Annotation) -> Json:
    return {
        "name": mark.name,
        "datasource": CLICKHOUSE,
        "enable": mark.shown,
        "hide": False,
        "iconColor": mark.colour,
        "target": {
            "refId": "annotation", "editorType": "sql", "queryType": "table", "format": 1, "rawSql": mark.sql,
            "pluginVersion": PLUGIN_VERSION,
        },
    }  # fmt: skip


def _board_link(title: str, address: str) -> Json:
    return {
        "type": "link", "title": title, "url": address, "icon": "dashboard", "keepTime": True, "includeVars": False,
        "targetBlank": False, "asDropdown": False, "tags": [], "tooltip": "",
    }  # fmt: skip
