"""How far the sink has come with the rollups: what a recount may take into account, and whether it may replace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pearlstream.errors import EXIT_TRY_AGAIN, PearlstreamError
from pearlstream.position import Source
from pearlstream.store import Store
from sinks.clickhouse.journal import INTENT, Journal
from sinks.clickhouse.mend import sql
from sinks.clickhouse.shapes import source_hash

LATENESS_MS = 86_400_000
"""How late a reading may be, and still be accepted."""


class NotNow(PearlstreamError):
    """Something that must come first is not done yet."""

    exit_code = EXIT_TRY_AGAIN


@dataclass(frozen=True)
class Standing:
    """`bounds`: the last rollup record of each source that is stored; `cuts`: the newest cuts, to tell whether the sink
    has moved on; `clock`: the time that all partitions have passed (-1: none yet)."""

    bounds: dict[Source, int]
    cuts: tuple[tuple[str, int], ...]
    clock: int

    def closed(self, until_ms: int) -> bool:
        """No reading of the time before `until_ms` can come any more."""
        return self.clock - LATENESS_MS > until_ms

    @property
    def parameters(self) -> dict[str, Any]:
        """The bounds as a query takes them."""
        keys = [f"{source_hash(source.topic_id)}/{source.partition}" for source in self.bounds]
        return {"keys": keys, "bounds": list(self.bounds.values())}


def standing(store: Store) -> Standing:
    """What the journal says. Raises NotNow while a cut of rollups is open, StoreError."""
    newest = {topic: entry for (topic, role), entry in Journal(store).newest().items() if role == "rollups"}
    if any(entry.state == INTENT for entry in newest.values()):
        raise NotNow(
            "a cut of rollups has begun and is not noted as done, so nobody can say what is stored",
            remedy="let the sink finish it (it does within a second of its start), then try again",
        )
    bounds: dict[Source, int] = {}
    for entry in newest.values():
        for chain, progress in entry.marks.items():
            source = Source.parse(chain.partition(" ")[2])
            bounds[source] = max(bounds.get(source, -1), progress.applied)
    clocks = [int(clock) for _, clock in store.query(sql.clocks(store.database))]
    return Standing(bounds, tuple(sorted((t, e.number) for t, e in newest.items())), min(clocks, default=-1))
