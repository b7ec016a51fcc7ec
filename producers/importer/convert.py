"""Chunks of rows to readings: typed columns, and a verdict on every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from pearlstream.folds.checks import Verdicts
from pearlstream.frame.text import ID_PATTERN, shown
from pearlstream.quality import Quality
from producers.importer.cells import TYPES, FieldReader, Units
from producers.importer.csvrows import Chunk
from producers.importer.dialect import Written
from producers.importer.mapping import pieces_of
from producers.importer.resolve import FileUse, Resolved
from producers.importer.zones import Mask

KEY = ("ts", "city", "device", "file", "line")
"""Columns that readings are ordered by: time, then who, then where in the files it stood."""
_WHERE = {"ts": pl.Int64(), "city": pl.String(), "device": pl.String(), "file": pl.Int64(), "line": pl.Int64()}

Flaw = tuple[int, str, str]
"""Line, reason, message."""


def schema_of(resolved: Resolved) -> dict[str, pl.DataType]:
    """The columns of converted readings: `KEY`, every field of the feed, and the registry's texts by their key."""
    fields = {name: TYPES[spec.type] for name, spec in resolved.feed.fields.items()}
    return {**_WHERE, **fields, **dict.fromkeys(resolved.registry_texts, pl.String())}


@dataclass
class FileReader:
    """Converts the chunks of one file. `number` says which file it is, `label` is its name in messages."""

    resolved: Resolved
    path: Path
    label: str
    number: int
    written: Written
    use: FileUse
    units: Units
    notes: Counter[str] = field(default_factory=Counter)
    ranges: Counter[str] = field(default_factory=Counter)
    """Values outside the plausible range, by field."""

    def __post_init__(self) -> None:
        self.readers: list[FieldReader] = self.resolved.readers(self.use, self.written)
        self._schema = schema_of(self.resolved)

    def convert(self, chunk: Chunk) -> tuple[pl.DataFrame, list[Flaw]]:
        """The chunk's readings, with the columns of `schema_of`, and the rows that are none."""
        names = [name or f"column {at}" for at, name in enumerate(self.written.names, 1)]
        cells = pl.DataFrame([pl.Series(name, column, dtype=pl.String) for name, column in self._unique(names, chunk)])
        v = Verdicts(len(chunk.rows))
        self.units.locate = lambda row: f"{self.label}:{chunk.lines[row]}"
        utc, ambiguous = self.resolved.times.read(cells, v, self.resolved.feed.id)
        device, city = self._ids(cells, v)
        values = {reader.name: reader.read(cells, v, self.units) for reader in self.readers}
        self._judge(values, v)
        v.qc[ambiguous] |= np.uint32(Quality.TIME_AMBIGUOUS)
        kept = v.reason == 0
        self._note(v, kept)
        columns: dict[str, pl.Series] = {
            "ts": pl.Series(utc),
            "city": city,
            "device": device,
            "file": pl.repeat(self.number, len(cells), eager=True, dtype=pl.Int64),
            "line": pl.Series(chunk.lines, dtype=pl.Int64),
            **values,
            **{key: self._text(cells, text) for key, text in self.resolved.registry_texts.items()},
        }
        frame = pl.DataFrame(
            {
                name: columns.get(name, pl.repeat(None, len(cells), dtype=dtype, eager=True)).cast(dtype)
                for name, dtype in self._schema.items()
            }
        )
        return frame.filter(pl.Series(kept, dtype=pl.Boolean)), list(self._flaws(chunk, v))

    def _unique(self, names: list[str], chunk: Chunk) -> Iterator[tuple[str, list[str]]]:
        """Columns by name; of two with one name the first is meant, which the mapping cannot name anyway."""
        taken: set[str] = set()
        columns = zip(*chunk.rows, strict=True) if chunk.rows else ([] for _ in names)
        for name, column in zip(names, columns, strict=True):
            if name not in taken:
                taken.add(name)
                yield name, list(column)

    def _flaws(self, chunk: Chunk, v: Verdicts) -> Iterator[Flaw]:
        wanted = len(self.written.names)
        for line, got in chunk.ragged:
            message = f"{self.resolved.feed.id}/row: {got} cells, wanted {wanted}; quote cells that hold the delimiter"
            yield line, "ragged", message
        for row in np.flatnonzero(v.reason):
            yield chunk.lines[int(row)], v.words[int(v.reason[row])], v.messages[int(row)]

    # ------------------------------------------------------------------ who and where

    def _text(self, cells: pl.DataFrame, text: str) -> pl.Series:
        """A text of the mapping, for every row."""
        parts = []
        for named, piece in pieces_of(text):
            if not named:
                parts.append(pl.lit(piece))
            elif piece in self.use.groups:
                parts.append(pl.lit(self.use.groups[piece]))
            else:
                parts.append(pl.col(piece).str.strip_chars().fill_null(""))
        constant = pl.repeat("", len(cells), eager=True)  # keeps the length where no column is named
        return cells.with_columns(constant.alias("")).select(pl.concat_str(pl.col(""), *parts)).to_series()

    def _ids(self, cells: pl.DataFrame, v: Verdicts) -> tuple[pl.Series, pl.Series]:
        """Device and city of every row."""
        feed, mapping = self.resolved.feed.id, self.resolved.mapping
        device, city = self._text(cells, mapping.device), self._text(cells, mapping.city)
        good = device.str.contains(f"^{ID_PATTERN}$")
        for row in np.flatnonzero(~good.to_numpy()):
            message = f"{feed}/device: got {shown(device[int(row)])}; ids look like {ID_PATTERN}"
            v.set_aside_row(int(row), "bad_id", message)
        known = city.is_in(list(self.resolved.catalogue.cities))
        for row in np.flatnonzero(~known.to_numpy()):
            message = f"{feed}/city: there is no city {shown(city[int(row)])}; declare it in an overlay"
            v.set_aside_row(int(row), "unknown_city", message)
        return device, city

    # ------------------------------------------------------------------ values

    def _judge(self, values: dict[str, pl.Series], v: Verdicts) -> None:
        """Ranges, required fields, and rows with nothing in them."""
        feed = self.resolved.feed
        empty = np.ones(v.rows, bool)
        for reader in self.readers:
            column, spec = values[reader.name], reader.spec
            known = column.is_not_null().to_numpy()
            if reader.source.constant is None:
                empty &= ~known
            if spec.type in ("float", "int") and (spec.min is not None or spec.max is not None):
                self._range(reader, column, v)
        v.set_aside(empty, "no_value", f"{feed.id}/row: every mapped field is missing; nothing was measured")
        for reader in self.readers:
            if reader.spec.required:
                null = values[reader.name].is_null().to_numpy()
                v.set_aside(null, "null_required", f"{feed.id}/{reader.name}: no value; the feed requires one")

    def _range(self, reader: FieldReader, column: pl.Series, v: Verdicts) -> None:
        spec, feed = reader.spec, self.resolved.feed.id
        grid = 10.0**spec.decimals
        numbers = column.cast(pl.Float64).to_numpy()
        if spec.type == "float":
            numbers = np.floor(numbers * grid + 0.5) / grid  # as `admit` will see it
        low, high = -np.inf if spec.min is None else spec.min, np.inf if spec.max is None else spec.max
        outside: Mask = (numbers < low) | (numbers > high)
        if spec.hard:
            for row in np.flatnonzero(outside):
                message = f"{feed}/{reader.name}: {numbers[row]:g} is outside {low:g}..{high:g} {spec.unit}; check it"
                v.set_aside_row(int(row), "range_hard", message)
            return
        outside &= v.reason == 0
        v.qc[outside] |= np.uint32(Quality.RANGE)
        if outside.any():
            self.ranges[reader.name] += int(outside.sum())

    def _note(self, v: Verdicts, kept: Mask) -> None:
        for flag, name in ((Quality.RANGE, "range"), (Quality.TIME_AMBIGUOUS, "time_ambiguous")):
            count = int(np.count_nonzero(kept & ((v.qc & np.uint32(flag)) != 0)))
            if count:
                self.notes[name] += count
