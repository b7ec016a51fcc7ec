"""An import onto the broker: topics of its own prefix, time's claim, registry, then the log at full speed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from pearlstream.broker import PartitionReader, admin_client, ensure_topics
from pearlstream.errors import FrameError, PearlstreamError, SettingsError
from pearlstream.fold import Record, header
from pearlstream.frame import read_tick
from pearlstream.registry import RegistryBook
from pearlstream.settings import ClickHouse, Kafka, Settings
from producers.claim import TimeClaim
from producers.importer.job import Import
from producers.importer.mapping import Mapping
from producers.importer.problems import PrefixRefused
from producers.importer.steps import Step
from producers.kafka_writer import KafkaClaimLog, KafkaWriter

Progress = Callable[[Step, int], None]
"""Told after each step: the step, and how many readings have been handed to the broker."""
_PREFIX = re.compile(r"[a-z0-9._-]{1,40}").fullmatch
LIVE_PREFIX = str(Kafka.model_fields["prefix"].default)
DEFAULT_DATABASE = str(ClickHouse.model_fields["database"].default)


@dataclass(frozen=True)
class Sent:
    """What came of it, all acknowledged. `clock_ms`: the last tick."""

    readings: int
    frames: int
    ticks: int
    registry: str
    driver: str
    clock_ms: int
    wall_s: float


def prefix_for(mapping: Mapping, settings: Settings, given: str | None) -> str:
    """The prefix of an import: `given`, or `import.<name>.`. Raises PrefixRefused for a live one.

    Live are the shipped prefix and the one that the settings name, unless that is plainly an import's.
    """
    prefix = given if given is not None else f"import.{mapping.name}."
    own = f"--prefix import.{mapping.name}."
    if not _PREFIX(prefix):
        raise PrefixRefused(f"{prefix!r} is no prefix", remedy=f"small letters, digits, . _ -, for example {own}")
    live = {LIVE_PREFIX} | ({settings.kafka.prefix} if not settings.kafka.prefix.startswith("import.") else set())
    if prefix in live:
        raise PrefixRefused(
            f"{prefix!r} is the live prefix: the time of history would stop the clock of the present",
            remedy=f"leave --prefix out, or say {own}",
        )
    return prefix


def database_for(prefix: str, settings: Settings) -> str:
    """The database of an import: the one that the settings name, else one that belongs to its prefix alone.

    `import.beijing-air.` -> `pearlstream_beijing_air`: two logs in one database would add up.
    """
    named = settings.clickhouse.database
    words = re.findall(r"[a-z0-9]+", prefix.removeprefix("import."))
    return named if named != DEFAULT_DATABASE else "_".join(["pearlstream", *words])


def kafka_for(settings: Settings, prefix: str) -> Kafka:
    """The broker's settings under the import's prefix. Raises SettingsError if no broker is named."""
    if not settings.kafka.bootstrap_servers:
        raise SettingsError(
            "no broker is named, so there is nowhere to send to",
            remedy="look first with --dry-run or --in-process, which need none; "
            "or set PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS=host:port",
        )
    return settings.kafka.model_copy(update={"prefix": prefix})


def send(job: Import, kafka: Kafka, progress: Progress | None = None) -> Sent:
    """Write a prepared import to the broker and wait until all of it is acknowledged.

    Raises DriverConflict if somebody else drives time, PrefixRefused if the log holds a later time already,
    ServiceError if the broker fails; what was sent by then stays, so the next try needs another prefix.
    """
    with ExitStack() as stack:
        with admin_client(kafka) as admin:
            ensure_topics(admin, kafka)
        claims = KafkaClaimLog(kafka)
        stack.callback(claims.close)
        claim = TimeClaim(claims, "import")
        driver = claim.take()
        clock = [0]
        stack.callback(_give_up, claim, clock)
        _check_log(kafka, job)
        writer = KafkaWriter(kafka)
        stack.callback(writer.close)
        book = RegistryBook(job.program.catalogue.feeds)
        book.read(_registered(kafka))
        records = [(value, book.add([value])) for value in job.book.records()]
        writer.register(records)
        return _play(job, writer, claim, book.last.version, driver, clock, progress)


def _play(
    job: Import,
    writer: KafkaWriter,
    claim: TimeClaim,
    registry: str,
    driver: str,
    clock: list[int],
    progress: Progress | None,
) -> Sent:
    began, readings, frames, ticks = time.monotonic(), 0, 0, 0
    for step in job.steps():
        for frame in step.frames:
            writer.send_frame(frame.city, frame.payload(), frame.headers(int(time.time() * 1000)))
            readings, frames = readings + frame.rows, frames + 1
        writer.send_tick(step.tick(registry, driver))
        ticks, clock[0] = ticks + 1, step.clock_ms
        claim.refresh(step.clock_ms)
        if progress is not None:
            progress(step, readings)
    writer.flush()
    return Sent(readings, frames, ticks, registry, driver, clock[0], time.monotonic() - began)


def _give_up(claim: TimeClaim, clock: list[int]) -> None:
    """Release time, however the run ended; a broker that is gone does not hide what went wrong before."""
    with suppress(PearlstreamError):
        claim.release(clock[0])


def _registered(kafka: Kafka) -> list[tuple[bytes, str | None]]:
    """What the topic `devices` holds already."""
    reader = PartitionReader(kafka, "devices")
    try:
        return [(record.value or b"", header(record.headers, "registry")) for record in reader.read()]
    finally:
        reader.close()


def _check_log(kafka: Kafka, job: Import) -> None:
    """An import may continue a log of earlier times, and nothing else: time cannot be turned back."""
    first_ms = next(iter(job.steps())).clock_ms
    for partition in range(kafka.partitions):
        clock = _last_clock(kafka, partition)
        if clock is None or 0 <= clock < first_ms:
            continue
        name = job.resolved.mapping.name
        why = "was not ended in order" if clock < 0 else "already holds this time or a later one"
        raise PrefixRefused(
            f"the log under {kafka.prefix!r} {why}, so what is imported again would be late or refused",
            remedy=f"choose another prefix, for example --prefix import.{name}-2., with a database of its own",
        )


def _last_clock(kafka: Kafka, partition: int) -> int | None:
    """The clock (ms) with which a partition ends; None if it is empty, -1 if it does not end with a tick."""
    probe = PartitionReader(kafka, "readings", partition)
    try:
        end = probe.end()
    finally:
        probe.close()
    if end == 0:
        return None
    reader = PartitionReader(kafka, "readings", partition, start=end - 1)
    try:
        records = reader.read()
    finally:
        reader.close()
    if not records:
        return -1
    last = records[-1]
    try:
        tick = read_tick(Record(last.offset, last.key, last.value, last.headers), kafka.seal)
    except FrameError:
        return -1
    return tick.clock_ms if tick is not None else -1
