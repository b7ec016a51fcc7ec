"""Carries out one round: breaks what is to be broken, mends it, and waits until everybody is back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from deploy.chaos.cast import WORKERS_AT_MOST, Cast
from deploy.chaos.schedule import Fault
from deploy.embedded.child import page_answers
from pearlstream.errors import ServiceError

BACK_S = 240.0
"""Whoever is not back after so long does not come any more."""
BESIDE_S = 4.0
"""So long a zombie goes on beside its successor where no group keeps them apart."""
POLL_S = 0.05


class Stopped(Exception):
    """Somebody asked for the end: no more faults, but what has been done is still counted."""


@dataclass
class Acts:
    """Does what a schedule says to a cast. `stop`: break nothing more."""

    cast: Cast
    stop: threading.Event
    _pids: list[int] = field(default_factory=list)
    """The processes that got a signal in this round."""

    def do(self, fault: Fault) -> dict[str, Any]:
        """One round, from its fault until everybody is ready again; what was hit, and how long it took.

        Raises ServiceError if somebody does not come back, and Stopped; whatever was held up goes on in any case.
        """
        hit = self._names(fault)
        began, self._pids = time.monotonic(), []
        acts: dict[str, Callable[[Fault, list[str]], None]] = {
            "kill": self._kill,
            "pause": self._pause,
            "cut": self._cut,
            "stall": self._cut,
            "add": self._add,
            "remove": self._remove,
        }
        acts[fault.act](fault, hit)
        self._all_ready()
        return {"hit": hit, "pids": self._pids, "took_s": round(time.monotonic() - began, 2)}

    def _names(self, fault: Fault) -> list[str]:
        """The processes that a fault means."""
        if fault.target == "everybody":
            return [*self.cast.served, "producer"]
        names = []
        for target in fault.target.split("+"):
            workers = self.cast.workers
            names.append(workers[fault.lot % len(workers)] if target == "worker" else target)
        return names

    # --- what is done -------------------------------------------------------------------------------------

    def _kill(self, fault: Fault, names: list[str]) -> None:
        before = {name: self.cast.child(name).restarts for name in names}
        pids = {name: self._signal(name, signal.SIGKILL) for name in names}
        if fault.again:
            for name in names:
                self._until(partial(self._another, name, pids[name]), f"a new {name}")
                self._sleep(fault.lot % 2000 / 1000)
                self._signal(name, signal.SIGKILL)
        for name in names:
            self._until(partial(self._restarted, name, before[name]), f"{name} to be back")

    def _pause(self, fault: Fault, names: list[str]) -> None:
        (name,) = names
        pid = self._signal(name, signal.SIGSTOP)
        try:
            replaced = name.startswith("worker") and not self.cast.grouped
            began = time.monotonic()
            if replaced:
                self.cast.add_worker()
            self._sleep(fault.for_s - (time.monotonic() - began))
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if replaced:
            self._sleep(BESIDE_S)
            self.cast.remove(name, at_once=bool(fault.lot % 2))

    def _cut(self, fault: Fault, names: list[str]) -> None:
        links = [self.cast.links[name] for name in names]
        for link in links:
            link.cut() if fault.act == "cut" else link.stall()
        try:
            self._sleep(fault.for_s)
        finally:
            for link in links:
                link.mend()

    def _add(self, fault: Fault, names: list[str]) -> None:
        del fault
        names.clear()
        if len(self.cast.workers) < WORKERS_AT_MOST:
            names.append(self.cast.add_worker())

    def _remove(self, fault: Fault, names: list[str]) -> None:
        del fault
        if len(self.cast.workers) > 1:
            self.cast.remove(names[0])

    def _another(self, name: str, pid: int) -> bool:
        return self.cast.child(name).pid not in (None, pid)

    def _restarted(self, name: str, before: int) -> bool:
        return self.cast.child(name).restarts > before

    # --- help ---------------------------------------------------------------------------------------------

    def _signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a process that is there; its id."""
        self._until(lambda: self.cast.child(name).pid is not None, f"{name} to run")
        pid = self.cast.child(name).pid
        assert pid is not None
        os.kill(pid, number)
        self._pids.append(pid)
        return pid

    def _all_ready(self) -> None:
        for name, url in list(self.cast.life.pages.items()):
            if name in self.cast.served:
                self._until(partial(page_answers, f"{url}/readyz"), f"{name} to be ready")

    def _until(self, true: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + BACK_S
        while not true():
            self.cast.check()
            if self.stop.is_set():
                raise Stopped
            if time.monotonic() > until:
                raise ServiceError(
                    f"waited {BACK_S:.0f} s for {what}", remedy=f"see the logs in {self.cast.folder.logs}"
                )
            time.sleep(POLL_S)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)):
            raise Stopped
