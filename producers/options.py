"""Words of the command line that several producers understand: durations, speeds, scenarios."""

from __future__ import annotations

import re
from collections.abc import Sequence
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


class ScenarioCommand(click.Command):
    """A command that plays scenarios: `--at +6h` after a `--scenario` says when that one begins.

    Click keeps no order between two options, so the pair is joined (`--scenario rush+6h`) before it is parsed.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `joined`."""
        return super().parse_args(ctx, joined(args, ctx))


def joined(args: Sequence[str], ctx: click.Context | None = None) -> list[str]:
    """The arguments with every `--at` put to the `--scenario` before it.

    Raises click.UsageError for an `--at` without a scenario, or with one that has a delay already.
    """
    found: list[str] = []
    last: int | None = None
    rest = iter(args)
    for word in rest:
        name, given, value = word.partition("=")
        if word == "--" or name not in ("--scenario", "--at"):
            found.append(word)
            found.extend(rest if word == "--" else ())
            continue
        text = value if given else next(rest, None)
        if text is None:
            found.append(word)  # click says what is missing
        elif name == "--scenario":
            last = len(found) + 1
            found += [name, text]
        elif last is None:
            raise click.UsageError(f"--at {text} belongs to no scenario; put it after its --scenario", ctx)
        elif "+" in found[last]:
            raise click.UsageError(f"--at {text}: {found[last]} has a delay already; give one of them", ctx)
        else:
            found[last] += f"+{text.removeprefix('+')}"
    return found


at_option = click.option(
    "--at",
    expose_value=False,
    metavar="+DURATION",
    help="When the --scenario before it begins: +6h.",
)
"""Tells of `--at` in the help of a `ScenarioCommand`, which leaves none of it to parse."""


FAULTS_HELP = "What goes wrong with devices, gateways, networks: nothing, what feeds say, or as a file changes it."
