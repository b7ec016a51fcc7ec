"""Identity: a retransmitted reading counts once, wherever and however often it comes again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pearlstream.folds.devices import DAY_MS, NEW, REPEAT, RESTART, SUSPECT, DeviceTable
from pearlstream.folds.devices_pack import pack_table, unpack_table
from pearlstream.folds.ranges import MAX_GAPS, Ranges, Seen

T0 = 1_780_000_000_000


def table(names: int = 3, panes: tuple[int, ...] = ()) -> DeviceTable:
    made = DeviceTable(panes)
    made.add("X", [f"d{i}" for i in range(names)])
    return made


def identify(devices: DeviceTable, readings: list[tuple[int, int, int]]) -> list[int]:
    """Verdicts on (device, seq, ts) in one batch."""
    rows, seq, ts = (np.array(column, np.int64) for column in zip(*readings, strict=True))
    return devices.identify(rows, seq, ts, np.full(len(rows), T0)).verdict.tolist()


def test_readings_in_order_are_new() -> None:
    assert identify(table(), [(0, 0, T0), (1, 0, T0), (0, 1, T0 + 1), (0, 2, T0 + 2)]) == [NEW] * 4


def test_a_retransmitted_reading_is_a_repeat_in_the_same_batch_and_in_a_later_one() -> None:
    devices = table()
    assert identify(devices, [(0, 0, T0), (0, 1, T0 + 1), (0, 0, T0)]) == [NEW, NEW, REPEAT]
    assert identify(devices, [(0, 1, T0 + 1)]) == [REPEAT]


def test_a_reading_that_fills_a_gap_is_new_once() -> None:
    devices = table()
    assert identify(devices, [(0, 0, T0), (0, 5, T0 + 5)]) == [NEW, NEW]
    assert identify(devices, [(0, 3, T0 + 3)]) == [NEW]
    assert identify(devices, [(0, 3, T0 + 3)]) == [REPEAT]


def test_what_comes_before_the_first_contact_is_new() -> None:
    devices = table()
    assert identify(devices, [(0, 7, T0 + 7)]) == [NEW]
    assert identify(devices, [(0, 6, T0 + 6), (0, 6, T0 + 6)]) == [NEW, REPEAT]


def test_a_device_that_starts_again_at_zero_begins_a_new_run() -> None:
    devices = table()
    identify(devices, [(0, n, T0 + n) for n in range(10)])
    rows, seq, ts = np.zeros(3, np.int64), np.array([0, 1, 0]), np.array([T0 + 100, T0 + 101, T0 + 100])
    found = devices.identify(rows, seq, ts, np.full(3, T0))
    assert found.verdict.tolist() == [RESTART, NEW, REPEAT]
    assert found.run.tolist() == [1, 1, 1]


def test_a_device_that_names_its_life_is_not_guessed_about() -> None:
    devices = table()

    def told(seq: int, ts: int, boot: str | None) -> tuple[int, int]:
        one = np.zeros(1, np.int64)
        found = devices.identify(one, np.array([seq]), np.array([T0 + ts]), np.array([T0]), [boot])
        return int(found.verdict[0]), int(found.run[0])

    assert told(0, 0, "a") == (NEW, 0)
    assert told(0, 50, "a") == (REPEAT, 0)
    assert told(0, 20, "b") == (RESTART, 1)
    assert told(1, 10, "a") == (NEW, 0)
    assert told(0, 20, "b") == (REPEAT, 1)
    assert told(1, 21, None) == (NEW, 1)


def test_a_late_reading_of_the_run_before_a_restart_is_judged_by_that_run() -> None:
    devices = table()
    identify(devices, [(0, n, T0 + n) for n in range(10) if n != 5])
    assert identify(devices, [(0, 0, T0 + 100)]) == [RESTART]
    assert identify(devices, [(0, 5, T0 + 5), (0, 4, T0 + 4)]) == [NEW, REPEAT]


def test_the_fifty_first_repeat_in_a_row_is_suspect_and_a_new_reading_ends_the_row() -> None:
    devices = table()
    identify(devices, [(0, 0, T0), (0, 1, T0 + 1)])
    assert identify(devices, [(0, 0, T0)] * 51) == [REPEAT] * 50 + [SUSPECT]
    assert identify(devices, [(0, 2, T0 + 2)]) == [NEW]
    assert identify(devices, [(0, 0, T0)]) == [REPEAT]


def test_devices_without_seq_are_told_apart_by_time() -> None:
    assert identify(table(), [(0, -1, T0), (0, -1, T0 + 1), (0, -1, T0), (1, -1, T0)]) == [NEW, NEW, REPEAT, NEW]


def test_times_of_devices_without_seq_are_forgotten_after_a_day() -> None:
    devices = table()
    for hour in range(600):
        at = T0 + hour * 3_600_000
        rows, seq, ts = np.zeros(1, np.int64), np.full(1, -1), np.array([at])
        devices.identify(rows, seq, ts, ts)
    assert min(devices.stamps[0]) > at - 12 * DAY_MS


def test_more_gaps_than_are_kept_close_the_oldest_and_say_so() -> None:
    ranges = Ranges()
    for number in range(1, 2 * MAX_GAPS + 5, 2):
        ranges.take(number)
    assert len(ranges.gaps) == MAX_GAPS
    assert ranges.take(0) is Seen.FORGOTTEN
    assert ranges.take(2 * MAX_GAPS) is Seen.NEW


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=80))
def test_ranges_agree_with_a_set(numbers: list[int]) -> None:
    ranges, seen = Ranges(), set()
    for number in numbers:
        assert ranges.take(number) is (Seen.REPEAT if number in seen else Seen.NEW)
        seen.add(number)


deliveries = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=60)
cuts = st.lists(st.integers(1, 60), max_size=8)


@settings(max_examples=300, deadline=None)
@given(deliveries, cuts)
def test_any_cut_into_batches_gives_the_verdicts_of_a_set(readings: list[tuple[int, int]], at: list[int]) -> None:
    """Repeats, gaps and disorder of runs that never restart: a reading's time follows from its number."""
    seen: set[tuple[int, int]] = set()
    expected = []
    for reading in readings:
        expected.append(REPEAT if reading in seen else NEW)
        seen.add(reading)
    devices, found, start = table(), [], 0
    for stop in [*sorted(set(at) & set(range(len(readings)))), len(readings)]:
        found += identify(devices, [(d, n, T0 + 10 * n) for d, n in readings[start:stop]]) if stop > start else []
        start = stop
    assert found == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(5, 25)), min_size=1, max_size=50), cuts, st.booleans())
def test_first_in_pane_marks_each_pane_of_a_device_once(
    readings: list[tuple[int, int]], at: list[int], packed: bool
) -> None:
    seen: set[tuple[int, int]] = set()
    expected = []
    for reading in readings:
        expected.append(0 if reading in seen else 1)
        seen.add(reading)
    devices, found, start = table(3, (10_000,)), [], 0
    for stop in [*sorted(set(at) & set(range(len(readings)))), len(readings)]:
        part = np.array(readings[start:stop], np.int64).reshape(-1, 2)
        found += devices.first_in_pane(0, part[:, 0], part[:, 1]).tolist()
        start = stop
        if packed:
            devices = unpack_table(DeviceTable((10_000,)), *_through_json(pack_table(devices)))
    assert found == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 60)), min_size=1, max_size=60), cuts)
def test_any_cut_into_batches_gives_the_same_verdicts_whatever_the_numbers_and_times(
    readings: list[tuple[int, int, int]], at: list[int]
) -> None:
    """Restarts, clocks that run back, everything: what is decided may be odd, but never depends on the cut."""
    rows = [(d, n, T0 + t) for d, n, t in readings]
    devices, found, start = table(), [], 0
    for stop in [*sorted(set(at) & set(range(len(rows)))), len(rows)]:
        found += identify(devices, rows[start:stop]) if stop > start else []
        start = stop
    assert found == identify(table(), rows)


def _through_json(packed: tuple[dict, dict]) -> tuple[dict, dict]:  # type: ignore[type-arg]
    import orjson

    meta, columns = packed
    return orjson.loads(orjson.dumps(meta, option=orjson.OPT_NON_STR_KEYS)), columns


@settings(max_examples=200, deadline=None)
@given(deliveries, st.integers(0, 60))
def test_a_packed_table_goes_on_as_the_original_would(readings: list[tuple[int, int]], cut: int) -> None:
    whole, split = table(), table()
    rows = [(d, n, T0 + 10 * n) for d, n in readings]
    expected = identify(whole, rows)
    found = identify(split, rows[:cut]) if rows[:cut] else []
    split = unpack_table(DeviceTable(), *_through_json(pack_table(split)))
    found += identify(split, rows[cut:]) if rows[cut:] else []
    assert found == expected


@given(st.permutations(range(12)), st.integers(0, 3), cuts)
def test_numbers_that_come_shuffled_are_new_and_next_in_line_just_as_one_by_one(
    shuffle: list[int], first: int, at: list[int]
) -> None:
    readings = [(0, first, T0), (1, 0, T0), *((0, first + 1 + n, T0 + 1 + n) for n in shuffle), (1, 1, T0 + 1)]
    marks = sorted({0, len(readings), *(min(cut, len(readings)) for cut in at)})
    one_by_one = said(readings, range(len(readings) + 1))
    assert one_by_one[0] == [NEW] * len(readings)
    assert one_by_one[2] == [REPEAT] * len(readings)
    assert said(readings, marks) == one_by_one


def said(readings: list[tuple[int, int, int]], marks: Iterable[int]) -> tuple[list[int], list[bool], list[int]]:
    """Verdicts, who was next in line, and the verdicts on the same readings again, for readings cut at `marks`."""
    devices, verdicts, unbroken = table(2), [], []
    for low, high in itertools.pairwise(marks):
        rows, seq, ts = (np.array(column, np.int64) for column in zip(*readings[low:high], strict=True))
        found = devices.identify(rows, seq, ts, np.full(high - low, T0))
        verdicts += found.verdict.tolist()
        unbroken += found.unbroken.tolist()
    return verdicts, unbroken, identify(devices, readings)
