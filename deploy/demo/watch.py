"""Gathers scenes: what the store holds, how far the stages are, what the processes cost."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from deploy.demo import queries
from deploy.demo.scene import SEVERITY, Firing, Signal
from pearlstream.catalogue import Catalogue, Indicator
from pearlstream.measures import rows_measure
from pearlstream.store import Store
from sinks.clickhouse.schema import readings_table_name

RATE_SPAN_S = 6.0
"""Rates are taken over so many seconds."""
WINDOWS_BACK = 4


class Series(NamedTuple):
    """One window of one series as the store gives it."""

    indicator: str
    city: str
    dims: str
    end_ms: int
    value: float | None
    state: str
    maturity: str


class Totals(NamedTuple):
    """Readings of a run: as the headers of `accepted` count them, and as rows stored."""

    seen: int = 0
    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    frames: int = 0
    stored: int = 0
    quarantined: Mapping[str, int] = {}


class Rates:
    """Growth per second of some totals over the last seconds."""

    def __init__(self, span_s: float = RATE_SPAN_S) -> None:
        self._span_s = span_s
        self._seen: deque[tuple[float, tuple[float, ...]]] = deque()

    def note(self, now_s: float, values: tuple[float, ...]) -> tuple[float, ...]:
        """Add totals at a moment and return their rates; zero until there are two moments."""
        self._seen.append((now_s, values))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= self._span_s:
            self._seen.popleft()
        then, before = self._seen[0]
        span = now_s - then
        return tuple(max(0.0, (value - old) / span) if span else 0.0 for value, old in zip(values, before, strict=True))


@dataclass
class StoreWatch:
    """Reads the store of a run. One per thread; every method raises StoreError while the store is away."""

    catalogue: Catalogue
    store: Store

    def __post_init__(self) -> None:
        self._tables = [readings_table_name(feed) for feed in self.catalogue.feeds]
        hops = [one.window.hop_s for one in self.catalogue.indicators.values()]
        self._back_ms = WINDOWS_BACK * 1000 * max(hops, default=0)

    def clock_ms(self) -> int | None:
        """How far event time has come in the store."""
        rows = self.store.query(queries.CLOCK, {"db": self.store.database})
        return int(rows[0][0]) if rows else None

    def totals(self, *, exact: bool = False) -> Totals:
        """Counts of the run; `exact` pays for counting every frame once even where an insert was repeated."""
        database = {"db": self.store.database}
        counts = self.store.query(queries.COUNTS_EXACT if exact else queries.COUNTS, database)[0]
        stored = sum(int(self.store.query(queries.ROWS, {**database, "table": t})[0][0]) for t in self._tables)
        bad = {str(reason): int(n) for reason, n in self.store.query(queries.QUARANTINED, database)}
        seen, accepted, duplicate, late, frames = (int(value) for value in counts)
        return Totals(seen, accepted, duplicate, late, frames, stored, bad)

    def firing(self) -> tuple[Firing, ...]:
        """The alerts that are open, the newest first."""
        rows = self.store.query(queries.FIRING, {"db": self.store.database})
        return tuple(
            Firing(str(indicator), str(city), str(dims), str(severity), int(since_ms), bool(stale))
            for indicator, city, dims, severity, since_ms, stale in rows
        )

    def alerts(self) -> tuple[int, int]:
        """How many alerts were opened and resolved."""
        ((opened, resolved),) = self.store.query(queries.ALERTS, {"db": self.store.database})
        return int(opened), int(resolved)

    def rollup_count(self) -> int:
        """Readings counted by the partials of the built-in measure of every feed."""
        measures = [rows_measure(feed).name for feed in self.catalogue.feeds]
        rows = self.store.query(queries.ROLLUP_COUNT, {"db": self.store.database, "measures": measures})
        return int(rows[0][0])

    def version(self) -> str:
        """The store's own version."""
        return str(self.store.query(queries.VERSION)[0][0])

    def settled(self) -> tuple[int, str]:
        """How many settled and corrected rows there are, and their fingerprint."""
        import polars as pl

        from pearlstream.indicators import INDICATORS_ARROW, fingerprint

        rows = self.store.query(queries.SETTLED, {"db": self.store.database})
        schema = pl.Schema(pl.DataFrame(INDICATORS_ARROW.empty_table()).schema)
        return fingerprint(pl.DataFrame(list(rows), schema=schema, orient="row"))

    def signals(self, clock_ms: int) -> dict[tuple[str, str], Signal]:
        """The newest signal of every indicator and city; never more rows than windows that end near the clock."""
        rows = self.store.query(queries.SIGNALS, {"db": self.store.database, "since_ms": clock_ms - self._back_ms})
        return choose((Series(*row) for row in rows), self.catalogue.indicators)


def choose(rows: Iterable[Series], indicators: Mapping[str, Indicator]) -> dict[tuple[str, str], Signal]:
    """One signal per indicator and city out of series by dimensions, newest window first.

    A series over all dimensions is taken where there is one; otherwise that of the worst dimension.
    """
    series: dict[tuple[str, str], dict[str, list[Series]]] = {}
    for row in rows:
        if row.indicator in indicators:
            series.setdefault((row.indicator, row.city), {}).setdefault(row.dims, []).append(row)
    return {
        at: newest(by_dims[""]) if "" in by_dims else _worst(map(newest, by_dims.values()), indicators[at[0]])
        for at, by_dims in series.items()
    }


def newest(windows: list[Series]) -> Signal:
    """The newest settled window of one series (newest first); while there is none, the newest that has a value."""
    settled = (n for n, row in enumerate(windows) if row.maturity != "provisional")
    valued = (n for n, row in enumerate(windows) if row.value is not None)
    said = next(settled, next(valued, 0))
    row = windows[said]
    before = windows[said + 1].value if said + 1 < len(windows) else None
    return Signal(row.value, row.state, row.maturity, row.end_ms, before, row.dims)


def _worst(signals: Iterable[Signal], indicator: Indicator) -> Signal:
    """The worst by state, then by value in the direction in which the indicator is bad."""
    sign = -1.0 if indicator.direction == "up" else 1.0

    def badness(signal: Signal) -> tuple[int, float]:
        return SEVERITY.get(signal.shown, 0), sign * signal.value if signal.value is not None else float("-inf")

    return max(signals, key=badness)


def cpu_seconds(pid: int) -> float | None:
    """CPU time of a process, None if it is gone or the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Costs:
    """CPU seconds by process name, over all its lives. Look often: what a life used last is lost with it."""

    def __init__(self) -> None:
        self._lives: dict[tuple[str, int], float] = {}

    def note(self, name: str, pid: int | None) -> None:
        """Look at a process."""
        used = cpu_seconds(pid) if pid is not None else None
        if pid is not None and used is not None:
            self._lives[name, pid] = used

    def by_name(self) -> dict[str, float]:
        """CPU seconds so far."""
        found: dict[str, float] = {}
        for (name, _), used in self._lives.items():
            found[name] = round(found.get(name, 0.0) + used, 2)
        return found
