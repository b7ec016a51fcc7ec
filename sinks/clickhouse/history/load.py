"""Loads recorded readings beside a live log: what was found to be loadable is written down first, then done part by
part, so that whoever is killed at any moment goes on with the same call.

Stretches (a day of the recorded time each) are stored, then their panes are made; at last the windows are said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from pearlstream.errors import EXIT_CONFIG, PearlstreamError
from pearlstream.program import Program
from pearlstream.registry import decode_devices
from pearlstream.store import Store
from sinks.clickhouse.history import sql
from sinks.clickhouse.history.claim import Claim, claimed
from sinks.clickhouse.history.fleet import store_version, version_of
from sinks.clickhouse.history.log import Cut, cuts, source_of
from sinks.clickhouse.history.model import KIND, History, Loaded, Refused, Result, Tell
from sinks.clickhouse.history.storing import Storing
from sinks.clickhouse.history.windows import Log, Windows, chunks
from sinks.clickhouse.mend.acts import Act
from sinks.clickhouse.mend.backfill import concerned, day_of, mended
from sinks.clickhouse.mend.indicators import write_corrections
from sinks.clickhouse.mend.panes import Asked
from sinks.clickhouse.mend.standing import LATENESS_MS, Standing, standing
from sinks.clickhouse.mend.whole import NotWhole, check_whole
from sinks.clickhouse.mend.withdraw import remembered_until
from sinks.clickhouse.shapes import number

PLAN = "plan"


class NoLiveLog(PearlstreamError):
    """The store holds no log beside which history could be loaded."""

    exit_code = EXIT_CONFIG


class Unfinished(PearlstreamError):
    """Other readings were begun to be loaded, and that has to be finished first."""

    exit_code = EXIT_CONFIG


class Plan(NamedTuple):
    """What is loaded, as it was found at the beginning: days, the registry's version, the live log's clock."""

    days: tuple[str, ...]
    registry: str
    known_at: int
    refused: tuple[Refused, ...]


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total


def load(
    store: Store, program: Program, history: History, *, why: str = "", dry_run: bool = False, tell: Tell = _silent
) -> Result:
    """Load history, or (`dry_run`) say what would come of it. Whoever was killed goes on with the same call.

    Raises Busy, Unfinished, NoLiveLog, NotNow, NotWhole, RegistryMissing, StoreError.
    """
    if dry_run:
        return _looked(store, program, history, tell)
    with claimed(store) as claim:
        scope = {**history.scope, "feed": history.feed, "catalogue": program.catalogue.sha}
        _check_finished(store, scope)
        found = _outlook(store, program, history)
        act = Act.begin(store, KIND, scope, why) if found.days or _begun(store, scope) else None
        if act is None:
            return Result(refused=list(found.refused))
        return _Loading(store, program, history, claim, act, tell).run(found)


def _looked(store: Store, program: Program, history: History, tell: Tell) -> Result:
    """What would come of it, without writing anything."""
    found = _outlook(store, program, history)
    result = Result(refused=list(found.refused))
    storing = Storing(store, program, history.feed, source_of(0), "")
    storing.dry = True
    total = sum(rows for day, rows in history.days().items() if day in found.days)
    loaded = Loaded()
    for cut in cuts(program, 0, history.records(found.days)) if found.days else ():
        loaded.day = loaded.day or _day(cut.day)
        loaded.add(storing.take(cut))
        tell("readings", result.total.readings + loaded.readings, total)
        if cut.last:
            result.days.append(loaded)
            loaded = Loaded()
    return result


# ---------------------------------------------------------------- what may be loaded


def _outlook(store: Store, program: Program, history: History) -> Plan:
    """Which days can be loaded, and why the others cannot. Raises NoLiveLog."""
    now = standing(store, 0)
    if now.clock < 0:
        raise NoLiveLog(
            f"the store {store.database} holds no live log yet, so there is no past to load anything into",
            remedy="leave --backfill out: files then make a log of their own; or start the pipeline first",
        )
    days, refused = [], []
    cities = concerned(program, history.feed, _cities(program, history))
    for day, readings in history.days().items():
        reason = _reason(store, program, history.feed, cities, day, now)
        if reason:
            refused.append(Refused(day, readings, reason))
        else:
            days.append(day)
    return Plan(tuple(days), "", now.clock, tuple(refused))


def _cities(program: Program, history: History) -> tuple[str, ...]:
    """The cities of the readings."""
    return tuple(sorted({decode_devices(record, program.catalogue.feeds)[0].city for record in history.devices()}))


def _reason(store: Store, program: Program, feed: str, cities: Sequence[str], text: str, now: Standing) -> str:
    """Why a day cannot be loaded; empty if it can."""
    day = day_of(text)
    until = remembered_until(program, feed, day.stop)
    if until >= now.clock:
        live = now.clock - LATENESS_MS
        sent = f"; what is later than {_at(live)} can be sent live" if day.stop > live else ""
        return f"too young: the stream remembers this day until the log's clock passes {_at(until)}{sent}"
    try:
        check_whole(store, feed, day.start, day.stop, now, cities)
    except NotWhole as error:
        return error.message
    return ""


def _begun(store: Store, scope: Mapping[str, Any]) -> bool:
    return any(_json(scope) == row[2] for row in store.query(sql.unfinished(store.database), {"kind": KIND}))


def _check_finished(store: Store, scope: Mapping[str, Any]) -> None:
    """Raise Unfinished if something else was begun: its readings are stored, but do not count yet."""
    for act, by, other in store.query(sql.unfinished(store.database), {"kind": KIND}):
        if other != _json(scope):
            files = ", ".join(name for name, _ in orjson.loads(other).get("files", ()))
            raise Unfinished(
                f"act {act} of {by} was not finished: the readings of {files} are stored only in part",
                remedy="load those files once more, with the mapping and catalogue of then: it goes on where it was",
            )


def _json(scope: Mapping[str, Any]) -> str:
    return orjson.dumps(scope, option=orjson.OPT_SORT_KEYS).decode()


# ---------------------------------------------------------------- doing it


class _Loading:
    """One act."""

    def __init__(self, store: Store, program: Program, history: History, claim: Claim, act: Act, tell: Tell) -> None:
        self._store, self._program, self._history = store, program, history
        self._claim, self._act, self._tell = claim, act, tell
        rows = store.query(sql.parts(store.database), {"act": act.number})
        self._parts: dict[str, Any] = {part: orjson.loads(data) if data else {} for part, data in rows}
        self._cities = _cities(program, history)
        self._ticks: tuple[int, int] | None = None
        """Clocks of the act's first and last tick."""

    def run(self, found: Plan) -> Result:
        """Do what is not done yet."""
        result = Result(self._act.number, PLAN in self._parts)
        plan = self._planned(found)
        result.refused = list(plan.refused)
        self._readings(plan, result)
        self._windows(plan, result)
        total = result.total
        self._act.done(rows=total.fresh, tables={"indicators": result.windows}, data=result.as_dict()["total"])
        return result

    def _planned(self, found: Plan) -> Plan:
        """The plan of this act: the one that was written down, else what was found now."""
        kept = self._parts.get(PLAN)
        if kept is not None:
            refused = tuple(Refused(**one) for one in kept["refused"])
            return Plan(tuple(kept["days"]), kept["registry"], kept["known_at"], refused)
        version = version_of(self._store, self._program, self._history.devices())
        store_version(self._store, self._program, version)
        plan = found._replace(registry=version.name)
        data = {**plan._asdict(), "refused": [asdict(one) for one in plan.refused]}
        self._act.done(PLAN, data=data)
        return plan

    # ------------------------------------------------------------------ readings and panes

    def _readings(self, plan: Plan, result: Result) -> None:
        act = self._act.number
        storing = Storing(self._store, self._program, self._history.feed, source_of(act), plan.registry)
        storing.open()
        total = sum(rows for day, rows in self._history.days().items() if day in plan.days)
        loaded = Loaded()
        for cut in cuts(self._program, act, self._history.records(plan.days)):
            self._claim.renew()
            self._note_ticks(cut)
            name = f"stretch {cut.stretch:06d}"
            if name in self._parts:
                storing.pass_over(cut)
                loaded = Loaded(**self._parts[name])
            else:
                loaded.day = loaded.day or _day(cut.day)
                loaded.add(storing.take(cut))
            self._tell("readings", result.total.readings + loaded.readings, total)
            if cut.last:
                if name not in self._parts:
                    self._finish(storing, cut, name, loaded, plan)
                result.days.append(loaded)
                loaded = Loaded()

    def _finish(self, storing: Storing, cut: Cut, name: str, loaded: Loaded, plan: Plan) -> None:
        """Let a stretch count: from the line of the journal on its readings belong to panes, which are made at once.
        In between the part stands as begun, and the ledger compares no panes."""
        self._act.begun(name)
        storing.count(cut)
        days = sorted(day for day in map(_day, storing.days) if day in plan.days)
        feed = self._history.feed
        asked = Asked((feed,), tuple(concerned(self._program, feed, self._cities)))
        for day in days:
            self._claim.renew()
            outcome = mended(self._store, self._program, day_of(day), asked)
            loaded.panes += sum(d.lacking + d.excess + d.different for d in outcome.differences)
        storing.days.clear()
        self._act.done(name, rows=loaded.fresh, data=asdict(loaded))

    def _note_ticks(self, cut: Cut) -> None:
        clocks = [number(item.facts.get("clock"), -1) for item in cut.rollups]
        if clocks:
            self._ticks = (self._ticks or clocks)[0], clocks[-1]

    # ------------------------------------------------------------------ windows

    def _windows(self, plan: Plan, result: Result) -> None:
        if self._ticks is None:
            return
        topic, act = source_of(self._act.number).topic_id, self._act.number
        left_out = frozenset(day_of(one.day).start for one in plan.refused)
        log = Log(act, topic, plan.registry, self._history.feed, self._cities, *self._ticks, plan.known_at, left_out)
        todo = chunks(self._store, self._program, log)
        windows = Windows(self._store, self._program, log)
        for place, chunk in enumerate(todo):
            name = f"windows {_day(chunk.start)}"
            if name not in self._parts:
                said = 0
                for where, rows in windows.of_chunk(chunk):
                    self._claim.renew()
                    said += write_corrections(self._store, rows, f"{topic}/{name}/{where}")
                self._act.done(name, rows=said, tables={"indicators": said}, data={"said": said})
                self._parts[name] = {"said": said}
            result.windows += self._parts[name]["said"]
            self._tell("windows", place + 1, len(todo))


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


def _at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__: Sequence[str] = ("NoLiveLog", "Unfinished", "load")
