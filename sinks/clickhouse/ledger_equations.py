"""The equations of the ledger, each over columns that the store counted; see `ledger` for what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from pearlstream.position import Source
from pearlstream.store import Store
from sinks.clickhouse import ledger_sql
from sinks.clickhouse.shapes import source_hash

SAMPLES = 5
"""How many places a finding names."""

_PLACE = {"table": pl.String, "city": pl.String}

DAY_MS = 86_400_000
"""How late a reading may be, and still be accepted."""

TicksAmong = Callable[[Source, Sequence[int]], set[int]]
"""Which offsets of a source are ticks, as the broker knows."""


@dataclass
class Finding:
    """One kind of disagreement: where, how much, and some places."""

    what: str
    where: str
    missing: int = 0
    doubled: int = 0
    places: list[Any] = field(default_factory=list)


class Bound(NamedTuple):
    """How far a source is compared: `rollups` is the last rollup record in the store, `upto` the last offset
    looked at, `end` where the broker says the source ends (None: unknown)."""

    rollups: int
    upto: int
    end: int | None
    begin: int = 0
    """The first offset that is compared: later than 0 where retention has taken what was before it."""


@dataclass
class Sides:
    """What the store has of one source: frames, ends of rollup records, readings by frame."""

    source: Source
    bound: Bound
    frames: pl.DataFrame
    ticks: pl.DataFrame
    raw: pl.DataFrame
    orphaned: set[int] = field(default_factory=set)
    """Offsets of frames whose row is what is missing; known after `contiguity`."""
    spoilt: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_PLACE))
    """Tables and cities whose readings do not fit the frames; known after `frames_against_raw`."""

    @property
    def of(self) -> dict[str, Any]:
        """Parameters that narrow a query to it."""
        return {"topic_id": self.source.topic_id, "partition": self.source.partition, "bound": self.bound.upto}


# ---------------------------------------------------------------- loading


def _frame(store: Store, sql: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
    return pl.DataFrame(store.arrow(sql, parameters, ledger_sql.FINAL_SETTINGS))


def raw_by_frame(store: Store, tables: Iterable[str]) -> pl.DataFrame:
    """Readings by source hash, partition, frame, city and table."""
    empty = pl.DataFrame(
        schema={
            "src": pl.UInt64,
            "part": pl.Int64,
            "offset": pl.Int64,
            "city": pl.String,
            "n": pl.Int64,
            "withdrawn": pl.Int64,
            "table": pl.String,
        }
    )
    parts = [_labelled(_frame(store, ledger_sql.raw_by_frame(store.database, table)), table) for table in tables]
    return pl.concat([empty, *parts], how="vertical_relaxed")


def raw_by_pane(store: Store, every: Sequence[Sides], tables: Sequence[str]) -> pl.DataFrame:
    """Readings by table, city and pane, up to the last rollup record of each source."""
    of = {
        "keys": [f"{source_hash(s.source.topic_id)}/{s.source.partition}" for s in every],
        "bounds": [s.bound.rollups for s in every],
    }
    empty = pl.DataFrame(schema={"city": pl.String, "pane_ms": pl.Int64, "n": pl.Int64, "table": pl.String})
    parts = [_labelled(_frame(store, ledger_sql.raw_by_pane(store.database, table), of), table) for table in tables]
    return pl.concat([empty, *parts], how="vertical_relaxed")


def rollups_by_pane(store: Store) -> pl.DataFrame:
    """What the rollups count by table of readings, city and pane."""
    return _frame(store, ledger_sql.rollups_by_pane(store.database)).with_columns(_table_of_feed())


def _labelled(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    return frame.with_columns(pl.lit(table).alias("table"))


def _table_of_feed() -> pl.Expr:
    return ("readings_" + pl.col("feed").str.replace_all(".", "_", literal=True)).alias("table")


def load_sides(store: Store, source: Source, bound: Bound, raw: pl.DataFrame, *, aged: bool) -> Sides:
    """Everything about one source within its bounds. `aged`: retention may have taken its beginning."""
    mine = (pl.col("src") == source_hash(source.topic_id)) & (pl.col("part") == source.partition)
    sides = Sides(source, bound, pl.DataFrame(), pl.DataFrame(), raw.filter(mine & (pl.col("offset") <= bound.upto)))
    sides.frames = _frame(store, ledger_sql.frames(store.database), sides.of)
    sides.ticks = _frame(store, ledger_sql.ticks(store.database), sides.of)
    if aged:
        firsts = [*sides.frames["after"].head(1), *sides.ticks["after"].head(1)]
        sides.bound = bound._replace(begin=max(firsts) + 1 if firsts else bound.upto + 1)
        sides.frames = sides.frames.filter(pl.col("offset") >= sides.bound.begin)
        sides.ticks = sides.ticks.filter(pl.col("after") >= sides.bound.begin - 1)
        sides.raw = sides.raw.filter(pl.col("offset") >= sides.bound.begin)
    return sides


# ---------------------------------------------------------------- one source


def contiguity(sides: Sides, ticks_among: TicksAmong | None) -> tuple[list[Finding], int]:
    """Equation 1, and how many ticks were ignored for not being above the clock. Fills `orphaned`."""
    frames, ticks = sides.frames["offset"].to_numpy(), sides.ticks["offset"].to_numpy()
    frames_before, ticks_before = sides.frames["after"].to_numpy(), sides.ticks["after"].to_numpy()
    begin = sides.bound.begin
    told = np.zeros(sides.bound.upto + 1, bool)
    told[:begin] = True
    told[frames] = True
    told[ticks] = True
    lost_frames = set(frames_before[frames_before >= begin].tolist()) - set(frames.tolist())
    lost_ticks = set(ticks_before[ticks_before >= begin].tolist()) - set(ticks.tolist())
    unknown = set(np.flatnonzero(~told).tolist()) - lost_frames - lost_ticks
    ignored = ticks_among(sides.source, sorted(unknown)) if ticks_among is not None and unknown else set()
    sides.orphaned = (unknown - ignored) | lost_frames
    where = str(sides.source)
    return [
        Finding("frames without a row", where, len(sides.orphaned), 0, sorted(sides.orphaned)[:SAMPLES]),
        Finding("rollup records missing", where, len(lost_ticks), 0, sorted(lost_ticks)[:SAMPLES]),
    ], len(ignored)


def verdicts(sides: Sides) -> list[Finding]:
    """Equation 2: what became of each row."""
    should = pl.col("rows") - pl.col("accepted") - pl.col("dup") - pl.col("quarantined")
    return [_difference("rows without a verdict", str(sides.source), sides.frames.select("offset", should.alias("d")))]


def quarantine(store: Store, sides: Sides) -> list[Finding]:
    """Equation 2: a record for each reason of each frame."""
    stored = _frame(store, ledger_sql.quarantined_frames(store.database), sides.of)
    told = sides.frames.select("offset", pl.col("reasons").alias("reason")).explode("reason").drop_nulls()
    lacking = told.join(stored, on=["offset", "reason"], how="anti")
    places = [f"{row['offset']} {row['reason']}" for row in lacking.head(SAMPLES).to_dicts()]
    return [Finding("quarantine records missing", str(sides.source), len(lacking), 0, places)]


def frames_against_raw(sides: Sides) -> list[Finding]:
    """Equation 3."""
    stored = sides.raw.group_by("offset").agg(pl.col("n").sum())
    both = sides.frames.select("offset", "accepted").join(stored, on="offset", how="full", coalesce=True).fill_null(0)
    both = both.filter(~pl.col("offset").is_in(sorted(sides.orphaned)))
    d = both.select("offset", (pl.col("accepted") - pl.col("n")).alias("d"))
    wrong = d.filter(pl.col("d") != 0)
    of_frames = sides.frames.select("offset", _table_of_feed(), "city").join(wrong, on="offset", how="semi")
    of_raw = sides.raw.select("offset", "table", "city").join(wrong, on="offset", how="semi")
    sides.spoilt = pl.concat([of_frames, of_raw]).select("table", "city").unique()
    return [_difference("readings against frames", str(sides.source), d)]


def frames_against_ticks(store: Store, sides: Sides) -> list[Finding]:
    """Equation 4. Stretches in which a row of `frames` is missing are left out: that was said already."""
    if sides.ticks.is_empty():
        return []
    counted = _frame(store, ledger_sql.tick_rows(store.database), sides.of).rename({"offset": "tick"})
    spans = sides.ticks.select("after", pl.col("offset").alias("tick")).sort("tick")
    frames = sides.frames.filter(pl.col("accepted") > 0).select("offset", "feed", "accepted").sort("offset")
    placed = frames.join_asof(spans, left_on="offset", right_on="tick", strategy="forward").drop_nulls("tick")
    placed = placed.filter(pl.col("offset") > pl.col("after"))  # others lie where a rollup record is missing
    sums = placed.group_by("tick", "feed").agg(pl.col("accepted").sum())
    counted = counted.join(spans.select("tick"), on="tick", how="semi")
    both = sums.join(counted, on=["tick", "feed"], how="full", coalesce=True).fill_null(0)
    spoilt = pl.DataFrame({"offset": sorted(sides.orphaned)}, schema={"offset": pl.Int64})
    spoilt = spoilt.join_asof(spans, left_on="offset", right_on="tick", strategy="forward")
    both = both.join(spoilt.select("tick"), on="tick", how="anti")
    d = both.select("tick", (pl.col("accepted") - pl.col("n")).alias("d"))
    return [_difference("rollup records against frames", str(sides.source), d)]


# ---------------------------------------------------------------- all sources


def strangers(every: Sequence[Sides], raw: pl.DataFrame) -> Finding:
    """Readings of sources that nobody knows."""
    known = [(source_hash(s.source.topic_id), s.source.partition) for s in every]
    keys = pl.DataFrame(known, schema={"src": pl.UInt64, "part": pl.Int64}, orient="row")
    strange = raw.join(keys, on=["src", "part"], how="anti")
    return Finding(
        "readings of an unknown source", "", 0, int(strange["n"].sum()), strange["table"].unique().to_list()[:SAMPLES]
    )


def whole_since(every: Sequence[Sides]) -> int | None:
    """From when on (ms of event time) panes are whole though retention took something; None if it did not."""
    clocks = [side.frames["clock"].head(1).to_list() for side in every if side.bound.begin > 0]
    return max((first[0] + DAY_MS for first in clocks if first), default=None)


def panes(every: Sequence[Sides], stored: pl.DataFrame, rolled: pl.DataFrame) -> list[Finding]:
    """Equation 5."""
    since = whole_since(every)
    if since is not None:
        # The frames of before are gone, so there is nothing to compare whole cities with: panes alone.
        young = pl.col("pane_ms") >= since
        return [_pane_by_pane(stored.filter(young), rolled.filter(young), pl.DataFrame(schema=_PLACE))]
    place = list(_PLACE)
    expected = _expected(every)
    wrong = pl.concat([pl.DataFrame(schema=_PLACE), *(side.spoilt for side in every)]).unique()
    by_city = rolled.group_by(place).agg(pl.col("n").sum())
    coarse = wrong.join(expected, on=place, how="left").join(by_city, on=place, how="left").fill_null(0)
    at = pl.concat_str(place, separator=" ").alias("at")
    in_cities = coarse.select(at, (pl.col("accepted") - pl.col("n")).alias("d"))

    return [
        _difference("rollups against frames", "all panes of a city", in_cities),
        _pane_by_pane(stored, rolled, wrong),
    ]


def _pane_by_pane(stored: pl.DataFrame, rolled: pl.DataFrame, wrong: pl.DataFrame) -> Finding:
    """Readings against rollups, without the places that are known to be wrong."""
    place = list(_PLACE)
    counted = rolled.select(*place, "pane_ms", pl.col("n").alias("counted"))
    both = stored.join(counted, on=[*place, "pane_ms"], how="full", coalesce=True).fill_null(0)
    both = both.join(wrong, on=place, how="anti")
    at = pl.concat_str([*place, pl.col("pane_ms").cast(pl.String)], separator=" ").alias("at")
    d = both.select(at, (pl.col("n") - pl.col("counted")).alias("d"))
    return _difference("rollups against readings", "pane by pane", d)


def _expected(every: Sequence[Sides]) -> pl.DataFrame:
    """Readings that rollups must count, by table and city up to the last tick: those accepted (stored ones where the
    row of the frame is missing) without those taken back since."""
    parts = [pl.DataFrame(schema={"table": pl.String, "city": pl.String, "accepted": pl.Int64})]
    for side in every:
        closed = pl.col("offset") <= side.bound.rollups
        counted = side.frames.filter(closed & (pl.col("accepted") > 0))
        parts.append(counted.select(_table_of_feed(), "city", "accepted"))
        rowless = side.raw.filter(closed & pl.col("offset").is_in(sorted(side.orphaned)))
        parts.append(rowless.select("table", "city", pl.col("n").alias("accepted")))
        taken = side.raw.filter(closed & (pl.col("withdrawn") > 0))
        parts.append(taken.select("table", "city", (-pl.col("withdrawn")).alias("accepted")))
    return pl.concat(parts, how="vertical_relaxed").group_by("table", "city").agg(pl.col("accepted").sum())


def history(store: Store, *, old: bool) -> Finding:
    """Equation 6. `old`: retention has reached the history, so it proves nothing any more."""
    stored, written, still_open = store.query(ledger_sql.history_counts(store.database))[0]
    d = 0 if still_open or old else int(written or 0) - int(stored)
    return Finding("history of indicators against the journal", "", max(d, 0), max(-d, 0))


def _difference(what: str, where: str, d: pl.DataFrame) -> Finding:
    """A finding of a column `d` (should minus is), whose other column says where."""
    wrong = d.filter(pl.col("d") != 0)
    short, over = wrong.filter(pl.col("d") > 0)["d"].sum(), wrong.filter(pl.col("d") < 0)["d"].sum()
    at = wrong.columns[0]
    places = [f"{row[at]}: {-row['d']:+d}" for row in wrong.sort(at).head(SAMPLES).to_dicts()]
    return Finding(what, where, int(short), int(-over), places)
