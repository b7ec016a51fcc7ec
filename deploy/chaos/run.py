"""One chaos run from the first step to the verdict: what `pearlstream chaos` does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from deploy.chaos.acts import Acts, Stopped
from deploy.chaos.books import compare_panes, compare_readings, stored_panes, stored_readings
from deploy.chaos.cast import Cast
from deploy.chaos.load import Load
from deploy.chaos.report import Facts, Verdict, conclude
from deploy.chaos.schedule import Fault
from deploy.chaos.undisturbed import undisturbed
from deploy.demo.folder import RunFolder
from deploy.demo.progress import Progress
from deploy.demo.report import ask_ledger, read_books
from deploy.demo.watch import StoreWatch
from pearlstream.catalogue import Catalogue
from pearlstream.errors import PearlstreamError
from pearlstream.logs import get_logger
from pearlstream.settings import Settings
from pearlstream.store import Store

log = get_logger(__name__)

WARM_UP_S = 3.0
"""Load before the first fault, and after the last."""
STILL_S = 120.0
"""A drain in which nothing moves for so long has failed."""
LOOK_S = 0.5


@dataclass
class ChaosRun:
    """What to break, under which load, where to keep it, whom to tell."""

    settings: Settings
    catalogue: Catalogue
    folder: RunFolder
    load: Load
    faults: Sequence[Fault]
    duration_s: float
    tell: Callable[[str], None]
    stop: threading.Event = field(default_factory=threading.Event)

    def play(self) -> Verdict:
        """Run all rounds under load, drain, count, compare. Raises ServiceError if something does not come back;
        nothing is left running in any case. `stop` ends the rounds; those that were done are counted."""
        began = time.monotonic()
        plan = self.load.plan(self.catalogue)
        with Cast(self.settings, self.catalogue, self.load, plan, self.folder) as cast:
            self.tell("starting broker, store, sink and workers")
            cast.begin()
            cast.play()
            done = self._rounds(cast)
            over = "all faults are over" if len(done) == len(self.faults) else "ending before all faults are over"
            self.tell(f"{over}; the producer ends, and everything that is on its way is stored")
            cast.end_load()
            drained = self._drain(cast)
            verdict = self._count(cast, done, drained=drained, began=began)
            if cast.grouped and verdict.exact:
                cast.drop_topics()
        return verdict

    # --- faults -------------------------------------------------------------------------------------------

    def _rounds(self, cast: Cast) -> list[dict[str, Any]]:
        """One fault after the other, until all are done or somebody asks for the end."""
        began = time.monotonic()
        acts = Acts(cast, self.stop)
        done: list[dict[str, Any]] = []
        with suppress(Stopped):
            self._wait(cast, WARM_UP_S)
            for fault in self.faults:
                self._wait(cast, fault.after_s)
                at_s = round(time.monotonic() - began, 2)
                outcome = acts.do(fault)
                done.append({**fault.as_json(), "at_s": at_s, **outcome})
                self.tell(_words(fault, outcome, len(self.faults)))
            self._wait(cast, max(WARM_UP_S, self.duration_s - (time.monotonic() - began)))
        return done

    def _wait(self, cast: Cast, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            cast.check()
            if self.stop.wait(min(left, LOOK_S)):
                raise Stopped

    # --- the end ------------------------------------------------------------------------------------------

    def _drain(self, cast: Cast) -> bool:
        """Wait until nobody is behind, twice in a row; False if nothing moves any more before that."""
        progress = Progress(cast.life)
        moved, before, clear = time.monotonic(), None, 0
        try:
            while clear < 2 and time.monotonic() - moved < STILL_S:
                cast.services.check()
                behind = _behind(progress)
                if behind != before:
                    before, moved = behind, time.monotonic()
                clear = clear + 1 if behind and all(left == 0 for left in behind) else 0
                time.sleep(LOOK_S)
        finally:
            progress.close()
        if clear < 2:
            self.tell(f"nothing moves any more; behind: {before}")
        return clear >= 2

    def _count(self, cast: Cast, done: list[dict[str, Any]], *, drained: bool, began: float) -> Verdict:
        self.tell("counting what was sent against what is stored, reading by reading")
        life = cast.life
        sent = read_books(life.ledger)
        store = Store(life.settings.clickhouse)
        watch = StoreWatch(self.catalogue, store)
        ledger = ask_ledger(life, int(sent["produced"]), drained=drained)
        readings, panes = stored_readings(store, self.catalogue, cast.plan.feeds), stored_panes(store)
        totals, settled = watch.totals(exact=True), watch.settled()
        store.close()
        restarts = dict(cast.restarts)
        cast.stop_streams()
        self.tell(f"folding the same {int(sent['produced']):,} readings undisturbed, in process")
        plain = undisturbed(self.catalogue, cast.plan, int(sent["last_clock_ms"]), life.settings.kafka.partitions)
        return conclude(
            Facts(
                seed=self.load.seed,
                broker="kafka" if cast.grouped else "embedded",
                faults=done,
                planned=len(self.faults),
                books_agree=plain.books.agree(sent),
                sent=sent,
                totals=totals,
                raw=compare_readings(plain.books, readings),
                rollups=compare_panes(plain.books, panes),
                ledger=ledger,
                settled=settled,
                undisturbed=plain.settled,
                restarts=restarts,
                drained=drained,
                wall_s=time.monotonic() - began,
                run_id=self.folder.id,
            )
        )


def _behind(progress: Progress) -> tuple[int | None, ...] | None:
    """What each stage has still to do; None while that cannot be told."""
    try:
        return tuple(lag.records for lag in progress.behind())
    except PearlstreamError as error:
        log.warning("how far the stages are is not known", error=str(error))
        return None


def _words(fault: Fault, outcome: dict[str, Any], rounds: int) -> str:
    lasting = f" for {fault.for_s:.0f} s" if fault.for_s else ""
    again = ", and again while it started" if fault.again else ""
    hit = " and ".join(outcome["hit"]) if len(outcome["hit"]) < 3 else "everybody"
    return (
        f"round {fault.round} of {rounds}: {fault.act} {hit}{lasting}{again}; all well after {outcome['took_s']:.1f} s"
    )
