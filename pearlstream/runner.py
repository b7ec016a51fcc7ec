"""The pure half of a runner: what happens to records, and in which order effects may happen.

A runner carries a fold over one source partition. Its two halves know no broker, no clock and no thread, so
that the Faust runner and the simulated log of the tests drive the very same logic:

- `Folding` takes records, folds them, and says what follows: outputs, snapshots, a seek back.
- `Outbox` holds what follows and says which effects may start: outputs at once and in order, a snapshot once
  every output before it is acknowledged, the commit of source offsets once their snapshot is acknowledged.

After a crash a new `Folding` starts from a snapshot (or from the first record), meets the same records again
and makes the same outputs under the same positions, which readers skip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Generic, NamedTuple

from pearlstream.errors import EXIT_IO, PearlstreamError, PositionError, RegistryMissing
from pearlstream.fold import Fold, Output, Record, Refuses, State, headers_of
from pearlstream.position import Position, Source

MAX_REFUSED_IN_A_ROW = 10
"""More records in a row on which the fold raises are no bad records but a bad fold: the runner stops."""
QUARANTINE_HEAD = 64 * 1024
"""Bytes of a refused record that are kept."""
SINGLY = 500
"""Records folded one by one in search of a settled state, out of four times as many, while one is due."""


class FoldFailing(PearlstreamError):
    """The fold raises on record after record: a bug of ours, and quarantine must not become a shredder."""

    exit_code = EXIT_IO


class Limits(NamedTuple):
    """How much may be folded before a snapshot is due, whichever is reached first."""

    records: int = 2000
    bytes: int = 64_000_000


class Snapshot(NamedTuple):
    """The state after the record at `applied`, with the last `upto` written to each target."""

    applied: int
    blob: bytes
    uptos: Mapping[str, int]


@dataclass
class Step:
    """What follows from a batch of records.

    `work`: outputs and snapshots in their order. `seek`: the offset to read from again, because records are
    missing before those that came (None: go on). `blocked`: the fold waits for a registry; offer the same
    records again. `torn`: what the fold raised, if it did; `refused`: offsets that went to quarantine for it.
    """

    work: list[Output | Snapshot] = field(default_factory=list)
    seek: int | None = None
    blocked: RegistryMissing | None = None
    torn: Exception | None = None
    refused: list[int] = field(default_factory=list)


class Folding(Generic[State]):
    """Folds one source partition: contiguity, snapshots by volume, records on which the fold raises.

    `start` is the snapshot to begin from; without one the fold starts at `first_offset`. Raises ValueError
    if the snapshot is of another fold or torn.
    """

    def __init__(
        self,
        fold: Fold[State],
        source: Source,
        *,
        first_offset: int = 0,
        start: Snapshot | None = None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
    ) -> None:
        self.fold = fold
        self.source = source
        self.limits = limits
        self._origin = start or Snapshot(first_offset - 1, b"", {})
        self._load(self._origin)
        self.folded = 0
        """Records folded in the life of this object."""
        self._suspects: tuple[int, int] | None = None
        self._kept: list[tuple[list[Record], Exception | None]] = []
        self._bad: dict[int, Exception] = {}
        self._refused_in_a_row = 0

    def _load(self, snapshot: Snapshot) -> None:
        """Continue after `snapshot`; one without a blob is the beginning."""
        self.state = self._state_at(snapshot)
        self.applied = snapshot.applied
        self.expected = snapshot.applied + 1
        self.uptos = dict(snapshot.uptos)
        self._records = self._bytes = self._overdue = 0
        self._sought: int | None = None
        self._highest = -1

    def _state_at(self, snapshot: Snapshot) -> State:
        if snapshot.blob:
            return self.fold.unpack(snapshot.blob)
        return self.fold.start(self.source, snapshot.applied + 1)

    # --- records ------------------------------------------------------------------------------------

    def offer(self, records: Sequence[Record]) -> Step:
        """Fold the records that follow those already folded; repeats are skipped, records after a hole dropped.

        Raises FoldFailing, or PositionError from the fold; the process then has to stop.
        """
        step = Step()
        fresh = self._contiguous(records, step)
        while fresh and step.blocked is None and step.torn is None:
            reach = self._reach(fresh)
            if fresh[0].offset in self._bad:
                self._refuse(fresh[0], self._bad[fresh[0].offset], step)
            elif self._suspects is not None:
                self._fold_carefully(fresh[:reach], step)
            else:
                self._fold(fresh[:reach], step)
            fresh = fresh[reach:]
            if self.due and step.torn is None and self.fold.settled(self.state):
                step.work.append(self._snapshot())
        return step

    def jump(self, to: int) -> None:
        """Take it that the log holds nothing between `expected` and `to`: retention or compaction took it."""
        self.expected = max(self.expected, to)
        self._sought = None

    def resumed(self) -> None:
        """Note that reading begins at `expected` again: seeks asked for before are void."""
        self._sought = None

    def _contiguous(self, records: Sequence[Record], step: Step) -> list[Record]:
        """The records that follow `applied` without a hole. Asks for a seek at the first hole."""
        fresh: list[Record] = []
        wanted = self.expected
        for record in records:
            if record.offset == wanted:
                fresh.append(record)
                wanted += 1
            elif record.offset > wanted:
                self._hole(wanted, record.offset, step)
        return fresh

    def _hole(self, wanted: int, found: int, step: Step) -> None:
        """Drop a record behind a hole. Ask for a seek, once; again if what is read again has the hole again.

        Records that were under way when the seek was asked for lie above all that came before it.
        """
        if self._sought != wanted or found <= self._highest:
            step.seek = self._sought = wanted
            self._highest = -1
        self._highest = max(self._highest, found)

    def _reach(self, fresh: Sequence[Record]) -> int:
        """How many of the records may be folded in one call."""
        if self._suspects is not None:
            end = min((offset for offset in self._bad if offset >= fresh[0].offset), default=self._suspects[0])
            before = [record for record in fresh if record.offset < min(end, self._suspects[0])]
            return len(before) or 1
        if self.due:
            self._overdue += 1
            if self._overdue % (4 * SINGLY) <= SINGLY:
                return 1
        return len(fresh)

    def _fold(self, records: Sequence[Record], step: Step) -> None:
        try:
            self.state, outputs = self.fold.apply(self.state, records)
        except RegistryMissing as error:
            step.blocked = error
        except (PositionError, MemoryError):
            raise
        except Exception as error:
            self._tear(records, error, step)
        else:
            self._advance(records, outputs, step)
            self._refused_in_a_row = 0

    def _advance(self, records: Sequence[Record], outputs: Sequence[Output], step: Step) -> None:
        step.work.extend(outputs)
        for output in outputs:
            self.uptos[output.target] = output.upto
        self.applied = records[-1].offset
        self.expected = self.applied + 1
        self.folded += len(records)
        self._records += len(records)
        self._bytes += sum(len(record.value or b"") for record in records)

    # --- records on which the fold raises -----------------------------------------------------------

    def _tear(self, records: Sequence[Record], error: Exception, step: Step) -> None:
        """The fold raised and may have changed its state half: go back to the last snapshot, read again.

        From there to the end of the batch that failed, records are kept; those of the batch are folded one by
        one, so that the one to blame stands alone. Those found out before are refused without another try.
        """
        step.torn = error
        self._suspects = (records[0].offset, records[-1].offset)
        self._kept = []
        self._load(self._origin)
        self._sought = step.seek = self.expected
        self._highest = records[-1].offset

    def _fold_carefully(self, records: Sequence[Record], step: Step) -> None:
        """Fold records of which any may make the fold raise; if the only one does, it is refused."""
        assert self._suspects is not None
        try:
            self.state, outputs = self.fold.apply(self.state, records)
        except RegistryMissing as error:
            step.blocked = error
            return
        except (PositionError, MemoryError):
            raise
        except Exception as error:
            if len(records) > 1:
                self._tear(records, error, step)
                return
            self._restore()
            self._bad[records[0].offset] = error
            self._refuse(records[0], error, step)
        else:
            self._advance(records, outputs, step)
            self._refused_in_a_row = 0
            self._kept.append((list(records), None))
        self._leave_suspects()

    def _leave_suspects(self) -> None:
        if self._suspects is not None and self.applied >= self._suspects[1]:
            self._suspects = None
            self._kept = []

    def _restore(self) -> None:
        """The state as it was before the last call of `apply`, made again from the last snapshot."""
        self.state = self._state_at(self._origin)
        for records, error in self._kept:
            if error is None:
                self.state, _ = self.fold.apply(self.state, records)
            else:
                self.state, _ = self._refusal(records[0], error)

    def _refuse(self, record: Record, error: Exception, step: Step) -> None:
        self._refused_in_a_row += 1
        if self._refused_in_a_row > MAX_REFUSED_IN_A_ROW:
            raise FoldFailing(
                f"the stage {self.fold.name} fails on more than {MAX_REFUSED_IN_A_ROW} records in a row "
                f"of {self.source}, the last at {record.offset}: {error!r}",
                remedy="this is a bug: please report it with the log; going back a version gets the stream moving",
            ) from error
        self.state, outputs = self._refusal(record, error)
        step.refused.append(record.offset)
        self._kept.append(([record], error))
        self._advance([record], outputs, step)
        self._leave_suspects()

    def _refusal(self, record: Record, error: Exception) -> tuple[State, list[Output]]:
        if isinstance(self.fold, Refuses):
            return self.fold.refuse(self.state, record, error)
        if "quarantine" in self.fold.targets:
            raise FoldFailing(
                f"the stage {self.fold.name} cannot refuse the record {self.source}/{record.offset}: {error!r}",
                remedy="a fold that writes quarantine must have `refuse`",
            ) from error
        after = self.uptos.get("quarantine", -1)
        return self.state, [internal_error(self.fold, self.source, after, record, error)]

    # --- snapshots ----------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """True if a snapshot should be taken as soon as the state is settled."""
        return self._records >= self.limits.records or self._bytes >= self.limits.bytes

    def final(self) -> Snapshot | None:
        """A snapshot for a clean stop, or None if the state is not settled or nothing came since the last."""
        if self._records and self.fold.settled(self.state):
            return self._snapshot()
        return None

    def _snapshot(self) -> Snapshot:
        self._origin = Snapshot(self.applied, self.fold.pack(self.state), dict(self.uptos))
        self._kept = []
        self._bad = {}
        self._records = self._bytes = self._overdue = 0
        return self._origin


def internal_error(fold: Fold[State], source: Source, after: int, record: Record, error: Exception) -> Output:
    """The quarantine record of a record on which the fold raised. `after`: the `upto` of the one before it."""
    value = record.value or b""
    headers = headers_of(
        {
            "from": str(Position(source, after, record.offset)),
            "part": "1/1",
            "reason": "internal_error",
            "message": f"{fold.name}@{fold.version} failed with {type(error).__name__}: "
            "this is a bug of ours; the record is kept, redrive it after an upgrade",
            "rows": "whole",
            "length": len(value),
            "sha256": sha256(value).hexdigest(),
        }
    )
    return Output("quarantine", record.key, value[:QUARANTINE_HEAD], headers, record.offset)


# --- the order of effects ---------------------------------------------------------------------------


class Emit(NamedTuple):
    """Write one output to its target."""

    number: int
    output: Output


class Save(NamedTuple):
    """Write one snapshot to the stage's state topic."""

    number: int
    snapshot: Snapshot


class Commit(NamedTuple):
    """Tell the source's consumer group that everything below `offset` is done with."""

    offset: int


Effect = Emit | Save | Commit


class Outbox:
    """What has to be done for one partition, and what of it may be done now.

    An effect is handed out once by `ready`, and counts as done when `done` is told so. If one fails nothing
    may be tried again here: the process ends, and its successor does everything again from the snapshot.
    """

    def __init__(self) -> None:
        self._number = 0
        self._emits: deque[Emit] = deque()
        self._open: set[int] = set()
        self._saves: deque[Save] = deque()
        self._saving: Save | None = None
        self._commit: int | None = None

    def put(self, work: Sequence[Output | Snapshot]) -> None:
        """Add what follows from a batch, in its order."""
        for item in work:
            self._number += 1
            if isinstance(item, Output):
                self._emits.append(Emit(self._number, item))
                self._open.add(self._number)
            else:
                self._saves.append(Save(self._number, item))

    def ready(self) -> list[Effect]:
        """The effects that may start now, outputs in their order; each is returned once."""
        effects: list[Effect] = list(self._emits)
        self._emits.clear()
        if self._saves and self._saving is None and not any(number < self._saves[0].number for number in self._open):
            self._saving = self._saves.popleft()
            effects.append(self._saving)
        if self._commit is not None:
            effects.append(Commit(self._commit))
            self._commit = None
        return effects

    def done(self, effect: Effect) -> None:
        """Note that the broker acknowledged an effect."""
        if isinstance(effect, Emit):
            self._open.remove(effect.number)
        elif isinstance(effect, Save):
            self._saving = None
            self._commit = effect.snapshot.applied + 1

    @property
    def idle(self) -> bool:
        """True if everything put in is done (the commit of offsets excepted, which nobody depends on)."""
        return not (self._open or self._saves or self._saving)
