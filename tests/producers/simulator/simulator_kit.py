"""What tests of the simulator share: dates, and readings as flat columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from producers.simulator.columns import Coded
from producers.simulator.plan import Plan
from producers.simulator.run import Simulation

MINUTE_MS = 60_000
TUESDAY = "2026-06-02T00:00:00+08:00"
PlanMaker = Callable[..., Plan]


def flat(simulation: Simulation, feed: str, until_ms: int | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """Everything that the devices of a feed report during the plan, as columns; nothing is sent."""
    plan, run = simulation.plan, simulation._runs[feed]
    parts: dict[str, list[Any]] = {}
    for begin in range(plan.start_ms, until_ms or plan.end_ms, MINUTE_MS):
        for rows in run.readings.between(begin, begin + MINUTE_MS):
            columns = {"device": rows.device, "ts": rows.ts_ms, "seq": rows.seq, **rows.values}
            for name, column in columns.items():
                parts.setdefault(name, []).append(column.text() if isinstance(column, Coded) else column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}
