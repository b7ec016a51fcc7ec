"""The sink: takes topics off the broker and brings them into the store, each record's rows exactly once.

    read -> buffer by lane -> cut -> INTENT into `batches` -> insert, one request a table, with a token -> DONE

Every step may be the last one before a crash. The intent says which ranges were about to be inserted and what
was applied before them, so the next process reads the very same records, makes the very same rows and inserts
them under the very same tokens: what is in the store already is dropped there. `done` travels with the next
intents. When the store fails, the same bytes are offered again under the same token, for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pearlstream.catalogue import Catalogue
from pearlstream.errors import EXIT_TRY_AGAIN, PearlstreamError, ServiceError
from pearlstream.logs import get_logger
from pearlstream.store import Store, StoreError, Trouble
from sinks.clickhouse import schema, sql
from sinks.clickhouse.arrow import stream
from sinks.clickhouse.breaker import Breaker, Pace
from sinks.clickhouse.freshness import Freshness
from sinks.clickhouse.journal import EPOCH_CHANGE, INTENT, Entry, Journal, as_intent, done_of, intent_of
from sinks.clickhouse.lane import Cut, Lane
from sinks.clickhouse.metrics import Metrics
from sinks.clickhouse.shape_panes import shape_indicators, shape_rollups
from sinks.clickhouse.shape_readings import shape_accepted
from sinks.clickhouse.shapes import (
    Shape,
    number,
    shape_alerts,
    shape_all_that_can,
    shape_devices,
    shape_quarantine,
    shape_truth,
)
from sinks.clickhouse.tape import Spot, Tape

log = get_logger(__name__)

SHAPES: Mapping[str, Shape] = {
    "devices": shape_devices,
    "accepted": shape_accepted,
    "rollups": shape_rollups,
    "indicators": shape_indicators,
    "quarantine": shape_quarantine,
    "alerts": shape_alerts,
    "truth.labels": shape_truth,
}
"""What the sink reads, and what becomes of it."""

POLL_S = 0.05
BLOCKED_S = 10.0
"""How often a cut is offered again that the store refuses for its schema."""
CHECK_TOPICS_S = 30.0
"""How often the ids of the topics are looked at."""


class EpochChanged(PearlstreamError):
    """A topic was made anew under the sink, or has more partitions: start over from the journal."""


class TopicsMissing(PearlstreamError):
    """The broker does not have the topics yet."""

    exit_code = EXIT_TRY_AGAIN


@dataclass
class Open:
    """A cut that is on its way: its rows as bytes by table, and which tables have them."""

    cut: Cut
    rows: dict[str, int]
    bodies: dict[str, tuple[list[str], bytes]]
    sent_ms: list[int]
    blocked: StoreError | None = None
    """Why the store will not take it before somebody mends something; tried again at `again_at`."""
    again_at: float = 0.0

    @property
    def complete(self) -> bool:
        """Every table has its rows."""
        return not self.bodies


@dataclass
class Counts:
    """What the sink has done in its life."""

    cuts: int = 0
    rows: int = 0
    records: int = 0
    repeats: int = 0
    lost: int = 0
    last_batch_ms: int = 0
    """Wall clock of the last insert."""
    clock_ms: int = 0
    """The newest clock (event time) among records that are in the store."""
    rows_by_table: dict[str, int] = field(default_factory=dict)


class Sink:
    """One sink over all topics. Drive it with `start`, `step` again and again, and `finish`, from one thread.

    `clock` is a steady clock in seconds, `wall` the wall clock in ms (for metrics only).
    """

    def __init__(
        self,
        tape: Tape,
        store: Store,
        catalogue: Catalogue,
        *,
        flush_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        breaker: Breaker | None = None,
    ) -> None:
        self.tape = tape
        self.store = store
        self.catalogue = catalogue
        self.journal = Journal(store)
        self.pace = Pace(flush_s)
        self.metrics = Metrics()
        self.freshness = Freshness()
        self.counts = Counts()
        self.breaker = breaker or Breaker()
        self.lanes: dict[str, Lane] = {}
        self.open: dict[str, Open] = {}
        self._clock, self._wall = clock, wall
        self._unwritten: list[Entry] = []
        self._dones: list[Entry] = []
        self._paused: set[Spot] = set()
        self._flushed = self._checked = clock()

    # ------------------------------------------------------------ start

    def start(self) -> None:
        """Go on where the journal says. Raises StoreError, ServiceError, TopicsMissing."""
        ids = self.tape.topic_ids(list(SHAPES))
        missing = [role for role in SHAPES if role not in ids]
        if missing:
            raise TopicsMissing(
                f"the topics {', '.join(missing)} do not exist", remedy="start a worker or `pearlstream demo` first"
            )
        newest = self.journal.newest()
        self.lanes, self.open, self._unwritten, self._dones = {}, {}, [], []
        for role, topic_id in ids.items():
            mine = newest.get((topic_id, role))
            self.lanes[role] = Lane(role, topic_id, self.tape.partitions(role), as_intent(mine) if mine else None)
        self._close_epochs(ids, newest)
        self._skip_what_is_gone()
        self.tape.start({Spot(role, p): at for role, lane in self.lanes.items() for p, at in lane.starts.items()})
        self._paused = set()
        redone = [role for role, lane in self.lanes.items() if lane.redoing]
        log.info("sink started", topics=len(self.lanes), redo=",".join(redone) or "none", store=self.store.where)

    def _close_epochs(self, ids: Mapping[str, str], newest: Mapping[tuple[str, str], Entry]) -> None:
        """Intents of topics that are no more can never be redone."""
        for (topic_id, role), entry in newest.items():
            if entry.state == INTENT and ids.get(role) != topic_id:
                log.warning("a cut of an earlier life of the broker stays open", topic=role, topic_id=topic_id)
                self._dones.append(entry._replace(state=EPOCH_CHANGE))

    def _skip_what_is_gone(self) -> None:
        """Where retention has overtaken the sink, go on at the first offset that is left."""
        begins = self.tape.begins([Spot(role, p) for role, lane in self.lanes.items() for p in lane.starts])
        for role, lane in self.lanes.items():
            gone = {p: begins[Spot(role, p)] for p, at in lane.starts.items() if begins[Spot(role, p)] > at}
            if gone:
                log.error("records were deleted before they were stored", topic=role, begins=gone)
                lane.skip_to(gone)

    # ------------------------------------------------------------ the cycle

    def step(self, timeout_s: float = POLL_S) -> None:
        """Read for at most `timeout_s`, then write what is due. Store failures are kept inside and tried again.

        Raises EpochChanged (call `start` again), PositionError, CatalogueError, ServiceError, and StoreError if the
        store refuses the password.
        """
        self._read(timeout_s)
        now = self._clock()
        if now - self._checked >= CHECK_TOPICS_S:
            self._checked = now
            self._check_topics()
        if self.breaker.open(now):
            return
        try:
            self._write(now)
            self.breaker.succeeded()
            self.pace.succeeded(now)
        except StoreError as error:
            self._failed(error, now)
        self.metrics.breaker.set(1 if self.breaker.failures else 0)

    def _read(self, timeout_s: float) -> None:
        for spot, (records, reached) in self.tape.poll(timeout_s).items():
            self.lanes[spot.role].take(spot.partition, records, reached)
        full = {Spot(role, p) for role, lane in self.lanes.items() if lane.full for p in lane.starts}
        if full - self._paused:
            self.tape.pause(full - self._paused)
        if self._paused - full:
            self.tape.resume(self._paused - full)
        self._paused = full
        self.metrics.held_bytes.set(sum(lane.size for lane in self.lanes.values()))

    def _write(self, now: float) -> None:
        """Whatever of intents, inserts and dones can be done now. Raises StoreError where it stopped."""
        self._deliver(now)
        due = now - self._flushed >= self.pace.gap_s or any(lane.due for lane in self.lanes.values())
        if due:
            for lane in self.lanes.values():
                lane.cut_rows = self.pace.cut_rows
            cuts = self._cuts(now)
            if cuts or self._dones:
                self._unwritten = [*self._dones, *cuts]
                self._dones = []
            self._flushed = now
        began = self._clock()
        self._deliver(now)
        if due:
            self.pace.took(self._clock() - began)

    def _deliver(self, now: float) -> None:
        """First the journal, then the rows: never the other way."""
        if self._unwritten:
            self.journal.write(self._unwritten)
            self._unwritten = []
        for role, one in list(self.open.items()):
            if one.blocked is not None and now < one.again_at:
                continue
            try:
                self._insert(one)
            except StoreError as error:
                if error.trouble not in (Trouble.SCHEMA, Trouble.REFUSED):
                    raise
                self._block(one, error, now)
            if one.complete:
                del self.open[role]
                self._done(one)

    def _cuts(self, now: float) -> list[Entry]:
        """New cuts of all lanes that have none on the way, as intents. A cut that is redone stands there already."""
        entries = []
        for role, lane in self.lanes.items():
            cut = lane.cut(now) if role not in self.open else None
            if cut is None:
                continue
            one = self.open[role] = self._shape(cut)
            self.tape.fence({Spot(role, r.partition): r.start for r in cut.ranges})
            if not cut.again:
                entries.append(intent_of(cut, one.rows))
        return entries

    # ------------------------------------------------------------ rows

    def _shape(self, cut: Cut) -> Open:
        """The rows of a cut as bytes. Raises CatalogueError if the cut is of another catalogue than this sink's."""
        shape = partial(shape_truth, topic_id=cut.topic_id) if cut.role == "truth.labels" else SHAPES[cut.role]
        shaped = shape_all_that_can(partial(shape, self.catalogue), cut.items)
        cut.lost += shaped.lost
        if cut.lost:
            shaped.add(schema.LOST, [_lost_row(one) for one in cut.lost])
        tables = {name: table for name, table in shaped.tables.items() if table.num_rows}
        sent = [number(item.facts.get("sent-ms")) for item in cut.items] if cut.role == "accepted" else []
        return Open(
            cut,
            {name: table.num_rows for name, table in tables.items()},
            {name: (list(table.column_names), stream(table)) for name, table in tables.items()},
            [at for at in sent if at],
        )

    def _insert(self, one: Open) -> None:
        """Insert the tables of a cut that do not have it yet, each in one request. Raises StoreError."""
        for table in list(one.bodies):
            columns, body = one.bodies[table]
            settings = {**sql.INSERT_SETTINGS, "insert_deduplication_token": f"{one.cut.name}/{table}"}
            with self.metrics.insert_seconds.time():
                self.store.insert(sql.qualified(self.store.database, table), columns, body, settings)
            del one.bodies[table]
            self.metrics.inserts.inc()
            self.metrics.rows.labels(table).inc(one.rows[table])
            self.counts.rows_by_table[table] = self.counts.rows_by_table.get(table, 0) + one.rows[table]
            self.counts.rows += one.rows[table]
        one.blocked = None

    def _done(self, one: Open) -> None:
        cut, now_ms = one.cut, self._wall()
        self._dones.append(done_of(cut, one.rows))
        self.counts.cuts += 1
        self.counts.records += len(cut.items)
        self.counts.repeats += cut.repeats
        self.counts.lost += len(cut.lost)
        self.counts.last_batch_ms = now_ms
        self.metrics.records.labels(cut.role).inc(len(cut.items))
        self.metrics.repeats.labels(cut.role).inc(cut.repeats)
        for lost in cut.lost:
            self.metrics.lost.labels(lost.role, lost.reason).inc()
            log.error("a range was passed over", topic=lost.role, reason=lost.reason, note=lost.note)
        if cut.role in ("accepted", "rollups"):
            self.counts.clock_ms = max([self.counts.clock_ms, *(number(i.facts.get("clock")) for i in cut.items)])
        delays = [now_ms - at for at in one.sent_ms]
        self.freshness.add(delays)
        for delay in delays:
            self.metrics.freshness_seconds.observe(max(delay, 0) / 1000)

    # ------------------------------------------------------------ trouble

    def _failed(self, error: StoreError, now: float) -> None:
        self.metrics.failures.labels(error.trouble.value).inc()
        if error.trouble is Trouble.DENIED:
            raise error
        wait = self.breaker.failed(error, now)
        told = log.error if error.trouble is not Trouble.AWAY or self.breaker.failures > 2 else log.warning
        told("the store does not take it; the same comes again", error=str(error), again_in_s=round(wait, 1))
        self.pace.failed(error.trouble, now)

    def _block(self, one: Open, error: StoreError, now: float) -> None:
        """Hold one topic; the others go on."""
        self.metrics.failures.labels(error.trouble.value).inc()
        if one.blocked is None:
            log.error("this topic waits until the store is mended", topic=one.cut.role, error=str(error))
        one.blocked, one.again_at = error, now + BLOCKED_S

    def _check_topics(self) -> None:
        """Raise EpochChanged if a topic is another one by now."""
        try:
            ids = self.tape.topic_ids(list(SHAPES))
        except ServiceError as error:
            log.warning("the broker cannot be asked for its topics", error=str(error))
            return
        for role, topic_id in ids.items():
            if self.lanes[role].topic_id != topic_id:
                raise EpochChanged(f"the topic {role} was made anew; starting over at its beginning")
            if len(self.tape.partitions(role)) > len(self.lanes[role].starts):
                raise EpochChanged(f"the topic {role} has more partitions now; starting over from the journal")

    # ------------------------------------------------------------ end

    @property
    def idle(self) -> bool:
        """Everything that was read is in the store, and the journal says so."""
        held = any(lane.size for lane in self.lanes.values())
        return not (held or self.open or self._unwritten or self._dones)

    def finish(self, timeout_s: float = 20.0) -> None:
        """Bring open cuts to their end and write that they are done; gives up after `timeout_s`.

        What is left open then is redone at the next start.
        """
        until = self._clock() + timeout_s
        while (self.open or self._unwritten or self._dones) and self._clock() < until:
            now = self._clock()
            if self.breaker.open(now):
                time.sleep(0.05)
                continue
            try:
                self._deliver(now)
                if self._dones:
                    self._unwritten, self._dones = self._dones, []
                    self._deliver(now)
            except StoreError as error:
                self._failed(error, now)


def _lost_row(one: Any) -> Mapping[str, Any]:
    return {
        "topic": one.role,
        "topic_id": one.topic_id,
        "partition": one.partition,
        "after": one.after,
        "offset": one.offset,
        "reason": one.reason,
        "note": one.note,
    }
