"""Stored readings as `admit` had them: in the order of the log, each with the registry that was in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from pearlstream.catalogue.models import Feed
from pearlstream.folds.again import KEPT
from pearlstream.registry import EMPTY_VERSION
from pearlstream.store import Store
from sinks.clickhouse.mend import sql
from sinks.clickhouse.mend.standing import Standing
from sinks.clickhouse.shapes import source_hash

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
CHUNK_ROWS = 400_000
"""About so many readings are looked at together."""
_TYPES = {"float": pl.Float64, "int": pl.Int64, "bool": pl.Boolean, "enum": pl.String, "text": pl.String}


class Chunk(NamedTuple):
    """Readings of some cities in a stretch of event time [start, stop), ms."""

    cities: tuple[str, ...]
    start: int
    stop: int


def pack(cells: pl.DataFrame, start: int, stop: int, *, by_hour: bool, most: int = CHUNK_ROWS) -> list[Chunk]:
    """Chunks over cells (city, hour_ms, n), about `most` rows each, none cutting an hour (a day unless `by_hour`)."""
    chunks: list[Chunk] = []
    gathered: list[str] = []
    rows = 0
    for (city,), hours in cells.partition_by("city", as_dict=True, maintain_order=True).items():
        own = int(hours["n"].sum())
        if own > most and by_hour:
            chunks += _hours(str(city), hours, start, stop, most)
            continue
        if gathered and rows + own > most:
            chunks.append(Chunk(tuple(gathered), start, stop))
            gathered, rows = [], 0
        gathered.append(str(city))
        rows += own
    return chunks + ([Chunk(tuple(gathered), start, stop)] if gathered else [])


def _hours(city: str, hours: pl.DataFrame, start: int, stop: int, most: int) -> list[Chunk]:
    chunks, begin, rows = [], start, 0
    for hour, n in hours.select("hour_ms", "n").sort("hour_ms").iter_rows():
        if rows and rows + n > most:
            chunks.append(Chunk((city,), begin, hour))
            begin, rows = hour, 0
        rows += n
    return [*chunks, Chunk((city,), begin, stop)]


@dataclass
class Kept:
    """Reads stored readings up to a standing. Every method raises StoreError."""

    store: Store
    standing: Standing
    _changes: pl.DataFrame | None = field(default=None, init=False)

    def cells(self, feed: str, start: int, stop: int) -> pl.DataFrame:
        """Readings by city and hour."""
        return self._frame(sql.cells(self.store.database, feed), {"start": start, "stop": stop})

    def strays(self, feed: str, start: int, stop: int) -> pl.DataFrame:
        """Cities and hours outside [start, stop) of which some reading arrived within it."""
        of = {"start": start - DAY_MS - HOUR_MS, "stop": stop + HOUR_MS, "from": start, "until": stop}
        return self._frame(sql.strays(self.store.database, feed), of)

    def readings(self, feed: Feed, chunk: Chunk) -> pl.DataFrame:
        """Readings of a chunk, with the columns that `partials_again` wants."""
        of = {"cities": list(chunk.cities), "start": chunk.start, "stop": chunk.stop, **self.standing.parameters}
        rows = pl.DataFrame(self.store.arrow(sql.kept_readings(self.store.database, feed), of, sql.FINAL))
        rows = rows.rename({"ts_ms": "ts", "src": "life"}).with_columns(
            *(pl.col(name).cast(_TYPES[spec.type]) for name, spec in feed.fields.items()),
            *(pl.col(name).cast(KEPT[name]) for name in KEPT if name != "registry"),
        )
        return self._with_registry(rows).select(*KEPT, *feed.fields)

    def _with_registry(self, rows: pl.DataFrame) -> pl.DataFrame:
        if self._changes is None:
            changes = self._frame(sql.registry_changes(self.store.database), {})
            lives = [source_hash(topic) for topic in changes["topic_id"]]
            self._changes = changes.select(
                pl.Series("life", lives, dtype=pl.UInt64),
                pl.col("partition").alias("part"),
                pl.col("offset").alias("off"),
                pl.col("version").cast(pl.String).alias("registry"),
            ).sort("off")
        numbered = rows.with_row_index("place").sort("off", maintain_order=True)
        joined = numbered.join_asof(
            self._changes, on="off", by=["life", "part"], strategy="backward", check_sortedness=False
        )
        return joined.sort("place").with_columns(pl.col("registry").fill_null(EMPTY_VERSION))

    def _frame(self, text: str, of: dict[str, int]) -> pl.DataFrame:
        return pl.DataFrame(self.store.arrow(text, of))


def widened(start: int, stop: int, lengths_s: Sequence[int]) -> tuple[int, int]:
    """A stretch of whole days, wide enough that every pane of these lengths that begins in it is whole."""
    reach = max((length * 1000 for length in lengths_s if DAY_MS % (length * 1000)), default=0)
    return start - reach, stop + reach
