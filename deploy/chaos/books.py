"""The producer's books: every reading that was sent, and what the store must therefore hold, to the reading.

Made from the plan alone, by the same deterministic producer, and without a fold: which readings are the same one is
decided here by device, time and sequence number. The folds have their own way of telling; the two must agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from pearlstream.catalogue import Catalogue
from pearlstream.store import Store
from producers.simulator.gateways import Frame
from sinks.clickhouse.ledger_sql import readings_by_identity, rollups_by_pane
from sinks.clickhouse.schema import readings_table_name

PANE_MS = 10_000
IDENTITY = ("feed", "city", "device", "ts", "seq")
"""What tells one reading from another: a device has one reading of a number at an instant."""
PLACES = 5
"""How many disagreements a side names."""


class Side(NamedTuple):
    """One side of the store against the books, in readings."""

    missing: int
    doubled: int
    places: tuple[str, ...]


@dataclass
class Books:
    """What left the gateways."""

    produced: int = 0
    by_feed_and_city: dict[tuple[str, str], int] = field(default_factory=dict)
    """Readings sent, repeats included."""
    _parts: list[pl.DataFrame] = field(default_factory=list)

    def note(self, frames: Iterable[Frame]) -> None:
        """Count frames that were sent."""
        for frame in frames:
            at = (frame.feed.id, frame.city)
            self.produced += frame.rows
            self.by_feed_and_city[at] = self.by_feed_and_city.get(at, 0) + frame.rows
            rows = pl.from_arrow(pa.Table.from_batches([frame.batch.select(["device", "ts", "seq"])]))
            assert isinstance(rows, pl.DataFrame)
            self._parts.append(rows.with_columns(feed=pl.lit(frame.feed.id), city=pl.lit(frame.city)))

    def agree(self, sent: Mapping[str, Any]) -> bool:
        """Whether a producer's own count says the same: by feed and city, as `simulate --ledger` writes it."""
        said = {
            (feed, city): counts["produced"]
            for feed, of_feed in sent["feeds"].items()
            for city, counts in of_feed["cities"].items()
        }
        return said == self.by_feed_and_city and sent["produced"] == self.produced

    def readings(self) -> pl.DataFrame:
        """Every reading once, by `IDENTITY`."""
        if not self._parts:
            return _none()
        return pl.concat(self._parts).select(_identity()).unique(maintain_order=True)

    def panes(self) -> pl.DataFrame:
        """How many readings each pane of a city and feed must count: feed, city, pane_ms, n."""
        pane = (pl.col("ts") // PANE_MS * PANE_MS).alias("pane_ms")
        return self.readings().group_by("feed", "city", pane).agg(pl.len().cast(pl.Int64).alias("n"))


def stored_readings(store: Store, catalogue: Catalogue, feeds: Iterable[str]) -> pl.DataFrame:
    """Every row of raw readings, by `IDENTITY`; a reading that is stored twice is there twice. Raises StoreError."""
    parts = [_none()]
    for feed in feeds:
        table = store.arrow(readings_by_identity(store.database, readings_table_name(catalogue.feeds[feed].id)))
        rows = pl.from_arrow(table)
        assert isinstance(rows, pl.DataFrame)
        parts.append(rows.with_columns(feed=pl.lit(feed)).select(_identity()))
    return pl.concat(parts)


def stored_panes(store: Store) -> pl.DataFrame:
    """Readings that the rollups count: feed, city, pane_ms, n. Raises StoreError."""
    rows = store.query(rollups_by_pane(store.database))
    schema = {"feed": pl.String, "city": pl.String, "pane_ms": pl.Int64, "n": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def compare_readings(books: Books, stored: pl.DataFrame) -> Side:
    """Raw rows against the books. What is stored and was never sent counts as doubled."""
    expected = books.readings().with_columns(n=pl.lit(1, pl.Int64))
    counted = stored.group_by(IDENTITY).agg(pl.len().cast(pl.Int64).alias("n"))
    return _compare(expected, counted, IDENTITY)


def compare_panes(books: Books, stored: pl.DataFrame) -> Side:
    """The rollups' counts against the books, pane by pane; one pane never pays for another."""
    return _compare(books.panes(), stored, ("feed", "city", "pane_ms"))


def _compare(expected: pl.DataFrame, found: pl.DataFrame, by: tuple[str, ...]) -> Side:
    both = expected.join(found, on=by, how="full", coalesce=True, suffix="_found", nulls_equal=True)
    both = both.with_columns(pl.col("n").fill_null(0), pl.col("n_found").fill_null(0))
    wrong = both.filter(pl.col("n") != pl.col("n_found")).sort(by)
    missing = wrong.select((pl.col("n") - pl.col("n_found")).clip(lower_bound=0).sum()).item()
    doubled = wrong.select((pl.col("n_found") - pl.col("n")).clip(lower_bound=0).sum()).item()
    places = [
        f"{' '.join(str(row[name]) for name in by)}: {row['n']} sent, {row['n_found']} stored"
        for row in wrong.head(PLACES).to_dicts()
    ]
    return Side(int(missing), int(doubled), tuple(places))


def _identity() -> list[pl.Expr]:
    types = {"ts": pl.Int64, "seq": pl.UInt64}
    return [pl.col(name).cast(types.get(name, pl.String)) for name in IDENTITY]


def _none() -> pl.DataFrame:
    return pl.DataFrame(
        schema={"feed": pl.String, "city": pl.String, "device": pl.String, "ts": pl.Int64, "seq": pl.UInt64}
    ).select(_identity())
