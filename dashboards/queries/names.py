"""What queries call cities, series and indicators, and how they choose cities."""

# ruff: noqa: S608 - this is where SQL is put together; literals come from the catalogue, choices through Grafana

from __future__ import annotations

from collections.abc import Sequence

from dashboards.model import Tongue
from sinks.clickhouse.sql import literal

CITIES = "city IN (${city:singlequote})"
"""The chosen cities."""


def city_name(tongue: Tongue, column: str = "city") -> str:
    """The name of a city, or of what is no city (a group of them) its code."""
    own = f"dictGetOrDefault('city', '{tongue.code}', {column}, '')"
    second = f"dictGetOrDefault('city', '{'zh' if tongue.code == 'zh_hant' else 'en'}', {column}, {column})"
    return f"if(empty({own}), {second}, {own})"


def labelled(tongue: Tongue) -> str:
    """City and dimensions as one label of a series."""
    name = city_name(tongue)
    return f"if(empty(dims), {name}, concat({name}, ' ', dims))"


def indicator_name(tongue: Tongue, column: str = "indicator") -> str:
    """The id and the name of an indicator."""
    name = {"en": "en", "zh": "zh", "zh_hant": "if(empty(zh_hant), zh, zh_hant)", "pt": "if(empty(pt), en, pt)"}
    named = f"mapFromArrays(groupArray(id), groupArray(concat(id, ' ', {name[tongue.code]})))"
    return f"(SELECT {named} FROM catalogue_indicators)[{column}]"


def listed(texts: Sequence[str]) -> str:
    """Literals, one after the other."""
    return ", ".join(map(literal, texts))


def cities(tongue: Tongue) -> str:
    """Code and name of every city, the largest first."""
    return f"SELECT id AS value, {city_name(tongue, 'id')} AS label FROM catalogue_cities ORDER BY population DESC"
