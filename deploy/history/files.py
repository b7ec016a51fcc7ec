"""Files that were read and put in order, as history that can be loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pearlstream.fold import Headers
from pearlstream.registry import EMPTY_VERSION
from producers.importer import Import
from producers.importer.steps import records_of


class Day(NamedTuple):
    """How many readings a day has, and the times (ms) of the first and the last."""

    readings: int
    first_ms: int
    last_ms: int

    def joined(self, other: Day) -> Day:
        """Two parts of one day."""
        first, last = min(self.first_ms, other.first_ms), max(self.last_ms, other.last_ms)
        return Day(self.readings + other.readings, first, last)


DAY = pl.from_epoch("ts", "ms").dt.strftime("%Y-%m-%d")


class FilesHistory:
    """What a prepared import holds; see `sinks.clickhouse.history.model.History`."""

    def __init__(self, job: Import, files: Sequence[Path]) -> None:
        self._job, self._files = job, files
        self.feed = job.resolved.feed.id

    @cached_property
    def scope(self) -> Mapping[str, Any]:
        """The files with their checksums, in their order, and that of how they are read."""
        resolved = self._job.resolved
        how = resolved.mapping.model_dump_json() + repr(sorted(resolved.told.items()))
        return {
            "name": resolved.mapping.name,
            "mapping": hashlib.sha256(how.encode()).hexdigest(),
            "files": [[file.name, _sha256(file)] for file in self._files],
        }

    def days(self) -> Mapping[str, int]:
        """Readings by day."""
        return {day: found.readings for day, found in self._days.items()}

    @cached_property
    def _days(self) -> Mapping[str, Day]:
        days: dict[str, Day] = {}
        ts = pl.col("ts")
        for frame in self._job.readings():
            counted = frame.group_by(DAY.alias("day")).agg(pl.len(), ts.min().alias("first"), ts.max().alias("last"))
            for day, *found in counted.sort("day").iter_rows():
                days[day] = days[day].joined(Day(*found)) if day in days else Day(*found)
        return days

    @cached_property
    def _devices(self) -> tuple[bytes, ...]:
        return tuple(self._job.book.records())

    def devices(self) -> Sequence[bytes]:
        """Who speaks in the files, with what the mapping says of them."""
        return self._devices

    def records(self, days: Collection[str]) -> Iterator[tuple[bytes | None, bytes, Headers]]:
        """The log that an import of its own would write, of the readings of some days, in one partition."""
        some = [self._days[day] for day in days]
        first_ms, last_ms = min(day.first_ms for day in some), max(day.last_ms for day in some)
        for step in self._job.steps_of(DAY.is_in(sorted(days)), first_ms, last_ms):
            for _, key, value, headers in records_of(step, EMPTY_VERSION, 1):
                yield key, value, headers


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
