"""What a stage does with the positions of what it reads: skip repeats, hold what lies behind a gap, in order.

One partition may carry records of several sources, each a chain of its own: `indicators` holds those of
`indicate` and, in its first partition, those of `cluster`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pearlstream.fold import Record, header
from pearlstream.position import Mark, Position, Verdict

MAX_HELD = 1000
MAX_HELD_BYTES = 32 << 20
"""A gap is waited for until so much lies behind it; then it is passed and named in `lost`."""


@dataclass
class Chains:
    """The marks of all sources, and the records that wait behind a gap."""

    marks: dict[str, Mark] = field(default_factory=dict)
    held: list[Record] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """`<source>/<after>/<upto>` of what never came."""

    def ready(self, record: Record) -> list[Record]:
        """The records to apply now, in order: none if this one is a repeat, waits, or has no position.

        Raises PositionError on an overlap.
        """
        position = position_of(record)
        if position is None:
            return []
        mark = self.marks.setdefault(str(position.source), Mark())
        verdict = mark.judge(position)
        if verdict is Verdict.REPEAT:
            return []
        if verdict is Verdict.GAP:
            self.held.append(record)
            if len(self.held) <= MAX_HELD and sum(len(r.value or b"") for r in self.held) <= MAX_HELD_BYTES:
                return []
            return self._pass_gap()
        mark.advance(position)
        return [record, *self._release()] if self.held else [record]

    def _release(self) -> list[Record]:
        """Held records that follow on what is applied now."""
        ready: list[Record] = []
        while True:
            for number, record in enumerate(self.held):
                position = _known_position(record)
                mark = self.marks[str(position.source)]
                verdict = mark.judge(position)
                if verdict is Verdict.GAP:
                    continue
                del self.held[number]
                if verdict is Verdict.APPLY:
                    mark.advance(position)
                    ready.append(record)
                break
            else:
                return ready

    def _pass_gap(self) -> list[Record]:
        """Give up on what is missing before the earliest held record."""
        position = min(_known_position(record) for record in self.held)
        mark = self.marks[str(position.source)]
        self.lost.append(f"{position.source}/{mark.applied}/{position.after}")
        mark.applied = position.after
        return self._release()

    def pack(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "marks": {source: mark.applied for source, mark in self.marks.items()},
            "held": [_pack_record(record) for record in self.held],
            "lost": self.lost,
        }

    @classmethod
    def unpack(cls, fields: Mapping[str, Any]) -> Chains:
        """Inverse of `pack`."""
        marks = {source: Mark(applied) for source, applied in fields["marks"].items()}
        return cls(marks, [_unpack_record(one) for one in fields["held"]], list(fields["lost"]))


def position_of(record: Record) -> Position | None:
    """The header `from` of a record; None if it has none that can be read."""
    text = header(record.headers, "from")
    try:
        return Position.parse(text) if text else None
    except ValueError:
        return None


def _known_position(record: Record) -> Position:
    position = position_of(record)
    assert position is not None
    return position


def _pack_record(record: Record) -> list[Any]:
    value = base64.b64encode(record.value or b"").decode()
    return [record.offset, value, [[k, base64.b64encode(v).decode()] for k, v in record.headers], record.timestamp_ms]


def _unpack_record(fields: Sequence[Any]) -> Record:
    offset, value, headers, timestamp = fields
    return Record(offset, None, base64.b64decode(value), tuple((k, base64.b64decode(v)) for k, v in headers), timestamp)
