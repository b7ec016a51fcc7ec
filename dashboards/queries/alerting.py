"""Alerts, and how the alarm system fares."""

# ruff: noqa: S608 - this is where SQL is put together; literals come from the catalogue, choices through Grafana

from __future__ import annotations

from dashboards.model import Query, Tongue
from dashboards.queries.names import CITIES, city_name, indicator_name

ALERT_SPANS = """SELECT alert_id, any(indicator) AS indicator, any(city) AS city, any(dims) AS dims,
    any(severity) AS severity, minIf(clock_ms, transition = 'opened') AS opened,
    maxIf(clock_ms, transition = 'resolved') AS resolved, countIf(transition = 'resolved') > 0 AS ended,
    argMax(transition, transition_no) AS last, argMinIf(value, transition_no, transition = 'opened') AS value
  FROM alerts
  WHERE clock_ms <= $__toTime_ms
  GROUP BY alert_id"""
"""A subquery: every alert once, as it stood at the end of the chosen time. `alerts` holds a handful of rows per alert,
so all of it is read."""


def firing(tongue: Tongue, where: str = "1 = 1") -> Query:
    """Alerts that are open at the end of the chosen time, the newest first."""
    return Query(
        f"""SELECT opened AS since, severity, {city_name(tongue)} AS place, {indicator_name(tongue)} AS what,
  dims, value, last AS state, city
FROM (
  {ALERT_SPANS}
)
WHERE NOT ended AND {where}
ORDER BY since DESC
LIMIT 200"""
    )


def alerts_of_time(tongue: Tongue, where: str = "1 = 1") -> Query:
    """Alerts that were open at some moment of the chosen time."""
    return Query(
        f"""SELECT opened AS since, if(ended, resolved, NULL) AS until,
  dateDiff('second', opened, if(ended, resolved, $__toTime_ms)) AS lasted, severity,
  {city_name(tongue)} AS place, {indicator_name(tongue)} AS what, dims, value, city
FROM (
  {ALERT_SPANS}
)
WHERE (NOT ended OR resolved >= $__fromTime_ms) AND {where}
ORDER BY since DESC
LIMIT 1000"""
    )


def alert_marks(tongue: Tongue, where: str = "1 = 1") -> str:
    """Alerts as marks on the time axis, from opening to end."""
    return f"""SELECT opened AS time, if(ended, resolved, $__toTime_ms) AS timeEnd,
  concat({city_name(tongue)}, ' ', {indicator_name(tongue)}) AS text, severity AS tags
FROM (
  {ALERT_SPANS}
)
WHERE (NOT ended OR resolved >= $__fromTime_ms) AND {where}
ORDER BY time
LIMIT 500"""


SCENARIO_MARKS = """SELECT from_ms AS time, until_ms AS timeEnd, concat(id, ' ', note) AS text, kind AS tags
FROM (SELECT DISTINCT kind, id, from_ms, until_ms, note FROM truth_labels WHERE kind = 'scenario')
WHERE isNotNull(from_ms) AND from_ms <= $__toTime_ms AND (isNull(until_ms) OR until_ms >= $__fromTime_ms)
ORDER BY time"""
"""Scenarios that were played, as marks."""

ACT_MARKS = """SELECT at AS time, concat(kind, ': ', why) AS text, kind AS tags
FROM acts WHERE part = '' AND state = 'done' AND $__timeFilter_ms(at) ORDER BY time"""
"""What was done to stored rows by hand (by the wall clock)."""


OPENED_PER_TEN_MINUTES = Query(
    f"""SELECT toStartOfInterval(clock_ms, toIntervalSecond(600)) AS time, severity AS label,
  toFloat64(uniqExact(alert_id)) AS value
FROM alerts
WHERE transition = 'opened' AND {CITIES} AND $__timeFilter_ms(clock_ms)
GROUP BY time, severity
ORDER BY time""",
    series=True,
)

FLOOD = 10
"""So many alerts opened in ten minutes are more than a person can look at (EEMUA 191)."""

FLOODS = f"""SELECT countIf(opened > {FLOOD}) AS floods
FROM (
  SELECT uniqExact(alert_id) AS opened FROM alerts
  WHERE transition = 'opened' AND {CITIES} AND $__timeFilter_ms(clock_ms)
  GROUP BY toStartOfInterval(clock_ms, toIntervalSecond(600))
)"""

CHATTERING = f"""SELECT uniqExact(indicator, city, dims) AS chattering
FROM (
  SELECT indicator, city, dims FROM alerts
  WHERE transition = 'opened' AND {CITIES} AND $__timeFilter_ms(clock_ms)
  GROUP BY indicator, city, dims, toStartOfHour(clock_ms)
  HAVING uniqExact(alert_id) >= 3
)"""

STANDING = f"""SELECT countIf(NOT ended AND opened < $__toTime_ms - toIntervalDay(1)) AS standing
FROM (
  {ALERT_SPANS}
)
WHERE {CITIES}"""
