"""Stages measured in one process, without broker or store: what the code itself costs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.bench.figures import Counted, Figure, Run, own_peak_rss_mb, timed
from deploy.bench.load import Load, Made, cut_up, make
from pearlstream.catalogue import Catalogue
from pearlstream.fold import InProcess, Log, Output, Record, header
from pearlstream.folds.admit import Admit
from pearlstream.folds.indicate import Indicate
from pearlstream.folds.rollup import decode_partials
from pearlstream.frame import decode
from pearlstream.position import Source
from pearlstream.program import Program, compile_catalogue
from pearlstream.registry import RegistryBook

BATCH = 200
"""Records of one partition that are folded together: what a worker has in hand when it is busy."""


@dataclass
class Bench:
    """One stage, made ready. `work` does it once and gives what it made; `count` holds that against the load."""

    readings: int
    work: Callable[[], Any]
    count: Callable[[Any], Sequence[Counted]]


def measure(stage: str, load: Load, runs: int, catalogue: Catalogue) -> Figure:
    """The figure of one stage: a run to warm up, then `runs` that count. Raises KeyError for an unknown stage."""
    bench = STAGES[stage](load, catalogue)
    bench.work()
    done: list[Run] = []
    counted: list[Counted] = []
    for _ in range(runs):
        made: list[Any] = []
        gc.collect()
        done.append(timed(bench.readings, lambda made=made: made.append(bench.work())))  # type: ignore[misc]
        counted += bench.count(made[0])
    return Figure(stage, done, own_peak_rss_mb(), counted)


def _simulate(load: Load, catalogue: Catalogue) -> Bench:
    """A quiet hour of the whole catalogue, from the plan to encoded frames."""
    from producers.simulator.plan import make_plan
    from producers.simulator.run import Simulation

    minutes = 10
    plan = make_plan(catalogue, [("SC00", 0)], duration_ms=minutes * 60_000, rate=load.readings / minutes / 60)

    def work() -> list[Any]:
        return [(frame, frame.payload()) for step in Simulation(plan).steps() for frame in step.frames]

    def rows(made: Sequence[Any]) -> int:
        return sum(_rows(catalogue, _record(frame, value)) for frame, value in made)

    expected = work()
    total = rows(expected)

    def count(made: Sequence[Any]) -> list[Counted]:
        same = sum(value == other for (_, value), (_, other) in zip(made, expected, strict=False))
        return [Counted("readings in the frames", rows(made), total), Counted("equal frames", same, len(expected))]

    return Bench(total, work, count)


def _record(frame: Any, value: bytes) -> Record:
    from pearlstream.frame import frame_headers

    return Record(
        0, frame.city.encode(), value, frame_headers(frame.feed, frame.content_type, frame.gateway, None, True)
    )


def _rows(catalogue: Catalogue, record: Record) -> int:
    return int(decode(record, catalogue.feeds, catalogue.cities).batch.num_rows)


def _encode(load: Load, catalogue: Catalogue) -> Bench:
    """Frames from columns."""
    parts = cut_up(load, catalogue)
    total = sum(len(part.columns["ts"]) for part in parts)

    def work() -> list[bytes]:
        return [part.encoded() for part in parts]

    def count(made: Sequence[bytes]) -> list[Counted]:
        records = (part.sent(value) for part, value in zip(parts, made, strict=True))
        rows = sum(_rows(catalogue, Record(0, one.key, one.value, one.headers)) for one in records)
        return [Counted("readings in the frames", rows, total)]

    return Bench(total, work, count)


def _decode(load: Load, catalogue: Catalogue) -> Bench:
    """Columns from frames, with everything that is looked at before a stranger's bytes are believed."""
    made = make(load, catalogue)
    records = [record for lane in made.lanes().values() for record in lane if record.key is not None]

    def work() -> list[Any]:
        return [decode(record, catalogue.feeds, catalogue.cities) for record in records]

    def count(frames: Sequence[Any]) -> list[Counted]:
        return [
            Counted("readings", sum(frame.batch.num_rows for frame in frames), made.total),
            Counted("flaws", sum(len(frame.flaws) for frame in frames), 0),
        ]

    return Bench(made.total, work, count)


def _admit(load: Load, catalogue: Catalogue) -> Bench:
    """The fold `admit`: decode, validate, tell repeats apart, roll up all measures, make every accepted record."""
    made, program = make(load, catalogue), compile_catalogue(catalogue)
    book = _book(made, catalogue)
    lanes = made.lanes()

    def work() -> list[Output]:
        return [output for number, lane in lanes.items() for output in admitted(program, book, load, number, lane)]

    return Bench(made.total, work, lambda outputs: count_admitted([made], outputs))


def admitted(program: Program, book: RegistryBook, load: Load, number: int, lane: Sequence[Record]) -> list[Output]:
    """The outputs of `admit` over one partition, batch by batch."""
    runner = InProcess(Admit(program, book, load.partitions), Source("bench", number))
    return [output for at in range(0, len(lane), BATCH) for output in runner.feed(lane[at : at + BATCH])]


def _book(made: Made, catalogue: Catalogue) -> RegistryBook:
    book = RegistryBook(catalogue.feeds)
    book.add([value for value, _ in made.devices])
    return book


def count_admitted(
    loads: Sequence[Made], outputs: Sequence[Output | Record], targets: Sequence[str] = ()
) -> list[Counted]:
    """Hold what `admit` wrote against the loads: by the headers of accepted frames, and by the partials' rows.

    `targets`: the topic of each record, where they do not say it themselves.
    """
    total = sum(made.total for made in loads)
    names = targets or [output.target for output in outputs if isinstance(output, Output)]
    frames = [output for output, name in zip(outputs, names, strict=True) if name == "accepted"]
    rolled = [output for output, name in zip(outputs, names, strict=True) if name == "rollups"]
    return [
        Counted("accepted frames", len(frames), sum(made.frames for made in loads)),
        Counted("accepted readings", sum(int(header(one.headers, "accepted") or 0) for one in frames), total),
        Counted("readings in the rollups", sum(_rolled(one.value or b"") for one in rolled), total),
    ]


def _rolled(value: bytes) -> int:
    """Readings that a record of partials counts: what stands in the built-in measure of each feed."""
    table = decode_partials(value)
    if table is None:
        return 0
    columns = zip(*(table[name].to_pylist() for name in ("measure", "feed", "n")), strict=True)
    return sum(n for measure, feed, n in columns if measure == f"{feed}.rows")


def _indicate(load: Load, catalogue: Catalogue) -> Bench:
    """The fold `indicate` over the rollups of the load."""
    made, program = make(load, catalogue), compile_catalogue(catalogue)
    book = _book(made, catalogue)
    lanes: dict[int, list[Record]] = {}
    admitted_all: list[Output] = []
    for number, lane in made.lanes().items():
        outputs = admitted(program, book, load, number, lane)
        admitted_all += outputs
        log = Log()
        for output in outputs:
            if output.target == "rollups":
                log.append(output.key, output.value, output.headers)
        lanes[number] = log.records
    good = count_admitted([made], admitted_all)

    def work() -> list[bytes]:
        found = []
        for number, lane in lanes.items():
            runner = InProcess(Indicate(program, book, load.partitions), Source("bench-rollups", number))
            for at in range(0, len(lane), BATCH):
                found += [output.value for output in runner.feed(lane[at : at + BATCH])]
        return found

    expected = work()

    def count(values: Sequence[bytes]) -> list[Counted]:
        same = sum(a == b for a, b in zip(values, expected, strict=False))
        some = Counted("records of indicators, if any", min(len(values), 1), 1)
        return [*good, some, Counted("equal records", same, max(len(expected), len(values)))]

    return Bench(made.total, work, count)


STAGES: dict[str, Callable[[Load, Catalogue], Bench]] = {
    "simulate": _simulate,
    "encode": _encode,
    "decode": _decode,
    "admit": _admit,
    "indicate": _indicate,
}
