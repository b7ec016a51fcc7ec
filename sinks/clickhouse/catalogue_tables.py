"""The catalogue as tables that a dashboard can join: names, units, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.indicator import Indicator, Thresholds
from pearlstream.catalogue.models import Name
from sinks.clickhouse.model import Column, Dictionary, Table

Row = Mapping[str, Any]

_NAMES = (
    Column("en", "String"),
    Column("zh", "String"),
    Column("zh_hant", "String"),
    Column("pt", "String"),
)


def _table(name: str, meaning: str, order_by: tuple[str, ...], *columns: Column) -> Table:
    return Table(f"catalogue_{name}", meaning, columns, "MergeTree", order_by)


CATALOGUE_TABLES = (
    _table(
        "cities",
        "the cities of the cluster",
        ("id",),
        Column("id", "String"),
        *_NAMES,
        Column("lon", "Float64"),
        Column("lat", "Float64"),
        Column("population", "Int64"),
        Column("utc_offset_h", "Float64"),
        Column("coast", "Bool"),
        Column("known_for", "String"),
        Column("groups", "Array(String)"),
    ),
    _table(
        "feeds",
        "the feeds, and the table that holds their readings",
        ("id",),
        Column("id", "String"),
        Column("number", "String"),
        Column("version", "UInt32"),
        *_NAMES,
        Column("device", "String"),
        Column("cadence_s", "UInt32"),
        Column("hold_s", "UInt32"),
        Column("readings_table", "String"),
    ),
    _table(
        "fields",
        "the measured and static fields of each feed",
        ("feed", "field"),
        Column("feed", "String"),
        Column("field", "String"),
        Column("measured", "Bool", comment="false: a static field of the device"),
        Column("type", "String"),
        Column("unit", "String"),
        Column("decimals", "Nullable(UInt8)"),
        Column("min", "Nullable(Float64)"),
        Column("max", "Nullable(Float64)"),
        Column("values", "Array(String)"),
        Column("note", "String"),
    ),
    _table(
        "indicators",
        "the indicators, and the sub-item of the plan that each speaks for",
        ("id",),
        Column("id", "String"),
        Column("sub_item", "String"),
        *_NAMES,
        Column("unit", "String"),
        Column("decimals", "UInt8"),
        Column("direction", "String"),
        Column("window_s", "UInt32"),
        Column("every_s", "UInt32"),
        Column("per", "String"),
        Column("dims", "Array(String)"),
        Column("formula", "String"),
        Column("definition", "String"),
        Column("severity", "String", comment="empty: no alert rule"),
    ),
    _table(
        "thresholds",
        "when an indicator is raised and cleared",
        ("indicator", "city"),
        Column("indicator", "String"),
        Column("city", "String", comment="empty: all cities that are not named"),
        Column("raise_op", "String"),
        Column("raise_value", "Float64"),
        Column("raise_count", "UInt32"),
        Column("clear_op", "String"),
        Column("clear_value", "Float64"),
        Column("clear_count", "UInt32"),
        Column("times", "String", comment="one, or base: the thresholds are multiples of the base"),
    ),
    _table(
        "measures",
        "the measures behind the indicators: which column of `rollups` counts, and its grid",
        ("measure",),
        Column("measure", "String"),
        Column("indicator", "String"),
        Column("feed", "String", comment="* for every feed"),
        Column("kind", "String"),
        Column("decimals", "UInt8"),
        Column("pane_len_s", "UInt32"),
        Column("dims", "Array(String)"),
        Column("edges", "Array(Float64)"),
    ),
    _table(
        "references",
        "limits from norms",
        ("indicator", "value"),
        Column("indicator", "String"),
        Column("value", "Float64"),
        Column("label", "String"),
    ),
)
"""Replaced as a whole by `pearlstream store migrate`."""

CITY_DICTIONARY = Dictionary(
    name="city",
    meaning="names and places of cities: dictGet('city', 'zh', code)",
    columns=(
        Column("id", "String"),
        *_NAMES,
        Column("lon", "Float64"),
        Column("lat", "Float64"),
        Column("population", "Int64"),
    ),
    key="id",
    table="catalogue_cities",
)


def catalogue_rows(catalogue: Catalogue) -> dict[str, list[Row]]:
    """The rows of every catalogue table, by table."""
    indicators = list(catalogue.indicators.values())
    return {
        "catalogue_cities": _cities(catalogue),
        "catalogue_feeds": _feeds(catalogue),
        "catalogue_fields": _fields(catalogue),
        "catalogue_indicators": [_indicator(one) for one in indicators],
        "catalogue_thresholds": [row for one in indicators for row in _thresholds(one)],
        "catalogue_measures": [row for one in indicators for row in _measures(one)],
        "catalogue_references": [
            {"indicator": one.id, "value": limit.value, "label": limit.label}
            for one in indicators
            for limit in one.reference
        ],
    }


def _names(name: Name) -> Row:
    return {"en": name.en, "zh": name.zh, "zh_hant": name.zh_hant, "pt": name.pt}


def _cities(catalogue: Catalogue) -> list[Row]:
    return [
        {
            "id": city.id,
            **_names(city.name),
            "lon": city.lon,
            "lat": city.lat,
            "population": city.population,
            "utc_offset_h": city.utc_offset_h,
            "coast": city.coast,
            "known_for": city.known_for,
            "groups": [group.id for group in catalogue.groups.values() if city.id in group.cities],
        }
        for city in catalogue.cities.values()
    ]


def _feeds(catalogue: Catalogue) -> list[Row]:
    return [
        {
            "id": feed.id,
            "number": feed.number,
            "version": feed.version,
            **_names(feed.name),
            "device": feed.device,
            "cadence_s": feed.cadence_s,
            "hold_s": feed.hold_s,
            "readings_table": "readings_" + feed.id.replace(".", "_"),
        }
        for feed in catalogue.feeds.values()
    ]


def _fields(catalogue: Catalogue) -> list[Row]:
    rows: list[Row] = []
    for feed in catalogue.feeds.values():
        for name, spec in feed.fields.items():
            rows.append(
                {
                    "feed": feed.id,
                    "field": name,
                    "measured": True,
                    "type": spec.type,
                    "unit": spec.unit,
                    "decimals": spec.decimals if spec.type == "float" else None,
                    "min": spec.min,
                    "max": spec.max,
                    "values": list(spec.values),
                    "note": spec.note,
                }
            )
        for name, static in feed.static.items():
            rows.append(
                {
                    "feed": feed.id,
                    "field": name,
                    "measured": False,
                    "type": static.type,
                    "unit": static.unit,
                    "decimals": None,
                    "min": None,
                    "max": None,
                    "values": list(static.values),
                    "note": static.note,
                }
            )
    return rows


def _indicator(one: Indicator) -> Row:
    return {
        "id": one.id,
        "sub_item": one.sub_item,
        **_names(one.name),
        "unit": one.unit,
        "decimals": one.decimals,
        "direction": one.direction,
        "window_s": one.window.length_s,
        "every_s": one.window.hop_s,
        "per": one.per,
        "dims": list(one.dims),
        "formula": one.value,
        "definition": one.definition,
        "severity": one.alert.severity if one.alert else "",
    }


def _thresholds(one: Indicator) -> list[Row]:
    pairs: Sequence[Thresholds] = one.alert.thresholds if one.alert else ()
    rows: dict[str, Row] = {}
    for pair in pairs:
        for city in pair.cities or ("",):
            rows.setdefault(
                city,
                {
                    "indicator": one.id,
                    "city": city,
                    "raise_op": pair.raise_.op,
                    "raise_value": pair.raise_.value,
                    "raise_count": pair.raise_.count,
                    "clear_op": pair.clear.op,
                    "clear_value": pair.clear.value,
                    "clear_count": pair.clear.count,
                    "times": pair.raise_.times,
                },
            )
    return list(rows.values())


def _measures(one: Indicator) -> list[Row]:
    return [
        {
            "measure": f"{one.id}.{name}",
            "indicator": one.id,
            "feed": measure.feed,
            "kind": measure.kind,
            "decimals": 0 if measure.edges else measure.decimals,
            "pane_len_s": measure.pane_s,
            "dims": sorted(measure.by),
            "edges": list(measure.edges),
        }
        for name, measure in one.measures.items()
    ]
