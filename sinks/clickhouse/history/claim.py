"""One at a time: whoever loads history says so in the table `acts`, and again and again while he does.

The lines have the act number 0 and a name of their own. One that was not renewed for ten minutes, or whose process is
gone from this machine, counts no more.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from pearlstream.errors import EXIT_TRY_AGAIN, PearlstreamError
from pearlstream.store import Store
from sinks.clickhouse.history import sql
from sinks.clickhouse.mend.acts import Act

KIND = "claim"
STALE_S = 600
RENEW_S = 20.0


class Busy(PearlstreamError):
    """Somebody else loads history into this store."""

    exit_code = EXIT_TRY_AGAIN


@dataclass
class Claim:
    """The word of this process. Methods raise StoreError."""

    store: Store
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    _renewed: float = 0.0

    def __post_init__(self) -> None:
        me = {"host": socket.gethostname(), "pid": os.getpid()}
        self._line = Act(self.store, KIND, me)
        self._me = me

    def take(self) -> None:
        """Say it, unless somebody else does. Raises Busy. Two at the same moment both give way."""
        self._check()
        self._say()
        try:
            self._check()
        except Busy:
            self.release()
            raise

    def renew(self) -> None:
        """Say it again, if that is long ago."""
        if time.monotonic() - self._renewed > RENEW_S:
            self._say()

    def release(self) -> None:
        """Say that it is over."""
        self._line.done(self.name, data=self._me)

    def _say(self) -> None:
        self._line.write([self._line.row(1, self.name, data=self._me)])
        self._renewed = time.monotonic()

    def _check(self) -> None:
        for name, data, age_s in self.store.query(sql.claims(self.store.database), {"kind": KIND}):
            who = orjson.loads(data)
            if name != self.name and age_s < STALE_S and self._lives(who):
                raise Busy(
                    f"history is being loaded into {self.store.database} by process {who['pid']} on {who['host']}",
                    remedy="wait until it is done; one that was killed on another machine is waited for ten minutes",
                )

    def _lives(self, who: Any) -> bool:
        """Whether a process may be alive: of other machines nobody knows."""
        if who["host"] != self._me["host"]:
            return True
        try:
            os.kill(who["pid"], 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@contextmanager
def claimed(store: Store) -> Iterator[Claim]:
    """Nobody else loads history meanwhile. Raises Busy, StoreError."""
    claim = Claim(store)
    claim.take()
    try:
        yield claim
    finally:
        claim.release()
