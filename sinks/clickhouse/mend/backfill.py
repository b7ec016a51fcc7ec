"""Backfill: days of panes recomputed from what is stored, compared, and where they differ put in the place of the old.

A day is the unit: it is replaced at once or not at all, so whoever is killed in between leaves nothing half done, and
the next call goes on with the day that was not finished.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pearlstream.program import Program
from pearlstream.store import Store
from sinks.clickhouse import sql as base_sql
from sinks.clickhouse.mend import sql
from sinks.clickhouse.mend.acts import Act
from sinks.clickhouse.mend.panes import Asked, Day, Recount
from sinks.clickhouse.mend.standing import NotNow, Standing, standing
from sinks.clickhouse.mend.whole import check_whole

ATTEMPTS = 3
"""How often a day is made anew while the sink writes into it."""
STAGING = "rollups__backfill"

Tell = Callable[[str], None]
"""Is called with what is being done."""


def _silent(_: str) -> None:
    """Nobody wants to know."""


@dataclass
class Difference:
    """A measure whose stored panes are not what the readings say: rows that lack, are too many, have other values."""

    feed: str
    measure: str
    lacking: int
    excess: int
    different: int
    n_stored: int
    n_recomputed: int


@dataclass
class Outcome:
    """What came of a day. `replaced`: the stored panes were other ones, and are those of the readings now."""

    day: str
    readings: int = 0
    replaced: bool = False
    resumed: bool = False
    """It was found done by the call that this one goes on with, and not looked at again."""
    differences: list[Difference] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "same": not self.differences}


def day_of(text: str) -> Day:
    """A day written like 2026-11-24. Raises ValueError."""
    at = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    return Day(at.strftime("%Y-%m-%d"), round(at.timestamp() * 1000))


def days_between(store: Store, asked: Asked, first: str, last: str) -> list[Day]:
    """The days from `first` to `last` of which the store has readings of these feeds, or panes. Raises StoreError."""
    of = {"first": first, "last": last}
    found = {row[0] for row in store.query(sql.days(store.database), of)}
    for feed in asked.feeds:
        found |= {row[0] for row in store.query(sql.days_of_readings(store.database, feed), of)}
    return [day_of(text) for text in sorted(found)]


def backfill(
    store: Store, program: Program, days: Sequence[Day], asked: Asked, *, dry_run: bool = False, tell: Tell = _silent
) -> Iterator[Outcome]:
    """Recompute days one after the other; each is given as soon as it is as it should be.

    A call with the same days, feeds, cities and catalogue that was not finished is gone on with. Raises NotWhole where
    readings lack, NotNow where the sink writes the day at this moment, RegistryMissing, StoreError.
    """
    if dry_run:
        for day in days:
            yield mended(store, program, day, asked, dry_run=True, tell=tell)
        return
    _sweep(store)
    scope = {"days": [day.text for day in days], **asdict(asked), "catalogue": program.catalogue.sha}
    act = Act.begin(store, "backfill", scope)
    for day in days:
        if day.text in act.finished:
            yield Outcome(day.text, resumed=True)
            continue
        outcome = mended(store, program, day, asked, dry_run=False, tell=tell)
        changed = sum(d.lacking + d.excess + d.different for d in outcome.differences)
        act.done(day.text, rows=changed, data=outcome.as_dict())
        yield outcome
    act.done()


def concerned(program: Program, feed: str, cities: Sequence[str]) -> Sequence[str]:
    """The cities whose readings make the panes of some cities: all (none named) where a measure counts readings for a
    city that a column of theirs names."""
    return () if any(spec.city for spec in program.feeds[feed].specs) else cities


def mended(
    store: Store, program: Program, day: Day, asked: Asked, *, dry_run: bool = False, tell: Tell = _silent
) -> Outcome:
    """One day, again while the sink moves on. The first comparison is what is told. Raises as `backfill`."""
    first: Outcome | None = None
    for _ in range(ATTEMPTS):
        before = standing(store, day.stop)
        for feed in asked.feeds:
            check_whole(store, feed, day.start, day.stop, before, concerned(program, feed, asked.cities))
        with _staging(store) as staging:
            outcome = _compared(store, program, before, staging, day, asked, tell)
            first = first or outcome
            still = before.closed(day.stop) or standing(store).cuts == before.cuts
            if dry_run or not outcome.differences:
                if still:
                    return first
            elif still:
                _replace(store, program, staging, day, asked)
                first.replaced = True
                if before.closed(day.stop) or standing(store).cuts == before.cuts:
                    return first
    raise NotNow(
        f"the sink writes panes of {day.text} at this moment, so they cannot be compared or replaced",
        remedy="stop the sink for the time being, or wait until the log is a day past it",
    )


def _compared(
    store: Store, program: Program, before: Standing, staging: str, day: Day, asked: Asked, tell: Tell
) -> Outcome:
    outcome, recount = Outcome(day.text), Recount(store, program, before)
    for feed in asked.feeds:
        tell(f"{day.text} {feed}")
        outcome.readings += recount.into(staging, feed, day, asked.cities)
        of = {"feed": feed, "day": day.text, "cities": list(asked.cities), "measures": _measures(program, (feed,))}
        rows = store.dicts(sql.differences(store.database, staging), of, sql.SPILL)
        outcome.differences += [Difference(feed, **row) for row in rows]
    return outcome


def _replace(store: Store, program: Program, staging: str, day: Day, asked: Asked) -> None:
    of = {
        "day": day.text,
        "feeds": list(asked.feeds),
        "cities": list(asked.cities),
        "measures": _measures(program, asked.feeds),
    }
    store.command(sql.keep_the_rest(store.database, staging), of, {"insert_deduplicate": 0})
    store.command(sql.replace_day(store.database, staging, day.text))


def _measures(program: Program, feeds: Sequence[str]) -> list[str]:
    return sorted({spec.name for feed in feeds for spec in program.feeds[feed].specs})


# ---------------------------------------------------------------- staging


@contextmanager
def _staging(store: Store) -> Iterator[str]:
    """A table of our own for one day, gone afterwards."""
    name = f"{STAGING}_{uuid.uuid4().hex[:8]}"
    store.command(sql.like_rollups(store.database, name))
    try:
        yield name
    finally:
        _drop(store, name)


def _drop(store: Store, name: str) -> None:
    store.command(f"DROP TABLE IF EXISTS {base_sql.qualified(store.database, name)}")


def _sweep(store: Store) -> None:
    """Staging tables of calls that were killed."""
    of = {"database": store.database, "prefix": STAGING}
    for (name,) in store.query(sql.leftovers(store.database), of):
        _drop(store, name)
