"""What the broker can tell the ledger: how far the topics reach, and what a single record was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pearlstream.errors import FrameError, ServiceError
from pearlstream.fold import Record
from pearlstream.frame import read_tick
from pearlstream.position import Source
from pearlstream.settings import Kafka
from sinks.clickhouse.journal import INTENT, Entry
from sinks.clickhouse.tape import KafkaTape, Spot, Tape

STORED = ("accepted", "rollups", "indicators", "quarantine")
READ_POLLS = 200

Newest = Mapping[tuple[str, str], Entry]
"""The newest line of the journal by topic id and role."""


class BrokerView:
    """A look at the topics as they are now. Raises ServiceError if the broker does not answer."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._ids = tape.topic_ids(["readings", *STORED])
        self._spots = [Spot(role, p) for role in self._ids for p in tape.partitions(role)]
        self._ends = tape.ends(self._spots)

    def refresh(self) -> None:
        """Look at the ends again. To be done after the journal was read, never before."""
        self._ends = self._tape.ends(self._spots)

    def sources(self) -> list[Source]:
        """The partitions of `readings` that hold something."""
        return [
            Source(self._ids["readings"], spot.partition)
            for spot, end in self._ends.items()
            if spot.role == "readings" and end > 0
        ]

    def end(self, source: Source) -> int | None:
        """Where a source ends; None if it is of another life of the broker."""
        if source.topic_id != self._ids.get("readings"):
            return None
        return self._ends.get(Spot("readings", source.partition))

    def lags(self, newest: Newest) -> dict[str, int]:
        """Records of each topic that are not in the store yet."""
        lags = dict.fromkeys((role for role in STORED if role in self._ids), 0)
        for spot, end in self._ends.items():
            if spot.role in lags:
                lags[spot.role] += max(0, end - self._stored_to(newest, spot))
        return lags

    def caught_up(self, newest: Newest, role: str, partition: int) -> bool:
        """All that this partition of a topic holds is in the store."""
        spot = Spot(role, partition)
        return self._stored_to(newest, spot) >= self._ends.get(spot, 0)

    def _stored_to(self, newest: Newest, spot: Spot) -> int:
        entry = newest.get((self._ids[spot.role], spot.role))
        if entry is None:
            return 0
        found = [r for r in entry.ranges if r.partition == spot.partition]
        return (found[0].start if entry.state == INTENT else found[0].stop) if found else 0

    def ticks_among(self, source: Source, offsets: Sequence[int]) -> set[int]:
        """Which of these records are ticks (that were not above the clock, as they brought nothing about)."""
        if not offsets or source.topic_id != self._ids.get("readings"):
            return set()
        wanted, found = set(offsets), set()
        spot = Spot("readings", source.partition)
        self._tape.start({spot: min(wanted)})
        for _ in range(READ_POLLS):
            records, reached = self._tape.poll(0.1).get(spot, ([], min(wanted)))
            for record in records:
                if record.offset in wanted and _is_tick(record):
                    found.add(record.offset)
            if reached > max(wanted):
                return found
        raise ServiceError(f"{spot.role}/{spot.partition} could not be read", remedy="check the broker and try again")


def _is_tick(record: Record) -> bool:
    try:
        return read_tick(record) is not None
    except FrameError:
        return False


@contextmanager
def broker_view(kafka: Kafka) -> Iterator[BrokerView | None]:
    """A look at the broker of the settings; None if they name none. Raises ServiceError if it does not answer."""
    if not kafka.bootstrap_servers:
        yield None
        return
    tape = KafkaTape(kafka)
    try:
        yield BrokerView(tape)
    finally:
        tape.close()
