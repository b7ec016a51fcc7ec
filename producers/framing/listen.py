"""From a topic of single readings to frames on `readings`: read, frame, wait for every acknowledgement, commit.

The source's offsets are committed only after the frames are acknowledged. A crash between the two sends messages
again, in frames that may be cut otherwise: `admit` knows each reading by its device and `seq` (or time) and counts it
once. One listener reads a topic: it takes all partitions and joins no group.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pearlstream.broker import admin_client, ensure_topics, reaching, reader_options
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError, SettingsError
from pearlstream.settings import Kafka, Settings
from producers.framing.framer import Framer, Message
from producers.framing.ticker import Ticker
from producers.kafka_writer import KafkaWriter

POLL_RECORDS = 10_000
GROUP = "listen."


@dataclass
class Heard:
    """What a listener has sent on, acknowledged."""

    messages: int = 0
    frames: int = 0
    alone: int = 0
    """Messages that went on in a frame of their own, for `admit` to judge."""


@dataclass
class Batch:
    """Messages read and not committed yet, and where each partition goes on after them."""

    messages: list[Message] = field(default_factory=list)
    upto: dict[int, int] = field(default_factory=dict)


class SourceTopic:
    """The topic that is listened to, on a broker of its own or ours. Raises SettingsError if it does not exist."""

    def __init__(self, servers: Kafka, topic: str, group: str) -> None:
        from kafka import KafkaConsumer, TopicPartition

        self._servers, self._topic, self._at = servers, topic, TopicPartition
        with reaching(servers):
            self._consumer = KafkaConsumer(
                **reader_options(servers, "pearlstream-listen"),
                group_id=group,
                max_poll_records=POLL_RECORDS,
            )
            partitions = self._consumer.partitions_for_topic(topic)
            if not partitions:
                self._consumer.close()
                raise SettingsError(
                    f"there is no topic {topic} on {servers.bootstrap_servers}",
                    remedy="name an existing one with --topic, and its broker with --source",
                )
            self._consumer.assign([TopicPartition(topic, number) for number in sorted(partitions)])

    def read(self, batch: Batch, timeout_s: float) -> None:
        """Add what comes within the time, and what is there already, to a batch."""
        with reaching(self._servers):
            found = self._consumer.poll(timeout_ms=max(0, round(timeout_s * 1000)))
        for at, records in found.items():
            batch.messages += [Message(one.key, one.value, tuple(one.headers or ())) for one in records]
            batch.upto[at.partition] = records[-1].offset + 1

    def commit(self, upto: Mapping[int, int]) -> None:
        """Note that everything below these offsets has been sent on."""
        from kafka.structs import OffsetAndMetadata

        with reaching(self._servers):
            self._consumer.commit(
                {self._at(self._topic, number): OffsetAndMetadata(offset, "", -1) for number, offset in upto.items()}
            )

    def close(self) -> None:
        """Give the connection back, without committing anything."""
        self._consumer.close(autocommit=False)


@dataclass(frozen=True)
class Listening:
    """What to listen to. `within_s`: how long a frame may wait for more readings; `idle_s`: end after so long without
    any message (None: never). `ticks`: drive time under our prefix, too."""

    source: Kafka
    topic: str
    rows: int = 500
    within_s: float = 0.5
    idle_s: float | None = None
    ticks: bool = False


def listen(what: Listening, settings: Settings, catalogue: Catalogue, framer: Framer, stop: threading.Event) -> Heard:
    """Send on what comes until stopped. Raises ServiceError if a broker fails; what `Heard` counts is acknowledged.

    Raises DriverConflict if it is to drive time and somebody else does.
    """
    heard = Heard()
    with ExitStack() as stack:
        with admin_client(settings.kafka) as admin:
            ensure_topics(admin, settings.kafka)
        source = SourceTopic(what.source, what.topic, f"{settings.kafka.prefix}{GROUP}{what.topic}"[:200])
        stack.callback(source.close)
        writer = KafkaWriter(settings.kafka)
        stack.callback(writer.close)
        ticker = stack.enter_context(Ticker(settings.kafka, catalogue, writer)) if what.ticks else None
        last = time.monotonic()
        while not stop.is_set():
            batch = gathered(source, what, stop)
            if ticker is not None:
                ticker.beat()
            if batch.messages:
                last = time.monotonic()
                _send(batch, source, writer, framer, heard)
            elif what.idle_s is not None and time.monotonic() - last > what.idle_s:
                break
    return heard


def gathered(source: SourceTopic, what: Listening, stop: threading.Event) -> Batch:
    """Messages for some frames: what comes within the time, but no more than is worth framing at once."""
    batch = Batch()
    until = time.monotonic() + what.within_s
    while (left := until - time.monotonic()) > 0 and len(batch.messages) < max(POLL_RECORDS, what.rows):
        if stop.is_set():
            break
        source.read(batch, left)
    return batch


def _send(batch: Batch, source: SourceTopic, writer: KafkaWriter, framer: Framer, heard: Heard) -> None:
    frames = framer.frames(batch.messages, int(time.time() * 1000))
    if sum(frame.rows for frame in frames) != len(batch.messages):
        raise ServiceError("a message is in no frame", remedy="this is a bug: please report it; nothing is committed")
    for frame in frames:
        writer.send_record(frame.key, frame.value, frame.headers)
    writer.flush()
    source.commit(batch.upto)
    heard.messages += len(batch.messages)
    heard.frames += len(frames)
    heard.alone += sum(frame.alone for frame in frames)


def source_of(settings: Settings, bootstrap: str | None) -> Kafka:
    """The broker to listen to: the one named, else ours."""
    changes: dict[str, Any] = {"bootstrap_servers": bootstrap} if bootstrap else {}
    return settings.kafka.model_copy(update=changes)


def gateway_of(topic: str) -> str:
    """The id of the gateway that frames of a topic carry."""
    return "listen-" + re.sub(r"[^A-Za-z0-9._:-]", "-", topic)[:57]
