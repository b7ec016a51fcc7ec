"""Readings on the way from a device to the log, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from producers.simulator.chance import Bools, Ints
from producers.simulator.columns import Column, join, take


@dataclass(frozen=True)
class Rows:
    """Readings of one feed. `device`: index in the fleet; `ts_ms`: what the device's clock said; `arrival_ms`: when
    the gateway has them; `repeat`: sent before.
    """

    device: Ints
    ts_ms: Ints
    seq: Ints
    arrival_ms: Ints
    repeat: Bools
    values: dict[str, Column]

    def __len__(self) -> int:
        return len(self.device)

    def take(self, rows: npt.NDArray[Any]) -> Rows:
        """Some of the readings, by index or mask."""
        return Rows(
            self.device[rows],
            self.ts_ms[rows],
            self.seq[rows],
            self.arrival_ms[rows],
            self.repeat[rows],
            {name: take(column, rows) for name, column in self.values.items()},
        )

    def arriving(self, arrival_ms: Ints, repeat: bool | None = None) -> Rows:
        """The same readings at other times of arrival, marked as repeats or not."""
        marks = self.repeat if repeat is None else np.full(len(self), repeat)
        return Rows(self.device, self.ts_ms, self.seq, arrival_ms, marks, self.values)

    def stamped(self, ts_ms: Ints) -> Rows:
        """The same readings with what the devices' clocks said."""
        return Rows(self.device, ts_ms, self.seq, self.arrival_ms, self.repeat, self.values)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Readings of one feed, one part after the other; at least one part."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.device for part in parts]),
        np.concatenate([part.ts_ms for part in parts]),
        np.concatenate([part.seq for part in parts]),
        np.concatenate([part.arrival_ms for part in parts]),
        np.concatenate([part.repeat for part in parts]),
        {name: join([part.values[name] for part in parts]) for name in parts[0].values},
    )
