"""What a score says: a table by scenario, the claims that failed, what was missed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from deploy.score.judge import Verdict
from deploy.score.mutate import Coverage
from deploy.score.runs import Scored
from deploy.score.tally import Sort, Tally

MOST = 40
"""Lines of a list on the screen; `--json` has all."""


@dataclass
class Board:
    """All runs, by scenario and together."""

    fleet: float = 1.0
    by_scenario: dict[str, Tally] = field(default_factory=dict)
    total: Tally = field(default_factory=Tally)
    coverage: Coverage | None = None

    def add(self, scored: Scored) -> None:
        """Add one run."""
        found = (scored.evidence, scored.verdicts, scored.openings, scored.readings)
        self.by_scenario.setdefault(scored.evidence.scenario.id, Tally()).add(*found)
        self.total.add(*found)
        if scored.coverage is not None:
            self.coverage = self.coverage or Coverage()
            self.coverage.merge(scored.coverage)

    @property
    def fine(self) -> bool:
        """Whether every claim came true and no goal was missed."""
        return not self.total.failed and not self.total.missed_goals

    def as_json(self) -> dict[str, Any]:
        """The report, in all and by scenario."""
        body = self.total.as_json() | {"fleet": self.fleet}
        body["scenarios"] = {
            name: {key: value for key, value in tally.as_json().items() if key not in ("failed", "false")}
            for name, tally in self.by_scenario.items()
        }
        if self.coverage is not None:
            body["mutate"] = self.coverage.as_json()
        return body

    def tell(self) -> None:
        """Print it."""
        console = Console()
        console.print(self._table())
        if self.fleet != 1:
            console.print(
                f"All figures are of {self.fleet:.0%} of the devices: a small fleet is noisier than a whole one."
            )
        _list(console, "Claims that failed", [_line(one) for one in self.total.failed])
        _list(console, "False alerts", _false(self.total))
        _list(console, "Goals that were missed", self.total.missed_goals)
        if self.coverage is not None:
            _tell_coverage(console, self.coverage)

    def _table(self) -> Table:
        table = Table(
            "scenario", "runs", "claims", "failed", "recall", "prec.", "delay\np50/p95", "false\na day", "flaps",
            box=box.SIMPLE_HEAD,
        )  # fmt: skip
        table.columns[0].no_wrap = True
        for column in table.columns[1:]:
            column.justify = "right"
        for name, tally in self.by_scenario.items():
            table.add_row(name, *_cells(tally))
        table.add_section()
        table.add_row("all", *_cells(self.total))
        return table


def _cells(tally: Tally) -> list[str]:
    return [
        f"{tally.runs}",
        f"{len(tally.verdicts)}",
        f"{len(tally.failed)}",
        "-" if tally.recall is None else f"{tally.recall:.3f}",
        "-" if tally.precision is None else f"{tally.precision:.3f}",
        _delays(tally.delay_s(50), tally.delay_s(95)),
        f"{tally.false_per_day:.2f}",
        f"{tally.flaps}",
    ]


def _delays(half: float | None, most: float | None) -> str:
    return "-" if half is None or most is None else f"{half / 60:.0f}/{most / 60:.0f} min"


def _line(one: Verdict) -> str:
    place = f" {one.city}" if one.city else ""
    return f"{one.scenario} seed {one.seed}{place}: {one.claim}: {one.reason}"


def _false(tally: Tally) -> list[str]:
    """False openings by scenario and rule, the most frequent first."""
    count = Counter((one.scenario, one.episode.indicator) for one in tally.openings if one.sort is Sort.FALSE)
    return [f"{scenario} {rule}: {number}" for (scenario, rule), number in count.most_common()]


def _list(console: Console, title: str, lines: list[str]) -> None:
    if not lines:
        return
    console.print(f"\n{title}:", style="bold", highlight=False)
    for line in lines[:MOST]:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if len(lines) > MOST:
        console.print(f"  and {len(lines) - MOST} more; --json has all", highlight=False)


def _tell_coverage(console: Console, coverage: Coverage) -> None:
    seen = sum(coverage.noticed.values())
    console.print(f"\n{seen} of {len(coverage.noticed)} mutants are noticed by a claim.", highlight=False)
    _list(console, "Mutants that no claim notices", [f"{one.rule}: {one.change}" for one in coverage.unnoticed])
    _list(console, "Rules that no claim touches", [", ".join(coverage.untested)] if coverage.untested else [])
