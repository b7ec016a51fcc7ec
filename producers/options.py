"""Words of the command line that several producers understand: durations, speeds, scenarios."""

from __future__ import annotations

import re
from typing import Any

import click

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "": 1_000}


def duration_ms(text: str) -> int:
    """A duration such as `90s`, `15m`, `2h`, `1h30m` in milliseconds; a bare number is seconds. Raises ValueError."""
    text = text.strip().lower()
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise ValueError(f"{text!r} is no duration; write for example 90s, 15m, 2h or 1h30m")
    return round(sum(float(part[1]) * _UNIT_MS[part[2] or ""] for part in parts))


class Duration(click.ParamType):
    """A duration in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See `duration_ms`."""
        if isinstance(value, int):
            return value
        try:
            return duration_ms(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Speed(click.ParamType):
    """How many seconds of event time pass in a second: a positive number (`60`, `60x`); `0` or `max`: no limit."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """0 stands for no limit."""
        if isinstance(value, (int, float)):
            return float(value)
        text = str(value).strip().lower().removesuffix("x")
        if text == "ma":  # what is left of max
            return 0.0
        try:
            speed = float(text)
        except ValueError:
            speed = -1.0
        if not 0 <= speed < 1e6:
            self.fail(f"{value!r} is no speed; write a number such as 60, or max", param, ctx)
        return speed


class ScenarioDelay(click.ParamType):
    """A scenario by id or alias, and how long after the start of the run it begins: `SC02`, `rush+45m`."""

    name = "scenario"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """The name and the delay in milliseconds."""
        if isinstance(value, tuple):
            return value
        name, _, delay = str(value).partition("+")
        try:
            return name, duration_ms(delay) if delay else 0
        except ValueError as error:
            self.fail(str(error), param, ctx)
