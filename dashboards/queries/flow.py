"""What came in: rates, lateness, repeats, quarantine, corrections, sizes."""

# ruff: noqa: S608 - this is where SQL is put together; literals come from the catalogue, choices through Grafana

from __future__ import annotations

from dashboards.model import Query, Tongue
from dashboards.queries.names import CITIES, city_name, indicator_name


def readings_over_time(column: str, where: str = CITIES) -> Query:
    """Readings a second, by feed and by the clock of their admission: accepted, late or dup."""
    return Query(
        f"""SELECT toStartOfInterval(clock_ms, toIntervalSecond(greatest($__interval_s, 60))) AS time, feed AS label,
  sum({column}) / greatest($__interval_s, 60) AS value
FROM frames
WHERE {where} AND $__timeFilter_ms(clock_ms)
GROUP BY time, feed
ORDER BY time""",
        series=True,
    )


QUARANTINED_OVER_TIME = Query(
    f"""SELECT time, label, sum(n) / greatest($__interval_s, 60) AS value
FROM (
  SELECT toStartOfInterval(clock_ms, toIntervalSecond(greatest($__interval_s, 60))) AS time,
    arrayJoin(mapKeys(quarantined)) AS label, quarantined[label] AS n
  FROM frames
  WHERE notEmpty(quarantined) AND {CITIES} AND $__timeFilter_ms(clock_ms)
)
GROUP BY time, label
ORDER BY time""",
    series=True,
)


def quarantine_newest(tongue: Tongue) -> Query:
    """What was set aside last, with what would have been right."""
    return Query(
        f"""SELECT clock_ms AS at, reason, feed, {city_name(tongue)} AS place, message
FROM quarantine
WHERE ({CITIES} OR empty(city)) AND $__timeFilter_ms(clock_ms)
ORDER BY at DESC
LIMIT 100"""
    )


def corrections(tongue: Tongue) -> Query:
    """How many windows late readings corrected, by indicator."""
    return Query(
        f"""SELECT {indicator_name(tongue)} AS what, uniqExact(city, dims, window_end_ms) AS windows, max(rev) AS most
FROM indicators
WHERE rev > 0 AND {CITIES} AND $__timeFilter_ms(window_end_ms)
GROUP BY indicator
ORDER BY windows DESC"""
    )


SIZES = """SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, count() AS parts
FROM system.parts
WHERE active AND database = currentDatabase()
GROUP BY table
ORDER BY bytes DESC"""
"""What the store holds; a matter of now, whatever time is chosen."""
