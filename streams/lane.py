"""One source partition in one worker, and how it begins: from its newest usable snapshot, else from the first record.

An older snapshot is always a correct start, so whatever is torn, unreadable, of another fold version or of another
catalogue is passed over with a line in the log.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pearlstream.errors import RegistryMissing
from pearlstream.fold import Fold, Record
from pearlstream.logs import get_logger
from pearlstream.position import Source
from pearlstream.runner import Folding, Limits, Outbox, Snapshot
from pearlstream.snapshot import Maker, find
from streams.logread import first_offsets, log_reader, read_tails

log = get_logger(__name__)

SNAPSHOT_TAIL = 16
"""Records at the end of a state partition that are looked at before the whole of it is."""


@dataclass(eq=False)
class Lane:
    """The runner of one source partition, and what is known of it."""

    partition: int
    folding: Folding[Any]
    outbox: Outbox = field(default_factory=Outbox)
    turn: str = "a"
    """The set of keys that the last snapshot in several parts went under."""
    clock_ms: int | None = None
    last_tick_at: float = field(default_factory=time.monotonic)
    nudged: int = -1
    """What was expected when it was last looked whether anything comes."""
    silent: int = 0
    """How often in a row nothing had come although records wait."""
    waiting_for: str = ""
    """What of the registry is awaited, in words; empty if nothing is."""


@dataclass(frozen=True)
class Beginning:
    """All that decides where lanes begin."""

    fold: Fold[Any]
    maker: Maker
    topic_id: str
    source_topic: str
    state_topic: str
    limits: Limits


async def load_lanes(bootstrap: str, how: Beginning, partitions: Sequence[int]) -> dict[int, Lane]:
    """A lane for each partition. Raises KafkaError, or RegistryMissing if a snapshot needs a registry not read yet."""
    async with log_reader(bootstrap) as reader:
        firsts = await first_offsets(reader, how.source_topic, partitions)
        tails = await read_tails(reader, how.state_topic, partitions, SNAPSHOT_TAIL)
        lanes = {number: _from_snapshot(how, number, tails[number]) for number in partitions}
        without = [number for number, lane in lanes.items() if lane is None]
        if without:
            whole = await read_tails(reader, how.state_topic, without)
            lanes |= {number: _from_snapshot(how, number, whole[number]) for number in without}
    return {
        number: lane if lane is not None else _from_first(how, number, firsts[number]) for number, lane in lanes.items()
    }


def _from_snapshot(how: Beginning, partition: int, states: Sequence[Record]) -> Lane | None:
    """The lane from the newest snapshot that can be used, or None if there is none."""
    source = Source(how.topic_id, partition)
    found, ignored = find(states, how.maker, source)
    if ignored:
        log.warning(
            "snapshots of another version or catalogue, or torn, are ignored",
            stage=how.fold.name, partition=partition, count=ignored, usable=tuple(how.maker),
        )  # fmt: skip
    for one in found:
        folding = _unpack(how, source, one.snapshot)
        if folding is not None:
            log.info("resuming", stage=how.fold.name, partition=partition, offset=folding.expected)
            return Lane(partition, folding, turn=one.turn or "a")
    return None


def _from_first(how: Beginning, partition: int, first: int) -> Lane:
    log.info("beginning without a snapshot", stage=how.fold.name, partition=partition, offset=first)
    source = Source(how.topic_id, partition)
    return Lane(partition, Folding(how.fold, source, first_offset=first, limits=how.limits))


def _unpack(how: Beginning, source: Source, snapshot: Snapshot) -> Folding[Any] | None:
    try:
        return Folding(how.fold, source, start=snapshot, limits=how.limits)
    except RegistryMissing:
        raise
    except Exception as error:
        # ValueError is what folds promise; whatever else it is, folding again from an older state is right too.
        log.warning(
            "an unreadable snapshot is ignored",
            stage=how.fold.name, partition=source.partition, applied=snapshot.applied, error=repr(error),
        )  # fmt: skip
        return None
