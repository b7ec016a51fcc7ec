"""An import from files to a sorted log: everything that can be wrong is known before the first record is sent.

files ─► dialect ─► rows ─► readings ─► sorted runs ─► merged, each once ─► steps (frames and ticks)
                      └─► rejects                        └─► devices
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import polars as pl

from pearlstream.program import Program
from producers.importer.cells import BARE, Units
from producers.importer.convert import FileReader, schema_of
from producers.importer.csvrows import CHUNK_ROWS, read_chunks
from producers.importer.devices import DeviceBook
from producers.importer.dialect import Confirm, Written, look_at
from producers.importer.problems import FileRefused
from producers.importer.rejects import Rejects
from producers.importer.resolve import FileUse, Resolved
from producers.importer.runs import Spill, read_frames, write_frames
from producers.importer.steps import LogPlan, Pace, Step, settled_by
from producers.importer.unify import unify
from producers.importer.units import unit_named

HEAD_ROWS = 8
"""Readings that a dry run shows."""
Progress = Callable[[str, int, int], None]
"""Told what is being done (a file's name, or `sort`), how much of it is done, and how much there is."""


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total


def _labels(files: Sequence[Path]) -> list[str]:
    """What files are called in messages: by name, or by path if names repeat. Raises FileRefused if one comes twice."""
    resolved = [path.resolve() for path in files]
    twice = next((path for path in resolved if resolved.count(path) > 1), None)
    if twice:
        raise FileRefused("csv_file", f"{twice} is given twice", remedy="name each file once")
    names = [path.name for path in files]
    return names if len(set(names)) == len(names) else [str(path) for path in files]


@dataclass
class Survey:
    """What an import found in its files."""

    rows: int = 0
    readings: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    """Values outside the plausible range, by field."""
    fields: set[str] = field(default_factory=set)
    """Fields that some file gives."""
    head: pl.DataFrame = field(default_factory=pl.DataFrame)
    written: dict[str, Written] = field(default_factory=dict)


class Import:
    """Files, read and put in order. Use as a context: what it keeps on disk goes with it.

    `prepare` (or `look`, then `read`) takes everything in; afterwards `survey`, `book`, `rejects` and `steps` tell of
    it. `confirm` None: there is nobody to ask how a file is written. Raises FileRefused and MappingError.
    """

    def __init__(
        self,
        resolved: Resolved,
        program: Program,
        *,
        rejects: Path | None = None,
        confirm: Confirm | None = None,
        progress: Progress = _silent,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        self.resolved = resolved
        self.program = program
        self.rejects = Rejects(rejects)
        self.survey = Survey()
        self.book = DeviceBook(resolved)
        self._confirm = confirm
        self.progress = progress
        self._chunk_rows = chunk_rows
        self._stack = ExitStack()

    def __enter__(self) -> Import:
        self._stack.enter_context(self.rejects)
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pearlstream-import-")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # ------------------------------------------------------------------ reading

    def prepare(self, files: Sequence[Path]) -> Survey:
        """Read the files, put their readings in order, and count. Nothing is sent."""
        return self.read(self.look(files))

    def look(self, files: Sequence[Path]) -> list[FileReader]:
        """Find out how the files are written, and what of the mapping applies to each; may ask a person."""
        labels = _labels(files)
        uses = [(path, self.resolved.use_of(path)) for path in files]
        return [
            FileReader(self.resolved, path, labels[number], number, self._look(path, use), use, Units())
            for number, (path, use) in enumerate(uses)
        ]

    def read(self, readers: Sequence[FileReader]) -> Survey:
        """Read the files that were looked at, put their readings in order, and count."""
        spill = Spill(self._folder)
        for reader in readers:
            self._read(reader, spill)
        self._sorted = self._folder / "sorted.arrow"
        write_frames(self._sorted, self._unified(spill, [reader.label for reader in readers]))
        if not self.survey.readings:
            worst = self.rejects.counts.most_common(1)
            example = self.rejects.examples[worst[0][0]] if worst else "the files have no rows"
            raise FileRefused(
                "no_readings", f"no row is a reading; most are {worst[0][0] if worst else 'absent'}: {example}",
                remedy="mend the mapping until --dry-run shows readings",
            )  # fmt: skip
        self.rejects.close()
        return self.survey

    def _look(self, path: Path, use: FileUse) -> Written:
        written = look_at(path, self.resolved.mapping.dialect, self.resolved.columns_for(use), self._confirm)
        self.survey.written[str(path)] = written
        self.survey.fields |= set(use.fields)
        return written

    def _read(self, reader: FileReader, spill: Spill) -> None:
        path, size = reader.path, reader.path.stat().st_size
        for chunk in read_chunks(path, reader.written, self._chunk_rows):
            if len(chunk):
                frame, flaws = reader.convert(chunk)
                self.rejects.add(reader.label, flaws)
                spill.add(frame)
                self.survey.rows += len(chunk)
            self.progress(reader.label, chunk.bytes_read, size)
        self._check_units(reader)
        self.survey.notes += reader.notes
        self.survey.outside += reader.ranges

    def _check_units(self, reader: FileReader) -> None:
        """Refuse a file whose cells carry different units in one column, unless it was said what bare numbers are."""
        for name, found in reader.units.found.items():
            source = reader.use.fields[name]
            if name in self.resolved.told or not set(found) - {BARE}:
                continue
            declared = unit_named(source.unit)
            units = {unit or declared or self.resolved.feed.fields[name].unit: place for unit, place in found.items()}
            if declared is not None:
                units.setdefault(declared, "the mapping")
            if len(units) > 1:
                places = ", ".join(f"{unit} ({place})" for unit, place in sorted(units.items()))
                raise FileRefused(
                    "unit_mixed",
                    f"{reader.path}: column {source.column!r} holds several units: {places}",
                    remedy=f"if each cell is right, say in which unit bare numbers are: "
                    f"--unit {name}={declared or self.resolved.feed.fields[name].unit}",
                )

    def _unified(self, spill: Spill, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Merged readings, each once; counted and noted on the way."""
        fields, join = list(self.resolved.feed.fields), self.resolved.mapping.join
        expected = self.survey.rows - self.rejects.total
        head: list[pl.DataFrame] = []
        done = 0
        for frame in spill.merged():
            done += len(frame)
            kept, repeats = unify(frame, fields, names, join)
            for number, line, reason, message in repeats:
                self.rejects.add(names[number], [(line, reason, f"{self.resolved.feed.id}/device: {message}")])
            self.survey.readings += len(kept)
            self.book.note(kept)
            if sum(map(len, head)) < HEAD_ROWS:
                head.append(kept.head(HEAD_ROWS))
            self.progress("sort", done, expected)
            yield kept
        if head:
            self.survey.head = pl.concat(head).head(HEAD_ROWS)

    # ------------------------------------------------------------------ the log

    @property
    def pace(self) -> Pace:
        """When ticks come: by the cadence of the fastest devices."""
        return Pace.of(min(self.book.cadence_of(device) for _, device in self.book.seen))

    @property
    def plan(self) -> LogPlan:
        """How the readings become a log."""
        return self.plan_of(self.book.first_ms, self.book.last_ms)

    def plan_of(self, first_ms: int, last_ms: int) -> LogPlan:
        """How readings of a stretch of time become a log."""
        cities = {city for city, _ in self.book.seen}
        end = settled_by(self.program, self.resolved.feed.id, cities, last_ms)
        gateway = f"import-{self.resolved.mapping.name}"
        return LogPlan(self.resolved.feed, gateway, self.pace, first_ms, end)

    def readings(self) -> Iterator[pl.DataFrame]:
        """All readings in order, with the columns of `schema_of`; may be asked for again."""
        yield from read_frames(self._sorted)

    def steps(self) -> Iterator[Step]:
        """The log, from the opening tick to the one at which everything is settled."""
        return self.plan.steps(frame.select(self._sent) for frame in self.readings())

    def steps_of(self, wanted: pl.Expr, first_ms: int, last_ms: int) -> Iterator[Step]:
        """The log of the `wanted` readings, of which the first and the last are of these times."""
        frames = (frame.filter(wanted).select(self._sent) for frame in self.readings())
        return self.plan_of(first_ms, last_ms).steps(frames)

    @property
    def _sent(self) -> list[str]:
        """The columns of readings that go into frames."""
        return [name for name in schema_of(self.resolved) if name not in self.resolved.registry_texts]
