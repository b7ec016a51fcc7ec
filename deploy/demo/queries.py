"""What the live view and the report ask the store: fixed texts, every name and value a parameter."""

from __future__ import annotations

SIGNALS = """
SELECT indicator, city, dims, toUnixTimestamp64Milli(window_end_ms) AS end_ms, newest.1, newest.2, newest.3
FROM (
  SELECT indicator, city, dims, window_end_ms, argMax((value, state, maturity), version) AS newest
  FROM {db:Identifier}.indicators
  WHERE window_end_ms >= fromUnixTimestamp64Milli({since_ms:Int64})
  GROUP BY indicator, city, dims, window_end_ms
)
ORDER BY indicator, city, dims, window_end_ms DESC
LIMIT 4 BY indicator, city, dims
"""
"""The newest four windows of every series: value, state and maturity of the greatest version. A tuple is
picked as one, because picking the value alone would pass over a newest value that is null."""

CLOCK = """
SELECT toUnixTimestamp64Milli(min(newest)) FROM (
  SELECT max(clock_ms) AS newest FROM {db:Identifier}.ticks WHERE NOT startsWith(topic_id, 'history-')
  GROUP BY topic_id, partition
) HAVING count() > 0
"""
"""How far event time has come in the store: the slowest partition of the log decides."""

COUNTS = """
SELECT sum(rows), sum(accepted), sum(dup), sum(late), count() FROM {db:Identifier}.frames
"""
"""Readings by the headers of `accepted`: seen, accepted, duplicate, late; and frames."""

COUNTS_EXACT = """
SELECT sum(rows), sum(accepted), sum(dup), sum(late), count() FROM {db:Identifier}.frames FINAL
"""

QUARANTINED = """
SELECT reason, sum(n) FROM (
  SELECT arrayJoin(mapKeys(quarantined)) AS reason, quarantined[reason] AS n FROM {db:Identifier}.frames
  WHERE notEmpty(quarantined)
) GROUP BY reason ORDER BY reason
"""
"""Readings set aside, by reason."""

ROWS = "SELECT count() FROM {db:Identifier}.{table:Identifier}"
"""Rows of a table."""

ROLLUP_COUNT = """
SELECT sum(n) FROM {db:Identifier}.rollups WHERE measure IN {measures:Array(String)}
"""
"""Readings that the partials of the given measures count."""

FIRING = """
SELECT indicator, city, dims, severity, toUnixTimestamp64Milli(min(window_end_ms)) AS since_ms,
  argMax(transition, transition_no) = 'stale' AS is_stale
FROM {db:Identifier}.alerts
GROUP BY alert_id, indicator, city, dims, severity
HAVING countIf(transition = 'resolved') = 0
ORDER BY since_ms DESC, indicator, city, dims
LIMIT 1000
"""
"""Alerts that are open, the newest first."""

ALERTS = """
SELECT countIf(transition = 'opened'), countIf(transition = 'resolved') FROM {db:Identifier}.alerts FINAL
"""
"""How many alerts were opened and resolved."""

VERSION = "SELECT version()"
"""The store's own version."""

SETTLED = """
SELECT indicator, city, dims, toUnixTimestamp64Milli(window_start_ms), toUnixTimestamp64Milli(window_end_ms), value,
  state, coverage, n, numerator, denominator, maturity, rev, toUnixTimestamp64Milli(known_at_ms), registry, sim
FROM {db:Identifier}.indicators_history WHERE maturity != 'provisional'
"""
"""Every settled and corrected row, in the columns of the wire."""
