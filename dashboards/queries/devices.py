"""Drill-down to devices and their readings: the only queries that read readings."""

# ruff: noqa: S608 - this is where SQL is put together; literals come from the catalogue, choices through Grafana

from __future__ import annotations

from collections.abc import Sequence

from dashboards.model import Query
from dashboards.queries.names import CITIES
from pearlstream.catalogue.models import Feed
from sinks.clickhouse.schema import readings_table_name
from sinks.clickhouse.sql import literal


def _view(feed: Feed) -> str:
    return readings_table_name(feed.id) + "_v"


NAMED = "device LIKE concat('%', ${device:singlequote}, '%')"
"""Devices whose name contains what was typed; nothing typed: all."""
_OF_DEVICES = f"{CITIES} AND {NAMED} AND $__timeFilter_ms(ts)"


def map_of_devices(feed: Feed, fields: Sequence[str]) -> Query:
    """The devices of the chosen cities where they stand, with the last values of the chosen time's last hour."""
    picked = ", ".join(f"newest.{number} AS `{name}`" for number, name in enumerate(fields, 2))
    columns = ", ".join(f"`{name}`" for name in fields)
    return Query(
        f"""SELECT device, newest.1 AS ts, {picked}, place.1 AS lon, place.2 AS lat
FROM (
  SELECT city, device, argMax((ts, {columns}), ts) AS newest
  FROM {_view(feed)}
  WHERE {_OF_DEVICES} AND ts > $__toTime_ms - toIntervalHour(1)
  GROUP BY city, device
) AS said
INNER JOIN (
  SELECT city, device, argMax((lon, lat), entry) AS place FROM devices
  WHERE feed = {literal(feed.id)} AND {CITIES} GROUP BY city, device
) AS stands USING (city, device)
WHERE isNotNull(lon)
LIMIT 3000"""
    )


def device_trend(feed: Feed, name: str) -> Query:
    """The mean of each device's readings by interval: up to twenty devices."""
    return Query(
        f"""SELECT toStartOfInterval(ts, toIntervalSecond(greatest($__interval_s, {feed.cadence_s}))) AS time,
  device AS label, toFloat64(avg(`{name}`)) AS value
FROM {_view(feed)}
WHERE {_OF_DEVICES} AND device IN (
  SELECT device FROM devices
  WHERE feed = {literal(feed.id)} AND {CITIES} AND {NAMED}
  GROUP BY device ORDER BY device LIMIT 20
)
GROUP BY time, device
ORDER BY time""",
        series=True,
    )


def newest_readings(feed: Feed) -> Query:
    """The last hundred readings of the chosen time."""
    fields = ", ".join(f"`{name}`" for name in feed.fields)
    return Query(
        f"""SELECT ts, device, {fields}, qc
FROM {_view(feed)}
WHERE {_OF_DEVICES} AND ts > $__toTime_ms - toIntervalMinute(10)
ORDER BY ts DESC
LIMIT 100"""
    )
