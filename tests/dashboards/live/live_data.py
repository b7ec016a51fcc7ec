"""Six hours of made-up windows, an hour of which is a story: Shenzhen's traffic stands, and two alerts are open."""

from __future__ import annotations

import time

from pearlstream.catalogue import Catalogue
from pearlstream.store import Store

DAY_MS = 86_400_000
HOP_MS = 300_000
NEWEST_MS = round(time.time() * 1000) // DAY_MS * DAY_MS - DAY_MS + 6 * 3_600_000
"""Yesterday at six in the morning, UTC: what the store keeps is young."""
OLDEST_MS = NEWEST_MS - 6 * 3_600_000
ALERT_MS = NEWEST_MS - 3_600_000
"""Before this moment nothing was wrong."""
SHENZHEN, GUANGZHOU = "440300", "440100"


def windows(store: Store, catalogue: Catalogue, from_ms: int = OLDEST_MS, to_ms: int = NEWEST_MS) -> None:
    """Settled windows of every indicator in every city, and the last one still open."""
    ids = ", ".join(f"'{one.id}'" for one in catalogue.indicators.values() if not one.scope)
    cities = ", ".join(f"'{city}'" for city in catalogue.cities)
    raised = f"indicator = 'I43a' AND city = '{SHENZHEN}' AND end > {ALERT_MS}"
    still_open = f"end > {to_ms - HOP_MS}"
    store.command(
        f"""INSERT INTO indicators (indicator, city, dims, window_start_ms, window_end_ms, value, state, coverage,
  n, maturity, rev, known_at_ms, catalogue, registry, sim, version)
SELECT arrayJoin([{ids}]) AS indicator, arrayJoin([{cities}]) AS city, '', fromUnixTimestamp64Milli(end - {HOP_MS}),
  fromUnixTimestamp64Milli(end), if({raised}, 3.5, 1 + (cityHash64(city, end) % 100) / 1000),
  if({raised}, 'RAISED', 'OK'), 1, 10, if({still_open}, 'provisional', 'settled'), if({still_open}, -1, 0),
  fromUnixTimestamp64Milli(end), 'c', 'r', true, if({still_open}, 0, 281474976710656) + end
FROM (SELECT toInt64({from_ms} + (number + 1) * {HOP_MS}) AS end FROM numbers({(to_ms - from_ms) // HOP_MS}))"""
    )


def alerts(store: Store, *cities: str, at_ms: int = ALERT_MS) -> None:
    """An alert that opened, in each of the cities."""
    for city in cities:
        store.command(
            f"""INSERT INTO alerts (alert_id, transition_no, transition, indicator, city, severity, window_end_ms,
  value, clock_ms)
SELECT 'a{city}', 1, 'opened', 'I43a', '{city}', 'warning', moment, 3.5, moment
FROM (SELECT fromUnixTimestamp64Milli({at_ms}) AS moment)"""
        )


def story(store: Store) -> None:
    """The scenario that was played."""
    store.command(
        f"""INSERT INTO truth_labels (topic_id, entry, kind, id, city, from_ms, until_ms, note)
SELECT 't', 1, 'scenario', 'SC02', '', fromUnixTimestamp64Milli({ALERT_MS}), fromUnixTimestamp64Milli({NEWEST_MS}),
  'Morning rush <b>'"""
    )
