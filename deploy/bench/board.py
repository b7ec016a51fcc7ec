"""The figures of one call: measured one after the other, each in a process of its own, and told as they come."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import orjson

from deploy.bench.figures import beside
from pearlstream.errors import ServiceError


@dataclass
class Board:
    """Figures as they come in. `shown`: print them as they do."""

    shown: bool
    figures: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.shown:
            click.echo(machine())
            click.echo(f"{'stage':24}{'encoding':>9}{'rows':>7}{'readings/s':>13}{'CPU-s/million':>15}{'MB':>8}")

    def add(self, case: dict[str, Any], base: dict[str, Any] | None = None, **about: Any) -> list[dict[str, Any]]:
        """Measure a case; its figures, with what is said `about` them. Each is set beside `base`, or, if there is none,
        beside the first of its case. Raises ServiceError if its process fails.
        """
        argv = [sys.executable, "-P", "-m", "deploy.bench.child", orjson.dumps(case).decode()]
        ran = subprocess.run(argv, capture_output=True, check=False)
        if ran.returncode:
            tail = ran.stderr.decode(errors="replace")[-2000:]
            raise ServiceError(f"measuring {case['name']} failed\n{tail}", remedy="see the lines above")
        figures: list[dict[str, Any]] = [{**figure, **about} for figure in orjson.loads(ran.stdout)]
        for figure in figures:
            other = base or figures[0]
            if figure is not other:
                figure["beside"] = beside(figure, other)
            if self.shown:
                click.echo("\n".join(told(figure)))
        self.figures += figures
        return figures

    @property
    def exact(self) -> bool:
        """Whether every figure counts."""
        return all(figure["exact"] for figure in self.figures)


def told(figure: dict[str, Any]) -> list[str]:
    """A figure as lines of the table: itself, its processes, what it is set beside, and why it does not count."""
    lines = [
        f"{_label(figure):24}{figure['encoding']:>9}{figure['frame_rows']:>7}{figure['readings_per_s']:>13,}"
        f"{figure['cpu_s_per_million']:>15.2f}{figure['peak_rss_mb']:>8.0f}"
    ]
    cpu, peaks = figure["cpu_s_per_million_by_process"], figure["peak_rss_mb_by_process"]
    if len(cpu) > 1:
        memory = {name: f"{peak:>8.0f}" for name, peak in peaks.items()}
        lines += [f"  {name:51}{used:>15.2f}{memory.get(name, '')}" for name, used in cpu.items()]
    if "beside" in figure:
        lines.append(f"  {_compared(figure['beside'])}")
    return lines + [f"  does not count: {wrong}" for wrong in figure["wrong"]]


def _label(figure: dict[str, Any]) -> str:
    return f"{figure['stage']} x{figure['workers']}" if figure["workers"] > 1 else str(figure["stage"])


def _compared(than: dict[str, Any]) -> str:
    rate, cpu = than["readings_per_s"], than["cpu_s_per_million"]
    if rate is None or cpu is None:
        return f"not set beside {_label(than)}: one of the two does not count"
    return f"{rate:,g} times the readings/s of {_label(than)}, for {cpu:,g} times the CPU time"


def machine() -> str:
    """What this machine is, in a line."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({models[0] if models else platform.processor()}), "
        f"Python {platform.python_version()}, load {load:.1f}"
    )
