"""What fleets owe: group by group at once what each owes by itself."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.folds.fleet import NOBODY, Members, Roll

cadences = st.sampled_from([10.0, 60.0, 900.0, math.nan])
device = st.tuples(cadences, st.integers(0, 50), st.integers(40, 100), st.floats(0, 9))
groups = st.lists(st.lists(device, max_size=6), max_size=5)


def members(devices: list[tuple[float, int, int, float]]) -> Members:
    if not devices:
        return NOBODY
    cadence, start, until, unit = zip(*devices, strict=True)
    return Members(np.array(cadence), np.array(start), np.array(until), {"mw": np.array(unit)})


@given(some=groups, at=st.integers(0, 100), length_ms=st.sampled_from([10_000, 300_000, 3_600_000]))
def test_those_in_service_owe_a_sample_each_cadence(
    some: list[list[tuple[float, int, int, float]]], at: int, length_ms: int
) -> None:
    roll = Roll([members(devices) for devices in some])
    owed, totals = roll.owed(at, length_ms), roll.totals("mw", at)
    for number, devices in enumerate(some):
        serving = [d for d in devices if d[1] <= at < d[2]]
        samples = sum(length_ms / 1000 / d[0] for d in serving if d[0] * 1000 <= length_ms)
        assert owed.devices[number] == len(serving)
        np.testing.assert_allclose(owed.samples[number], samples or math.nan, rtol=1e-12)
        np.testing.assert_array_equal(totals[number], math.fsum(d[3] for d in serving) if serving else math.nan)


def test_a_field_that_no_device_has_has_no_total() -> None:
    without = Members(np.array([60.0]), np.array([0]), np.array([9]), {"mw": np.array([math.nan])})
    assert np.isnan(Roll([without, NOBODY]).totals("mw", 5)).all()
