"""Whether the readings of a day are all there: only then may panes be made from them.

Two of the ledger's equations, near one day and for one feed: each frame has as many readings stored as it says
(those included that were taken back), and each rollup record counts what its frames say. If retention has taken
frames and readings together, the second one shows it, as rollup records are kept longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from pearlstream.errors import PearlstreamError
from pearlstream.store import Store
from sinks.clickhouse.mend import sql
from sinks.clickhouse.mend.standing import Standing
from sinks.clickhouse.shapes import source_hash


class NotWhole(PearlstreamError):
    """Readings that panes would be made from are not all there, or there are too many."""


def check_whole(store: Store, feed: str, start: int, stop: int, standing: Standing, cities: Sequence[str] = ()) -> None:
    """Raise NotWhole if readings of the feed near [start, stop) lack or are doubled; of these cities, if any are named,
    as the readings of others do not concern their panes. Raises StoreError."""
    of: dict[str, Any] = {"feed": feed, "from": start, "until": stop}
    bounds = pl.DataFrame(
        [(source_hash(s.topic_id), s.topic_id, s.partition, bound) for s, bound in standing.bounds.items()],
        schema={"src": pl.UInt64, "topic_id": pl.String, "partition": pl.Int64, "bound": pl.Int64},
        orient="row",
    )

    def read(text: str) -> pl.DataFrame:
        return pl.DataFrame(store.arrow(text, of, sql.FINAL))

    frames = read(sql.frames_near(store.database)).with_columns(pl.col("topic_id").cast(pl.String))
    frames = frames.join(bounds, on=["topic_id", "partition"]).filter(pl.col("offset") <= pl.col("bound"))
    stored = read(sql.stored_near(store.database, feed))
    timed = frames.filter(pl.col("clock") > 0)  # those before any tick may be of any day: the second equation has them
    timed = timed.filter(pl.col("city").is_in(cities)) if cities else timed
    both = timed.join(stored, on=["src", "partition", "offset"], how="left").with_columns(pl.col("n").fill_null(0))
    _same(feed, "frame", both.select("topic_id", "partition", "offset", (pl.col("accepted") - pl.col("n")).alias("d")))
    ticks = read(sql.ticks_near(store.database)).with_columns(pl.col("topic_id").cast(pl.String))
    ticks = ticks.join(bounds, on=["topic_id", "partition"], maintain_order="left")
    ticks = ticks.filter(pl.col("offset") <= pl.col("bound"))
    _same(feed, "rollup record", _untold(frames, ticks))


def _untold(frames: pl.DataFrame, ticks: pl.DataFrame) -> pl.DataFrame:
    """Rollup records against the frames that they cover: what they count minus what the frames say.

    The first record of each source that was read may cover frames from before the time that was looked at, so only the
    first of all is taken with it.
    """
    by = ["topic_id", "partition"]
    ticks = ticks.filter((pl.col("after") == -1) | (pl.int_range(pl.len()).over(by) > 0))
    spans = ticks.with_columns(tick=pl.col("offset")).sort("offset")
    placed = frames.sort("offset").join_asof(spans, on="offset", by=by, strategy="forward", check_sortedness=False)
    placed = placed.filter(pl.col("offset") > pl.col("after"))
    sums = placed.group_by(*by, "tick").agg(pl.col("accepted").sum())
    counted = ticks.select(*by, pl.col("offset").alias("tick"), "n")
    both = counted.join(sums, on=[*by, "tick"], how="left").with_columns(pl.col("accepted").fill_null(0))
    return both.select(*by, pl.col("tick").alias("offset"), (pl.col("n") - pl.col("accepted")).alias("d"))


def _same(feed: str, what: str, rows: pl.DataFrame) -> None:
    wrong = rows.filter(pl.col("d") != 0).sort("topic_id", "partition", "offset")
    if wrong.is_empty():
        return
    first = wrong.to_dicts()[0]
    short = int(wrong.filter(pl.col("d") > 0)["d"].sum())
    raise NotWhole(
        f"{feed}: {len(wrong)} {what}s near that day do not fit the stored readings ({short} readings lack; the first"
        f" is {first['topic_id']}/{first['partition']}/{first['offset']}), so its panes are left as they are",
        remedy="`pearlstream store repair` brings readings back while the broker has them; what retention has taken"
        " cannot be recomputed",
    )
