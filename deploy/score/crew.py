"""One run, split by feed: shares simulate and admit, here or in processes of their own; the stages behind `admit`
follow here."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deploy.score.means import Means
from deploy.score.rests import Rests
from deploy.score.share import Share, Stretch, joined
from pearlstream.errors import ServiceError
from pearlstream.fold import InProcess, Record, headers_of
from pearlstream.folds.cluster import Cluster
from pearlstream.folds.indicate import Indicate
from pearlstream.position import Position, Source
from pearlstream.program import Program, compile_catalogue
from pearlstream.registry import RegistryBook
from producers.simulator.plan import Plan
from producers.simulator.run import Simulation

Progress = Callable[[float], None]
"""Told after each stretch which part of the run is done."""


class Rest(NamedTuple):
    """What a share says in the end."""

    means: Means
    readings: int


class Failed(NamedTuple):
    """What a share says if it cannot go on."""

    reason: str


CALLS = 12.0
"""What a feed costs however little it says, as so many readings a second."""
RECKONING = 0.48
"""What the stages behind `admit` cost, beside everything before them (measured on a day of the whole fleet)."""


class Deal(NamedTuple):
    """Which share of the feeds is meant: that of process `number` of `jobs`, of which 0 does the reckoning as well."""

    number: int
    jobs: int

    def of(self, feeds: Sequence[str], program: Program, simulation: Simulation) -> list[str]:
        """The feeds of this share. All processes have about as much to do: the dearest feed first, to whoever has
        least."""

        def cost(feed: str) -> float:
            fleet, declared = simulation.fleets[feed], program.feeds[feed]
            width = len(declared.feed.fields) + len(declared.specs)
            return (len(fleet) / fleet.feed.cadence_s + CALLS) * width

        known = sorted((feed for feed in feeds if feed in simulation.fleets), key=lambda feed: (-cost(feed), feed))
        hands: list[list[str]] = [[] for _ in range(self.jobs)]
        loads = [RECKONING * sum(map(cost, known)), *[0.0] * (self.jobs - 1)]
        for feed in known:
            lightest = loads.index(min(loads))
            hands[lightest].append(feed)
            loads[lightest] += cost(feed)
        return hands[self.number]


@dataclass
class Run:
    """A plan, run once. `feeds`, `indicators`: only these (empty: all), in a cluster where the others break down as
    ever. `jobs`: the processes that work on it, this one among them."""

    plan: Plan
    watched: Sequence[tuple[str, str]] = ()
    feeds: Sequence[str] = ()
    indicators: Sequence[str] = ()
    jobs: int = 1
    means: Means = field(default_factory=Means)
    readings: int = 0
    end_ms: int = 0

    def rows(self, progress: Progress | None = None) -> Iterator[pl.DataFrame]:
        """Settled and corrected indicator rows, as they come. May be taken once."""
        ended: list[Rest] = []
        with ExitStack() as stack:
            others = [Deal(number, self.jobs) for number in range(1, self.jobs)]
            streams = [stack.enter_context(self._there(deal, ended)) for deal in others]
            program, simulation = program_of(self.plan, self.indicators), Simulation(self.plan)
            mine = Deal(0, self.jobs).of(self.feeds or list(simulation.fleets), program, simulation)
            if mine or not streams:
                streams.append(_here(Share(self.plan, mine, self.watched, program, simulation), ended))
            downstream = Downstream(program, simulation)
            yield from downstream.tick(0, b"")
            rests = Rests.of(program, self.plan)
            tick = rests.at(1)
            for stretches in zip(*streams, strict=True):
                last = max((s.last for s in stretches), default=0)
                drained = [s.drained_ms for s in stretches if s.drained_ms is not None]
                self.end_ms = max(drained, default=0)
                while tick <= last and not (self.end_ms and downstream.at_ms(tick) > self.end_ms):
                    yield from downstream.tick(
                        tick, joined([s.partials[tick] for s in stretches if tick in s.partials])
                    )
                    tick = rests.at(tick + 1)
                if progress is not None:
                    progress(min(1.0, (tick - 1) * self.plan.tick_ms / self.plan.duration_ms))
        self.means = Means().merge(rest.means for rest in ended)
        self.readings = sum(rest.readings for rest in ended)

    @contextmanager
    def _there(self, deal: Deal, ended: list[Rest]) -> Iterator[Iterator[Stretch]]:
        """The stretches of one share, made in a process of its own that begins at once."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (self.plan, list(self.feeds), list(self.watched), list(self.indicators), deal, theirs)
        process = context.Process(target=_work, args=arguments, daemon=True)
        with one_thread():
            process.start()
        theirs.close()
        try:
            yield _received(ours, ended)
        finally:
            ours.close()
            process.terminate()
            process.join()


class Downstream:
    """What comes after `admit`, fed with the partials of one tick after the other."""

    def __init__(self, program: Program, simulation: Simulation) -> None:
        book = RegistryBook(program.catalogue.feeds)
        book.read(simulation.devices)
        self._plan, self._registry = simulation.plan, simulation.registry
        self._source, self._last = Source("score", 0), -1
        self._folds: list[InProcess[Any]] = [
            InProcess(Indicate(program, book, provisional=False), self._source),
            InProcess(Cluster(program, book, provisional=False), self._source),
        ]

    def at_ms(self, tick: int) -> int:
        """The clock of a tick."""
        return self._plan.start_ms + tick * self._plan.tick_ms

    def tick(self, number: int, partials: bytes) -> list[pl.DataFrame]:
        """The rows that a tick settles or corrects."""
        headers: dict[str, str | int] = {
            "from": str(Position(self._source, self._last, number)),
            "clock": self.at_ms(number),
            "registry": self._registry,
            "sim": 1,
        }
        self._last = number
        record = Record(number, None, partials, headers_of(headers))
        outputs = [output for fold in self._folds for output in fold.feed([record]) if output.target == "indicators"]
        frames = [pl.from_arrow(pa.ipc.open_stream(output.value).read_all()) for output in outputs]
        return [frame for frame in frames if isinstance(frame, pl.DataFrame)]


def program_of(plan: Plan, indicators: Sequence[str]) -> Program:
    """What is reckoned: all that the catalogue declares, or some of it."""
    program = compile_catalogue(plan.catalogue)
    return program.only(indicators) if indicators else program


def _here(share: Share, ended: list[Rest]) -> Iterator[Stretch]:
    yield from share.stretches()
    ended.append(Rest(share.means, share.readings))


def _received(connection: Connection, ended: list[Rest]) -> Iterator[Stretch]:
    while True:
        try:
            said = connection.recv()
        except EOFError:
            said = Failed("its process ended")
        if isinstance(said, Failed):
            raise ServiceError(f"a share of the run failed: {said.reason}", remedy="try again with --jobs 1")
        if isinstance(said, Rest):
            ended.append(said)
            return
        yield said


def _work(
    plan: Plan,
    feeds: Sequence[str],
    watched: Sequence[tuple[str, str]],
    indicators: Sequence[str],
    deal: Deal,
    connection: Connection,
) -> None:
    """The process of a share. A full pipe makes it wait, so it is never far ahead."""
    try:
        with seldom_collected():
            program, simulation = program_of(plan, indicators), Simulation(plan)
            mine = deal.of(feeds or list(simulation.fleets), program, simulation)
            share = Share(plan, mine, watched, program, simulation)
            for stretch in share.stretches():
                connection.send(stretch)
            connection.send(Rest(share.means, share.readings))
    except BrokenPipeError:  # nobody listens any more
        return
    except Exception as error:  # whatever it was, whoever waits must hear of it
        connection.send(Failed(f"{type(error).__name__}: {error}"))


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for garbage in cycles less often: a run keeps millions of objects until its end, and makes no cycles."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes started meanwhile compute with one thread each: they share the cores among themselves."""
    name = "POLARS_MAX_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
