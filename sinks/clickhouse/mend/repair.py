"""Repair: what the store can be brought back to by itself: rows that a power loss took, and panes that are wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pearlstream.program import Program
from pearlstream.store import Store
from sinks.clickhouse import ledger_sql
from sinks.clickhouse.mend import sql
from sinks.clickhouse.mend.backfill import Outcome, day_of, mended
from sinks.clickhouse.mend.panes import Asked
from sinks.clickhouse.mend.recount import LAST_MINUTES, Recounted, recount
from sinks.clickhouse.mend.standing import LATENESS_MS, standing
from sinks.clickhouse.mend.whole import NotWhole
from sinks.clickhouse.schema_readings import readings_table_name
from sinks.clickhouse.tape import Tape

FAR = 1 << 62
"""Later than anything."""


@dataclass
class Repaired:
    """What came of it. `recounted` is None without a broker; `left`: days and feeds that stay wrong, and why."""

    recounted: Recounted | None = None
    days: list[Outcome] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "recounted": self.recounted.as_dict() if self.recounted else None,
            "days": [day.as_dict() for day in self.days],
            "left": self.left,
        }


def wrong_days(store: Store, program: Program) -> dict[str, list[str]]:
    """Days whose panes do not count the stored readings, each with the feeds concerned. Raises NotNow, StoreError.

    Days that retention may have taken readings of are left out: there is nothing to make their panes from.
    """
    now, since = standing(store), _whole_since(store)
    rolled = pl.DataFrame(store.arrow(ledger_sql.rollups_by_pane(store.database)))
    rolled = rolled.with_columns(pl.col("feed", "city").cast(pl.String))
    found: dict[str, list[str]] = {}
    for feed in program.feeds:
        text = ledger_sql.raw_by_pane(store.database, readings_table_name(feed))
        stored = pl.DataFrame(store.arrow(text, now.parameters, sql.FINAL)).with_columns(pl.col("city").cast(pl.String))
        counted = rolled.filter(pl.col("feed") == feed).select("city", "pane_ms", pl.col("n").alias("counted"))
        both = stored.join(counted, on=["city", "pane_ms"], how="full", coalesce=True)
        both = both.filter(pl.col("pane_ms") >= since)
        wrong = both.filter(pl.col("n").fill_null(0) != pl.col("counted").fill_null(0))
        days = wrong.select(pl.from_epoch("pane_ms", "ms").dt.strftime("%Y-%m-%d").alias("day")).unique()
        for day in days["day"].sort():
            found.setdefault(day, []).append(feed)
    return dict(sorted(found.items()))


def _whole_since(store: Store) -> int:
    """From when on (ms) the store has every reading that it ever had."""
    aged, _ = store.query(ledger_sql.ages(store.database))[0]
    if not aged:
        return 0
    clocks = [int(row[0]) for row in store.query(ledger_sql.first_clocks(store.database))]
    return max(clocks) + LATENESS_MS if clocks else FAR


def repair(
    store: Store, program: Program, tape: Tape | None, *, minutes: int = LAST_MINUTES, dry_run: bool = False
) -> Repaired:
    """Bring back rows that the journal calls done (if the broker can be asked), then make wrong panes anew.

    `dry_run`: look, and change nothing. Raises NotNow, RegistryMissing, ServiceError, StoreError.
    """
    result = Repaired()
    if tape is not None:
        result.recounted = recount(store, program.catalogue, tape, minutes=minutes, dry_run=dry_run)
    for day, feeds in wrong_days(store, program).items():
        for feed in feeds:
            try:
                outcome = mended(store, program, day_of(day), Asked((feed,)), dry_run=dry_run)
            except NotWhole as error:
                result.left[f"{day} {feed}"] = error.message
            else:
                result.days.append(outcome)
    return result
