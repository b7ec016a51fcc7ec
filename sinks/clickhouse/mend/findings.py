"""Findings: what stands in quarantine, what was done about it, and setting it aside for good."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pearlstream.errors import PearlstreamError
from pearlstream.store import Store
from sinks.clickhouse.mend import sql
from sinks.clickhouse.mend.acts import Act


@dataclass(frozen=True)
class Filter:
    """Which findings are meant. Empty tuples: any. `since`: ms of the log's clock. `all`: settled ones, too."""

    reasons: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    since: int = 0
    limit: int = 100
    all: bool = False


@dataclass(frozen=True)
class Finding:
    """One finding: some rows of a frame (`whole`: all of it) and what is wrong with them.

    `finding` names it: `<topic id>/<partition>/<offset>/<item>`. `length` bytes came, `kept` of them are there.
    `done`: what was done about it, `redrive` or `discard`, empty if nothing.
    """

    finding: str
    reason: str
    message: str
    feed: str
    schema: str
    city: str
    gateway: str
    clock_ms: int
    whole: bool
    rows: tuple[int, ...]
    length: int
    kept: int
    topic_id: str
    partition: int
    offset: int
    done: str
    why: str

    @property
    def cut(self) -> bool:
        """Only the head of it was kept."""
        return self.kept < self.length

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "rows": list(self.rows), "cut": self.cut}


@dataclass(frozen=True)
class SetAside:
    """What came, as it came: `payload` is its head if the finding is cut."""

    key: bytes
    payload: bytes
    headers: Mapping[str, str]
    sha256: str


def list_findings(store: Store, wanted: Filter) -> list[Finding]:
    """Findings, newest first. Raises StoreError."""
    rows = store.dicts(sql.findings(store.database), _parameters(wanted), sql.FINAL)
    return [Finding(**{**row, "rows": tuple(row["rows"])}) for row in rows]


def count_findings(store: Store, wanted: Filter) -> list[dict[str, Any]]:
    """Findings by reason and what was done about them. Raises StoreError."""
    return store.dicts(sql.finding_counts(store.database), _parameters(wanted), sql.FINAL)


def one_finding(store: Store, name: str) -> Finding:
    """The finding of a name. Raises PearlstreamError if there is none, StoreError."""
    found = list_findings(store, Filter(findings=(name,), all=True, limit=1))
    if not found:
        raise PearlstreamError(
            f"nothing in quarantine is named {name!r}",
            remedy="`pearlstream quarantine list --all` shows names: topic id/partition/offset/item; 30 days are kept",
        )
    return found[0]


def load_set_aside(store: Store, names: Sequence[str]) -> dict[str, SetAside]:
    """What came with some findings, by their names. Raises StoreError."""
    rows = store.dicts(sql.set_aside(store.database), {"findings": list(names)})
    return {
        row["finding"]: SetAside(
            row["key"].encode(),
            base64.b64decode(row["payload"]),
            dict(zip(row["names"], row["values"], strict=True)),
            row["sha256"],
        )
        for row in rows
    }


def discard(store: Store, findings: Sequence[Finding], wanted: Filter, why: str) -> int:
    """Note that nothing is to be done about findings; they stay where they are. How many. Raises StoreError."""
    open_ones = [one for one in findings if not one.done]
    if not open_ones:
        return 0
    act = Act.begin(store, "discard", asdict(wanted), why)
    act.write([act.row(2, one.finding, rows=len(one.rows)) for one in open_ones])
    act.done(rows=len(open_ones))
    return len(open_ones)


def _parameters(wanted: Filter) -> dict[str, Any]:
    lists = {name: list(getattr(wanted, name)) for name in ("reasons", "feeds", "gateways", "findings")}
    return {**lists, "since": wanted.since, "limit": wanted.limit, "all": wanted.all}
