"""Taking wrong readings back: they stay where they are, marked, and count no more; panes and indicators follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pearlstream.errors import PearlstreamError
from pearlstream.program import Program
from pearlstream.store import Store
from sinks.clickhouse.mend import sql, sql_withdraw
from sinks.clickhouse.mend.acts import Act
from sinks.clickhouse.mend.backfill import Outcome, day_of, mended
from sinks.clickhouse.mend.indicators import Corrections, write_corrections
from sinks.clickhouse.mend.panes import Asked, Day
from sinks.clickhouse.mend.standing import LATENESS_MS, Standing, standing
from sinks.clickhouse.mend.whole import check_whole

DAY_MS = 86_400_000


class StillRemembered(PearlstreamError):
    """The running stream still holds sums in which these readings are."""


@dataclass(frozen=True)
class Wanted:
    """Which readings: of devices of a feed, from `start` to before `stop` (ms of event time). No cities: in all."""

    feed: str
    devices: tuple[str, ...]
    start: int
    stop: int
    cities: tuple[str, ...] = ()


@dataclass
class Withdrawn:
    """What came of it. `fresh`: readings taken back now, `taken`: those that had been before, both by city."""

    act: int = 0
    fresh: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    days: list[Outcome] = field(default_factory=list)
    corrected: int = 0
    """Windows that say something else now."""

    @property
    def readings(self) -> int:
        """How many readings were taken back now."""
        return sum(self.fresh.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "readings": self.readings}


def remembered_until(program: Program, feed: str, stop: int) -> int:
    """Until which clock the stream may say something that it derived from readings of a feed up to `stop`."""
    spans = [one.span_ms + 3 * one.hop_ms for one in program.indicators if any(feed in r.feeds for r in one.refs)]
    return stop + LATENESS_MS + max(spans, default=0)


def look(store: Store, wanted: Wanted, now: Standing) -> Withdrawn:
    """What would be taken back. Raises StoreError."""
    rows = store.query(sql_withdraw.these(store.database, wanted.feed), _parameters(wanted, now), sql.FINAL)
    return Withdrawn(
        fresh={city: fresh for city, fresh, _ in rows if fresh}, taken={city: taken for city, _, taken in rows if taken}
    )


def withdraw(store: Store, program: Program, wanted: Wanted, why: str, *, force: bool = False) -> Withdrawn:
    """Take readings back, make the panes of their days anew, and say again what indicators said of them.

    Killed in between, the same call goes on. With the same arguments once more it takes nothing back, and puts right
    what the stream has said since. `force`: although the stream may still have them in its memory. Raises
    StillRemembered, NotWhole and NotNow (as `backfill`), RegistryMissing, StoreError.
    """
    now = standing(store)
    until = remembered_until(program, wanted.feed, wanted.stop)
    if now.clock <= until and not force:
        raise StillRemembered(
            f"the worker still holds sums with readings of {wanted.feed} up to {_at(wanted.stop)}: a late reading could"
            f" bring them back into an indicator until the log's clock is past {_at(until)} (it is {_at(now.clock)})",
            remedy="wait until then; or take them back now with --force, and once more after that",
        )
    result = look(store, wanted, now)
    if not (result.fresh or result.taken):
        return result
    act = Act.begin(store, "withdraw", asdict(wanted), why)
    result.act = act.number
    asked = Asked((wanted.feed,))
    for day in _days(wanted):
        check_whole(store, wanted.feed, day.start, day.stop, now)
    _mark(store, wanted, now, act.number)
    moments = store.query(sql_withdraw.moments(store.database, wanted.feed), _parameters(wanted, now), sql.FINAL)
    for text in sorted({_at(ms)[:10] for _, taken, came in moments for ms in (taken, came)}):
        outcome = mended(store, program, day_of(text), asked)
        act.done(text, rows=sum(d.lacking + d.excess + d.different for d in outcome.differences))
        result.days.append(outcome)
    result.corrected = _correct(store, program, wanted, moments, now.clock, act.number)
    tables = {"indicators": result.corrected}
    act.done(rows=result.readings, tables=tables, data={"fresh": result.fresh, "taken": result.taken})
    return result


def _mark(store: Store, wanted: Wanted, now: Standing, act: int) -> None:
    of = {**_parameters(wanted, now), "act": act}
    settings = {**sql.FINAL, "insert_deduplicate": 0, "max_partitions_per_insert_block": 0}
    store.command(sql_withdraw.mark(store.database, wanted.feed), of, settings)


def _correct(
    store: Store, program: Program, wanted: Wanted, moments: Sequence[Sequence[Any]], clock: int, act: int
) -> int:
    by_city: dict[str, list[int]] = {}
    for city, taken, came in moments:
        by_city.setdefault(str(city), []).extend((int(taken), int(came)))
    rows = Corrections(store, program).rows(wanted.feed, by_city, clock, act)
    return write_corrections(store, rows)


def _parameters(wanted: Wanted, now: Standing) -> dict[str, Any]:
    return {
        "devices": list(wanted.devices),
        "cities": list(wanted.cities),
        "start": wanted.start,
        "stop": wanted.stop,
        **now.parameters,
    }


def _days(wanted: Wanted) -> list[Day]:
    first, last = wanted.start // DAY_MS, max(wanted.stop - 1, wanted.start) // DAY_MS
    return [day_of(_at(day * DAY_MS)[:10]) for day in range(first, last + 1)]


def _at(ms: int) -> str:
    return datetime.fromtimestamp(max(ms, 0) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
