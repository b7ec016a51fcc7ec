"""The whole pipeline in this process: a log straight through `admit` and `indicate`, without broker or store.

What comes out is, to the last digit, what the same log brings forth through Kafka, whatever breaks on that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from pearlstream.fold import InProcess, Output, Record, header
from pearlstream.folds.admit import Admit
from pearlstream.folds.indicate import Indicate
from pearlstream.folds.rollup import PARTIAL_ARROW, decode_partials
from pearlstream.indicators import INDICATORS_ARROW
from pearlstream.position import Source
from pearlstream.program import Program
from pearlstream.registry import RegistryBook

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


class Lane:
    """One partition: `admit`, and `indicate` behind it, fed a batch at a time."""

    def __init__(self, program: Program, book: RegistryBook, number: int, partitions: int, provisional: bool) -> None:
        source = Source("in-process", number)
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


def gathered(lanes: Iterable[Lane]) -> Folded:
    """What all partitions made, as one."""
    total = Folded()
    for lane in lanes:
        for name in ("rows", "accepted", "duplicate", "late"):
            setattr(total, name, getattr(total, name) + getattr(lane.folded, name))
        for reason, count in lane.folded.quarantined.items():
            total.quarantined[reason] = total.quarantined.get(reason, 0) + count
    total.indicators = _frame([table for lane in lanes for table in lane.indicators], INDICATORS_ARROW)
    panes = _frame([table for lane in lanes for table in lane.partials], PARTIAL_ARROW)
    total.panes = panes.group_by("feed", "city", "pane_ms").agg(pl.col("n").sum()).sort("feed", "city", "pane_ms")
    return total


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
