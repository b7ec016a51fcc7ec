"""Two small folds for tests of runners: as simple as a stage can be, with everything that a runner meets.

`Counting` reads `readings`: one `accepted` record per record that is not a tick, one `rollups` record per tick
with what came since the last one. `Adding` reads `rollups`, skips repeats and holds at gaps as every reader
does, and writes running totals to `indicators`. Both change their state in place, as real folds do.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from pearlstream.errors import RegistryMissing
from pearlstream.fold import Output, Record, header, headers_of
from pearlstream.position import Mark, Position, Source, Verdict
from pearlstream.runner import internal_error

POISON = b"poison"
"""A value on which both folds raise, after they have changed half of their state."""


def tick(offset: int, clock_ms: int, registry: str = "00000000") -> Record:
    """A tick of event time."""
    headers = headers_of({"clock": clock_ms, "driver": "test/1", "registry": registry})
    return Record(offset, None, b"", headers)


def frame(offset: int, value: bytes, key: bytes = b"440300") -> Record:
    """A record that stands for a frame."""
    return Record(offset, key, value, ())


@dataclass
class CountingState:
    """What `Counting` knows of one source partition."""

    source: Source
    uptos: dict[str, int]
    clock_ms: int = 0
    total: int = 0
    since_tick: dict[str, int] = field(default_factory=dict)


@dataclass
class Counting:
    """Counts records per key between ticks. `registries`: versions that ticks may name (None: any)."""

    registries: set[str] | None = None
    name: str = "admit"
    version: int = 1
    source: str = "readings"
    targets: tuple[str, ...] = ("accepted", "rollups", "quarantine")

    def start(self, source: Source, first_offset: int = 0) -> CountingState:
        """Nothing counted."""
        return CountingState(source, dict.fromkeys(self.targets, first_offset - 1))

    def apply(self, state: CountingState, records: Sequence[Record]) -> tuple[CountingState, list[Output]]:
        """Fold records; raises ValueError on POISON and leaves the state half changed."""
        self._check_registries(records)
        outputs: list[Output] = []
        for record in records:
            clock = header(record.headers, "clock")
            if clock is None:
                state.total += 1
                key = (record.key or b"").decode()
                state.since_tick[key] = state.since_tick.get(key, 0) + 1
                if record.value == POISON:
                    raise ValueError("poison")
                outputs.append(self._output(state, "accepted", record, record.value or b"", {"n": state.total}))
            elif int(clock) > state.clock_ms:
                state.clock_ms = int(clock)
                body = orjson.dumps(state.since_tick, option=orjson.OPT_SORT_KEYS)
                state.since_tick = {}
                outputs.append(self._output(state, "rollups", record, body, {"clock": clock, "total": state.total}))
        return state, outputs

    def _check_registries(self, records: Sequence[Record]) -> None:
        for record in records:
            named = header(record.headers, "registry")
            if named is not None and self.registries is not None and named not in self.registries:
                raise RegistryMissing(f"no registry {named}")

    def _output(
        self, state: CountingState, target: str, record: Record, value: bytes, more: dict[str, str | int]
    ) -> Output:
        position = Position(state.source, state.uptos[target], record.offset)
        state.uptos[target] = record.offset
        return Output(target, record.key, value, headers_of({"from": str(position), **more}), record.offset)

    def refuse(self, state: CountingState, record: Record, error: Exception) -> tuple[CountingState, list[Output]]:
        """Quarantine and an empty `accepted` record, so that every record has exactly one."""
        refused = internal_error(self, state.source, state.uptos["quarantine"], record, error)
        state.uptos["quarantine"] = record.offset
        return state, [refused, self._output(state, "accepted", record, b"", {"n": state.total})]

    def settled(self, state: CountingState) -> bool:
        """True if nothing came since the last tick."""
        return not state.since_tick and state.clock_ms > 0

    def pack(self, state: CountingState) -> bytes:
        """JSON, compressed. Raises ValueError unless the state is settled."""
        if state.since_tick:
            raise ValueError("not settled")
        return zlib.compress(orjson.dumps({"version": self.version, **asdict(state)}, default=list))

    def unpack(self, blob: bytes) -> CountingState:
        """Inverse of `pack`."""
        body = _body(blob, self.version)
        return CountingState(Source(*body.pop("source")), **body)


@dataclass
class AddingState:
    """What `Adding` knows of one source partition."""

    source: Source
    upto: int
    marks: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    held: list[tuple[str, str]] = field(default_factory=list)
    """Position and body of records that wait for what comes before them."""


@dataclass
class Adding:
    """Adds up what `Counting` wrote: a repeat adds nothing, a record behind a gap waits."""

    name: str = "indicate"
    version: int = 1
    source: str = "rollups"
    targets: tuple[str, ...] = ("indicators",)

    def start(self, source: Source, first_offset: int = 0) -> AddingState:
        """No totals."""
        return AddingState(source, first_offset - 1)

    def apply(self, state: AddingState, records: Sequence[Record]) -> tuple[AddingState, list[Output]]:
        """One output per record that adds something: the totals after each step, as a list."""
        outputs: list[Output] = []
        for record in records:
            state.held.append((header(record.headers, "from") or "", (record.value or b"{}").decode()))
            steps = self._release(state)
            if not steps:
                continue
            position = Position(state.source, state.upto, record.offset)
            clock = header(record.headers, "clock") or "0"
            state.upto = record.offset
            headers = headers_of({"from": str(position), "clock": clock})
            outputs.append(Output("indicators", None, orjson.dumps(steps), headers, record.offset))
        return state, outputs

    def _release(self, state: AddingState) -> list[dict[str, int]]:
        """Apply what may be applied, drop repeats, and return the totals after each."""
        steps: list[dict[str, int]] = []
        waiting = sorted(state.held, key=lambda one: Position.parse(one[0]).upto)
        state.held = []
        for text, body in waiting:
            position = Position.parse(text)
            verdict = Mark(state.marks.get(str(position.source), -1)).judge(position)
            if verdict is Verdict.GAP:
                state.held.append((text, body))
            elif verdict is Verdict.APPLY:
                state.marks[str(position.source)] = position.upto
                totals = Counter(state.totals)
                totals.update(orjson.loads(body))
                state.totals = dict(sorted(totals.items()))
                steps.append(state.totals)
        return steps

    def settled(self, state: AddingState) -> bool:
        """Always: the state is whole after every record."""
        return state.upto >= -1

    def pack(self, state: AddingState) -> bytes:
        """JSON, compressed."""
        return zlib.compress(orjson.dumps({"version": self.version, **asdict(state)}, default=list))

    def unpack(self, blob: bytes) -> AddingState:
        """Inverse of `pack`."""
        body = _body(blob, self.version)
        held = [(text, value) for text, value in body.pop("held")]
        return AddingState(Source(*body.pop("source")), held=held, **body)


def _body(blob: bytes, version: int) -> dict[str, Any]:
    """The JSON object in a packed state. Raises ValueError if it is torn or of another version."""
    try:
        body = orjson.loads(zlib.decompress(blob))
    except zlib.error as error:
        raise ValueError("torn") from error
    if body.pop("version") != version:
        raise ValueError("another version")
    return dict(body)
