"""Conversion of units: only within a dimension, and exactly nothing where they are equal."""

from __future__ import annotations

import pytest

from pearlstream.frame.units import UNITS, converted


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "expected"),
    [
        (70.7, "degF", "Cel", 21.5),
        (294.65, "K", "Cel", 21.5),
        (21.5, "Cel", "K", 294.65),
        (60, "mph", "km/h", 96.56064),
        (10, "m/s", "km/h", 36),
        (101325, "Pa", "hPa", 1013.25),
        (0.25, "/", "%", 25),
        (0.25, "", "%", None),
        (25, "%", "", 0.25),
        (1, "mg/m3", "ug/m3", 1000),
        (1, "Cel", "Pa", None),
        (1, "furlong", "m", None),
        (7, "furlong", "furlong", 7),
        (7, "count", "pcs", 7),
        (120, "veh/h", "veh/min", 2),
    ],
)
def test_a_value_is_converted(value: float, unit: str, wanted: str, expected: float | None) -> None:
    result = converted(value, unit, wanted)
    assert result == (expected if expected is None else pytest.approx(expected, rel=1e-12))


def test_an_equal_unit_changes_nothing_at_all() -> None:
    for unit in UNITS:
        assert converted(0.1, unit, unit) == 0.1
