"""Takes entries off a spool and sends them, in their order, however often the broker goes away and comes back."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol

from pearlstream.errors import ServiceError
from pearlstream.logs import get_logger
from producers.spool.record import unpack
from producers.spool.spool import Spool, SpoolError
from producers.writer import Outgoing

log = get_logger(__name__)

WINDOW_BYTES = 4 << 20
"""What may be under way to the broker; the rest stays on disk."""
READ_BYTES = 1 << 20
IDLE_S = 0.1
AWAY_S = 5.0
"""Without an acknowledgement for so long, the broker is said to be away,"""
AGAIN_S = 30.0
"""and again after so long."""
PAUSE_S = (0.1, 30.0)
"""Between two attempts to connect: at first, and at most."""
_PRODUCER_STATE = {"OutOfOrderSequenceNumberError", "InvalidProducerEpochError", "UnknownProducerIdError"}
"""Errors that a new producer cures: the broker no longer knows what the old one has sent."""


class Connection(Protocol):
    """A way to the broker on which records keep their order."""

    def post(self, record: Outgoing, acknowledged: Callable[[], None]) -> None:
        """Send a record. Raises ServiceError."""
        ...

    def check(self) -> None:
        """Raises ServiceError if a record that was sent will not arrive."""
        ...

    def close(self) -> None:
        """Give up what is under way."""
        ...


class Flight:
    """What is under way on one connection."""

    def __init__(self) -> None:
        self._under_way: OrderedDict[int, int] = OrderedDict()
        self._changed = threading.Condition()
        self._bytes = 0
        self._moved_s = time.monotonic()

    def add(self, number: int, size: int) -> None:
        """An entry is sent."""
        with self._changed:
            if not self._under_way:
                self._moved_s = time.monotonic()
            self._under_way[number] = size
            self._bytes += size

    def done(self, number: int) -> None:
        """An entry is acknowledged."""
        with self._changed:
            self._bytes -= self._under_way.pop(number, 0)
            self._moved_s = time.monotonic()
            self._changed.notify_all()

    def upto(self, read_upto: int) -> int:
        """The last entry before which none is under way."""
        with self._changed:
            return next(iter(self._under_way), read_upto + 1) - 1

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until more may be sent; False if it may not."""
        with self._changed:
            return self._changed.wait_for(lambda: self._bytes < WINDOW_BYTES, timeout_s)

    @property
    def silent_s(self) -> float:
        """Seconds since something came back, 0 if nothing is awaited."""
        with self._changed:
            return time.monotonic() - self._moved_s if self._under_way else 0.0


class Sender:
    """A thread that empties a spool. What it cannot mend by connecting again is raised by `check`."""

    def __init__(self, spool: Spool, connect: Callable[[], Connection]) -> None:
        self._spool, self._connect = spool, connect
        self._closing = threading.Event()
        self._failure: ServiceError | None = None
        self._away_s: float | None = None
        """Since when the broker has been away."""
        self._told_s = 0.0
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        if spool.waiting:
            log.info("what an earlier run left in the spool is sent first", records=spool.waiting)
        self._thread.start()

    def check(self) -> None:
        """Raises ServiceError if sending has ended for good."""
        if self._failure is not None:
            raise self._failure

    def fail(self, error: ServiceError) -> None:
        """End sending for this reason."""
        self._failure = self._failure or error
        self._closing.set()

    def close(self, timeout_s: float) -> None:
        """Stop. A connection that is just being made, and will not be, is not waited for longer than this."""
        self._closing.set()
        self._thread.join(timeout_s)

    # --- in its thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s, at_most_s = PAUSE_S
        while not self._closing.is_set():
            before = self._spool.waiting, self._spool.read_upto
            try:
                self._session()
            except SpoolError as error:
                self._end(error)
            except ServiceError as error:
                if not _passes(error.__cause__):
                    self._end(error)
                self._tell_away(error.message)
            except ValueError as error:
                self._end(SpoolError(f"an entry of the spool cannot be read: {error}", remedy="use a newer version"))
            except Exception as error:
                self._end(
                    ServiceError(f"the spool cannot be sent: {error!r}", remedy="this is a bug: please report it")
                )
            moved = (self._spool.waiting, self._spool.read_upto) != before
            pause_s = PAUSE_S[0] if moved else min(2 * pause_s, at_most_s)
            self._closing.wait(pause_s * random.uniform(0.7, 1.0))

    def _end(self, error: ServiceError) -> None:
        if not self._closing.is_set():
            log.error("the spool is not sent any further", error=error.message)
        self.fail(error)

    def _session(self) -> None:
        """Send on one connection, from the first entry that is not acknowledged, until closed."""
        spool, flight = self._spool, Flight()
        connection = self._connect()
        try:
            spool.rewind()
            while not self._closing.is_set():
                connection.check()
                spool.acknowledge(flight.upto(spool.read_upto))
                self._tell(flight)
                if not flight.wait_for_room(IDLE_S):
                    continue
                entries = spool.read(READ_BYTES)
                for entry in entries:
                    flight.add(entry.number, len(entry.payload))
                    connection.post(unpack(entry.payload), partial(flight.done, entry.number))
                if not entries:
                    spool.wait_for_entries(IDLE_S)
        finally:
            connection.close()
            spool.acknowledge(flight.upto(spool.read_upto))

    # --- telling ------------------------------------------------------------------------------------------

    def _tell(self, flight: Flight) -> None:
        if flight.silent_s > AWAY_S:
            self._tell_away(f"no acknowledgement for {flight.silent_s:.0f} s")
        elif self._away_s is not None and not self._spool.waiting:
            away_s = time.monotonic() - self._away_s
            log.info("the broker is back and has all that was in the spool", after_s=round(away_s, 1))
            self._away_s = None

    def _tell_away(self, why: str) -> None:
        now = time.monotonic()
        if self._closing.is_set() or (self._away_s is not None and now - self._told_s < AGAIN_S):
            return
        self._away_s = now if self._away_s is None else self._away_s
        self._told_s = now
        log.warning(
            "the broker is away; what is produced stays in the spool",
            why=why,
            records=self._spool.waiting,
            mb=round(self._spool.size_bytes / 1e6, 1),
            of_mb=round(self._spool.limit_bytes / 1e6, 1),
        )


def _passes(cause: BaseException | None) -> bool:
    """Whether trouble with the broker passes, or is cured by connecting again."""
    from kafka.errors import KafkaError

    if isinstance(cause, KafkaError):
        return bool(cause.retriable) or type(cause).__name__ in _PRODUCER_STATE
    return isinstance(cause, OSError)
