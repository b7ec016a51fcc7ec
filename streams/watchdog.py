"""The stuck detector: a thread of its own that ends the process when it no longer gets anywhere.

The broker cannot see it: the consumer's heartbeats come from another thread and go on while an agent hangs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from pearlstream.errors import EXIT_IO

if TYPE_CHECKING:
    from streams.stage import Stage

STUCK_AFTER_S = 60
BEAT_S = 1.0


class Watchdog:
    """Watches stages and the event loop; `die` is called with exit code 70 when one is stuck.

    It counts its own beats rather than reading a clock: a process that was frozen and wakes is not stuck.
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
            for stage in [] if self.idle() else self.stages:
                name = f"the stage {stage.fold.name}"
                now[name] = stage.progress
                if stage.busy or any(stage.lags().values()):
                    waiting.add(name)
            for name, progress in now.items():
                moving = name not in waiting or progress != seen.get(name)
                quiet[name] = 0 if moving else quiet.get(name, 0) + 1
                if quiet[name] >= self.after:
                    self._give_up(name)
                    return
            seen = now
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._note_turn)

    def _give_up(self, name: str) -> None:
        sys.stderr.write(f"{name} is stuck; threads and tasks:\n")
        faulthandler.dump_traceback(sys.stderr)
        assert self._loop is not None
        for task in asyncio.all_tasks(self._loop):
            task.print_stack(limit=8, file=sys.stderr)
        sys.stderr.flush()
        self.die(EXIT_IO, f"{name} made no progress for {self.after * self.beat_s:.0f} s with input waiting")
