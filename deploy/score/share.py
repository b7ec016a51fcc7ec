"""A share of the feeds of one run: simulated and admitted without frames, a stretch of ticks at a time.

Feeds do not see each other before `indicate`, so a run may be split by feed over processes in any way: the
partials are the same, and so is what becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from deploy.score.means import Means
from deploy.score.rests import Rests
from pearlstream.folds.direct import Columns, DirectFeed, with_wide_panes
from pearlstream.folds.rollup import CUT, PARTIAL_ARROW
from pearlstream.partials import IDENTITY, merge
from pearlstream.program import Program, compile_catalogue
from pearlstream.registry import RegistryBook
from producers.simulator.columns import Coded
from producers.simulator.columns import Column as Column
from producers.simulator.fleet import Fleet
from producers.simulator.plan import DRAIN_MS, Plan
from producers.simulator.rows import Rows
from producers.simulator.run import Simulation

STRETCH = 30
"""Ticks that are folded together: enough rows for columns to pay, few enough for memory not to grow. The first
stretches are shorter, because others wait for them."""


class Stretch(NamedTuple):
    """What a share made up to the tick `last`. `partials`: an Arrow stream by tick at which it is looked at (see
    `Rests`), none where nothing came."""

    last: int
    partials: Mapping[int, bytes]
    drained_ms: int | None
    """When its feeds need no more time, known after the plan's end."""


@dataclass
class Share:
    """Some feeds of a plan in motion (None: all); `stretches` may be taken once. `watched`: feeds and fields of wanted
    means; `program` and `simulation`: those of the plan, not yet begun, where somebody has made them already.

    The whole simulation is set up whatever the share, because gateways fail by lot over all feeds of a city.
    """

    plan: Plan
    feeds: Sequence[str] | None = None
    watched: Sequence[tuple[str, str]] = ()
    program: Program | None = None
    simulation: Simulation | None = None
    means: Means = field(default_factory=Means)

    def __post_init__(self) -> None:
        catalogue = self.plan.catalogue
        simulation = self._simulation = self.simulation or Simulation(self.plan)
        self._feeds = [feed for feed in simulation.fleets if self.feeds is None or feed in self.feeds]
        program = with_wide_panes(self.program or compile_catalogue(catalogue))
        self._kinds, self._rests = program.kinds, Rests.of(program, self.plan)
        book = RegistryBook(catalogue.feeds)
        book.read(simulation.devices)
        offsets = {city.id: round(city.utc_offset_h * 3_600_000) for city in catalogue.cities.values()}
        self._admit = {
            feed: DirectFeed(program.feeds[feed], _devices(simulation.fleets[feed]), book.last, offsets)
            for feed in self._feeds
        }
        self._naming = sorted({ref.measure for one in program.indicators if one.elsewhere for ref in one.refs})
        self._waiting: list[pl.DataFrame] = []
        self._words: dict[tuple[str, str], pl.Series] = {}

    @property
    def readings(self) -> int:
        """Readings that have reached the gateways so far, repeats included."""
        return sum(admit.counts.rows for admit in self._admit.values())

    def stretches(self) -> Iterator[Stretch]:
        """Everything from the plan's start until nothing can come any more, about `STRETCH` ticks at a time.

        Tick number n stands at `start_ms + n * tick_ms`; the tick 0, which opens the log, closes nothing.
        """
        plan, tick = self.plan, 1
        last = -(-(plan.duration_ms + DRAIN_MS) // plan.tick_ms)
        while tick <= last:
            ticks = range(tick, min(self._rests.at(tick + min(STRETCH, tick + 2) - 1), last) + 1)
            parts = [part for feed in self._feeds if (part := self._fold(feed, ticks)) is not None]
            over = plan.start_ms + ticks[-1] * plan.tick_ms >= plan.end_ms + DRAIN_MS
            yield Stretch(ticks[-1], self._by_rest(parts, ticks[-1]), self._simulation.drained_ms() if over else None)
            tick = ticks[-1] + 1

    def _fold(self, feed: str, ticks: range) -> pl.DataFrame | None:
        """The partials of one feed in some ticks."""
        plan = self.plan
        until_ms = plan.start_ms + ticks[-1] * plan.tick_ms
        rows = self._simulation.arrived(feed, self._reported(feed, ticks), until_ms)
        if rows is None:
            return None
        rows = rows.take(np.argsort(rows.arrival_ms, kind="stable"))
        return self._admit[feed].partials(self._columns(feed, rows))

    def _reported(self, feed: str, ticks: range) -> Rows | None:
        """What the devices of a feed say in some ticks; the means of watched fields are taken on the way."""
        plan = self.plan
        from_ms, until_ms = (plan.start_ms + tick * plan.tick_ms for tick in (ticks[0] - 1, ticks[-1]))
        said = self._simulation.reported(feed, from_ms, until_ms)
        if said is not None:
            for name in (name for of, name in self.watched if of == feed):
                self.means.add(self._simulation.fleets[feed], name, said)
        return said

    def listen(self) -> None:
        """Only take the means of what is watched, from the plan's start to its end."""
        last = -(-self.plan.duration_ms // self.plan.tick_ms)
        for feed in self._feeds:
            for tick in range(1, last + 1, STRETCH):
                self._reported(feed, range(tick, min(tick + STRETCH, last + 1)))

    def _by_rest(self, parts: Sequence[pl.DataFrame], last: int) -> dict[int, bytes]:
        """Partials of several feeds as one Arrow stream for each tick up to `last` at which they are looked at."""
        parts = [*self._waiting, *(self._at_rest(part) for part in parts)]
        if not parts:
            return {}
        together = pl.concat(parts)
        self._waiting = [together.filter(pl.col(CUT) > last)]
        whole = merge(together.filter(pl.col(CUT) <= last), self._kinds, (CUT, *IDENTITY))
        table = whole.drop(CUT).to_arrow().cast(PARTIAL_ARROW)
        ticks, starts = np.unique(whole[CUT].to_numpy(), return_index=True)
        bounds = [*starts.tolist(), len(whole)]
        return {
            tick: _stream(table.slice(start, end - start))
            for tick, (start, end) in zip(ticks.tolist(), pairwise(bounds), strict=True)
        }

    def _at_rest(self, partials: pl.DataFrame) -> pl.DataFrame:
        """Partials with the tick at which somebody may first ask for them: no window ends within a pane, so one that
        is still open waits for its end. Only what makes a place known by naming it is told at once."""
        pane_ends = pl.col("pane_ms") + pl.col("pane_len_s") * 1000 - self.plan.start_ms
        closed = pl.max_horizontal(pl.col(CUT), -(-pane_ends // self.plan.tick_ms))
        told = pl.when(pl.col("measure").is_in(self._naming)).then(pl.col(CUT)).otherwise(closed)
        cut = partials.select(told.cast(pl.Int64).alias(CUT))[CUT].to_numpy()
        ahead = np.array(self._rests.ahead)[cut % len(self._rests.ahead)]
        return partials.with_columns(pl.Series(CUT, cut + ahead))

    def _columns(self, feed: str, rows: Rows) -> Columns:
        declared = self.plan.catalogue.feeds[feed]
        tick = (rows.arrival_ms - self.plan.start_ms) // self.plan.tick_ms + 1
        return Columns(
            device=rows.device,
            ts=rows.ts_ms,
            seq=np.full(len(rows), -1) if declared.seq == "none" else rows.seq,
            clock=self.plan.start_ms + (tick - 1) * self.plan.tick_ms,
            tick=tick,
            fields={
                name: self._series(feed, name, rows.values[name]) for name in declared.fields if name in rows.values
            },
        )

    def _series(self, feed: str, name: str, column: Column) -> pl.Series:
        if not isinstance(column, Coded):
            return pl.Series(name, column)
        words = self._words.get((feed, name))
        if words is None:
            words = self._words[feed, name] = pl.Series(name, column.words, dtype=pl.String)
        return words.gather(column.codes)


def _devices(fleet: Fleet) -> list[tuple[str, str]]:
    return [(fleet.cities[city].id, name) for city, name in zip(fleet.city.tolist(), fleet.ids.tolist(), strict=True)]


def _stream(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, PARTIAL_ARROW) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def joined(streams: Sequence[bytes]) -> bytes:
    """The partials of one tick, from all shares."""
    if len(streams) <= 1:
        return streams[0] if streams else b""
    return _stream(pa.concat_tables([pa.ipc.open_stream(stream).read_all() for stream in streams]))
