"""Sorting more readings than memory holds: sorted runs on disk, merged in order of event time.

Each chunk becomes a run. Merging reads a piece of every run at a time and gives out what lies before the earliest
end of these pieces, so that all readings of one instant always come together, however the runs were cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from producers.importer.convert import KEY

FAN_IN = 64
"""Runs that are merged at once; more are merged in several passes."""
PIECE_ROWS = 4096
"""Rows of a run in memory at a time, at least."""


def write_frames(path: Path, frames: Iterable[pl.DataFrame], piece_rows: int = PIECE_ROWS) -> int:
    """Write frames of one schema to an Arrow stream, and return the number of rows."""
    rows, writer = 0, None
    with pa.OSFile(str(path), "wb") as file:
        for frame in frames:
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                writer = pa.ipc.new_stream(file, table.schema)
            writer.write_table(table, max_chunksize=piece_rows)
            rows += len(frame)
        if writer is not None:
            writer.close()
    return rows


def read_frames(path: Path) -> Iterator[pl.DataFrame]:
    """The pieces of a file that `write_frames` made."""
    if not path.stat().st_size:
        return
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            yield _frame(batch)


def _frame(batch: Any) -> pl.DataFrame:
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    return frame


@dataclass
class Spill:
    """Sorted runs in a folder."""

    folder: Path
    piece_rows: int = PIECE_ROWS
    runs: list[Path] = field(default_factory=list)
    _made: int = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Sort readings and put them on disk as one run."""
        if len(frame):
            self.runs.append(self._write([frame.sort(KEY)]))

    def merged(self) -> Iterator[pl.DataFrame]:
        """All readings in order of `KEY`; those of one instant are never cut apart. Empties the folder."""
        while len(self.runs) > FAN_IN:
            some, self.runs = self.runs[:FAN_IN], self.runs[FAN_IN:]
            self.runs.append(self._write(merge(some)))
            self._drop(some)
        yield from merge(self.runs)
        self._drop(self.runs)
        self.runs = []

    def _write(self, frames: Iterable[pl.DataFrame]) -> Path:
        self._made += 1
        path = self.folder / f"run-{self._made:06d}.arrow"
        write_frames(path, frames, self.piece_rows)
        return path

    @staticmethod
    def _drop(paths: Sequence[Path]) -> None:
        for path in paths:
            path.unlink()


@dataclass
class _Head:
    """The part of a run that is in memory."""

    pieces: Iterator[pl.DataFrame]
    frame: pl.DataFrame
    more: bool = True

    @property
    def last_ms(self) -> int:
        """The last time in memory."""
        return int(self.frame["ts"][-1])

    def load(self) -> None:
        """Take the next piece into memory."""
        piece = next(self.pieces, None)
        if piece is None:
            self.more = False
        else:
            self.frame = pl.concat([self.frame, piece])


def merge(paths: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Merge sorted runs; see `Spill.merged`."""
    heads = []
    for path in paths:
        pieces = read_frames(path)
        first = next(pieces, None)
        if first is not None:
            heads.append(_Head(pieces, first))
    while heads:
        # All of an instant is in memory once the next instant is seen, or the run ends.
        for head in heads:
            while head.more and (not len(head.frame) or head.frame["ts"][0] == head.last_ms):
                head.load()
        bounds = [head.last_ms for head in heads if head.more]
        bound = min(bounds) if bounds else None
        ready = []
        for head in heads:
            count = len(head.frame) if bound is None else int(head.frame["ts"].search_sorted(bound, side="left"))
            if count:
                ready.append(head.frame[:count])
                head.frame = head.frame[count:]
        heads = [head for head in heads if head.more or len(head.frame)]
        if ready:
            yield pl.concat(ready).sort(KEY) if len(ready) > 1 else ready[0]
