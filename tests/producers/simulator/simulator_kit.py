"""What tests of the simulator share: dates, and readings as flat columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from producers.simulator.columns import Coded
from producers.simulator.fault_tables import FaultTables
from producers.simulator.plan import Plan
from producers.simulator.run import Simulation

MINUTE_MS = 60_000
TUESDAY = "2026-06-02T00:00:00+08:00"
PlanMaker = Callable[..., Plan]
SOUND: dict[str, Any] = {
    "outlier": 0.0,
    "stuck_per_day": 0.0,
    "drift": 0.0,
    "dropout_per_day": 0.0,
    "dead": 0.0,
    "unit": 0.0,
    "reset_per_day": 0.0,
    "calibration": False,
}
"""Sensors without a fault."""
ON_THE_WAY = FaultTables({"sensor": SOUND})
"""Only what goes wrong between sound devices and the log."""


def flat(
    simulation: Simulation, feed: str, until_ms: int | None = None, step_ms: int = MINUTE_MS
) -> dict[str, np.ndarray[Any, Any]]:
    """Everything that the devices of a feed report during the plan, as columns; nothing is sent."""
    plan, run = simulation.plan, simulation._runs[feed]
    parts: dict[str, list[Any]] = {}
    for begin in range(plan.start_ms, until_ms or plan.end_ms, step_ms):
        for rows in run.readings.between(begin, begin + step_ms):
            columns = {"device": rows.device, "ts": rows.ts_ms, "seq": rows.seq, **rows.values}
            for name, column in columns.items():
                parts.setdefault(name, []).append(column.text() if isinstance(column, Coded) else column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}


class Index:
    """The travel-time index of five-minute windows, by city and of the whole cluster."""

    def __init__(self, cities: list[str], travel: np.ndarray, free: np.ndarray) -> None:  # type: ignore[type-arg]
        self.by_city = dict(zip(cities, travel / free, strict=True))
        self.cluster = travel.sum(axis=0) / free.sum(axis=0)


def travel_time_index(plan: Plan) -> Index:
    """Flow-weighted travel time over free-flow travel time, straight from its definition."""
    simulation = Simulation(plan)
    fleet, rows = simulation.fleets["traffic.flow"], flat(simulation, "traffic.flow")
    window = (rows["ts"] - plan.start_ms) // (5 * MINUTE_MS)
    device = rows["device"]
    length, empty = (np.asarray(fleet.constants[name])[device] for name in ("seg_len_m", "freeflow_kmh"))
    shape = (len(fleet.cities), plan.duration_ms // (5 * MINUTE_MS))
    travel, free = np.zeros(shape), np.zeros(shape)
    np.add.at(travel, (fleet.city[device], window), rows["flow_vpm"] * length / np.maximum(rows["speed_kmh"], 3))
    np.add.at(free, (fleet.city[device], window), rows["flow_vpm"] * length / empty)
    return Index([city.id for city in fleet.cities], travel, free)
