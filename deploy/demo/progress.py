"""How far is each stage, and has everything arrived? Asked from the ends of the log, stage by stage, never guessed."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.demo.clients import Life
from deploy.demo.ends import LogEnds
from deploy.demo.probe import metrics
from deploy.demo.scene import Lag
from pearlstream.store import Store
from sinks.clickhouse.journal import DONE, Journal
from sinks.clickhouse.writer import SHAPES

STAGES: Mapping[str, str] = {
    "admit": "readings",
    "indicate": "rollups",
    "cluster": "crossings",
    "alert": "indicators",
}
"""Stages in the order of the data, each with the topic that it reads."""


class Progress:
    """Looks at one life of the pipeline. Use from one thread; `close` gives the connection back."""

    def __init__(self, life: Life) -> None:
        """Raises ServiceError if the broker does not answer."""
        self._life = life
        self._log = LogEnds(life.settings.kafka)
        self._journal = Journal(Store(life.settings.clickhouse))

    def close(self) -> None:
        """Give the connections back."""
        self._log.close()
        self._journal.store.close()

    def behind(self) -> list[Lag]:
        """What each stage has still to do. All zero means: everything that was in `readings` is in the store.

        The order matters: a stage's input is only complete when the stage before has finished. Raises
        ServiceError if the broker or the store is away.
        """
        found = [Lag(stage, self._stage_behind(stage, role)) for stage, role in STAGES.items()]
        return [*found, Lag("sink", self._sink_behind())]

    def _stage_behind(self, stage: str, role: str) -> int | None:
        ends = self._log.ends([role])[role]
        workers = [url for name, url in self._life.pages.items() if name.startswith("worker")]
        pages = [page for url in workers if (page := metrics(url)) is not None]
        applied: dict[str, float] = {}
        for page in pages:
            for partition, offset in page.by("pearlstream_worker_applied_offset", "partition", stage=stage).items():
                applied[partition] = max(offset, applied.get(partition, offset))
        if len(applied) < len(ends):
            return None
        left = sum(max(0, end - 1 - int(applied[str(partition)])) for partition, end in ends.items())
        # What is applied but not acknowledged yet will make the next stage's topic longer.
        waiting = any(page.total("pearlstream_worker_unacked_bytes", stage=stage) for page in pages)
        return left + waiting

    def _sink_behind(self) -> int:
        """By the journal in the store itself: the cuts that are done, against the ends of the topics."""
        stored: dict[str, dict[int, int]] = {}
        for (_, role), entry in self._journal.newest().items():
            done = entry.state == DONE
            stored[role] = {r.partition: r.stop if done else r.start for r in entry.ranges}
        return sum(
            max(0, end - stored.get(role, {}).get(partition, 0))
            for role, ends in self._log.ends(SHAPES).items()
            for partition, end in ends.items()
        )
