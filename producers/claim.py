"""Time's claim: a prefix has one driver of time, and whoever wants to be it says so in the topic `state.clock`.

A claim is JSON `{role, epoch, last_tick_ms}` under the key of its role. Another role's claim that is younger than
ten seconds is respected; the same role takes over at once, with the next epoch. After writing, the log is read
back: of two that claimed at once, the first in the log wins. Ages are told by the wall clock, which is all that
is known before there is a driver. A driver that ends in order adds `released`, so that nobody need wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import orjson

from pearlstream.broker import LogRecord
from pearlstream.errors import DriverConflict, ServiceError
from pearlstream.logs import get_logger

log = get_logger(__name__)

Role = Literal["worker", "simulate", "replay", "import"]
YOUNG_MS = 10_000
"""A claim of another role younger than this is respected."""
REFRESH_MS = 2_000
"""How often a driver says that it is still there."""
STOP_S = 2.0
"""How long a refresh that is under way is waited for."""


class ClaimLog(Protocol):
    """The partition of `state.clock`."""

    def append(self, key: bytes, value: bytes) -> int:
        """Write a record, wait until it is acknowledged, and return its offset."""
        ...

    def read(self) -> Sequence[LogRecord]:
        """Records since the last call, up to the present end."""
        ...


class Claim(NamedTuple):
    """A claim as it stands in the log, written at `at_ms` (wall clock)."""

    role: str
    epoch: int
    last_tick_ms: int
    offset: int
    at_ms: int
    released: bool


def read_claim(record: LogRecord) -> Claim | None:
    """The claim that a record is; None if it is something else."""
    try:
        body = orjson.loads(record.value or b"")
        role, epoch, last = str(body["role"]), int(body["epoch"]), int(body["last_tick_ms"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return Claim(role, epoch, last, record.offset, record.timestamp_ms, bool(body.get("released", False)))


def _wall_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class TimeClaim:
    """The right to drive time under one prefix. `take` it, `refresh` it while running, `release` it at the end."""

    log: ClaimLog
    role: Role
    now_ms: Callable[[], int] = _wall_ms
    epoch: int = 0
    _refreshed_ms: int = 0
    _newest: dict[str, Claim] = field(default_factory=dict)
    """The newest claim of each role; lower epochs are ignored."""

    @property
    def driver(self) -> str:
        """What the header `driver` of ticks says."""
        return f"{self.role}/{self.epoch}"

    def take(self, last_tick_ms: int = 0) -> str:
        """Claim time and return the driver's name. Raises DriverConflict if somebody else drives it."""
        self._read()
        self._refuse(claim for claim in self._newest.values() if claim.role != self.role)
        mine = self._newest.get(self.role)
        self.epoch = (mine.epoch if mine else 0) + 1
        offset = self._write(last_tick_ms)
        earlier = [claim for claim in self._read() if claim.offset < offset]
        self._refuse(claim for claim in earlier if claim.role != self.role or claim.epoch >= self.epoch)
        return self.driver

    def refresh(self, last_tick_ms: int) -> None:
        """Say that the driver is alive, at most every two seconds. Raises DriverConflict if it was replaced.

        While the broker is away nobody can be told, but nobody can take over either: it is tried again later.
        """
        if self.now_ms() - self._refreshed_ms < REFRESH_MS:
            return
        try:
            replaced = self._replaced()
            if not replaced:
                self._write(last_tick_ms)
        except ServiceError as error:
            self._refreshed_ms = self.now_ms()
            log.warning("time's claim cannot be renewed for now", driver=self.driver, error=error.message)
            return
        if replaced:
            raise DriverConflict(
                f"a newer run took over from {self.driver}", remedy="run only one of them under this prefix"
            )

    def release(self, last_tick_ms: int = 0) -> None:
        """Give time up. Does nothing if a newer run has taken over, or time was never claimed."""
        if self.epoch and not self._replaced():
            self._write(last_tick_ms, released=True)

    def _replaced(self) -> bool:
        self._read()
        newest = self._newest.get(self.role)
        return newest is not None and newest.epoch > self.epoch

    def _refuse(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            age_ms = max(0, self.now_ms() - claim.at_ms)
            if age_ms < YOUNG_MS and not claim.released:
                raise DriverConflict(
                    f"{claim.role}/{claim.epoch} drives time under this prefix (heard {age_ms / 1000:.0f} s ago)",
                    remedy="stop it and wait ten seconds, or give this run a PEARLSTREAM_KAFKA__PREFIX of its own",
                )

    def _write(self, last_tick_ms: int, *, released: bool = False) -> int:
        body = {"role": self.role, "epoch": self.epoch, "last_tick_ms": last_tick_ms}
        value = orjson.dumps(body | {"released": True} if released else body)
        self._refreshed_ms = self.now_ms()
        return self.log.append(self.role.encode(), value)

    def _read(self) -> list[Claim]:
        found = [claim for record in self.log.read() if (claim := read_claim(record)) is not None]
        for claim in found:
            old = self._newest.get(claim.role)
            if old is None or claim.epoch >= old.epoch:
                self._newest[claim.role] = claim
        return found


class ClaimKeeper:
    """Refreshes a claim from a thread of its own: while the broker is away that takes long, and holds up nobody.

    `give_back` closes the claim's log. Claim and log belong to the keeper from `take` to `stop`.
    """

    def __init__(self, claim: TimeClaim, give_back: Callable[[], None]) -> None:
        self._claim, self._give_back = claim, give_back
        self._last_tick_ms = 0
        self._failure: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="claim", daemon=True)

    def take(self) -> str:
        """Claim time and return the driver's name. Raises DriverConflict if somebody else drives it."""
        driver = self._claim.take()
        self._thread.start()
        return driver

    def check(self) -> None:
        """Raises DriverConflict if the driver was replaced."""
        if self._failure is not None:
            raise self._failure

    def ticked(self, last_tick_ms: int) -> None:
        """Say how far time has come. Raises as `check`."""
        self._last_tick_ms = last_tick_ms
        self.check()

    def stop(self, timeout_s: float = STOP_S) -> bool:
        """Refresh no more; False if it is still asking a broker that does not answer, and does not let go."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Stop, and close the log unless the broker is being asked."""
        if self.stop():
            self._give_back()

    def _keep(self) -> None:
        while not self._stopped.wait(REFRESH_MS / 2000):
            try:
                self._claim.refresh(self._last_tick_ms)
            except Exception as error:
                self._failure = error
                return
