"""What happens to records, and in which order effects may happen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pearlstream.errors import PositionError, RegistryMissing
from pearlstream.fold import Output, Record, header
from pearlstream.position import Source
from pearlstream.runner import Commit, Emit, FoldFailing, Folding, Limits, Outbox, Save, Snapshot, Step
from pearlstream.testing.folds import POISON, Adding, Counting, CountingState, frame, tick

SOURCE = Source("life", 0)
FEW = Limits(records=5, bytes=1 << 30)
MANY = Limits(records=1 << 30, bytes=1 << 30)


def folding(
    limits: Limits = MANY, start: Snapshot | None = None, fold: Counting | None = None
) -> Folding[CountingState]:
    return Folding(fold or Counting(), SOURCE, start=start, limits=limits)


def log(*values: bytes | int) -> list[Record]:
    """Records in a row: bytes are frames, numbers are ticks of that clock."""
    return [tick(at, value) if isinstance(value, int) else frame(at, value) for at, value in enumerate(values)]


def outputs(step: Step, target: str) -> list[Output]:
    return [item for item in step.work if isinstance(item, Output) and item.target == target]


def snapshots(step: Step) -> list[Snapshot]:
    return [item for item in step.work if isinstance(item, Snapshot)]


def drive(runner: Folding[CountingState], records: Sequence[Record], batch: int = 3) -> list[Output | Snapshot]:
    """Offer a log in batches, seeking when asked; returns all work."""
    work: list[Output | Snapshot] = []
    at = 0
    while at < len(records):
        step = runner.offer(records[at : at + batch])
        work += step.work
        at = runner.expected if step.seek is None else step.seek
    return work


# --- contiguity ------------------------------------------------------------------------------------------


def test_repeats_are_skipped() -> None:
    runner, records = folding(), log(b"a", b"b", b"c")
    runner.offer(records[:2])
    step = runner.offer(records)
    assert [output.upto for output in step.work if isinstance(output, Output)] == [2]
    assert step.seek is None


def test_a_hole_is_read_again_and_nothing_behind_it_is_folded() -> None:
    runner, records = folding(), log(b"a", b"b", b"c", b"d")
    step = runner.offer([records[0], records[2], records[3]])
    assert step.seek == 1
    assert runner.applied == 0
    assert len(runner.offer(records[1:]).work) == 3


def test_records_under_way_when_the_seek_was_asked_for_are_dropped_silently() -> None:
    runner, records = folding(), log(*[b"x"] * 8)
    assert runner.offer([records[0], records[2]]).seek == 1
    assert runner.offer(records[3:6]) == Step()
    assert runner.offer(records[1:4]).seek is None
    assert runner.applied == 3


def test_a_hole_that_comes_again_when_read_again_is_read_once_more() -> None:
    runner, records = folding(), log(*[b"x"] * 6)
    assert runner.offer(records[3:5]).seek == 0
    assert runner.offer(records[2:4]).seek == 0
    assert runner.applied == -1


def test_a_jump_that_is_the_logs_own_is_passed() -> None:
    runner, records = folding(), log(*[b"x"] * 6)
    assert runner.offer(records[4:]).seek == 0
    runner.jump(4)
    assert [item.upto for item in runner.offer(records[4:]).work if isinstance(item, Output)] == [4, 5]


def test_after_a_rebalance_a_seek_may_be_asked_for_again() -> None:
    runner, records = folding(), log(*[b"x"] * 9)
    assert runner.offer(records[1:3]).seek == 0
    assert runner.offer(records[3:5]).seek is None
    runner.resumed()
    assert runner.offer(records[5:7]).seek == 0


# --- snapshots -------------------------------------------------------------------------------------------


def test_a_snapshot_is_taken_by_volume_and_only_when_the_state_is_settled() -> None:
    records = log(b"a", b"b", b"c", b"d", b"e", b"f", 1000, b"g", 2000)
    step = folding(FEW).offer(records[:6])
    assert snapshots(step) == []
    runner = folding(FEW)
    work = runner.offer(records[:6]).work + runner.offer(records[6:]).work
    taken = [item for item in work if isinstance(item, Snapshot)]
    assert [snapshot.applied for snapshot in taken] == [6]
    assert taken[0].uptos == {"accepted": 5, "rollups": 6}
    assert work.index(taken[0]) == 7, "after the outputs that it covers, before the next"


def test_a_snapshot_is_due_by_bytes_too() -> None:
    runner = folding(Limits(records=1000, bytes=10))
    runner.offer(log(b"x" * 11))
    assert runner.due


def test_whoever_starts_from_a_snapshot_makes_the_same_outputs_again() -> None:
    records = log(b"a", b"b", 1000, b"c", b"d", b"e", 2000, b"f", 3000)
    whole = [item for item in drive(folding(FEW), records) if isinstance(item, Output)]
    for batch in (1, 2, 9):
        taken = [item for item in drive(folding(Limits(2, 1 << 30)), records, batch) if isinstance(item, Snapshot)]
        for snapshot in taken:
            again = drive(folding(start=snapshot), records)
            assert again == [output for output in whole if output.upto > snapshot.applied]


def test_a_clean_stop_takes_a_snapshot_if_it_can() -> None:
    runner = folding()
    assert runner.final() is None, "nothing came"
    runner.offer(log(b"a", 1000))
    final = runner.final()
    assert final is not None
    assert final.applied == 1
    assert runner.final() is None
    runner.offer([frame(2, b"b")])
    assert runner.final() is None, "not settled"


def test_without_ticks_records_are_not_folded_one_by_one_for_ever() -> None:
    fold = Counting()
    calls: list[int] = []
    apply = fold.apply
    fold.apply = lambda state, records: calls.append(len(records)) or apply(state, records)  # type: ignore[method-assign,func-returns-value]
    runner = folding(FEW, fold=fold)
    for at in range(0, 4000, 100):
        runner.offer([frame(n, b"x") for n in range(at, at + 100)])
    assert runner.applied == 3999
    assert sum(calls) == 4000
    assert max(calls[-5:]) == 100


# --- registries, errors -----------------------------------------------------------------------------------


def test_a_fold_that_waits_for_a_registry_is_offered_the_same_records_again() -> None:
    known: set[str] = set()
    runner = folding(fold=Counting(registries=known))
    records = [frame(0, b"a"), tick(1, 1000, "cafe0001"), frame(2, b"b")]
    step = runner.offer(records)
    assert isinstance(step.blocked, RegistryMissing)
    assert (step.work, step.seek, runner.applied) == ([], None, -1)
    known.add("cafe0001")
    assert [item.upto for item in runner.offer(records).work if isinstance(item, Output)] == [0, 1, 2]


@pytest.mark.parametrize("batch", [1, 2, 5, 30])
@pytest.mark.parametrize("limits", [MANY, FEW], ids=["no snapshot", "snapshots"])
def test_a_record_on_which_the_fold_fails_is_quarantined_alone(batch: int, limits: Limits) -> None:
    values: list[bytes | int] = [
        1,
        b"a",
        POISON,
        b"b",
        2,
        b"c",
        3,
        b"d",
        POISON,
        POISON,
        b"e",
        4,
        b"f",
        5,
        b"g",
        POISON,
    ]
    records = log(*values)
    work = [item for item in drive(folding(limits), records, batch) if isinstance(item, Output)]
    first = {(item.target, item.upto): item for item in work}
    assert all(item == first[item.target, item.upto] for item in work), "repeats are equal"
    assert {upto for target, upto in first if target == "quarantine"} == {2, 8, 9, 15}
    assert all(header(item.headers, "reason") == "internal_error" for item in work if item.target == "quarantine")
    counts = [int(header(first["accepted", n].headers, "n") or 0) for n, v in enumerate(values) if isinstance(v, bytes)]
    assert counts == [1, 1, 2, 3, 4, 4, 4, 5, 6, 7, 7], "the state is the one before the bad record"
    assert [first["rollups", n].value for n in (0, 4, 6, 11, 13)] == [
        b"{}", b'{"440300":2}', b'{"440300":1}', b'{"440300":2}', b'{"440300":1}',
    ]  # fmt: skip


def test_a_fold_that_fails_on_record_after_record_stops_the_process() -> None:
    records = log(1, *[POISON] * 11)
    with pytest.raises(FoldFailing, match="more than 10 records in a row") as caught:
        drive(folding(), records)
    assert caught.value.exit_code == 70


def test_ten_bad_records_in_a_row_are_survived() -> None:
    work = drive(folding(), log(1, *[POISON] * 10, b"a", 2, *[POISON] * 10))
    assert len({item.upto for item in work if isinstance(item, Output) and item.target == "quarantine"}) == 20


def test_a_stage_without_quarantine_of_its_own_gets_one() -> None:
    class Brittle(Adding):
        def apply(self, state, records):  # type: ignore[no-untyped-def]
            if any(record.value == POISON for record in records):
                raise KeyError("no such thing")
            return super().apply(state, records)

    runner = Folding(Brittle(), SOURCE, limits=MANY)
    records = [
        Record(at, None, value, (("from", f"t/0/{at - 1}/{at}".encode()), ("clock", b"1")))
        for at, value in enumerate([b"{}", POISON, b"{}", POISON])
    ]
    work = []
    for _ in range(9):
        work += runner.offer(records[runner.expected :]).work
    found = {item.upto: item for item in work if isinstance(item, Output) and item.target == "quarantine"}
    assert [header(item.headers, "from") for item in found.values()] == ["life/0/-1/1", "life/0/1/3"]
    assert "KeyError" in (header(found[1].headers, "message") or "")


@pytest.mark.parametrize("error", [PositionError("overlap"), MemoryError()])
def test_what_is_not_the_records_fault_stops_the_process(error: Exception) -> None:
    class Broken(Counting):
        def apply(self, state, records):  # type: ignore[no-untyped-def]
            raise error

    with pytest.raises(type(error)):
        Folding(Broken(), SOURCE).offer(log(b"a"))


# --- the order of effects -----------------------------------------------------------------------------------


def output(upto: int) -> Output:
    return Output("accepted", None, b"", (), upto)


def test_outputs_start_at_once_and_in_order_each_once() -> None:
    outbox = Outbox()
    outbox.put([output(0), output(1)])
    ready = outbox.ready()
    assert [effect.output.upto for effect in ready if isinstance(effect, Emit)] == [0, 1]
    assert outbox.ready() == []
    assert not outbox.idle


def test_a_snapshot_waits_for_every_output_before_it_and_no_later_one() -> None:
    outbox = Outbox()
    snapshot = Snapshot(1, b"s", {})
    outbox.put([output(0), output(1), snapshot, output(2)])
    first, second, third = outbox.ready()
    outbox.done(third)
    outbox.done(second)
    assert outbox.ready() == []
    outbox.done(first)
    (save,) = outbox.ready()
    assert isinstance(save, Save)
    assert save.snapshot is snapshot


def test_offsets_are_committed_once_their_snapshot_is_acknowledged_and_not_before() -> None:
    outbox = Outbox()
    outbox.put([Snapshot(7, b"s", {}), Snapshot(9, b"s", {})])
    (save,) = outbox.ready()
    assert outbox.ready() == [], "one snapshot at a time"
    outbox.done(save)
    second, commit = outbox.ready()
    assert isinstance(second, Save)
    assert commit == Commit(8)
    assert not outbox.idle
    outbox.done(second)
    assert outbox.idle
    assert outbox.ready() == [Commit(10)]
