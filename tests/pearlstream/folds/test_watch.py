"""What `admit` concludes from a device's own past: jumps, values that stand still, clocks that are off."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.catalogue.models import FieldSpec
from pearlstream.folds.watch import Watch
from pearlstream.quality import Quality

MINUTE_MS = 60_000
SPEC = {"pm25": FieldSpec(spike=50, stuck_after=4)}


def judged(watch: Watch, device: list[int], value: list[float], delay_ms: list[int] | None = None) -> list[int]:
    """Flags of readings that come a minute apart."""
    clock = np.arange(len(device), dtype=np.int64) * MINUTE_MS + 1_000_000
    ts = clock - np.array(delay_ms if delay_ms is not None else [0] * len(device), np.int64)
    return watch.flags(np.array(device, np.int64), ts, clock, {"pm25": np.array(value, float)}).tolist()


def test_a_value_far_from_the_median_of_the_last_five_is_a_spike_and_the_next_good_one_is_not() -> None:
    flags = judged(Watch(SPEC), [0] * 8, [20, 21, 19, 20, 22, 200, 21, 20.5])
    assert flags == [0, 0, 0, 0, 0, Quality.SPIKE, 0, 0]


def test_before_five_values_are_known_nothing_is_called_a_spike() -> None:
    assert judged(Watch(SPEC), [0] * 4, [20, 900, 20, 900]) == [0, 0, 0, 0]


def test_a_lasting_step_is_a_spike_only_until_the_median_has_followed() -> None:
    flags = judged(Watch(SPEC), [0] * 10, [20, 21, 20, 21, 20, 120, 121, 122, 123, 124])
    assert flags[5:] == [Quality.SPIKE] * 3 + [0, 0]


def test_a_value_that_stands_still_is_stuck_from_the_declared_number_on() -> None:
    assert judged(Watch(SPEC), [0] * 6, [20, 20, 20, 20, 20, 21]) == [0, 0, 0, Quality.STUCK, Quality.STUCK, 0]


def test_devices_have_pasts_of_their_own() -> None:
    assert judged(Watch(SPEC), [0, 1] * 3, [20, 90] * 3) == [0] * 6


def test_missing_values_neither_break_nor_make_a_past() -> None:
    nan = float("nan")
    assert judged(Watch(SPEC), [0] * 6, [20, nan, 20, nan, 20, 20]) == [0, 0, 0, 0, 0, Quality.STUCK]


def test_a_steady_wrong_delay_is_a_wrong_clock_after_two_minutes() -> None:
    flags = judged(Watch(), [0] * 5, [0] * 5, [-420_000] * 5)
    assert flags == [0, 0, Quality.CLOCK_OFF, Quality.CLOCK_OFF, Quality.CLOCK_OFF]


def test_a_buffer_that_is_emptied_is_not_a_wrong_clock() -> None:
    late = [int(40 * MINUTE_MS - n * 8 * MINUTE_MS) for n in range(5)]
    assert judged(Watch(), [0] * 5, [0] * 5, late) == [0] * 5


def test_a_good_delay_forgives_a_clock() -> None:
    delays = [-420_000] * 4 + [500] + [-420_000] * 2
    assert judged(Watch(), [0] * 7, [0] * 7, delays)[4:] == [0, 0, 0]


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from([20.0, 20.0, 21.0, 90.0, float("nan")]),
            st.sampled_from([0, 0, 100_000, -420_000, 2_000_000]),
        ),
        max_size=60,
    ),
    cuts=st.lists(st.integers(0, 60), max_size=5),
)
def test_any_cut_into_batches_through_any_snapshot_gives_the_same_flags(
    rows: list[tuple[int, float, int]], cuts: list[int]
) -> None:
    device = np.array([row[0] for row in rows], np.int64)
    clock = np.arange(len(rows), dtype=np.int64) * MINUTE_MS + 10**12
    ts = clock - np.array([row[2] for row in rows], np.int64)
    value = np.array([row[1] for row in rows], float)
    whole = Watch(SPEC).flags(device, ts, clock, {"pm25": value}).tolist()
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    parts: list[int] = []
    watch = Watch(SPEC)
    for lo, hi in itertools.pairwise(edges):
        here = slice(lo, hi)
        parts += watch.flags(device[here], ts[here], clock[here], {"pm25": value[here]}).tolist()
        copy = Watch(SPEC, size=1)
        copy.unpack(watch.pack(8))
        watch = copy
    assert parts == whole
