"""An import without a broker: the same log through the same folds, in this process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from pearlstream.fold import InProcess, Log, Output, Record, header
from pearlstream.folds.admit import Admit
from pearlstream.folds.indicate import Indicate
from pearlstream.folds.rollup import PARTIAL_ARROW, decode_partials
from pearlstream.indicators import INDICATORS_ARROW
from pearlstream.position import Source
from pearlstream.program import Program
from pearlstream.registry import RegistryBook
from producers.importer.job import Import
from producers.importer.steps import logs_of

BATCH = 500
"""Records that are folded together."""


@dataclass
class Folded:
    """What the folds made of a log. `indicators`: one row per window and revision, with the columns of the wire."""

    indicators: pl.DataFrame
    panes: pl.DataFrame
    """Accepted readings by feed, city and 10 s pane: what the measures `<feed>.rows` counted."""
    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    """Readings by reason."""


def fold_import(job: Import, *, partitions: int = 1, provisional: bool = False) -> Folded:
    """Run a prepared import through `admit` and `indicate`, and return what came out."""
    book = RegistryBook(job.program.catalogue.feeds)
    registry = book.add(list(job.book.records()))
    logs = logs_of(job.steps(), registry, partitions)
    return fold_logs(job.program, book, logs, provisional=provisional)


def fold_logs(program: Program, book: RegistryBook, logs: Iterable[Log], *, provisional: bool = False) -> Folded:
    """Fold the partitions of `readings` one after the other."""
    some = list(logs)
    folded = Folded(pl.DataFrame(), pl.DataFrame())
    tables: list[Any] = []
    partials: list[Any] = []
    for partition, log in enumerate(some):
        admit = InProcess(Admit(program, book, len(some)), Source("import-in-process", partition))
        indicate = InProcess(
            Indicate(program, book, len(some), provisional=provisional), Source("import-in-process", partition)
        )
        rollups = Log()
        for at in range(0, len(log.records), BATCH):
            for output in admit.feed(log.records[at : at + BATCH]):
                _count(folded, output)
                if output.target == "rollups":
                    rollups.append(output.key, output.value, output.headers)
                    partials += [] if (part := decode_partials(output.value)) is None else [part]
        for at in range(0, len(rollups.records), BATCH):
            for output in indicate.feed(rollups.records[at : at + BATCH]):
                tables += [pa.ipc.open_stream(output.value).read_all()]
    folded.indicators = _frame(tables, INDICATORS_ARROW)
    rows = _frame(partials, PARTIAL_ARROW).filter(pl.col("measure") == pl.col("feed") + ".rows")
    folded.panes = rows.group_by("feed", "city", "pane_ms").agg(pl.col("n").sum()).sort("feed", "city", "pane_ms")
    return folded


def _frame(tables: list[Any], schema: Any) -> pl.DataFrame:
    frame = pl.from_arrow(pa.concat_tables(tables) if tables else schema.empty_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _count(folded: Folded, output: Output) -> None:
    """Add up the headers of `accepted`."""
    if output.target == "accepted":
        record = Record(0, output.key, output.value, output.headers)
        for name in ("rows", "accepted", "late"):
            setattr(folded, name, getattr(folded, name) + int(header(record.headers, name) or 0))
        folded.duplicate += int(header(record.headers, "dup") or 0)
    elif output.target == "quarantine":
        reason, rows = header(output.headers, "reason") or "", header(output.headers, "rows") or ""
        folded.quarantined[reason] = folded.quarantined.get(reason, 0) + rows.count(",") + 1
