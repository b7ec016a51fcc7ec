"""The sender, and the writer before it, on a connection that fails in every way a broker has."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kafka.errors import KafkaTimeoutError, OutOfOrderSequenceNumberError, TopicAuthorizationFailedError

from pearlstream.errors import ServiceError
from pearlstream.settings import Kafka
from producers.spool import sender, writer
from producers.spool.record import pack
from producers.spool.sender import Sender
from producers.spool.spool import Spool, SpoolFull
from producers.spool.writer import SpooledWriter
from producers.writer import FRAMES, Outgoing


def record(number: int) -> Outgoing:
    return Outgoing(FRAMES, b"440300", b"%d" % number, (("gateway", b"g"),), 2)


def trouble(cause: Exception) -> ServiceError:
    """An error as the client's wrapper raises it."""
    error = ServiceError("the broker does not answer", remedy="start it")
    error.__cause__ = cause
    return error


@dataclass
class Broker:
    """A broker's side: what has arrived, connection by connection. `answering`: whether it acknowledges."""

    arrived: list[list[bytes]] = field(default_factory=list)
    answering: threading.Event = field(default_factory=threading.Event)
    troubles: list[Exception] = field(default_factory=list)
    """Raised by the next attempts to connect."""
    refuse_after: int | None = None
    """So many records on, the present connection fails once, with `refusal`."""
    refusal: Exception = field(default_factory=KafkaTimeoutError)

    def connect(self) -> Connection:
        if self.troubles:
            raise trouble(self.troubles.pop(0))
        self.arrived.append([])
        return Connection(self)


@dataclass
class Connection:
    broker: Broker
    failed: Exception | None = None
    waiting: list[Callable[[], None]] = field(default_factory=list)

    def post(self, record: Outgoing, acknowledged: Callable[[], None]) -> None:
        if self.broker.refuse_after == 0:
            self.broker.refuse_after, self.failed = None, self.broker.refusal
        if self.failed is not None:
            return
        if self.broker.refuse_after is not None:
            self.broker.refuse_after -= 1
        self.broker.arrived[-1].append(record.value)
        self.waiting.append(acknowledged)
        self.check()

    def check(self) -> None:
        if self.failed is not None:
            raise trouble(self.failed)
        if self.broker.answering.is_set():
            for tell in self.waiting:
                tell()
            self.waiting.clear()

    def close(self) -> None:
        self.waiting.clear()


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    broker.answering.set()
    return broker


@contextmanager
def sending(folder: Path, broker: Broker, count: int) -> Iterator[tuple[Spool, Sender]]:
    """A sender at work on a spool with so many records."""
    with Spool(folder, limit_bytes=1 << 20) as spool:
        for number in range(count):
            spool.append(pack(record(number)))
        sent = Sender(spool, broker.connect)
        try:
            yield spool, sent
        finally:
            sent.close(5)


def values(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last + 1)]


def until(true: Callable[[], object], patience_s: float = 10.0) -> None:
    limit = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_records_arrive_in_their_order_and_leave_the_spool(tmp_path: Path, broker: Broker) -> None:
    with sending(tmp_path, broker, 500) as (spool, _):
        spool.append(pack(record(500)))
        assert spool.wait_until_empty(10)
    assert broker.arrived == [values(0, 500)]


@pytest.mark.parametrize("error", [KafkaTimeoutError(), OutOfOrderSequenceNumberError(), ConnectionResetError()])
def test_after_a_failure_the_first_that_is_not_acknowledged_comes_first(
    tmp_path: Path, broker: Broker, error: Exception
) -> None:
    broker.refuse_after, broker.refusal = 7, error
    broker.troubles = [KafkaTimeoutError()]
    with sending(tmp_path, broker, 0) as (spool, sent):
        until(lambda: broker.arrived)
        for number in range(20):
            spool.append(pack(record(number)))
        assert spool.wait_until_empty(10)
        sent.check()
    before, after = broker.arrived
    assert before == values(0, 6)
    assert after == values(20 - len(after), 19), "none is left out"
    assert len(after) >= 13


@pytest.mark.parametrize("when", ["connecting", "sending"])
def test_a_refusal_for_good_ends_it_and_the_spool_keeps_all(tmp_path: Path, broker: Broker, when: str) -> None:
    if when == "connecting":
        broker.troubles = [TopicAuthorizationFailedError()]
    else:
        broker.refuse_after, broker.refusal = 0, TopicAuthorizationFailedError()
    with sending(tmp_path, broker, 3) as (spool, sent):
        until(lambda: sent._failure)
        with pytest.raises(ServiceError, match="does not answer"):
            sent.check()
        assert spool.waiting == 3


def test_an_entry_that_is_no_record_is_an_error_and_stays(tmp_path: Path, broker: Broker) -> None:
    with Spool(tmp_path, limit_bytes=1 << 20) as spool:
        spool.append(b"of another version")
        sent = Sender(spool, broker.connect)
        until(lambda: sent._failure)
        with pytest.raises(ServiceError, match="cannot be read"):
            sent.check()
        assert spool.waiting == 1
        sent.close(5)


def test_an_absent_broker_and_its_return_are_said(
    tmp_path: Path, broker: Broker, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "AWAY_S", 0.1)
    broker.answering.clear()
    with sending(tmp_path, broker, 4) as (spool, _):
        until(lambda: "the broker is away; what is produced stays in the spool" in said.getvalue())
        broker.answering.set()
        assert spool.wait_until_empty(10)
        until(lambda: "the broker is back and has all that was in the spool" in said.getvalue())
    assert said.getvalue().count("the broker is away") == 1
    assert "what an earlier run left in the spool is sent first" in said.getvalue()


# --- the writer before it -------------------------------------------------------------------------------------


def spooled(
    spool: Spool, broker: Broker, monkeypatch: pytest.MonkeyPatch, stop: threading.Event | None = None
) -> SpooledWriter:
    monkeypatch.setattr(writer, "KafkaWriter", lambda kafka, **options: broker.connect())
    return SpooledWriter(Kafka(), spool, sync_s=0.05, stop=stop)


def test_a_writer_needs_no_broker_and_loses_nothing_over_its_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Broker(troubles=[KafkaTimeoutError() for _ in range(1_000)])
    first = spooled(Spool(tmp_path, limit_bytes=1 << 20), away, monkeypatch)
    for number in range(10):
        first.send(record(number))
    stopped = threading.Event()
    stopped.set()
    monkeypatch.setattr(writer, "STOP_S", 0.3)
    assert first.finish(stopped) == 10
    first.close()

    there = Broker()
    there.answering.set()
    second = spooled(Spool(tmp_path, limit_bytes=1 << 20), there, monkeypatch)
    for number in range(10, 15):
        second.send(record(number))
    assert second.finish(threading.Event()) == 0
    second.close()
    assert there.arrived == [values(0, 14)]


def test_a_full_spool_lets_a_generator_wait_and_refuses_a_door(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, said: io.StringIO
) -> None:
    broker.answering.clear()
    stop = threading.Event()
    generator = spooled(Spool(tmp_path / "generator", limit_bytes=4_000), broker, monkeypatch, stop)

    def produce(through: SpooledWriter) -> None:
        for number in range(300):
            through.send(record(number))

    producing = threading.Thread(target=produce, args=(generator,))
    producing.start()
    until(lambda: "production waits for room" in said.getvalue())
    assert producing.is_alive()
    broker.answering.set()
    producing.join(20)
    assert not producing.is_alive()
    assert generator.finish(stop) == 0
    assert broker.arrived == [values(0, 299)], "none was dropped, none came twice"
    broker.answering.clear()
    stop.set()
    with pytest.raises(SpoolFull):
        produce(generator)
    generator.close()

    door = spooled(Spool(tmp_path / "door", limit_bytes=4_000), broker, monkeypatch)
    with pytest.raises(SpoolFull):
        produce(door)
    door.close()


def test_a_disk_that_cannot_be_synced_ends_production(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    sent = spooled(Spool(tmp_path, limit_bytes=1 << 20), broker, monkeypatch)
    fsync, broken = os.fsync, threading.Event()

    def fails(file: int) -> None:
        if broken.is_set():
            raise OSError(5, "Input/output error")
        fsync(file)

    monkeypatch.setattr(os, "fsync", fails)
    sent.send(record(1))
    broken.set()
    with pytest.raises(ServiceError, match="cannot be synced: Input/output error"):
        until(lambda: sent.send(record(2)))
    broken.clear()
    sent.close()
