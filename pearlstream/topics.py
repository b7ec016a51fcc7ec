"""Topics: the page that names every one of them."""

from __future__ import annotations

from typing import NamedTuple

MIB = 1 << 20


class Topic(NamedTuple):
    """A topic role. `partitioned`: has the common number of partitions, otherwise one. `forever`: small, and needed
    from its beginning."""

    role: str
    meaning: str
    partitioned: bool = True
    compacted: bool = False
    forever: bool = False
    max_message_bytes: int = MIB


TOPICS: tuple[Topic, ...] = (
    Topic("readings", "the outside world: frames from gateways and ticks, one log for all feeds"),
    Topic("accepted", "clean readings: exactly one record per frame, each reading once", max_message_bytes=8 * MIB),
    Topic("rollups", "partials per tick: the mergeable sums of each pane", max_message_bytes=8 * MIB),
    Topic(
        "crossings",
        "of the partials of all partitions, those of what crosses cities",
        partitioned=False,
        max_message_bytes=8 * MIB,
    ),
    Topic("indicators", "indicator rows: provisional, settled, corrected", max_message_bytes=8 * MIB),
    Topic("alerts", "alert transitions"),
    Topic("quarantine", "what could not be read, with position, reason and remedy"),
    Topic("truth.labels", "what the simulator did: scenarios and faults", partitioned=False, forever=True),
    Topic("devices", "the device registry, in the order it grew", partitioned=False, forever=True),
    Topic("state.clock", "who drives time", partitioned=False, forever=True),
    Topic("state.admit", "snapshots of the stage admit", compacted=True, max_message_bytes=8 * MIB),
    Topic("state.indicate", "snapshots of the stage indicate", compacted=True, max_message_bytes=8 * MIB),
    Topic(
        "state.cluster",
        "snapshots of the stage cluster",
        partitioned=False,
        compacted=True,
        max_message_bytes=8 * MIB,
    ),
    Topic("state.alert", "snapshots of the stage alert", compacted=True, max_message_bytes=8 * MIB),
)

ROLES: dict[str, Topic] = {topic.role: topic for topic in TOPICS}


def partition_to(role: str, partition: int) -> int:
    """The partition of a topic that a record made from `partition` is written to: the same, or the only one."""
    return partition if ROLES[role].partitioned else 0


def topic_name(prefix: str, role: str) -> str:
    """The broker's name of a topic role, `pearl.readings`. Raises KeyError for an unknown role."""
    return prefix + ROLES[role].role
