"""`admit` for readings that never were frames: the same judgement and the same partials, without the codec.

A run in process has no gateway and no wire, so encoding its readings only to decode them again is all it would
spend its time on. The seam is narrow: readings come as columns, in the order of their arrival, whole ticks at a
time; from there on it is `gather.judge` and `gather.measured_rows`, as for frames. A test holds both ways to one
fingerprint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from pearlstream.aggregate import aggregate
from pearlstream.folds.checks import Verdicts
from pearlstream.folds.devices import DeviceTable, Ints
from pearlstream.folds.gather import Gathered, judge, measured_rows, quantised, static_columns
from pearlstream.folds.rollup import CUT
from pearlstream.program import FeedProgram, Program
from pearlstream.registry import Registry

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Columns:
    """Readings of one feed in the order of their arrival. `device`: its place in the list given to `DirectFeed`;
    `seq`: -1 where there is none; `clock`: the tick before it (-1: none yet); `tick`: the number of the tick that
    ends the step it arrives in; `fields`: the measured fields that anybody reports.
    """

    device: Ints
    ts: Ints
    seq: Ints
    clock: Ints
    tick: Ints
    fields: Mapping[str, pl.Series]


@dataclass
class Admitted:
    """How many readings there were, and what became of them."""

    rows: int = 0
    accepted: int = 0
    late: int = 0


class DirectFeed:
    """What `admit` remembers of one feed, fed with columns. `devices`: (city, name) of the whole fleet."""

    def __init__(
        self,
        program: FeedProgram,
        devices: Sequence[tuple[str, str]],
        registry: Registry,
        offsets_ms: Mapping[str, int],
    ) -> None:
        self.program = program
        self.counts = Admitted()
        self._table = DeviceTable.of(program.feed, program.pane_lengths_s)
        for city, name in devices:
            self._table.add(city, [name])
        self._cities = pl.Series([city for city, _ in devices], dtype=pl.String)
        self._offset_ms = np.array([offsets_ms[city] for city, _ in devices], np.int64)
        self._statics = static_columns(program, self._table, registry)

    def partials(self, columns: Columns) -> pl.DataFrame:
        """The partials of whole ticks, with the column `cut`: the number of the tick that closes them."""
        rows = len(columns.device)
        missing = {
            name: pl.Series(name, [None] * rows, dtype=_dtype(self.program, name)) for name in self._absent(columns)
        }
        gathered = Gathered(
            program=self.program,
            items=[],
            ts=columns.ts,
            seq=columns.seq,
            clock=columns.clock,
            offset_ms=self._offset_ms[columns.device],
            verdicts=Verdicts(rows),
            fields=quantised(self.program, {**columns.fields, **missing}),
            device=columns.device,
            places=self._cities.gather(columns.device),
            cuts=columns.tick,
        )
        judge(gathered, self._table)
        kept = gathered.kept
        self.counts.rows += rows
        self.counts.accepted += int(kept.sum())
        self.counts.late += int((kept & gathered.late).sum())
        measured = measured_rows(gathered, self._table, self._statics)
        return aggregate(measured, self.program.specs, (CUT,))

    def _absent(self, columns: Columns) -> list[str]:
        return [name for name in self.program.feed.fields if name not in columns.fields]


def _dtype(program: FeedProgram, name: str) -> pl.DataType:
    kinds: dict[str, pl.DataType] = {"float": pl.Float64(), "int": pl.Int64(), "bool": pl.Boolean()}
    return kinds.get(program.feed.fields[name].type, pl.String())


def with_wide_panes(program: Program) -> Program:
    """The same program with panes as long as the grains they are merged into: fewer partials, the same indicators.

    `indicate` keeps sums per hop of a window, so finer panes only serve those who look at partials themselves. What
    a reading contributes (`first_in_pane`, the label late) does not depend on the panes that partials are cut by.
    """
    offsets = [round(city.utc_offset_h * HOUR_MS) for city in program.catalogue.cities.values()]
    grain_ms: dict[str, int] = {}
    for one in program.indicators:
        local = offsets if one.indicator.window.cut == "city" else []
        for ref in one.refs:
            grain_ms[ref.measure] = math.gcd(grain_ms.get(ref.measure, 0), one.hop_ms, *local)
    feeds = {
        name: replace(
            feed, specs=tuple(replace(s, pane_len_s=_wide(s.pane_len_s, grain_ms.get(s.name))) for s in feed.specs)
        )
        for name, feed in program.feeds.items()
    }
    return replace(program, feeds=feeds)


def _wide(pane_s: int, grain_ms: int | None) -> int:
    """The longest pane that lies within one grain (and so within a grain of a day at the most)."""
    return grain_ms // 1000 if grain_ms else max(pane_s, 86_400)
