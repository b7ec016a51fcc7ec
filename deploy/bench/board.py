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

from pearlstream.errors import ServiceError


@dataclass
class Board:
    """Figures as they come in. `told`: print a line for each."""

    told: bool
    figures: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.told:
            click.echo(machine())
            click.echo(f"{'stage':24}{'encoding':>9}{'rows':>7}{'readings/s':>13}{'CPU-s/million':>15}{'MB':>8}")

    def add(self, case: dict[str, Any], **about: Any) -> dict[str, Any]:
        """Measure a case; the figure, with what is said `about` it. Raises ServiceError if its process fails."""
        argv = [sys.executable, "-P", "-m", "deploy.bench.child", orjson.dumps(case).decode()]
        ran = subprocess.run(argv, capture_output=True, check=False)
        if ran.returncode:
            tail = ran.stderr.decode(errors="replace")[-2000:]
            raise ServiceError(f"measuring {case['name']} failed\n{tail}", remedy="see the lines above")
        figure: dict[str, Any] = {**orjson.loads(ran.stdout), **about}
        self.figures.append(figure)
        if self.told:
            _tell(figure)
        return figure

    @property
    def exact(self) -> bool:
        """Whether every figure counts."""
        return all(figure["exact"] for figure in self.figures)


def _tell(figure: dict[str, Any]) -> None:
    click.echo(
        f"{figure['stage']:24}{figure['encoding']:>9}{figure['frame_rows']:>7}{figure['readings_per_s']:>13,}"
        f"{figure['cpu_s_per_million']:>15.2f}{figure['peak_rss_mb']:>8.0f}"
    )
    for wrong in figure["wrong"]:
        click.echo(f"  does not count: {wrong}")


def machine() -> str:
    """What this machine is, in a line."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({models[0] if models else platform.processor()}), "
        f"Python {platform.python_version()}, load {load:.1f}"
    )
