"""Declarations in words: what the command line and the reference pages say alike."""

from __future__ import annotations

from collections.abc import Sequence

from pearlstream.catalogue.indicator import Alert, Condition, Indicator
from pearlstream.catalogue.models import Name

DEMO_DEFAULT = "demo default"
"""What a threshold is called unless a norm stands behind it."""


def title(name: Name) -> str:
    """English and Chinese."""
    return f"{name.en} {name.zh}"


def span(seconds: float) -> str:
    """A length of time in its largest whole unit."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def window(one: Indicator) -> str:
    """`30 min, every 5 min`."""
    return f"{span(one.window.length_s)}, every {span(one.window.hop_s)}"


def thresholds(alert: Alert) -> str:
    """When it is raised and cleared, and how severe it is."""
    pairs = (
        f"raised at {condition(p.raise_)}, cleared at {condition(p.clear)}"
        + (f" in {', '.join(p.cities)}" if p.cities else "")
        for p in alert.thresholds
    )
    return "; ".join(pairs) + f" ({alert.severity})"


def condition(c: Condition) -> str:
    """`>= 1.8 (3 windows)`."""
    return f"{c.op} {c.value:g}{' x base' if c.times == 'base' else ''} ({c.count} windows)"


def limits(one: Indicator) -> Sequence[str]:
    """What the thresholds rest on: the reference limits of norms; the demo's own choice where none of them is one."""
    norms = [f"reference limit {reference.value:g}: {reference.label}" for reference in one.reference]
    raised = {pair.raise_.value for pair in one.alert.thresholds} if one.alert else set()
    own = raised - {reference.value for reference in one.reference}
    return [*norms, *([DEMO_DEFAULT] if own and not norms else [f"{value:g}: {DEMO_DEFAULT}" for value in sorted(own)])]
