"""A simulated log, on which the runner of every stage is tried with crashes at every effect.

Topics are lists, there is no broker, no thread and no clock: one `random.Random(seed)` picks what happens next,
so a seed repeats to the letter. The process under test is made of the very `Folding` and `Outbox` that the Faust
runner drives. What may go wrong is declared in `Faults`: a process dies between any two effects, while some of its
writes still land (in order, or with a hole); a frozen one wakes up beside its successor, or long after it; reading
skips records; a rebalance makes it read again; an older snapshot wins; the source topic is made anew.

    oracle = run(make_fold, records)                                # nothing goes wrong
    sim = run(make_fold, records, seed=7, faults=ROUGH)
    assert sim.read("accepted") == oracle.read("accepted")        # what a reader that skips and holds sees
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from pearlstream.fold import Fold, Record, header
from pearlstream.position import Mark, Position, Source, Verdict
from pearlstream.runner import Commit, Effect, Emit, Folding, Limits, Outbox, Save
from pearlstream.snapshot import Maker, encode, find


class Faults(NamedTuple):
    """How often things go wrong, as chances per step."""

    crash: float = 0.0
    """The process dies; of its writes under way some land, some do not."""
    zombie: float = 0.0
    """The process freezes, a successor starts, and later the old one goes on for a while."""
    rebalance: float = 0.0
    """Reading begins again where the runner wants to resume; records of before may still arrive."""
    skip: float = 0.0
    """Reading leaves records out without a word, once."""
    older: float = 0.0
    """A starting process finds an older snapshot than the newest."""
    freeze: float = 0.0
    """The process stands still, others take over, and it goes on later: among them, or when all is done."""
    compact: float = 0.0
    """The state topic is compacted: of each key the last record stays, which a zombie may have written."""


CALM = Faults()
ROUGH = Faults(crash=0.02, zombie=0.01, rebalance=0.02, skip=0.02, older=0.3, freeze=0.01, compact=0.02)
WAKE = 0.03
"""How often, per step, one that is frozen goes on."""


@dataclass
class Flight:
    """An effect under way: the records that it still has to write, in their order."""

    effect: Effect
    topic: str
    records: list[tuple[bytes | None, bytes, tuple[tuple[str, bytes], ...]]]


@dataclass(eq=False)
class Process:
    """One process that runs the stage: the runner's two halves, and what it has under way."""

    folding: Folding[Any]
    outbox: Outbox
    position: int
    turn: str
    flights: list[Flight] = field(default_factory=list)
    stale: list[Record] = field(default_factory=list)
    """Records fetched before a seek, which arrive after it."""


@dataclass
class Simulation:
    """One partition of a source log, the topics that a stage writes, and the processes that run it."""

    make_fold: Callable[[], Fold[Any]]
    records: Sequence[Record]
    seed: int = 0
    faults: Faults = CALM
    limits: Limits = Limits(5, 1 << 30)  # noqa: RUF009 - immutable
    batch: int = 4
    part_bytes: int = 64
    source: Source = Source("sim", 0)  # noqa: RUF009 - immutable
    on_blocked: Callable[[], None] = lambda: None
    logs: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    committed: int = 0
    steps: int = 0
    crashes: int = 0
    processes: list[Process] = field(default_factory=list)
    frozen: list[Process] = field(default_factory=list)
    states: list[Record] = field(default_factory=list)
    """All that ever stood in the state topic."""
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        fold = self.make_fold()
        self.maker = Maker(f"{fold.name}@{fold.version}", "sim")
        self.state_topic = f"state.{fold.name}"

    # --- processes ----------------------------------------------------------------------------------

    def start(self) -> Process:
        """Start a process from the newest snapshot, at times from an older one."""
        fold = self.make_fold()
        found, _ = find(self.logs[self.state_topic], self.maker, self.source)
        if found and self.random.random() < self.faults.older:
            found = found[self.random.randrange(len(found)) :]
        if found:
            folding = Folding(fold, self.source, start=found[0].snapshot, limits=self.limits)
            turn = "b" if found[0].turn == "a" else "a"
        else:
            first = self.records[0].offset if self.records else 0
            folding, turn = Folding(fold, self.source, first_offset=first, limits=self.limits), "a"
        process = Process(folding, Outbox(), folding.expected, turn)
        self.processes.append(process)
        self.note(f"start at {process.position}")
        return process

    def crash(self, process: Process, landing: str) -> None:
        """Kill a process. Of its writes `all`, `none` or `some` land; `some` may leave a hole."""
        self.processes.remove(process)
        self.crashes += 1
        self.note(f"crash, {landing} of {len(process.flights)} land")
        for flight in process.flights:
            if landing == "all" or (landing == "some" and self.random.random() < 0.5):
                while flight.records:
                    self.land(flight)

    def note(self, what: str) -> None:
        """Add to the trace."""
        self.trace.append(f"{self.steps}: {what}")

    # --- what a process may do ----------------------------------------------------------------------

    def fetch(self, process: Process) -> None:
        """Give the process the next records, perhaps some from before a seek first, perhaps with a hole."""
        count = self.random.randint(1, self.batch)
        batch, process.stale = process.stale, []
        here = [record for record in self.records if record.offset >= process.position][:count]
        if len(here) > 1 and self.random.random() < self.faults.skip:
            del here[self.random.randrange(len(here) - 1)]
        batch += here
        if batch:
            process.position = max(process.position, batch[-1].offset + 1)
        else:  # what the runner's shell does if nothing comes although something waits
            process.folding.resumed()
            process.position = process.folding.expected
        self.offer(process, batch)

    def offer(self, process: Process, batch: Sequence[Record]) -> None:
        """Fold a batch, start what follows, seek back if asked to."""
        step = process.folding.offer(batch)
        self.note(f"offered {[record.offset for record in batch]}, applied {process.folding.applied}")
        process.outbox.put(step.work)
        self.launch(process, process.outbox.ready())
        if step.seek is not None:
            found = next((r.offset for r in self.records if r.offset >= step.seek), None)
            if found is not None and found > step.seek:
                process.folding.jump(found)
            self.seek(process)
        if step.blocked is not None:
            self.on_blocked()
            process.position = process.folding.expected

    def seek(self, process: Process) -> None:
        """Read where the process wants to; what was fetched before may still arrive."""
        ahead = [r for r in self.records if r.offset >= process.position][: self.random.randint(0, 2)]
        process.stale = ahead if self.faults.rebalance else []
        process.position = process.folding.expected

    def launch(self, process: Process, effects: Sequence[Effect]) -> None:
        """Put effects under way."""
        for effect in effects:
            if isinstance(effect, Emit):
                output = effect.output
                flight = Flight(effect, output.target, [(output.key, output.value, output.headers)])
            elif isinstance(effect, Save):
                process.turn = "b" if process.turn == "a" else "a"
                parts = encode(self.maker, self.source, effect.snapshot, process.turn, self.part_bytes)
                flight = Flight(effect, self.state_topic, [(part.key, part.value, part.headers) for part in parts])
            else:
                flight = Flight(effect, "", [])
            process.flights.append(flight)

    def land(self, flight: Flight) -> None:
        """Write the next record of an effect."""
        key, value, headers = flight.records.pop(0)
        log = self.logs[flight.topic]
        log.append(Record(len(log), key, value, headers))
        if flight.topic == self.state_topic:
            self.states.append(log[-1])

    def progress(self, process: Process) -> None:
        """Let one effect that is first in its topic land or, once landed, be answered."""
        topics: set[str] = set()
        candidates = []
        for flight in process.flights:
            if not flight.records or flight.topic not in topics:
                candidates.append(flight)
            if flight.records:
                topics.add(flight.topic)
        flight = self.random.choice(candidates)
        if flight.records:
            self.land(flight)
            return
        process.flights.remove(flight)
        if isinstance(flight.effect, Commit):
            self.commit(flight.effect.offset)
        process.outbox.done(flight.effect)
        self.launch(process, process.outbox.ready())

    def commit(self, offset: int) -> None:
        """Take a commit of source offsets; a snapshot that covers it must have been written before."""
        found, _ = find(self.states, self.maker, self.source)
        best = max((one.snapshot.applied for one in found), default=-1)
        assert best >= offset - 1, f"committed {offset}, but the newest snapshot covers {best}"
        self.committed = max(self.committed, offset)

    # --- the scheduler ------------------------------------------------------------------------------

    def step(self) -> None:
        """Let something happen."""
        self.steps += 1
        if self.frozen and self.random.random() < WAKE:
            self.note("a frozen one goes on")
            self.processes.append(self.frozen.pop(self.random.randrange(len(self.frozen))))
        if not self.processes:
            self.start()
            return
        process = self.random.choice(self.processes)
        chance = self.random.random()
        for fault in ("crash", "zombie", "rebalance", "freeze", "compact"):
            chance -= getattr(self.faults, fault)
            if chance < 0:
                getattr(self, f"_{fault}")(process)
                return
        self.move(process)

    def move(self, process: Process) -> None:
        """Let a process do one thing."""
        if process.flights and self.random.random() < 0.6:
            self.progress(process)
        else:
            self.fetch(process)

    def _crash(self, process: Process) -> None:
        self.crash(process, self.random.choice(("all", "none", "some")))

    def _zombie(self, process: Process) -> None:
        del process
        if len(self.processes) < 3:
            self.start()

    def _rebalance(self, process: Process) -> None:
        self.note("rebalance")
        process.folding.resumed()
        self.seek(process)

    def _freeze(self, process: Process) -> None:
        self.note("one freezes")
        self.processes.remove(process)
        self.frozen.append(process)

    def _compact(self, process: Process) -> None:
        del process
        last = {record.key: record for record in self.logs[self.state_topic]}
        self.note(f"compaction leaves {len(last)} of {len(self.logs[self.state_topic])} states")
        self.logs[self.state_topic] = sorted(last.values(), key=lambda record: record.offset)

    def recreate(self, records: Sequence[Record]) -> None:
        """The source topic is made anew, with other records: offsets begin at 0 again, and everybody starts over."""
        self.processes, self.frozen = self.processes + self.frozen, []
        while self.processes:
            self.crash(self.processes[0], "some")
        self.source = Source(f"{self.source.topic_id}+", self.source.partition)
        self.records, self.committed = records, 0
        self.note("the source topic is made anew")

    def settle(self) -> None:
        """No faults any more: zombies die, one process finishes everything, and then the frozen ones wake up."""
        self.faults = CALM
        while len(self.processes) > 1:
            self.crash(self.processes[0], "none")
        if not self.processes:
            self.start()
        self._finish(self.processes[0])
        for late in self.frozen:
            self.processes.append(late)
            for _ in range(self.random.randint(0, 4 * len(self.records))):
                self.move(late)
            self.crash(late, self.random.choice(("all", "none", "some")))
        self.frozen = []

    def _finish(self, process: Process) -> None:
        end = self.records[-1].offset if self.records else -1
        for _ in range(100 * len(self.records) + 1000):
            if process.folding.applied >= end and not process.flights:
                return
            self.steps += 1
            if process.flights:
                self.progress(process)
            else:
                self.fetch(process)
        raise AssertionError("it does not come to rest:\n" + "\n".join(self.trace[-40:]))

    # --- what a reader sees -------------------------------------------------------------------------

    def read(self, topic: str) -> list[Record]:
        """The records of a topic as a reader that skips repeats and holds at gaps applies them, without offsets."""
        return [record._replace(offset=0) for record in read_exactly(self.logs[topic])]

    def read_of_this_life(self, topic: str) -> list[Record]:
        """The same, without what was made from a source topic that is no more."""
        here = [r for r in self.logs[topic] if Position.parse(header(r.headers, "from") or "").source == self.source]
        return [record._replace(offset=0) for record in read_exactly(here)]

    def digest(self) -> str:
        """A hash over everything written, to compare two runs of one seed."""
        return sha256(repr(sorted(self.logs.items())).encode()).hexdigest()


def read_exactly(log: Sequence[Record]) -> list[Record]:
    """What of a topic with positions counts, in order. Raises AssertionError if a gap is never filled."""
    applied: list[Record] = []
    marks: dict[Source, tuple[Mark, int]] = {}
    held: list[Record] = []

    def take(record: Record) -> bool:
        """Apply a record or skip it; False: there is a gap before it."""
        position = Position.parse(header(record.headers, "from") or "")
        mark, parts = marks.setdefault(position.source, (Mark(-1), 0))
        verdict = mark.judge(position)
        number, _, count = (header(record.headers, "part") or "1/1").partition("/")
        if verdict is Verdict.GAP or (verdict is Verdict.APPLY and int(number) > parts + 1):
            return False
        if verdict is Verdict.APPLY and int(number) == parts + 1:
            applied.append(record)
            parts = int(number)
            if number == count:
                mark.advance(position)
                parts = 0
            marks[position.source] = (mark, parts)
        return True

    for record in log:
        held.append(record)
        waiting = -1
        while waiting != len(held):
            waiting = len(held)
            held = [one for one in held if not take(one)]
    assert not held, f"{len(held)} records wait behind a gap, the first: {held[0]}"
    return applied


def run(
    make_fold: Callable[[], Fold[Any]],
    records: Sequence[Record],
    *,
    seed: int = 0,
    faults: Faults = CALM,
    steps: int = 0,
    **options: Any,
) -> Simulation:
    """A simulation after `steps` steps with faults and then to its end without."""
    sim = Simulation(make_fold, records, seed, faults, **options)
    for _ in range(steps):
        sim.step()
    sim.settle()
    return sim


def crash_points(
    make_fold: Callable[[], Fold[Any]], records: Sequence[Record], *, seed: int = 0, **options: Any
) -> list[Simulation]:
    """One simulation per step of a run without faults and per way of dying there: every single crash point."""
    calm = Simulation(make_fold, records, seed, **options)
    while not _finished(calm):
        calm.step()
    runs = []
    for at in range(1, calm.steps + 1):
        for landing in ("all", "none", "some"):
            sim = Simulation(make_fold, records, seed, **options)
            for _ in range(at):
                sim.step()
            if sim.processes:
                sim.crash(sim.processes[0], landing)
            sim.settle()
            runs.append(sim)
    return runs


def _finished(sim: Simulation) -> bool:
    end = sim.records[-1].offset if sim.records else -1
    return bool(sim.processes) and sim.processes[0].folding.applied >= end and not sim.processes[0].flights
