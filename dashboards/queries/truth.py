"""What the simulator did, and what the rules made of it."""

# ruff: noqa: S608 - this is where SQL is put together; literals come from the catalogue, choices through Grafana

from __future__ import annotations

from dashboards.model import Query, Tongue
from dashboards.queries.alerting import ALERT_SPANS
from dashboards.queries.names import city_name, indicator_name
from dashboards.words import FIRING_COUNT
from sinks.clickhouse.sql import literal


def truth(tongue: Tongue) -> Query:
    """What the simulator did in the chosen time."""
    return Query(
        f"""SELECT from_ms AS since, until_ms AS until, kind, id, if(empty(city), '', {city_name(tongue)}) AS place,
  feed, note
FROM (SELECT DISTINCT kind, id, city, feed, from_ms, until_ms, note FROM truth_labels)
WHERE isNotNull(from_ms) AND from_ms <= $__toTime_ms AND (isNull(until_ms) OR until_ms >= $__fromTime_ms)
ORDER BY kind != 'scenario', since
LIMIT 500"""
    )


def alerts_with_truth(tongue: Tongue) -> Query:
    """Alerts of the chosen time, each with the scenarios that were on when it opened."""
    return Query(
        f"""SELECT opened AS since, if(ended, resolved, NULL) AS until, {city_name(tongue)} AS place,
  {indicator_name(tongue)} AS what,
  arrayStringConcat(
    arraySort(arrayMap(x -> x.1, arrayFilter(x -> x.2 <= opened AND x.3 >= opened, played))), ', '
  ) AS scenarios,
  city
FROM (
  {ALERT_SPANS}
) AS spans
CROSS JOIN (
  SELECT groupUniqArray((id, assumeNotNull(from_ms), assumeNotNull(until_ms))) AS played
  FROM truth_labels WHERE kind = 'scenario' AND isNotNull(from_ms) AND isNotNull(until_ms)
) AS scenarios_played
WHERE opened >= $__fromTime_ms
ORDER BY since DESC
LIMIT 500"""
    )


_STEP = "WITH greatest(60, intDiv(dateDiff('second', $__fromTime_ms, $__toTime_ms), 500)) AS step"
"""Seconds between two moments of the chosen time."""
_AT_MOMENTS = """ARRAY JOIN arrayMap(
  i -> toDateTime(i * step, 'UTC'),
  range(
    intDiv(greatest(since, toUnixTimestamp($__fromTime_ms)), step),
    intDiv(least(until, toUnixTimestamp($__toTime_ms)), step) + 1
  )
) AS moment"""
"""Each row once for every moment of the chosen time between its `since` and its `until` (seconds)."""


def truth_over_time() -> Query:
    """How many cities each scenario was at work in, at moments of the chosen time."""
    return Query(
        f"""{_STEP}
SELECT moment AS time, splitByChar('/', id)[1] AS label, toFloat64(uniqExact(city)) AS value
FROM (
  SELECT id, city, toUnixTimestamp(assumeNotNull(from_ms)) AS since, toUnixTimestamp(assumeNotNull(until_ms)) AS until
  FROM truth_labels
  WHERE kind = 'effect' AND isNotNull(from_ms) AND isNotNull(until_ms)
    AND from_ms <= $__toTime_ms AND until_ms >= $__fromTime_ms
)
{_AT_MOMENTS}
GROUP BY time, label
ORDER BY time""",
        series=True,
    )


def open_over_time(tongue: Tongue) -> Query:
    """How many alerts were open, at moments of the chosen time."""
    return Query(
        f"""{_STEP}
SELECT moment AS time, {literal(tongue(FIRING_COUNT))} AS label, toFloat64(count()) AS value
FROM (
  SELECT toUnixTimestamp(opened) AS since, toUnixTimestamp(if(ended, resolved, $__toTime_ms)) AS until
  FROM (
  {ALERT_SPANS}
  )
  WHERE NOT ended OR resolved >= $__fromTime_ms
)
{_AT_MOMENTS}
GROUP BY time
ORDER BY time""",
        series=True,
        name="B",
    )
