"""The log of an act: recorded frames and ticks through the very fold `admit`, cut into what is stored at once.

The same readings give the same log, offset by offset, and the same cuts: who is killed makes them again and inserts
them under the same tokens. A *stretch* ends where the next frame arrived on another day (UTC, by the log's own clock):
then panes can be made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from pearlstream.fold import Headers, InProcess, Output, Record
from pearlstream.folds.admit import Admit
from pearlstream.position import HISTORY, Source
from pearlstream.program import Program
from pearlstream.registry import RegistryBook
from sinks.clickhouse.chain import Item, item_of
from sinks.clickhouse.history.model import DAY_MS
from sinks.clickhouse.shapes import number

BATCH = 500
"""Records that are folded together."""
CUT_ROWS = 100_000
"""A cut ends at about so many rows: one block in the store."""


def source_of(act: int) -> Source:
    """Where readings of an act come from: its log has one partition for all cities."""
    return Source(f"{HISTORY}{act}", 0)


@dataclass
class Cut:
    """Outputs of `admit` that are stored together. `number` counts from 1, `stretch` from 0; `day`: when the stretch
    begins, ms. `last`: the stretch ends with it."""

    number: int
    stretch: int
    day: int
    accepted: list[Item] = field(default_factory=list)
    quarantine: list[Item] = field(default_factory=list)
    rollups: list[Item] = field(default_factory=list)
    weight: int = 0
    last: bool = False

    def put(self, item: Item) -> None:
        """Add an output."""
        getattr(self, item.role).append(item)
        self.weight += item.weight if item.role == "accepted" else 1


def cuts(program: Program, act: int, records: Iterable[tuple[bytes | None, bytes, Headers]]) -> Iterator[Cut]:
    """Fold recorded frames and ticks, and cut what comes out."""
    cut = Cut(1, 0, -1)
    for output in _outputs(program, act, records):
        if output.target == "crossings":
            continue
        item = item_of(output.target, 0, Record(output.upto, output.key, output.value, output.headers))
        if item.role == "accepted":
            day = number(item.facts.get("clock")) // DAY_MS * DAY_MS
            cut.day = day if cut.day < 0 else cut.day
            if day > cut.day:
                cut.last = True
                yield cut
                cut = Cut(cut.number + 1, cut.stretch + 1, day)
        if cut.weight >= CUT_ROWS and item.role != "quarantine":  # which stays with its frame
            yield cut
            cut = Cut(cut.number + 1, cut.stretch, cut.day)
        cut.put(item)
    cut.last = True
    yield cut


def _outputs(program: Program, act: int, records: Iterable[tuple[bytes | None, bytes, Headers]]) -> Iterator[Output]:
    """What `admit` says to the records. Which readings it accepts does not depend on the registry, so it has none."""
    admit = InProcess(Admit(program, RegistryBook(program.catalogue.feeds)), source_of(act))
    numbered = (Record(offset, *record) for offset, record in enumerate(records))
    while batch := list(islice(numbered, BATCH)):
        yield from admit.feed(batch)
