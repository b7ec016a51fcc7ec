"""The ledger: what went in against what is stored, counted from three sides, so that no stage certifies itself.

A source is a partition of `readings` in one life of the broker, or the log of an act that loaded history.

The sides: `frames` (from the headers of `accepted`), the raw readings, and the rollups. Per source partition,
up to a bound that both sides have reached:

1. *Contiguity.* Every offset of `readings` is a frame (has a row in `frames`) or the end of a rollup record (has
   a row in `ticks`). An offset that another row names as the one before it was one of its kind. A tick that is
   not above the clock emits nothing; the broker, if given, is asked whether an offset is such a tick.
2. *Verdicts.* Of each frame, rows = accepted + duplicates + quarantined, and each reason has its record.
3. *Frames against raw.* Of each frame, accepted = readings stored with its offset. No frame pays for another.
4. *Frames against rollup records.* Between two ticks, accepted by feed = what the rollup record counts.
5. *Raw against rollups.* In each pane of each city and feed, readings stored and not taken back since = n of the
   measure `<feed>.rows`. (Those taken back stay in the table, marked, and count in 3.)
   Where raw readings are wrong already (3), rollups are compared with the frames of that city instead, so that
   one lost reading is not counted twice.
6. The history of indicators has as many rows as the journal says were inserted, those of acts apart.

`missing` adds up shortfalls, `doubled` excesses; neither is ever netted against the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from pearlstream.position import Source
from pearlstream.store import Store
from sinks.clickhouse import ledger_equations as equations
from sinks.clickhouse import ledger_sql
from sinks.clickhouse.journal import INTENT, Journal
from sinks.clickhouse.ledger_broker import BrokerView, Newest
from sinks.clickhouse.ledger_equations import Bound, Finding, Sides

ATTEMPTS = 4
"""How often the rollups are compared while the sink writes them."""
PAUSE_S = 0.3


@dataclass
class Part:
    """One source partition. Compared are the offsets from `begin` (0, or where retention has come to) to `upto`;
    `pending`: accepted readings that no tick has closed yet, and offsets beyond the bound."""

    topic_id: str
    partition: int
    upto: int
    begin: int = 0
    frames: int = 0
    ticks: int = 0
    ignored_ticks: int = 0
    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    quarantined: int = 0
    stored_raw: int = 0
    withdrawn: int = 0
    missing: int = 0
    doubled: int = 0
    pending: int = 0


@dataclass
class Ledger:
    """The result. `final`: nothing was taken to be on its way. `panes`: equation 5 could be looked
    at. `behind`: it could not, because frames are not as far as rollups."""

    missing: int = 0
    doubled: int = 0
    pending: int = 0
    final: bool = True
    panes: bool = True
    behind: bool = False
    partitions: list[Part] = field(default_factory=list)
    loading: list[int] = field(default_factory=list)
    """Acts that load history and make panes at this moment, or were killed while they did."""
    findings: list[Finding] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    lag: dict[str, int] | None = None

    @property
    def exact(self) -> bool:
        """Nothing missing, nothing doubled."""
        return not (self.missing or self.doubled)

    def add(self, finding: Finding, part: Part | None = None) -> None:
        """Take a finding in, if it is one."""
        if not (finding.missing or finding.doubled):
            return
        self.findings.append(finding)
        self.missing += finding.missing
        self.doubled += finding.doubled
        if part is not None:
            part.missing += finding.missing
            part.doubled += finding.doubled

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "exact": self.exact}


class Asked(NamedTuple):
    """Whom the ledger may ask and what it is told."""

    store: Store
    broker: BrokerView | None
    drained: bool
    produced: int | None


def run_ledger(
    store: Store, broker: BrokerView | None = None, *, drained: bool = False, produced: int | None = None
) -> Ledger:
    """Compare everything. `drained`: nothing is on the way any more, so what is not there is missing.

    Without a broker nothing more can come, as far as anybody knows, and the same holds. `produced`: readings that
    left the gateways, repeats included, from the producer's own count. Raises StoreError, ServiceError.
    """
    asked = Asked(store, broker, drained, produced)
    ledger = _once(asked)
    for _ in range(ATTEMPTS - 1):
        if ledger.panes or ledger.behind:
            break
        time.sleep(PAUSE_S)
        ledger = _once(asked)
    return ledger


def _once(asked: Asked) -> Ledger:
    store, broker = asked.store, asked.broker
    ledger = Ledger(final=asked.drained or broker is None)
    journal = Journal(store)
    newest = journal.newest()
    if broker is not None:
        broker.refresh()
        ledger.lag = broker.lags(newest)
    tables = [row[0] for row in store.query(ledger_sql.readings_tables(), {"database": store.database})]
    raw = equations.raw_by_frame(store, tables)
    aged, old = (bool(answer) for answer in store.query(ledger_sql.ages(store.database))[0])
    bounds = _bounds(newest, broker, ledger)
    every = [equations.load_sides(store, s, b, raw, aged=aged) for s, b in sorted(bounds.items())]
    for sides in every:
        ledger.partitions.append(_partition(ledger, sides, asked))
    ledger.add(equations.strangers(every, raw))
    _panes(ledger, asked, every, tables, newest)
    ledger.add(equations.history(store, old=old))
    _lost(ledger, store)
    _totals(ledger, asked.produced)
    return ledger


# ---------------------------------------------------------------- how far


def _bounds(newest: Newest, broker: BrokerView | None, ledger: Ledger) -> dict[Source, Bound]:
    """How far each source can be compared."""
    reached: dict[Source, dict[str, int]] = {}
    for (_, role), entry in newest.items():
        if role in ("accepted", "rollups"):
            for chain, progress in entry.marks.items():
                source = Source.parse(chain.partition(" ")[2])
                reached.setdefault(source, {})[role] = progress.applied
    for source in broker.sources() if broker is not None else ():
        reached.setdefault(source, {})
    return {source: _bound(source, marks, newest, broker, ledger) for source, marks in reached.items()}


def _bound(
    source: Source, marks: Mapping[str, int], newest: Newest, broker: BrokerView | None, ledger: Ledger
) -> Bound:
    frames, rollups = marks.get("accepted", -1), marks.get("rollups", -1)
    end = broker.end(source) if broker is not None else None
    if ledger.final:
        return Bound(rollups, max(frames, rollups) if end is None else end - 1, end)
    # Live: a frame may be on its way behind the last tick, unless all accepted records of the partition are in.
    assert broker is not None
    caught_up = end is None or broker.caught_up(newest, "accepted", source.partition)
    return Bound(rollups, rollups if caught_up else min(rollups, frames), end)


# ---------------------------------------------------------------- one source


def _partition(ledger: Ledger, sides: Sides, asked: Asked) -> Part:
    source, bound, frames = sides.source, sides.bound, sides.frames
    part = Part(source.topic_id, source.partition, bound.upto, bound.begin, len(frames), len(sides.ticks))
    part.rows, part.accepted = int(frames["rows"].sum()), int(frames["accepted"].sum())
    part.duplicate, part.late = int(frames["dup"].sum()), int(frames["late"].sum())
    part.quarantined, part.stored_raw = int(frames["quarantined"].sum()), int(sides.raw["n"].sum())
    part.withdrawn = int(sides.raw["withdrawn"].sum())
    beyond = 0 if bound.end is None else max(0, bound.end - 1 - bound.upto)
    part.pending = beyond + int(frames.filter(frames["offset"] > bound.rollups)["accepted"].sum())
    ledger.pending += part.pending
    ask = asked.broker.ticks_among if asked.broker is not None else None
    found, part.ignored_ticks = equations.contiguity(sides, ask)
    found += equations.verdicts(sides)
    if ledger.final:
        found += equations.quarantine(asked.store, sides)
    found += equations.frames_against_raw(sides)
    found += equations.frames_against_ticks(asked.store, sides)
    for finding in found:
        ledger.add(finding, part)
    return part


# ---------------------------------------------------------------- all sources


def _panes(ledger: Ledger, asked: Asked, every: list[Sides], tables: list[str], newest: Newest) -> None:
    """Equation 5. Rollups cannot be cut at an offset: the sink must not have moved on, nor frames be behind."""
    ledger.behind = any(sides.bound.upto < sides.bound.rollups for sides in every)
    ledger.loading = [int(act) for (act,) in asked.store.query(ledger_sql.loading(asked.store.database))]
    writing = any(role == "rollups" and entry.state == INTENT for (_, role), entry in newest.items())
    writing = writing or bool(ledger.loading)
    if not (ledger.behind or writing):
        rolled = equations.rollups_by_pane(asked.store)
        stored = equations.raw_by_pane(asked.store, every, tables)
        if _rollup_cuts(Journal(asked.store).newest()) == _rollup_cuts(newest):
            ledger.totals["rollup_count"] = int(rolled["n"].sum())
            for finding in equations.panes(every, stored, rolled):
                ledger.add(finding)
            return
    ledger.panes = False
    if asked.drained:
        ledger.add(Finding("rollups are still being written", "the sink is not done", 1))


def _rollup_cuts(newest: Newest) -> list[tuple[str, int, int]]:
    return sorted((e.topic_id, e.number, e.state) for (_, role), e in newest.items() if role == "rollups")


def _lost(ledger: Ledger, store: Store) -> None:
    """What the sink passed over. Ranges of topics that no equation covers count one each."""
    ledger.lost = store.dicts(ledger_sql.lost(store.database))
    unseen = [row for row in ledger.lost if row["topic"] not in ("accepted", "rollups")]
    places = [f"{row['topic']} {row['reason']}: {row['note']}" for row in unseen[: equations.SAMPLES]]
    ledger.add(Finding("passed over by the sink", "", len(unseen), 0, places))


def _totals(ledger: Ledger, produced: int | None) -> None:
    for name in ("frames", "ticks", "rows", "accepted", "duplicate", "late", "quarantined", "stored_raw", "withdrawn"):
        ledger.totals[name] = sum(getattr(part, name) for part in ledger.partitions)
    if produced is not None:
        sent = [part for part in ledger.partitions if not Source(part.topic_id, part.partition).historic]
        d = produced - sum(part.rows for part in sent)
        ledger.add(Finding("readings that left the gateways", "", max(d, 0), max(-d, 0)))
        ledger.totals["produced"] = produced
