"""A share of the feeds of one run: simulated and admitted without frames, a stretch of ticks at a time.

Feeds do not see each other before `indicate`, so a run may be split by feed over processes in any way: the
partials are the same, and so is what becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from producers.simulator.rows import Rows, join_rows
from producers.simulator.run import Simulation

STRETCH = 30
"""Ticks that are folded together: enough rows for columns to pay, few enough for memory not to grow."""


class Stretch(NamedTuple):
    """What a share made up to the tick `last`. `partials`: an Arrow stream by tick at which it is looked at (see
    `Rests`), none where nothing came."""

    last: int
    partials: Mapping[int, bytes]
    drained_ms: int | None
    """When its feeds need no more time, known after the plan's end."""


@dataclass
class Share:
    """Some feeds of a plan in motion; `stretches` may be taken once. `watched`: feeds and fields of wanted means.

    The whole simulation is set up whatever the share, because gateways fail by lot over all feeds of a city.
    """

    plan: Plan
    feeds: Sequence[str] = ()
    watched: Sequence[tuple[str, str]] = ()
    program: Program | None = None
    means: Means = field(default_factory=Means)

    def __post_init__(self) -> None:
        catalogue = self.plan.catalogue
        self.simulation = Simulation(self.plan)
        known = tuple(self.simulation.fleets)
        self.feeds = [feed for feed in self.feeds if feed in known] if self.feeds else list(known)
        program = with_wide_panes(self.program or compile_catalogue(catalogue))
        self._kinds, self._rests = program.kinds, Rests.of(program, self.plan)
        book = RegistryBook(catalogue.feeds)
        book.read(self.simulation.devices)
        offsets = {city.id: round(city.utc_offset_h * 3_600_000) for city in catalogue.cities.values()}
        self._admit = {
            feed: DirectFeed(program.feeds[feed], _devices(self.simulation.fleets[feed]), book.last, offsets)
            for feed in self.feeds
        }
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
            ticks = range(tick, min(self._rests.at(tick + STRETCH - 1), last) + 1)
            parts = [part for feed in self.feeds if (part := self._fold(feed, ticks)) is not None]
            over = plan.start_ms + ticks[-1] * plan.tick_ms >= plan.end_ms + DRAIN_MS
            yield Stretch(ticks[-1], self._by_rest(parts), self.simulation.drained_ms() if over else None)
            tick = ticks[-1] + 1

    def _fold(self, feed: str, ticks: range) -> pl.DataFrame | None:
        """The partials of one feed in some ticks."""
        plan = self.plan
        found, numbers = [], []
        for tick in ticks:
            until_ms = plan.start_ms + tick * plan.tick_ms
            rows = self.simulation.arrived(feed, self._reported(feed, until_ms), until_ms)
            if rows is not None:
                found.append(rows.take(np.argsort(rows.arrival_ms, kind="stable")))
                numbers.append(np.full(len(rows), tick))
        if not found:
            return None
        return self._admit[feed].partials(self._columns(feed, join_rows(found), np.concatenate(numbers)))

    def _reported(self, feed: str, until_ms: int) -> list[Rows]:
        """What the devices of a feed say in one step; the means of watched fields are taken on the way."""
        said = self.simulation.reported(feed, until_ms - self.plan.tick_ms, until_ms)
        for name in (name for of, name in self.watched if of == feed):
            for rows in said:
                self.means.add(self.simulation.fleets[feed], name, rows)
        return said

    def listen(self) -> None:
        """Only take the means of what is watched, from the plan's start to its end."""
        plan = self.plan
        for feed in self.feeds:
            for until_ms in range(plan.start_ms + plan.tick_ms, plan.end_ms + 1, plan.tick_ms):
                self._reported(feed, until_ms)

    def _by_rest(self, parts: Sequence[pl.DataFrame]) -> dict[int, bytes]:
        """Partials of several feeds as one Arrow stream for each tick at which they are looked at."""
        if not parts:
            return {}
        together = pl.concat(parts)
        cut = together[CUT].to_numpy()
        ahead = np.array(self._rests.ahead)[cut % len(self._rests.ahead)]
        whole = merge(together.with_columns(pl.Series(CUT, cut + ahead)), self._kinds, (CUT, *IDENTITY))
        table = whole.drop(CUT).to_arrow().cast(PARTIAL_ARROW)
        ticks, starts = np.unique(whole[CUT].to_numpy(), return_index=True)
        ends = np.r_[starts[1:], len(whole)]
        return {
            int(tick): _stream(table.slice(start, end - start))
            for tick, start, end in zip(ticks.tolist(), starts.tolist(), ends.tolist(), strict=True)
        }

    def _columns(self, feed: str, rows: Rows, tick: Any) -> Columns:
        declared = self.plan.catalogue.feeds[feed]
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
