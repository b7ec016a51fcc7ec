"""How the sink is: what its health page, its status file and `pearlstream demo` show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from pearlstream.errors import ServiceError
from sinks.clickhouse.lane import lag
from sinks.clickhouse.tape import Spot
from sinks.clickhouse.writer import Sink

LAG_FINE = 5000
"""Records behind that are no reason to call the sink unready."""


def report(sink: Sink) -> dict[str, Any]:
    """Readiness, lag, freshness and counts. Asks the broker for the ends of the topics."""
    lags = _lags(sink)
    for role, records in (lags or {}).items():
        sink.metrics.lag.labels(role).set(records)
    problems = _problems(sink, lags)
    return {
        "ready": not problems,
        "problems": problems,
        "idle": sink.idle and lags is not None and not any(lags.values()),
        "lag": lags,
        "freshness_ms": {"p50": sink.freshness.percentile(0.5), "p99": sink.freshness.percentile(0.99)},
        "freshness_frames": sink.freshness.count,
        "cuts": sink.counts.cuts,
        "records": sink.counts.records,
        "rows": sink.counts.rows,
        "rows_by_table": sink.counts.rows_by_table,
        "repeats": sink.counts.repeats,
        "lost": sink.counts.lost,
        "clock_ms": sink.counts.clock_ms or None,
        "last_batch_ms": sink.counts.last_batch_ms or None,
        "held_bytes": sum(lane.size for lane in sink.lanes.values()),
        "database": sink.store.database,
        "pid": os.getpid(),
    }


def _lags(sink: Sink) -> dict[str, int] | None:
    """Records not stored yet by topic; None if the broker does not say."""
    spots = [Spot(role, p) for role, lane in sink.lanes.items() for p in lane.starts]
    try:
        ends = sink.tape.ends(spots)
    except ServiceError:
        return None
    open_records = {role: len(one.cut.items) for role, one in sink.open.items()}
    return {
        role: lag(lane, {spot.partition: end for spot, end in ends.items() if spot.role == role})
        + open_records.get(role, 0)
        for role, lane in sink.lanes.items()
    }


def _problems(sink: Sink, lags: dict[str, int] | None) -> list[dict[str, str]]:
    """What keeps the sink from being ready, each with its remedy."""
    found = []
    if lags is None:
        found.append({"what": "the broker does not answer", "remedy": "start it; the sink goes on by itself"})
    if sink.breaker.last is not None:
        found.append({"what": sink.breaker.last.message, "remedy": sink.breaker.last.remedy})
    for role, one in sink.open.items():
        if one.blocked is not None:
            found.append({"what": f"topic {role} waits: {one.blocked.message}", "remedy": one.blocked.remedy})
    for role, lane in sink.lanes.items():
        if lane.stuck:
            what = f"topic {role} waits for records that are missing in partitions {lane.stuck}"
            found.append(
                {"what": what, "remedy": "a worker that starts again brings them; after 60 s they count as lost"}
            )
    behind = [role for role, records in (lags or {}).items() if records > LAG_FINE]
    if behind:
        found.append(
            {"what": f"behind in {', '.join(behind)}", "remedy": "wait; if the lag grows, give the store more"}
        )
    return found


def write_status(path: Path, status: dict[str, Any]) -> None:
    """Put the status where others can read it, whole at any time."""
    new = path.with_suffix(f"{path.suffix}.new")
    new.write_bytes(orjson.dumps(status, option=orjson.OPT_INDENT_2))
    new.replace(path)
