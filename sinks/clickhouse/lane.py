"""A lane: one topic on its way into the store, cut by cut.

A cut is a vector of offset ranges over the partitions of the topic. It may depend on the clock, because it is
written down (as an intent) before anything is inserted; after a crash the same ranges are read again and give
the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pearlstream.fold import Record
from sinks.clickhouse.chain import Item, Lost, Marks, Progress, clean_length, item_of, walk

CUT_ROWS = 100_000
"""A cut ends at about so many rows: one block in the store."""
CUT_BYTES = 32 << 20
"""... or so many bytes of records."""
HOLD_BYTES = 40 << 20
"""A lane that holds more bytes than this reads no further for the time being."""
GAP_TIMEOUT_S = 60.0
"""A gap that stands so long is passed over."""


class Range(NamedTuple):
    """Offsets `start` to before `stop` of a partition; equal if the cut takes nothing from it."""

    partition: int
    start: int
    stop: int


class Intent(NamedTuple):
    """The newest cut of a lane in the journal. `marks`: before the cut if it is open, after it if it is done."""

    topic_id: str
    number: int
    ranges: tuple[Range, ...]
    done: bool
    marks: dict[str, Progress]


@dataclass
class Cut:
    """A cut that is being brought into the store."""

    role: str
    topic_id: str
    number: int
    ranges: tuple[Range, ...]
    before: Marks
    after: Marks
    items: list[Item]
    lost: list[Lost]
    repeats: int
    again: bool = False
    """It stands in the journal already: this is a redo."""

    @property
    def name(self) -> str:
        """What its tokens begin with: topic id, topic and the ranges that are not empty."""
        ranges = ",".join(f"{r.partition}:{r.start}-{r.stop}" for r in self.ranges if r.stop > r.start)
        return f"{self.topic_id}/{self.role}/{ranges}"


@dataclass
class _Queue:
    """Records of one partition that are read and not cut yet. `reached`: the offset to be read next."""

    start: int
    reached: int
    items: list[Item] = field(default_factory=list)
    size: int = 0
    weight: int = 0
    stuck_since: float | None = None


class Lane:
    """Buffers a topic's records and cuts them. Knows no broker and no store; `now` is any steady clock (s)."""

    def __init__(self, role: str, topic_id: str, partitions: Sequence[int], last: Intent | None = None) -> None:
        self.role = role
        self.topic_id = topic_id
        self.number = last.number if last else 0
        self.marks: dict[str, Progress] = dict(last.marks) if last else {}
        self._redo = last if last and not last.done else None
        again = self._redo is not None
        starts = {r.partition: r.start if again else r.stop for r in last.ranges} if last else {}
        self._queues = {p: _Queue(starts.get(p, 0), starts.get(p, 0)) for p in partitions}
        self.gap_timeout_s = GAP_TIMEOUT_S
        self.repeats = 0
        self.cut_rows = CUT_ROWS

    @property
    def redoing(self) -> bool:
        """An open cut of the journal has still to be made again."""
        return self._redo is not None

    def skip_to(self, begins: Mapping[int, int]) -> None:
        """Go on at these offsets, because nothing before them is left. An open cut is made again from what is left.

        Its token stays: if the store has it, it was whole there.
        """
        for partition, offset in begins.items():
            queue = self._queues[partition]
            queue.start, queue.reached = offset, max(offset, queue.reached)

    @property
    def starts(self) -> dict[int, int]:
        """Offset of the first record that is not in a finished cut, by partition: where to read from."""
        return {partition: queue.start for partition, queue in self._queues.items()}

    @property
    def reached(self) -> dict[int, int]:
        """Offset to be read next, by partition."""
        return {partition: queue.reached for partition, queue in self._queues.items()}

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(queue.size for queue in self._queues.values())

    @property
    def full(self) -> bool:
        """It should read no further for now."""
        return self.size > HOLD_BYTES

    @property
    def due(self) -> bool:
        """There is enough for a whole cut, or a redo is to be done: do not wait for the flush."""
        if self._redo is not None:
            return True
        return self.size > CUT_BYTES or sum(queue.weight for queue in self._queues.values()) > self.cut_rows

    @property
    def stuck(self) -> list[int]:
        """Partitions that wait for something missing."""
        return [partition for partition, queue in self._queues.items() if queue.stuck_since is not None]

    def take(self, partition: int, records: Sequence[Record], reached: int) -> None:
        """Add records that were read; `reached` is the offset that will be read next."""
        queue = self._queues[partition]
        for record in records:
            if record.offset >= queue.reached:
                item = item_of(self.role, partition, record)
                queue.items.append(item)
                queue.size += item.size
                queue.weight += item.weight
        queue.reached = max(queue.reached, reached)

    def cut(self, now: float) -> Cut | None:
        """The next cut, or None if there is nothing to cut. Raises PositionError.

        The cut is taken out of the lane; it has to be brought into the store before the next one is asked for.
        """
        if self._redo is not None:
            return self._cut_again(self._redo)
        lengths = self._lengths(now)
        if not any(lengths.values()):
            return None
        ranges = []
        for partition, queue in self._queues.items():
            length = lengths[partition]
            stop = queue.start if length == 0 else queue.items[length - 1].record.offset + 1
            ranges.append(Range(partition, queue.start, queue.reached if 0 < length == len(queue.items) else stop))
        self.number += 1
        return self._taken(tuple(ranges), again=False)

    def _lengths(self, now: float) -> dict[int, int]:
        """How many items to take of each partition."""
        busy = [queue for queue in self._queues.values() if queue.items]
        rows, size = self.cut_rows // max(len(busy), 1), CUT_BYTES // max(len(busy), 1)
        marks = self.marks
        lengths = {}
        for partition, queue in self._queues.items():
            limit = _fitting(queue.items, rows, size)
            length = clean_length(marks, queue.items, limit)
            if queue.items and length == 0:
                queue.stuck_since = now if queue.stuck_since is None else queue.stuck_since
                if now - queue.stuck_since >= self.gap_timeout_s or self.full:
                    length = limit
            if length:
                queue.stuck_since = None
            lengths[partition] = length
        return lengths

    def _cut_again(self, intent: Intent) -> Cut | None:
        """The cut of an intent once more, as soon as all of its ranges have been read again."""
        if any(self._queues[r.partition].reached < r.stop for r in intent.ranges if r.stop > r.start):
            return None
        self._redo = None
        return self._taken(intent.ranges, again=True)

    def _taken(self, ranges: tuple[Range, ...], *, again: bool) -> Cut:
        marks = dict(self.marks)
        cut = Cut(self.role, self.topic_id, self.number, ranges, dict(marks), marks, [], [], 0, again)
        for r in ranges:
            queue = self._queues[r.partition]
            length = sum(item.record.offset < r.stop for item in queue.items)
            taken = queue.items[:length]
            queue.items = queue.items[length:]
            queue.size -= sum(item.size for item in taken)
            queue.weight -= sum(item.weight for item in taken)
            queue.start = max(queue.start, r.stop)
            walked = walk(marks, taken)
            marks.update(walked.marks)
            cut.items += walked.applied
            cut.lost += walked.lost
            cut.repeats += walked.repeats
        self.marks = marks
        self.repeats += cut.repeats
        return cut


def _fitting(items: Sequence[Item], rows: int, size: int) -> int:
    """How many items fit under the limits; at least one if there is one."""
    for number, item in enumerate(items):
        rows -= item.weight
        size -= item.size
        if number and (rows < 0 or size < 0):
            return number
    return len(items)


def lag(lane: Lane, ends: Mapping[int, int]) -> int:
    """Records of the topic that are not in a finished cut."""
    return sum(max(0, end - lane.starts.get(partition, 0)) for partition, end in ends.items())
