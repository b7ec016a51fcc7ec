"""The verdict of a chaos run: its fixed keys, and everything that disagrees, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.chaos.books import Side
from deploy.demo.watch import Totals


@dataclass(frozen=True)
class Facts:
    """What a verdict is made of. `sent`: the producer's own count; `raw`, `rollups`: the store against the books;
    `ledger`: what `store ledger` says; `settled`, `undisturbed`: rows and fingerprint of the settled indicators."""

    seed: int
    broker: str
    faults: Sequence[Mapping[str, Any]]
    planned: int
    books_agree: bool
    sent: Mapping[str, Any]
    totals: Totals
    raw: Side
    rollups: Side
    ledger: Mapping[str, Any]
    settled: tuple[int, str]
    undisturbed: tuple[int, str]
    restarts: Mapping[str, int]
    drained: bool
    wall_s: float
    run_id: str


@dataclass(frozen=True)
class Verdict:
    """The report as JSON, and what is wrong in it: nothing, if nothing was lost or doubled."""

    report: Mapping[str, Any]
    findings: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether every reading counts once, on every side."""
        return not self.findings


def conclude(facts: Facts) -> Verdict:
    """The report. Each side counts the same readings, so `missing` and `doubled` are those of the worst side."""
    findings = tuple(_findings(facts))
    totals, ledger = facts.totals, facts.ledger
    report = {
        "rounds": len(facts.faults),
        "missing": max(facts.raw.missing, facts.rollups.missing, int(ledger["missing"])),
        "doubled": max(facts.raw.doubled, facts.rollups.doubled, int(ledger["doubled"])),
        "faults": list(facts.faults),
        "exact": not findings,
        "findings": list(findings),
        "seed": facts.seed,
        "broker": facts.broker,
        "readings": {
            "produced": int(facts.sent["produced"]),
            "repeats": int(facts.sent["repeats"]),
            "accepted": totals.accepted,
            "duplicate": totals.duplicate,
            "late": totals.late,
            "quarantined": sum(totals.quarantined.values()),
        },
        "sides": {
            "raw": {"missing": facts.raw.missing, "doubled": facts.raw.doubled},
            "rollups": {"missing": facts.rollups.missing, "doubled": facts.rollups.doubled},
            "ledger": {"missing": int(ledger["missing"]), "doubled": int(ledger["doubled"])},
        },
        "settled": _settled(facts.settled),
        "undisturbed": _settled(facts.undisturbed),
        "restarts": dict(facts.restarts),
        "drained": facts.drained,
        "stopped": len(facts.faults) < facts.planned,
        "wall_s": round(facts.wall_s, 1),
        "run": facts.run_id,
    }
    return Verdict(report, findings)


def _settled(fingerprint: tuple[int, str]) -> dict[str, Any]:
    return {"rows": fingerprint[0], "sha256": fingerprint[1]}


def _findings(facts: Facts) -> list[str]:
    """Everything that does not hold, in words."""
    found = []
    if not facts.drained:
        found.append("the run ended before everything had arrived in the store")
    if not facts.books_agree:
        found.append("the producer's own count is not that of the same log made again: its books prove nothing")
    if not facts.sent["produced"]:
        found.append("nothing was produced")
    for side, name in ((facts.raw, "raw rows"), (facts.rollups, "readings in rollups")):
        if side.missing or side.doubled:
            example = f", for instance {side.places[0]}" if side.places else ""
            found.append(f"{name}: {side.missing:,} missing, {side.doubled:,} doubled{example}")
    for finding in facts.ledger["findings"]:
        where = f" ({finding['where']})" if finding["where"] else ""
        found.append(
            f"ledger: {finding['what']}{where}: {finding['missing']:,} missing, {finding['doubled']:,} doubled"
        )
    if facts.settled != facts.undisturbed:
        rows, others = facts.settled[0], facts.undisturbed[0]
        found.append(f"{rows:,} settled rows of indicators are not the {others:,} of an undisturbed run")
    if not facts.undisturbed[0]:
        found.append("no window of any indicator has settled, so that nothing could be compared: let it run longer")
    return found


def summary(verdict: Verdict) -> list[str]:
    """The verdict for people."""
    report = verdict.report
    readings, produced = report["readings"], max(1, report["readings"]["produced"])
    again = ", ".join(f"{name} {count}" for name, count in report["restarts"].items() if count)
    lines = [
        f"{report['rounds']} rounds on the {report['broker']} broker in {report['wall_s']:.0f} s"
        + (f"; started again: {again}" if again else ""),
        f"sent {readings['produced']:,} readings, {readings['repeats'] / produced:.1%} of them repeats; "
        f"accepted {readings['accepted']:,}, {readings['late'] / produced:.1%} of them late",
    ]
    if verdict.exact:
        lines.append(
            "exact: nothing missing, nothing doubled; "
            f"the {report['settled']['rows']:,} settled rows of indicators are those of an undisturbed run"
        )
    return lines + [f"not exact: {finding}" for finding in verdict.findings]
