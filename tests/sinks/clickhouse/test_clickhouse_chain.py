"""Chains and lanes: repeats are skipped, gaps are held, what is passed over is named, a cut can be made again."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pearlstream.errors import PositionError
from pearlstream.fold import Record, headers_of
from sinks.clickhouse.chain import Item, Progress, clean_length, item_of, marks_from_map, marks_to_map, walk
from sinks.clickhouse.lane import CUT_ROWS, Intent, Lane, Range


def record(offset: int, after: int, upto: int, part: str = "1/1", source: str = "T/0", fold: str = "admit@1") -> Record:
    headers = headers_of({"from": f"{source}/{after}/{upto}", "part": part, "fold": fold, "accepted": 10})
    return Record(offset, b"k", b"v", headers)


def items(*ranges: tuple[int, int] | tuple[int, int, str]) -> list[Item]:
    """Items of one chain, in the order of the log."""
    return [item_of("accepted", 0, record(at, *r)) for at, r in enumerate(ranges)]


def uptos(applied: Sequence[Item]) -> list[int]:
    return [item.position.upto for item in applied if item.position]


def test_news_are_applied_in_order() -> None:
    found = walk({}, items((-1, 0), (0, 3), (3, 4)))
    assert uptos(found.applied) == [0, 3, 4]
    assert found.marks == {"admit T/0": Progress(4)}
    assert not found.lost


def test_a_repeat_is_skipped_however_old() -> None:
    found = walk({"admit T/0": Progress(4)}, items((3, 4), (-1, 0), (4, 5), (4, 5), (0, 3)))
    assert uptos(found.applied) == [5]
    assert found.repeats == 4


def test_a_gap_is_held_until_what_is_missing_comes() -> None:
    log = items((-1, 0), (3, 4), (4, 5), (0, 3), (3, 4), (4, 5))
    assert clean_length({}, log[:3], 99) == 1
    assert clean_length({}, log, 99) == 6
    assert clean_length({}, log[1:], 1) == 0 or clean_length({"admit T/0": Progress(0)}, log[1:], 1) == 3
    found = walk({}, log)
    assert uptos(found.applied) == [0, 3, 4, 5]
    assert not found.lost
    assert found.repeats == 2


def test_a_gap_that_is_passed_over_is_named() -> None:
    found = walk({"admit T/0": Progress(0)}, items((3, 4), (4, 5)))
    assert uptos(found.applied) == [4, 5]
    (lost,) = found.lost
    assert (lost.topic_id, lost.partition, lost.after, lost.offset, lost.reason) == ("T", 0, 0, 3, "gap")


def test_an_overlap_stops() -> None:
    with pytest.raises(PositionError):
        walk({"admit T/0": Progress(3)}, items((2, 4)))


def test_the_first_contact_in_the_middle_says_what_was_before_it() -> None:
    found = walk({}, items((7, 9)))
    assert uptos(found.applied) == [9]
    (lost,) = found.lost
    assert (lost.after, lost.offset, lost.reason) == (-1, 7, "retention_loss")


def test_parts_move_the_mark_only_when_all_are_there() -> None:
    first = walk({}, items((-1, 4, "1/3"), (-1, 4, "2/3")))
    assert first.marks["admit T/0"] == Progress(-1, 2, 4)
    again = walk(first.marks, items((-1, 4, "1/3"), (-1, 4, "2/3"), (-1, 4, "3/3"), (4, 6, "1/1")))
    assert [item.part for item in again.applied] == [3, 1]
    assert again.repeats == 2
    assert again.marks["admit T/0"] == Progress(6)


def test_a_missing_part_is_a_gap() -> None:
    log = items((-1, 4, "1/3"), (-1, 4, "3/3"))
    assert clean_length({}, log, 9) == 1
    found = walk({}, log)
    assert [item.part for item in found.applied] == [1, 3]
    assert "part 2 to 2" in found.lost[0].note
    assert found.marks["admit T/0"] == Progress(4)


def test_chains_of_two_stages_do_not_meet() -> None:
    log = [
        item_of("indicators", 0, record(0, -1, 5, fold="indicate@1")),
        item_of("indicators", 0, record(1, -1, 3, fold="cluster@2")),
        item_of("indicators", 0, record(2, -1, 3, source="T/1")),
    ]
    assert len(walk({}, log).applied) == 3


def test_a_record_without_a_position_is_named_and_passed() -> None:
    strange = item_of("accepted", 2, Record(7, None, b"x", ()))
    found = walk({}, [strange])
    assert [(lost.partition, lost.offset, lost.reason) for lost in found.lost] == [(2, 7, "unreadable")]


def test_marks_survive_the_journal() -> None:
    marks = {"admit T/0": Progress(4), "admit T/1": Progress(-1, 2, 4)}
    assert marks_from_map(marks_to_map(marks)) == marks


def test_any_cut_of_a_log_with_crashes_applies_each_range_once() -> None:
    """A worker writes 30 ranges, loses sends, dies, starts again from older snapshots; the reader cuts as it likes."""
    for seed in range(300):
        rng = random.Random(seed)
        log: list[Record] = []
        at = -1
        while at < 29:
            at = rng.randint(-1, at)  # the snapshot it starts from
            for upto in range(at + 1, rng.randint(at + 1, 30) + 1 if rng.random() < 0.8 else 30):
                if rng.random() < 0.05:
                    rng.random()
                    continue  # a send that was lost; the worker dies soon after
                log.append(record(len(log), upto - 1, upto))
            applied = -1
            held: set[int] = set()
            for one in log:
                upto = int(dict(one.headers)["from"].split(b"/")[3])
                held.add(upto)
                while applied + 1 in held:
                    applied += 1
            at = applied
        lane = Lane("accepted", "A", [0])
        got: list[int] = []
        fed = 0
        while fed < len(log):
            step = rng.randint(1, 6)
            lane.take(0, log[fed : fed + step], min(fed + step, len(log)))
            fed += step
            cut = lane.cut(0.0)
            got += uptos(cut.items) if cut else []
        cut = lane.cut(0.0)
        got += uptos(cut.items) if cut else []
        assert got == sorted(set(got)), seed
        assert got[: applied + 1] == list(range(applied + 1)), seed
        assert lane.repeats + len(got) + sum(map(len, [q.items for q in lane._queues.values()])) == len(log)


# ---------------------------------------------------------------- lanes


def lane_with(*ranges: tuple[int, int]) -> Lane:
    lane = Lane("accepted", "A", [0, 1])
    log = [record(at, *r) for at, r in enumerate(ranges)]
    lane.take(0, log, len(log))
    return lane


def test_a_cut_holds_all_partitions_and_moves_the_marks() -> None:
    lane = lane_with((-1, 0), (0, 2))
    cut = lane.cut(0.0)
    assert cut is not None
    assert cut.ranges == ((0, 0, 2), (1, 0, 0))
    assert (cut.number, cut.name) == (1, "A/accepted/0:0-2")
    assert cut.before == {}
    assert cut.after == {"admit T/0": Progress(2)}
    assert lane.cut(1.0) is None


def test_a_held_record_is_not_cut_until_its_time_is_up() -> None:
    lane = lane_with((-1, 0), (3, 4))
    first = lane.cut(0.0)
    assert first is not None
    assert first.ranges[0] == (0, 0, 1)
    assert lane.cut(1.0) is None
    assert lane.stuck == [0]
    assert lane.cut(60.0) is None
    late = lane.cut(61.5)
    assert late is not None
    assert [lost.reason for lost in late.lost] == ["gap"]
    assert lane.stuck == []


def test_the_filler_of_a_gap_is_found_behind_the_limit_of_a_cut() -> None:
    lane = lane_with((-1, 0), *[(n, n + 1) for n in range(3, 40)], *[(n, n + 1) for n in range(40)])
    lane.cut_rows = 44  # about four records
    seen: list[int] = []
    while (cut := lane.cut(0.0)) is not None:
        assert not cut.lost
        seen += uptos(cut.items)
    assert seen == list(range(41))


def test_an_open_intent_is_made_again_exactly_although_more_is_there() -> None:
    lane = lane_with((-1, 0), (0, 2), (2, 3))
    lane.cut_rows = 25
    first = lane.cut(0.0)
    assert first is not None
    again = Lane("accepted", "A", [0, 1], Intent("A", first.number, first.ranges, False, dict(first.before)))
    assert again.starts == {0: 0, 1: 0}
    log = [record(0, -1, 0), record(1, 0, 2), record(2, 2, 3), record(3, 3, 9)]
    again.take(0, log[:1], 1)
    assert again.cut(0.0) is None  # not all of the range has been read yet
    again.take(0, log[1:], 4)
    redone = again.cut(0.0)
    assert redone is not None
    assert (redone.name, uptos(redone.items), redone.after) == (first.name, uptos(first.items), first.after)
    following = again.cut(0.0)
    assert following is not None
    assert following.number == first.number + 1
    assert following.ranges[0].start == first.ranges[0].stop


def test_a_gap_that_was_passed_is_passed_again_in_a_redo() -> None:
    lane = lane_with((-1, 0), (3, 4))
    lane.cut(0.0)
    lane.cut(1.0)
    passed = lane.cut(99.0)
    assert passed is not None
    again = Lane("accepted", "A", [0, 1], Intent("A", 2, passed.ranges, False, dict(passed.before)))
    again.take(0, [record(1, 3, 4)], 2)
    redone = again.cut(0.0)
    assert redone is not None
    assert redone.lost == passed.lost
    assert uptos(redone.items) == [4]


def test_a_done_cut_is_gone_on_from() -> None:
    lane = Lane(
        "accepted", "A", [0, 1, 2], Intent("A", 5, (Range(0, 3, 7), Range(1, 2, 2)), True, {"admit T/0": Progress(8)})
    )
    assert lane.starts == {0: 7, 1: 2, 2: 0}


def test_cuts_are_bounded() -> None:
    lane = lane_with(*[(n - 1, n) for n in range(30)])
    assert not lane.due
    lane.cut_rows = 110
    assert lane.due
    cut = lane.cut(0.0)
    assert cut is not None
    assert len(cut.items) == 10
    assert CUT_ROWS == 100_000
