"""What a fold is: the pure heart of every stage.

A fold is a deterministic function `apply(state, records) -> (state, outputs)` without clock, randomness or
I/O, its state held per source partition. It takes a batch for speed, and **any cut of the same records
into batches gives the same outputs**. A *runner* (Faust, in process, or the simulated log of the tests)
carries the effects; runners contain no ifs about data, folds contain no await.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from pearlstream.position import Source

State = TypeVar("State")
"""The state of one fold for one source partition. The runner never looks inside."""

Headers = Sequence[tuple[str, bytes]]
"""Headers of a record in their order; of a repeated name the first counts."""


class Record(NamedTuple):
    """One record of a source partition, as the broker gave it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int = 0


class Output(NamedTuple):
    """One record that a fold makes. `target` is a topic role (`accepted`), not a prefixed name.

    It is written to the partition it came from, or to the only one that the target has; `upto` is the last source
    offset that it covers.
    """

    target: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    upto: int


class Fold(Protocol[State]):
    """A stage's pure function. `name` is the stage, `version` changes when outputs would change."""

    name: str
    version: int
    source: str
    """Topic role that it reads."""
    targets: tuple[str, ...]
    """Topic roles that it writes."""

    def start(self, source: Source, first_offset: int = 0) -> State:
        """State of a partition whose log begins at `first_offset`, before its first record."""
        ...

    def apply(self, state: State, records: Sequence[Record]) -> tuple[State, list[Output]]:
        """Fold records in the order of their offsets. Total: bad input becomes quarantine, never an error.

        Raises RegistryMissing if a tick names a registry that the fold cannot load yet; the state is then
        unchanged and the same records may be offered again.
        """
        ...

    def settled(self, state: State) -> bool:
        """True right after a tick, when nothing is accumulated: the moment to take a snapshot."""
        ...

    def pack(self, state: State) -> bytes:
        """The state as bytes, compressed; `unpack(pack(s))` continues exactly as `s` would."""
        ...

    def unpack(self, blob: bytes) -> State:
        """Inverse of `pack`. Raises ValueError if the blob is of another fold, version or is torn."""
        ...


@runtime_checkable
class Refuses(Protocol[State]):
    """What a fold that writes `quarantine` also offers: outputs for a record on which its `apply` raises."""

    def refuse(self, state: State, record: Record, error: Exception) -> tuple[State, list[Output]]:
        """Fold a record without looking inside: quarantine `internal_error`, and whatever keeps its chains whole.

        Called with the state before the record and with nothing else in the batch; must not raise. The record
        makes `apply` raise again after a restart, so the outputs must depend on nothing but state and record
        (of `error`, its type is stable, its text may not be).
        """
        ...


def header(headers: Headers, name: str) -> str | None:
    """The first header of that name as text, or None. Bytes outside ASCII are replaced, not trusted."""
    for key, value in headers:
        if key == name:
            return value.decode("ascii", "replace") if value is not None else None
    return None


@dataclass
class InProcess(Generic[State]):
    """The runner without a broker: folds records straight through, and keeps nothing else."""

    fold: Fold[State]
    source: Source
    state: State = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.fold.start(self.source)

    def feed(self, records: Sequence[Record]) -> list[Output]:
        """Fold one batch and return its outputs."""
        self.state, outputs = self.fold.apply(self.state, records)
        return outputs


@dataclass
class Log:
    """An in-memory partition: gives offsets to what is appended. For in-process runs and tests."""

    records: list[Record] = field(default_factory=list)

    def append(self, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]] = ()) -> Record:
        """Append one record and return it with its offset."""
        record = Record(len(self.records), key, value, tuple(headers))
        self.records.append(record)
        return record


def headers_of(values: Mapping[str, str | int]) -> tuple[tuple[str, bytes], ...]:
    """Headers as bytes, in the order given."""
    return tuple((name, str(value).encode("ascii", "replace")) for name, value in values.items())
