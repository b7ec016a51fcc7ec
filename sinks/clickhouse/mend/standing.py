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
    def historic(self) -> frozenset[int]:
        """The sources, as readings name them, that an act loaded beside the log."""
        return frozenset(source_hash(source.topic_id) for source in self.bounds if source.historic)

    @property
    def parameters(self) -> dict[str, Any]:
        """The bounds as a query takes them."""
        keys = [f"{source_hash(source.topic_id)}/{source.partition}" for source in self.bounds]
        return {"keys": keys, "bounds": list(self.bounds.values())}


def standing(store: Store, until_ms: int | None = None) -> Standing:
    """What the journal says. `until_ms`: what is asked about ends there.

    While a cut of rollups is open, nobody can say what of it is stored; that matters unless `until_ms` lies so far back
    that no cut can reach there any more. Raises NotNow where it matters, StoreError.
    """
    newest = {topic: entry for (topic, role), entry in Journal(store).newest().items() if role == "rollups"}
    bounds: dict[Source, int] = {}
    for entry in newest.values():
        for chain, progress in entry.marks.items():
            source = Source.parse(chain.partition(" ")[2])
            bounds[source] = max(bounds.get(source, -1), progress.applied)
    clocks = [int(clock) for _, clock in store.query(sql.clocks(store.database))]
    now = Standing(bounds, tuple(sorted((t, e.number) for t, e in newest.items())), min(clocks, default=-1))
    open_ = any(entry.state == INTENT for entry in newest.values())
    if open_ and not (until_ms is not None and now.closed(until_ms)):
        raise NotNow(
            "a cut of rollups has begun and is not noted as done, so nobody can say what is stored",
            remedy="let the sink finish it (it does within a second of its start), then try again",
        )
    return now
