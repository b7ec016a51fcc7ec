"""The second half of `admit` once more: partials of readings that were accepted long ago and lie in the store.

Judging is over: which readings count, their runs and their quality flags are kept with them. What a measure sees
beyond that (static fields, derived columns of time, the label late, the first reading of a device in a pane) follows
from the reading, its place in the log and the registry in force, so the same code gives the same partials as in the
stream. What it needs of the past of a device lies within one pane: give it whole panes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import polars as pl

from pearlstream.aggregate import aggregate
from pearlstream.folds.checks import Verdicts
from pearlstream.folds.devices import DeviceTable
from pearlstream.folds.gather import PANE_MS, Gathered, measured_rows, static_columns
from pearlstream.folds.rollup import CUT
from pearlstream.measures import MeasureSpec
from pearlstream.partials import PARTIAL
from pearlstream.program import FeedProgram
from pearlstream.registry import Registry

KEPT = {"city": pl.String, "device": pl.String, "ts": pl.Int64, "clock": pl.Int64, "qc": pl.UInt32, "life": pl.UInt64,
        "registry": pl.String}  # fmt: skip
"""Columns of a kept reading besides the feed's fields: `clock` is the tick before it (-1: none yet), `life` tells one
life of its topic from the next, `registry` the version in force."""


def partials_again(
    program: FeedProgram,
    readings: pl.DataFrame,
    registry_at: Callable[[str], Registry],
    offsets_ms: Mapping[str, int],
    specs: tuple[MeasureSpec, ...] | None = None,
    historic: Collection[int] = (),
) -> pl.DataFrame:
    """Partials (columns PARTIAL) of readings of one feed in the order of the log, each city's panes whole.

    `readings` has the columns KEPT and the feed's fields on their grids; `offsets_ms` is the zone of each city.
    `specs`: the measures wanted, of those that the program has (None: all). `historic`: lives that are no lives of the
    log: what was loaded into its past; there a device speaks first in a pane only if it did not speak in it before.
    Raises what `registry_at` raises.
    """
    wanted = program.specs if specs is None else specs
    lives = readings.partition_by("life", maintain_order=True, as_dict=True)
    parts, spoken = [], Spoken(program.pane_lengths_s)
    for (life,), rows in sorted(lives.items(), key=lambda one: one[0][0] in historic):
        measured = _of_one_life(program, rows.drop("life"), registry_at, offsets_ms)
        if historic:
            measured = spoken.corrected(measured, rows) if life in historic else measured
            spoken.add(rows)
        parts.append(aggregate(measured, wanted, (CUT,)))
    if not parts:
        return PARTIAL.to_frame()
    return pl.concat(parts).drop(CUT)


class Spoken:
    """In which panes devices spoke, over several lives. `lengths_s`: of the panes."""

    def __init__(self, lengths_s: Sequence[int]) -> None:
        self._lengths_s = lengths_s
        self._seen: dict[int, pl.DataFrame] = {}

    def add(self, readings: pl.DataFrame) -> None:
        """Note readings of a life."""
        for length in self._lengths_s:
            fresh, seen = self._panes(readings, length), self._seen.get(length)
            self._seen[length] = fresh.unique() if seen is None else pl.concat([seen, fresh]).unique()

    def corrected(self, measured: pl.DataFrame, readings: pl.DataFrame) -> pl.DataFrame:
        """What measures see of readings, row by row, no longer the first where their device spoke in another life."""
        for length, seen in self._seen.items():
            known = seen.with_columns(pl.lit(True).alias("known"))
            panes = self._panes(readings, length)
            told = panes.join(known, on=panes.columns, how="left", maintain_order="left")["known"].fill_null(False)
            name = f"first_in_pane_{length}"
            measured = measured.with_columns(pl.when(told).then(0).otherwise(pl.col(name)).alias(name))
        return measured

    @staticmethod
    def _panes(readings: pl.DataFrame, length_s: int) -> pl.DataFrame:
        return readings.select("city", "device", (pl.col("ts") // (length_s * 1000)).alias("pane"))


def _of_one_life(
    program: FeedProgram,
    readings: pl.DataFrame,
    registry_at: Callable[[str], Registry],
    offsets_ms: Mapping[str, int],
) -> pl.DataFrame:
    """As `admit` does it: stretch by stretch between which the registry changes, with one table of devices."""
    devices = DeviceTable.of(program.feed, program.pane_lengths_s)
    measured = []
    for stretch in _stretches(readings):
        gathered = _gathered(program, stretch, devices, offsets_ms)
        statics = static_columns(program, devices, registry_at(stretch["registry"][0]))
        measured.append(measured_rows(gathered, devices, statics))
    return pl.concat(measured)


def _stretches(readings: pl.DataFrame) -> list[pl.DataFrame]:
    """Rows that follow each other under one version of the registry."""
    run = readings["registry"].rle_id()
    return readings.with_columns(run.alias("stretch")).partition_by("stretch", maintain_order=True, include_key=False)


def _gathered(
    program: FeedProgram, rows: pl.DataFrame, devices: DeviceTable, offsets_ms: Mapping[str, int]
) -> Gathered:
    feed, places = program.feed, rows["city"]
    named = rows.select("city", "device").unique(maintain_order=True)
    for city, names in named.group_by("city", maintain_order=True):
        devices.add(str(city[0]), names["device"].to_list())
    index = pl.DataFrame(devices.names, schema={"city": pl.String, "device": pl.String}, orient="row").with_row_index()
    device = rows.select("city", "device").join(index, on=["city", "device"], how="left", maintain_order="left")
    ts, clock = rows["ts"].to_numpy(), rows["clock"].to_numpy()
    verdicts = Verdicts(len(rows))
    verdicts.qc[:] = rows["qc"].to_numpy()
    return Gathered(
        program=program,
        items=[],
        ts=ts,
        seq=np.zeros(len(rows), np.int64),
        clock=clock,
        offset_ms=places.replace_strict(dict(offsets_ms), return_dtype=pl.Int64).to_numpy(),
        verdicts=verdicts,
        fields={name: rows[name] for name in feed.fields},
        device=device["index"].cast(pl.Int64).to_numpy(),
        places=places,
        cuts=np.zeros(len(rows), np.int64),
        repeat=np.zeros(len(rows), bool),
        late=(clock >= 0) & ((ts // PANE_MS + 1) * PANE_MS + feed.hold_s * 1000 < clock),
    )
