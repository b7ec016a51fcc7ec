"""Units as people write them in files, and columns converted between them.

The table of units is that of the wire (`pearlstream.frame.units`); here are only other spellings of its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from pearlstream.frame.units import UNITS

Floats = NDArray[np.float64]

_SPELLINGS: Mapping[str, str] = {
    "Cel": "°C ℃ C degC deg.C celsius",
    "degF": "°F ℉ F deg.F fahrenheit",
    "K": "kelvin",
    "%": "percent pct",
    "ratio": "fraction share",
    "km/h": "kmh kph km/hr",
    "mph": "mi/h miles/h",
    "m/s": "mps",
    "ug/m3": "µg/m³ μg/m³ µg/m3 μg/m3 ug/m³ mcg/m3",
    "mg/m3": "mg/m³",
    "g/m3": "g/m³",
    "m3/h": "m³/h",
    "m3/s": "m³/s",
    "m3": "m³",
    "hPa": "hpa",
    "veh/min": "vpm",
    "veh/h": "vph",
    "pcs": "pieces",
}
ALIASES: Mapping[str, str] = {name: name for name in UNITS} | {
    spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings.split()
}
"""Every spelling, and the unit that it means."""


def unit_named(text: str) -> str | None:
    """The unit that a spelling means (`°C` -> `Cel`), or None if it is no unit of ours."""
    text = text.strip()
    return ALIASES.get(text) or ALIASES.get(text.lower())


def remedy_for(text: str, wanted: str) -> str:
    """What to write instead of a unit that is unknown or of another kind than `wanted`."""
    kind = UNITS[wanted].dimension if wanted in UNITS else None
    fitting = [name for name, scale in UNITS.items() if scale.dimension == kind] if kind else []
    near = get_close_matches(text, fitting or list(ALIASES), 1)
    hint = f"did you mean {near[0]!r}? " if near and near[0] != text else ""
    kinds = f"units that fit: {', '.join(fitting)}; otherwise " if fitting else ""
    return f"{hint}{kinds}give `factor` and `offset`"


def convertible(unit: str, wanted: str) -> bool:
    """Whether values in `unit` can be turned into `wanted`."""
    if unit == wanted:
        return True
    given, target = UNITS.get(unit), UNITS.get(wanted)
    return given is not None and target is not None and given.dimension == target.dimension


def converted_column(values: Floats, unit: str, wanted: str) -> Floats:
    """Values in `unit` as values in `wanted`, by the arithmetic of the wire; equal units change nothing."""
    given, target = UNITS.get(unit), UNITS.get(wanted)
    if unit == wanted or given is None or target is None or given == target:
        return values
    return (values * given.factor + given.offset - target.offset) / target.factor
