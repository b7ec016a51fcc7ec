"""Units that a SenML sender may use in place of a field's own.

Names are those of the SenML registry (RFC 8428, RFC 8798) and the catalogue's; conversion is linear and only
within one dimension. What is not here must be sent in the field's unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Scale(NamedTuple):
    """A unit as `value * factor + offset` in the first unit of its dimension."""

    dimension: str
    factor: float = 1.0
    offset: float = 0.0


_DIMENSIONS: Mapping[str, Mapping[str, float | tuple[float, float]]] = {
    "temperature": {"K": 1, "Cel": (1, 273.15), "degF": (5 / 9, 459.67 * 5 / 9)},
    "speed": {"m/s": 1, "km/h": 1 / 3.6, "mph": 0.44704, "kn": 1852 / 3600, "mm/s": 0.001},
    "pressure": {"Pa": 1, "hPa": 100, "mbar": 100, "kPa": 1e3, "MPa": 1e6, "bar": 1e5},
    "ratio": {"/": 1, "ratio": 1, "%": 0.01, "/100": 0.01, "%RH": 0.01, "/1000": 0.001, "ppm": 1e-6, "ppb": 1e-9},
    "time": {"s": 1, "ms": 0.001, "min": 60, "h": 3600},
    "length": {"m": 1, "mm": 0.001, "cm": 0.01, "km": 1000},
    "power": {"W": 1, "kW": 1e3, "MW": 1e6},
    "energy": {"J": 1, "Wh": 3600, "kWh": 3.6e6, "MWh": 3.6e9},
    "concentration": {"kg/m3": 1, "g/m3": 1e-3, "mg/m3": 1e-6, "ug/m3": 1e-9, "mg/l": 1e-3, "ug/l": 1e-6},
    "volume": {"m3": 1, "l": 0.001},
    "volume flow": {"m3/s": 1, "m3/h": 1 / 3600, "l/s": 0.001, "l/min": 0.001 / 60},
    "rain": {"mm/h": 1, "mm/min": 60},
    "frequency": {"Hz": 1, "kHz": 1e3, "MHz": 1e6},
    "voltage": {"V": 1, "mV": 0.001, "kV": 1e3},
    "current": {"A": 1, "mA": 0.001},
    "bits a second": {"bit/s": 1, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9, "B/s": 8, "MB/s": 8e6},
    "angle": {"deg": 1, "rad": 57.29577951308232},
    "count": {"count": 1, "pcs": 1},
    "vehicles": {"veh/min": 1, "veh/h": 1 / 60, "1/min": 1},
    "sound": {"dB": 1, "dB(A)": 1},
}
UNITS: Mapping[str, Scale] = {
    unit: Scale(dimension, *(scale if isinstance(scale, tuple) else (scale,)))
    for dimension, units in _DIMENSIONS.items()
    for unit, scale in units.items()
}
"""Every unit that can be converted."""

_WITHOUT = ("", "1")


def converted(value: float, unit: str, wanted: str) -> float | None:
    """`value` in the unit `wanted`, or None if the two are of different kinds. Equal units change nothing."""
    if unit == wanted or (unit in _WITHOUT and wanted in _WITHOUT):
        return value
    given, target = UNITS.get(unit), UNITS.get(wanted or "/")
    if given is None or target is None or given.dimension != target.dimension:
        return None
    if given == target:
        return value
    return (value * given.factor + given.offset - target.offset) / target.factor
