"""What came of a run: the report with its fixed keys, and whether every reading is accounted for."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from deploy.demo import paint
from deploy.demo.clients import Life, environment_of, program
from deploy.demo.watch import StoreWatch, Totals
from pearlstream import __version__
from pearlstream.catalogue import Catalogue
from pearlstream.errors import ServiceError
from pearlstream.store import Store

LEDGER_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Facts:
    """What a report is made of. `books`: what the simulator says it sent; `ledger`: what `store ledger` says;
    `alerts`: how many were opened, and resolved."""

    run_id: str
    life: Life
    scenario: str
    catalogue_version: str
    books: Mapping[str, Any]
    totals: Totals
    rollup_count: int
    settled: tuple[int, str]
    alerts: tuple[int, int]
    ledger: Mapping[str, Any]
    freshness_ms: Mapping[str, float | None]
    restarts: Mapping[str, int]
    cpu_s: Mapping[str, float]
    store_version: str
    drained: bool


@dataclass(frozen=True)
class Outcome:
    """The report as JSON, and what is wrong in it: nothing, if the run was exact."""

    report: Mapping[str, Any]
    findings: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether every reading was counted once, on every side."""
        return not self.findings


def gather(
    life: Life,
    catalogue: Catalogue,
    *,
    run_id: str,
    scenario: str,
    freshness_ms: Mapping[str, float | None],
    restarts: Mapping[str, int],
    cpu_s: Mapping[str, float],
    drained: bool,
) -> Facts:
    """Ask the books, the store and the ledger. Raises ServiceError if one of them does not answer."""
    store = StoreWatch(catalogue, Store(life.settings.clickhouse))
    books = read_books(life.ledger)
    return Facts(
        run_id=run_id,
        life=life,
        scenario=scenario,
        catalogue_version=catalogue.version,
        books=books,
        totals=store.totals(exact=True),
        rollup_count=store.rollup_count(),
        settled=store.settled(),
        alerts=store.alerts(),
        ledger=ask_ledger(life, int(books["produced"]), drained=drained),
        freshness_ms=freshness_ms,
        restarts=restarts,
        cpu_s=cpu_s,
        store_version=store.version(),
        drained=drained,
    )


def read_books(file: Path) -> Mapping[str, Any]:
    """What the simulator wrote at its end. Raises ServiceError if it did not."""
    try:
        books: Mapping[str, Any] = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ServiceError(
            f"the simulator has left no books: {error}", remedy=f"see its log in {file.parent / 'logs'}"
        ) from None
    return books


def ask_ledger(life: Life, produced: int, *, drained: bool) -> Mapping[str, Any]:
    """What `pearlstream store ledger --json` says about the life's database; the same that anybody can ask.

    It is not given the broker: how much left the gateways it knows from the producer's own count, and where
    the embedded broker says that its topics end is not where they end (see `ends`).
    """
    options = ["--json", "--produced", str(produced), *(["--drained"] if drained else [])]
    asked = subprocess.run(
        program("store", "ledger", *options),
        env=environment_of(life.settings, inherit=True) | {"PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": ""},
        capture_output=True,
        timeout=LEDGER_TIMEOUT_S,
        check=False,
    )
    try:
        ledger: Mapping[str, Any] = orjson.loads(asked.stdout)
    except orjson.JSONDecodeError:
        said = asked.stderr.decode("utf-8", "replace").strip()
        raise ServiceError(
            f"`store ledger` ended with exit code {asked.returncode}: {said[-500:]}", remedy="see the run's logs"
        ) from None
    return ledger


def conclude(facts: Facts) -> Outcome:
    """The report, with its fixed keys first."""
    books, totals, ledger = facts.books, facts.totals, facts.ledger
    wall_s = float(books["wall_s"])
    played_s = max(0.0, (int(books["last_clock_ms"]) - int(books["start_ms"])) / 1000)
    quarantined = sum(totals.quarantined.values())
    report = {
        "seed": books["seed"],
        "scenario": facts.scenario,
        "duration_s": min(float(books["duration_s"]), played_s) if books["stopped"] else float(books["duration_s"]),
        "readings": {
            "produced": int(books["produced"]),
            "accepted": totals.accepted,
            "quarantined": quarantined,
            "duplicate": totals.duplicate,
            "late": totals.late,
        },
        "stored": {"raw": totals.stored, "rollup_count": facts.rollup_count},
        "freshness_ms": {"p50": facts.freshness_ms["p50"], "p99": facts.freshness_ms["p99"]},
        "alerts": {"fired": facts.alerts[0], "resolved": facts.alerts[1]},
        "score": None,
        "ledger": {name: ledger[name] for name in ("missing", "doubled", "pending", "findings")},
        "settled": {"rows": facts.settled[0], "sha256": facts.settled[1]},
        "quarantined_by_reason": dict(totals.quarantined),
        "run": facts.run_id,
        "database": facts.life.settings.clickhouse.database,
        "prefix": facts.life.settings.kafka.prefix,
        "life": facts.life.number,
        "stopped": bool(books["stopped"]),
        "drained": facts.drained,
        "restarts": dict(facts.restarts),
        "frames": totals.frames,
        "wall_s": round(wall_s, 3),
        "readings_per_s": round(int(books["produced"]) / wall_s, 1) if wall_s else None,
        "cpu_s": dict(facts.cpu_s),
        "versions": {
            "pearlstream": __version__,
            "catalogue": facts.catalogue_version,
            "python": platform.python_version(),
            "store": facts.store_version,
        },
    }
    findings = tuple(_findings(facts, quarantined))
    return Outcome({**report, "findings": list(findings)}, findings)


def _findings(facts: Facts, quarantined: int) -> list[str]:
    """Every equation that does not hold, in words."""
    totals, produced = facts.totals, int(facts.books["produced"])
    found = []
    if not facts.drained:
        found.append("the run ended before everything had arrived in the store")
    equations = [
        ("readings produced", produced, "readings seen by admit", totals.seen),
        ("seen", totals.seen, "accepted + duplicate + quarantined", totals.accepted + totals.duplicate + quarantined),
        ("accepted", totals.accepted, "raw rows stored", totals.stored),
        ("accepted", totals.accepted, "readings in rollups", facts.rollup_count),
    ]
    found += [f"{what} {n:,}, but {other} {m:,}" for what, n, other, m in equations if n != m]
    return found + [_in_words(finding) for finding in facts.ledger["findings"]]


def _in_words(finding: Mapping[str, Any]) -> str:
    """One finding of the ledger."""
    where = f" ({finding['where']})" if finding["where"] else ""
    places = f", for instance {finding['places'][0]}" if finding["places"] else ""
    return f"{finding['what']}{where}: {finding['missing']:,} missing, {finding['doubled']:,} doubled{places}"


def summary(outcome: Outcome) -> list[str]:
    """The outcome for people."""
    report = outcome.report
    readings, stored, fresh = report["readings"], report["stored"], report["freshness_ms"]
    lines = [
        f"produced {readings['produced']:,} readings in {paint.span(report['wall_s'])}"
        f" ({report['readings_per_s'] or 0:,.0f}/s): accepted {readings['accepted']:,}, "
        f"duplicate {readings['duplicate']:,}, quarantined {readings['quarantined']:,}; "
        f"{readings['late']:,} of the accepted were late",
        f"stored {stored['raw']:,} raw rows and {stored['rollup_count']:,} readings in rollups; "
        f"fresh p50 {paint.seconds(fresh['p50'])}, p99 {paint.seconds(fresh['p99'])}",
    ]
    fired, resolved = report["alerts"]["fired"], report["alerts"]["resolved"]
    if fired:
        lines.append(f"alerts: {fired:,} fired, {resolved:,} of them resolved")
    again = ", ".join(f"{name} {n}" for name, n in report["restarts"].items() if n)
    if again:
        lines.append(f"started again: {again}")
    if outcome.exact:
        lines.append("exact: every reading produced is accounted for, on every side; nothing missing, nothing doubled")
    else:
        lines += [f"not exact: {finding}" for finding in outcome.findings]
    return lines
