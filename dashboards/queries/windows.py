"""Windows of indicators: over time, compared, on the map, counted by state."""

# ruff: noqa: S608 - this is where SQL is put together; literals come from the catalogue, choices through Grafana

from __future__ import annotations

from collections.abc import Sequence

from dashboards.model import Query, Tongue
from dashboards.queries.names import CITIES, city_name, indicator_name, labelled, listed
from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.indicator import Indicator
from sinks.clickhouse.sql import literal

STATES = ("OK", "NODATA", "WATCH", "RAISED")
"""From the best to the worst."""


def trend(tongue: Tongue, indicator: Indicator, where: str = CITIES) -> tuple[Query, Query]:
    """A: of each interval the one settled window that ends with it; B: windows that are still open, at the time that
    they were seen.

    Windows are shown and not averaged: a mean of ratios is no ratio. Of an indicator that has a row over all dimensions
    only that row is shown.
    """
    hop_s = indicator.window.hop_s
    settled = f"""SELECT window_end_ms AS time, {labelled(tongue)} AS label, argMax(tuple(value), version).1 AS value
FROM indicators
WHERE indicator = {literal(indicator.id)} AND {where} AND rev >= 0
  AND $__timeFilter_ms(window_end_ms){_sampled(indicator)}
GROUP BY window_end_ms, city, dims
ORDER BY time"""
    still_open = f"""SELECT newest.2 AS time, label, newest.1 AS value
FROM (
  SELECT {labelled(tongue)} AS label, argMax((value, known_at_ms, rev), version) AS newest
  FROM indicators
  WHERE indicator = {literal(indicator.id)} AND {where}{_whole(indicator)}
    AND window_end_ms > $__toTime_ms - toIntervalSecond({2 * hop_s})
    AND window_end_ms <= $__toTime_ms + toIntervalSecond({indicator.window.length_s})
  GROUP BY city, dims, window_end_ms
)
WHERE newest.3 = -1 AND isNotNull(newest.1)
ORDER BY time"""
    return Query(settled, series=True), Query(still_open, series=True, name="B", unsettled=True)


def _whole(indicator: Indicator) -> str:
    return " AND dims = ''" if indicator.total else ""


def _sampled(indicator: Indicator) -> str:
    """As many windows as there are points, those at the ends of intervals. Windows cut by local midnight are few."""
    hop_s = indicator.window.hop_s
    if indicator.window.cut == "city":
        return _whole(indicator)
    step_s = f"intDiv(greatest($__interval_s, {hop_s}) + {hop_s - 1}, {hop_s}) * {hop_s}"
    return f"{_whole(indicator)}\n  AND toUnixTimestamp64Milli(window_end_ms) % (1000 * {step_s}) = 0"


def newest_by_city(tongue: Tongue, indicator: Indicator) -> Query:
    """The last settled window of each chosen city, as a whole."""
    return Query(
        f"""SELECT {labelled(tongue)} AS name, argMax(tuple(value), (window_end_ms, version)).1 AS value
  FROM indicators
  WHERE indicator = {literal(indicator.id)} AND {CITIES} AND rev >= 0{_whole(indicator)}
    AND $__timeFilter_ms(window_end_ms)
    AND window_end_ms > $__toTime_ms - toIntervalSecond({max(7200, 3 * indicator.window.hop_s)})
  GROUP BY city, dims
  ORDER BY value DESC NULLS LAST
  LIMIT 60"""
    )


def map_of_cities(tongue: Tongue) -> Query:
    """The chosen indicator's last settled window in each city, with its place: the row over all dimensions; where there
    is none, the worst of them."""
    return Query(
        f"""SELECT {city_name(tongue)} AS name,
  dictGet('city', 'lon', city) AS lon, dictGet('city', 'lat', city) AS lat, newest.1 AS value,
  newest.2 AS state, newest.3 AS until, city
FROM (
  SELECT city, argMax(series, (empty(dims), indexOf([{listed(STATES)}], series.2))) AS newest
  FROM (
    SELECT city, dims, argMax((value, state, window_end_ms), (window_end_ms, version)) AS series
    FROM indicators
    WHERE indicator = ${{indicator:singlequote}} AND rev >= 0 AND dictHas('city', city)
      AND $__timeFilter_ms(window_end_ms) AND window_end_ms > $__toTime_ms - toIntervalDay(2)
    GROUP BY city, dims
  )
  GROUP BY city
)
ORDER BY city"""
    )


_STATES = """SELECT indicator, city, dims, argMax(state, (window_end_ms, version)) AS state
  FROM indicators
  WHERE rev >= 0 AND indicator IN ({ids}) AND $__timeFilter_ms(window_end_ms)
    AND window_end_ms > $__toTime_ms - toIntervalSecond({back_s})
  GROUP BY indicator, city, dims"""


def states_of(indicators: Sequence[Indicator]) -> str:
    """A subquery: the state of each series of some indicators in its last settled window."""
    quick = [one for one in indicators if one.window.hop_s < 86_400]
    slow = [one for one in indicators if one.window.hop_s >= 86_400]
    parts = [
        _STATES.format(ids=listed([one.id for one in some]), back_s=back_s)
        for some, back_s in ((quick, 7200), (slow, 3 * 86_400))
        if some
    ]
    return "\n  UNION ALL\n  ".join(parts)


def count_of_raised(indicators: Sequence[Indicator]) -> Query:
    """How many series of some indicators are raised."""
    return Query(f"SELECT countIf(state = 'RAISED') AS signals\nFROM (\n  {states_of(indicators)}\n)")


def sub_items(tongue: Tongue, catalogue: Catalogue) -> Query:
    """One row per sub-item of the plan: how many of its signals are in which state."""
    items = list(catalogue.sub_items.values())
    ids, names = listed([item.id for item in items]), listed([f"{item.id} {tongue(item.name)}" for item in items])
    spoken = [one for one in catalogue.indicators.values() if one.sub_item in catalogue.sub_items]
    return Query(
        f"""SELECT transform(item, [{ids}], [{names}], item) AS name, task,
  countIf(state = 'RAISED') AS raised, countIf(state = 'WATCH') AS watch, countIf(state = 'OK') AS ok,
  countIf(state = 'NODATA') AS nodata
FROM (
  SELECT {_item_of(spoken)} AS item, substring(item, 1, 1) AS task, state
  FROM (
  {states_of(spoken)}
  )
)
GROUP BY item, task
ORDER BY item"""
    )


def _item_of(indicators: Sequence[Indicator]) -> str:
    ids, items = listed([one.id for one in indicators]), listed([one.sub_item for one in indicators])
    return f"transform(indicator, [{ids}], [{items}], '')"


def signals_of_city(tongue: Tongue, indicators: Sequence[Indicator]) -> Query:
    """The last settled window of every series of the chosen city, the worst first."""
    ids = [one.id for one in indicators]
    units = [one.unit for one in indicators]
    unit = f"transform(indicator, [{listed(ids)}], [{listed(units)}], '')"
    return Query(
        f"""SELECT {indicator_name(tongue)} AS what, dims, newest.1 AS value, {unit} AS unit,
  newest.2 AS state, newest.3 AS coverage, newest.4 AS until
FROM (
  SELECT indicator, dims, argMax((value, state, coverage, window_end_ms), (window_end_ms, version)) AS newest
  FROM indicators
  WHERE indicator IN ({listed(ids)}) AND {CITIES} AND rev >= 0 AND $__timeFilter_ms(window_end_ms)
    AND window_end_ms > $__toTime_ms - toIntervalDay(2)
  GROUP BY indicator, city, dims
)
ORDER BY indexOf([{listed(STATES)}], state) DESC, what, dims"""
    )


def states_over_time(tongue: Tongue, indicators: Sequence[Indicator]) -> Query:
    """The state of each signal that has a rule, over time, in the chosen city, as its place in `STATES`: the worst of
    an interval. Signals that were fine all the time are left out."""
    ids = [one.id for one in indicators if one.alert is not None]
    return Query(
        f"""SELECT time, concat({indicator_name(tongue)}, if(empty(dims), '', concat(' ', dims))) AS label,
  toFloat64(worst) AS value
FROM (
  SELECT time, indicator, dims, worst, max(worst) OVER (PARTITION BY indicator, dims) AS worst_of_all
  FROM (
    SELECT toStartOfInterval(window_end_ms, toIntervalSecond(greatest($__interval_s, 300))) AS time, indicator, dims,
      max(transform(state, [{listed(STATES)}], [0, 1, 2, 3], 1)) AS worst
    FROM indicators
    WHERE indicator IN ({listed(ids)}) AND {CITIES} AND rev >= 0 AND $__timeFilter_ms(window_end_ms)
    GROUP BY time, indicator, dims
  )
)
WHERE worst_of_all > 1
ORDER BY time, label""",
        series=True,
    )
