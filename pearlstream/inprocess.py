"""The whole pipeline in this process: a log straight through the folds and the rules, without broker or store.

What comes out is, to the last digit, what the same log brings forth through Kafka, whatever breaks on that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import polars as pl
import pyarrow as pa

from pearlstream.alerts import Transition, run_rules
from pearlstream.fold import InProcess, Output, Record, header
from pearlstream.folds.admit import Admit
from pearlstream.folds.cluster import Cluster
from pearlstream.folds.indicate import Indicate
from pearlstream.folds.rollup import PARTIAL_ARROW, decode_partials
from pearlstream.indicators import INDICATORS_ARROW
from pearlstream.position import Source
from pearlstream.program import Program
from pearlstream.registry import RegistryBook
from pearlstream.rules import Rules

BATCH = 500
"""Records that are folded together."""


@dataclass
class Folded:
    """What the folds made of a log. `indicators`: one row per window and revision, with the columns of the wire."""

    indicators: pl.DataFrame = field(default_factory=pl.DataFrame)
    panes: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Accepted readings by feed, city and 10 s pane: what the measures `<feed>.rows` counted."""
    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    """Readings by reason."""
    transitions: list[Transition] = field(default_factory=list)
    """What the rules said to it, as the stage `alert` says it."""


class Lane:
    """One partition: `admit`, and `indicate` behind it, fed a batch at a time. What crosses cities is set aside for
    `gathered`, as it needs all partitions."""

    def __init__(self, program: Program, book: RegistryBook, number: int, partitions: int, provisional: bool) -> None:
        source = Source("in-process", number)
        self.cluster = Cluster(program, book, partitions, provisional=provisional)
        """The stage as it is for all lanes of a run; its state is made when they are gathered."""
        self.crossings: list[tuple[int, Output]] = []
        """Records of `crossings`, each with its clock."""
        self.admit = InProcess(Admit(program, book, partitions), source)
        self.indicate = InProcess(Indicate(program, book, partitions, provisional=provisional), source)
        self.folded = Folded()
        self.indicators: list[Any] = []
        self.partials: list[Any] = []
        self._offset = self._rollups = 0
        self._waiting: list[Record] = []

    def take(self, key: bytes | None, value: bytes, headers: Iterable[tuple[str, bytes]]) -> None:
        """Append a record of `readings`."""
        self._waiting.append(Record(self._offset, key, value, tuple(headers)))
        self._offset += 1
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Fold what waits."""
        records, self._waiting = self._waiting, []
        outputs = self.admit.feed(records) if records else []
        for output in outputs:
            _count(self.folded, output)
        self.crossings += [(_clock(output), output) for output in outputs if output.target == "crossings"]
        rollups = list(self._numbered(output for output in outputs if output.target == "rollups"))
        tables = (decode_partials(record.value or b"") for record in rollups)
        self.partials += [_rows_only(table) for table in tables if table is not None]
        self.indicators += [pa.ipc.open_stream(output.value).read_all() for output in self.indicate.feed(rollups)]

    def _numbered(self, outputs: Iterable[Output]) -> Iterator[Record]:
        for output in outputs:
            yield Record(self._rollups, output.key, output.value, output.headers)
            self._rollups += 1


def _rows_only(table: Any) -> Any:
    """Of partials, those of the built-in measures."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.filter(pl.col("measure") == pl.col("feed") + ".rows").to_arrow().cast(PARTIAL_ARROW)


def gathered(lanes: Sequence[Lane], rules: Rules | None = None) -> Folded:
    """What all partitions made, as one, and what the rules say to it if there are any given."""
    total = Folded()
    for lane in lanes:
        for name in ("rows", "accepted", "duplicate", "late"):
            setattr(total, name, getattr(total, name) + getattr(lane.folded, name))
        for reason, count in lane.folded.quarantined.items():
            total.quarantined[reason] = total.quarantined.get(reason, 0) + count
    said = [table for lane in lanes for table in lane.indicators]
    total.indicators = _frame([*said, *_across(lanes)], INDICATORS_ARROW)
    total.transitions = run_rules(rules, total.indicators) if rules is not None else []
    panes = _frame([table for lane in lanes for table in lane.partials], PARTIAL_ARROW)
    total.panes = panes.group_by("feed", "city", "pane_ms").agg(pl.col("n").sum()).sort("feed", "city", "pane_ms")
    return total


def _across(lanes: Sequence[Lane]) -> Iterator[Any]:
    """What the stage `cluster` says to the crossings of all lanes, merged by their clocks."""
    if not lanes:
        return
    merged = sorted((crossing for lane in lanes for crossing in lane.crossings), key=itemgetter(0))
    records = [Record(at, output.key, output.value, output.headers) for at, (_, output) in enumerate(merged)]
    for output in InProcess(lanes[0].cluster, Source("in-process-crossings", 0)).feed(records):
        yield pa.ipc.open_stream(output.value).read_all()


def _clock(output: Output) -> int:
    return int(header(output.headers, "clock") or -1)


def _frame(tables: list[Any], schema: Any) -> pl.DataFrame:
    frame = pl.from_arrow(pa.concat_tables(tables) if tables else schema.empty_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _count(folded: Folded, output: Output) -> None:
    """Add up what the headers of `accepted` and `quarantine` say."""
    if output.target == "accepted":
        for name, key in (("rows", "rows"), ("accepted", "accepted"), ("late", "late"), ("duplicate", "dup")):
            setattr(folded, name, getattr(folded, name) + int(header(output.headers, key) or 0))
    elif output.target == "quarantine":
        reason, rows = header(output.headers, "reason") or "", header(output.headers, "rows") or ""
        folded.quarantined[reason] = folded.quarantined.get(reason, 0) + rows.count(",") + 1
