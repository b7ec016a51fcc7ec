"""Every query of every panel, asked of a store: what fails in Grafana fails here, without Grafana."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import urllib3

from dashboards.macros import Shown, expand
from dashboards.model import Board, Panel, Query
from pearlstream.errors import PearlstreamError
from pearlstream.store import Store, StoreError


class Answer(NamedTuple):
    """How one query of one panel fared. `rows`: None if it failed; `seconds`: the wall time of asking and reading."""

    board: str
    panel: str
    query: str
    rows: int | None
    seconds: float
    error: str = ""
    empty: str = ""
    """Why an empty answer is right, as far as the panel knows."""

    @property
    def failed(self) -> bool:
        """An error."""
        return self.rows is None

    @property
    def missing(self) -> bool:
        """Nothing came where something should."""
        return self.rows == 0 and not self.empty


def newest_time(store: Store, span_ms: int) -> tuple[int, int]:
    """From when to when the store knows of anything, the newest `span_ms` of it at the most; ms since 1970 UTC.

    Raises PearlstreamError if it is empty.
    """
    found = store.query(
        "SELECT toUnixTimestamp64Milli(min(known_at_ms)), toUnixTimestamp64Milli(max(known_at_ms)) "
        "FROM indicators HAVING count() > 0"
    )
    if not found:
        raise PearlstreamError(f"{store.database} holds no indicators", remedy="let `pearlstream demo` run for a while")
    oldest, newest = map(int, found[0])
    return max(oldest, newest - span_ms), newest


def chosen(store: Store, board: Board) -> dict[str, Sequence[str]]:
    """What the variables of a board stand at when it is opened: all, or the first."""
    found: dict[str, Sequence[str]] = {}
    for variable in board.variables:
        if variable.choices:
            found[variable.name] = [variable.first or variable.choices[0][0]]
        elif variable.typed or variable.first is not None:
            found[variable.name] = [variable.first or ""]
        else:
            found[variable.name] = [str(row[0]) for row in store.query(expand(variable.sql, Shown(0, 1, found)))]
    return found


def answers(board: Board, shown: Shown, store: Store, prometheus: str = "") -> Iterator[Answer]:
    """Ask everything that a board asks of the store: panels, then marks. `prometheus`: the address of one, which is
    asked for its part, as of now."""
    for panel in board.panels:
        for query in panel.queries:
            if query.of == "clickhouse":
                yield _asked(board, panel, query, shown, store)
            elif prometheus:
                yield _asked_of_prometheus(board, panel, query, prometheus)
    for mark in board.annotations:
        made = Panel(kind=board.panels[0].kind, title=f"mark: {mark.name}", width=0, height=0, empty="no mark")
        yield _asked(board, made, Query(mark.sql), shown, store)


def _asked(board: Board, panel: Panel, query: Query, shown: Shown, store: Store) -> Answer:
    begun = time.perf_counter()
    try:
        rows: Sequence[Any] | None = store.query(expand(query.sql, shown))
        error = ""
    except (StoreError, PearlstreamError) as failure:
        rows, error = None, str(failure).splitlines()[0][:400]
    seconds = time.perf_counter() - begun
    empty = panel.empty or ("no window is open" if query.unsettled else "")
    if not empty and panel.settles_s * 1000 > shown.to_ms - shown.from_ms:
        empty = f"windows of {panel.settles_s} s have not settled in this time"
    return Answer(board.uid, panel.title, query.name, None if rows is None else len(rows), seconds, error, empty)


def _asked_of_prometheus(board: Board, panel: Panel, query: Query, address: str) -> Answer:
    begun = time.perf_counter()
    rows, error = None, ""
    try:
        said = urllib3.request("GET", f"{address.rstrip('/')}/api/v1/query", fields={"query": query.sql}, timeout=30.0)
        body = said.json()
        if said.status == 200:
            rows = len(body["data"]["result"])
        else:
            error = f"Prometheus: {body.get('error', said.status)}"
    except (urllib3.exceptions.HTTPError, ValueError, KeyError) as failure:
        error = f"Prometheus at {address}: {failure}"[:400]
    return Answer(board.uid, panel.title, query.name, rows, time.perf_counter() - begun, error, panel.empty)
