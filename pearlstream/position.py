"""Source ranges: what an output record covers, and how a reader skips repeats and holds at gaps.

A *position* names a stretch of one source partition in one life of its topic. Every output of a fold
carries the position it was made from (header `from`), so whoever reads the output can tell a repeat from
news, however often a crashed or frozen worker sends it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from pearlstream.errors import PositionError

HISTORY = "history-"
"""How the topic id of recorded readings begins that somebody loaded beside the live log; the act's number follows."""


class Source(NamedTuple):
    """One partition of one life of a topic. A topic that is made again has another `topic_id`."""

    topic_id: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic_id}/{self.partition}"

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read `<topic id>/<partition>`. Raises ValueError if it has another form."""
        topic_id, _, partition = text.rpartition("/")
        if not topic_id or "/" in topic_id:
            raise ValueError(f"not a source: {text!r}")
        return cls(topic_id, int(partition))

    @property
    def historic(self) -> bool:
        """It is no topic of the broker: an act loaded it into the store, and it has a time of its own."""
        return self.topic_id.startswith(HISTORY)


class Position(NamedTuple):
    """The half-open range of offsets `(after, upto]` of a source partition that one output covers."""

    source: Source
    after: int
    upto: int

    def __str__(self) -> str:
        return f"{self.source}/{self.after}/{self.upto}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `<topic id>/<partition>/<after>/<upto>`. Raises ValueError if it has another form."""
        parts = text.split("/")
        if len(parts) != 4 or not parts[0]:
            raise ValueError(f"not a position: {text!r}")
        position = cls(Source(parts[0], int(parts[1])), int(parts[2]), int(parts[3]))
        if position.upto < position.after or position.after < -1:
            raise ValueError(f"not a range: {text!r}")
        return position


class Verdict(Enum):
    """What a reader does with an output record."""

    APPLY = "apply"
    REPEAT = "repeat"
    GAP = "gap"


@dataclass
class Mark:
    """How far one source partition has been applied by one reader. `applied` is None before first contact."""

    applied: int | None = None

    def judge(self, position: Position) -> Verdict:
        """Say what to do with an output at `position`; changes nothing.

        Raises PositionError on an overlap (`after < applied < upto`): two outputs cover one record.
        """
        if self.applied is None or position.after == self.applied:
            return Verdict.APPLY
        if position.upto <= self.applied:
            return Verdict.REPEAT
        if position.after > self.applied:
            return Verdict.GAP
        raise PositionError(
            f"output {position} overlaps what was applied up to {self.applied}",
            remedy="this is a bug: an output's range depended on how records were batched; please report it",
        )

    def advance(self, position: Position) -> None:
        """Note that the output at `position` was applied."""
        self.applied = position.upto
