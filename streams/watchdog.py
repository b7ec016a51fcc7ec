"""The stuck detector: a thread of its own that ends the process when it no longer gets anywhere.

The broker cannot see it: the consumer's heartbeats come from another thread and go on while an agent hangs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pearlstream.errors import EXIT_IO

if TYPE_CHECKING:
    from streams.stage import Stage

STUCK_AFTER_S = 60
BEAT_S = 1.0


class Watchdog:
    """Watches stages and the event loop; `die` is called with exit code 70 when one is stuck.

    It counts its own beats rather than reading a clock: a process that was frozen and wakes is not stuck. A stage
    with a batch in hand answers for itself. One that waits for records does not: all stages share one reader, and
    while another catches up, it may not get any for minutes; so it is stuck only if none of them moves.
    """

    def __init__(
        self,
        stages: list[Stage],
        die: Callable[..., None],
        *,
        idle: Callable[[], bool] = lambda: False,
        after: int = STUCK_AFTER_S,
        beat_s: float = BEAT_S,
    ) -> None:
        self.stages = stages
        self.die = die
        self.idle = idle
        self.after = after
        self.beat_s = beat_s
        self._stop = threading.Event()
        self._loop_beats = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch the running event loop and the stages."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _note_turn(self) -> None:
        self._loop_beats += 1

    def _watch(self) -> None:
        assert self._loop is not None
        quiet: dict[str, int] = {}
        seen: dict[str, int] = {}
        while not self._stop.wait(self.beat_s):
            now = {"the event loop": self._loop_beats}
            waiting = {"the event loop"}
            stages = [] if self.idle() else self.stages
            others_move = any(stage.progress != seen.get(_name(stage)) for stage in stages)
            for stage in stages:
                now[_name(stage)] = stage.progress
                if stage.busy or (any(stage.lags().values()) and not others_move):
                    waiting.add(_name(stage))
            for name, progress in now.items():
                moving = name not in waiting or progress != seen.get(name)
                quiet[name] = 0 if moving else quiet.get(name, 0) + 1
                if quiet[name] >= self.after:
                    self._give_up(name)
                    return
            seen = now
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._note_turn)

    def _show(self, name: str) -> None:
        """Where everybody is, for whoever reads the log."""
        sys.stderr.write(f"{name} is stuck; threads and tasks:\n")
        faulthandler.dump_traceback(sys.stderr)
        assert self._loop is not None
        for task in asyncio.all_tasks(self._loop):
            task.print_stack(limit=8, file=sys.stderr)
        sys.stderr.flush()

    def _give_up(self, name: str) -> None:
        with suppress(Exception):  # tasks go on meanwhile, and may be gone when they are to be shown
            self._show(name)
        self.die(EXIT_IO, f"{name} made no progress for {self.after * self.beat_s:.0f} s with input waiting")


def _name(stage: Stage) -> str:
    return f"the stage {stage.fold.name}"
