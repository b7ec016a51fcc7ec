"""Colours, states and units, as every board shows them.

The colours are those of Okabe and Ito (2008), which people with any common colour blindness can tell apart; a
state is never shown by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.model import Step, Tongue, Word
from dashboards.words import NO_DATA, OK, OPENED, RAISED, RESOLVED, STALE, WATCH
from pearlstream.catalogue.indicator import Indicator

GREEN, AMBER, RED, BLUE, PURPLE, GREY = "#009E73", "#E69F00", "#D55E00", "#0072B2", "#CC79A7", "#8C8C8C"
STATE_COLOURS = {"OK": GREEN, "WATCH": AMBER, "RAISED": RED, "NODATA": GREY}
STATE_SIGNS = {"OK": "✓", "WATCH": "!", "RAISED": "✗", "NODATA": "?"}


def state_words(tongue: Tongue) -> dict[str, Word]:
    """The states of a window with sign and word."""
    names = {"OK": OK, "WATCH": WATCH, "RAISED": RAISED, "NODATA": NO_DATA}
    return {state: Word(f"{STATE_SIGNS[state]} {tongue(name)}", STATE_COLOURS[state]) for state, name in names.items()}


def transition_words(tongue: Tongue) -> dict[str, Word]:
    """The transitions of an alert."""
    return {
        "opened": Word(f"✗ {tongue(OPENED)}", RED),
        "resolved": Word(f"✓ {tongue(RESOLVED)}", GREEN),
        "stale": Word(f"? {tongue(STALE)}", GREY),
    }


_UNITS = {"%": "percent", "s": "s", "ms": "ms", "min": "m", "d": "d", "ppm": "ppm"}
"""Units that Grafana knows how to scale and space; all others are written after the number."""


def grafana_unit(unit: str) -> str:
    """The id of a unit of the catalogue; `grafana:bytes` is one of Grafana's own."""
    if unit.startswith("grafana:"):
        return unit.removeprefix("grafana:")
    if unit in ("", "ratio"):
        return "none"
    return _UNITS.get(unit, f"suffix: {unit}")


def steps_of(indicator: Indicator) -> Sequence[Step]:
    """The thresholds that hold in most cities, as colours; none where they are multiples of an ordinary hour."""
    if indicator.alert is None:
        return ()
    pair = next((p for p in indicator.alert.thresholds if not p.cities), indicator.alert.thresholds[0])
    if pair.raise_.times == "base":
        return ()
    low, high = sorted((pair.raise_.value, pair.clear.value))
    rising = pair.raise_.op[0] == ">"
    colours = (GREEN, AMBER, RED) if rising else (RED, AMBER, GREEN)
    if low == high:
        return (Step(None, colours[0]), Step(low, colours[2]))
    return (Step(None, colours[0]), Step(low, colours[1]), Step(high, colours[2]))
