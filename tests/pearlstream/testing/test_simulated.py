"""The runner on the simulated log: whatever happens, a reader that skips and holds sees the same.

The expectation is not made by the runner: `plain` folds the records straight through, as a specification would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pearlstream.errors import RegistryMissing
from pearlstream.fold import Fold, Output, Record
from pearlstream.position import Source
from pearlstream.testing.folds import POISON, Adding, Counting, frame, tick
from pearlstream.testing.simulated import CALM, ROUGH, Faults, Simulation, crash_points, read_exactly, run

SEEDS = 400
SOURCE = Source("sim", 0)

LOG = [
    tick(at, 1000 * at + 1)
    if at % 4 == 0
    else frame(at, POISON if at in (6, 13, 14) else b"%d" % at, b"44%d" % (at % 3))
    for at in range(24)
]


def plain(fold: Any, records: Sequence[Record]) -> list[Output]:
    """The outputs of a fold record by record, without any runner."""
    outputs: list[Output] = []
    seen: list[Record] = []
    state = fold.start(SOURCE, records[0].offset)
    for record in records:
        try:
            state, made = fold.apply(state, [record])
        except ValueError as error:
            state = fold.start(SOURCE, records[0].offset)
            for before in seen:
                state, _ = fold.refuse(state, before, error) if before.value == POISON else fold.apply(state, [before])
            state, made = fold.refuse(state, record, error)
        seen.append(record)
        outputs += made
    return outputs


def told(outputs: Sequence[Output], target: str) -> list[tuple[Any, ...]]:
    return [(one.key, one.value, one.headers) for one in outputs if one.target == target]


def read(sim: Simulation, target: str) -> list[tuple[Any, ...]]:
    return [(one.key, one.value, one.headers) for one in sim.read(target)]


def check(sim: Simulation, expected: Sequence[Output], targets: Sequence[str]) -> None:
    for target in targets:
        assert read(sim, target) == told(expected, target), "\n".join(sim.trace)


EXPECTED = plain(Counting(), LOG)


def test_without_faults_everything_is_written_once() -> None:
    sim = run(Counting, [record for record in LOG if record.value != POISON])
    assert len(sim.logs["accepted"]) == len(sim.read("accepted"))
    assert sim.committed > 0


def test_every_single_crash_point() -> None:
    runs = crash_points(Counting, LOG)
    assert len(runs) > 250
    for sim in runs:
        check(sim, EXPECTED, Counting.targets)
    assert max(len(sim.logs["accepted"]) for sim in runs) > len(sim.read("accepted")), "some write twice"


def test_crashes_zombies_rebalances_and_holes_at_random() -> None:
    crashes = 0
    for seed in range(SEEDS):
        sim = run(Counting, LOG, seed=seed, faults=ROUGH, steps=150)
        check(sim, EXPECTED, Counting.targets)
        crashes += sim.crashes
    assert crashes > 2 * SEEDS


def test_a_seed_repeats_to_the_letter() -> None:
    for seed in range(5):
        one, two = (run(Counting, LOG, seed=seed, faults=ROUGH, steps=100) for _ in range(2))
        assert one.digest() == two.digest()
        assert one.trace == two.trace


@pytest.mark.parametrize("name", Faults._fields[:4])
def test_each_fault_alone(name: str) -> None:
    faults = CALM._replace(**{name: 0.1})
    for seed in range(40):
        check(run(Counting, LOG, seed=seed, faults=faults, steps=100), EXPECTED, Counting.targets)


def test_a_registry_that_comes_late_changes_nothing() -> None:
    records = [tick(at, 1000 * at + 1, f"{at // 8:08x}") if at % 4 == 0 else frame(at, b"x") for at in range(24)]
    for seed in range(40):
        known: set[str] = {"00000000"}

        def arrive(known: set[str] = known) -> None:
            known.add(f"{len(known):08x}")

        sim = run(
            lambda known=known: Counting(registries=known),
            records,
            seed=seed,
            faults=ROUGH,
            steps=100,
            on_blocked=arrive,
        )
        check(sim, plain(Counting(), records), Counting.targets)


def test_the_next_stage_reads_repeats_and_gaps_and_tells_the_same() -> None:
    quiet = run(Adding, run(Counting, LOG).logs["rollups"])
    expected = b"".join(record.value or b"" for record in quiet.read("indicators")).replace(b"][", b",")
    repeats = 0
    for seed in range(100):
        first = run(Counting, LOG, seed=seed, faults=ROUGH, steps=150)
        repeats += len(first.logs["rollups"]) - len(first.read("rollups"))
        second = run(Adding, first.logs["rollups"], seed=seed, faults=ROUGH, steps=100)
        values = b"".join(record.value or b"" for record in second.read("indicators")).replace(b"][", b",")
        assert values == expected, "\n".join(second.trace)
    assert repeats > 100


def test_a_log_that_lost_its_beginning_is_folded_from_what_is_left() -> None:
    left = LOG[7:]
    for seed in range(40):
        check_against = plain(Counting(), left)
        sim = run(Counting, left, seed=seed, faults=ROUGH, steps=100)
        for target in Counting.targets:
            applied = {(r.key, r.value, r.headers) for r in sim.logs[target]}
            assert applied == set(told(check_against, target))


def test_a_reader_that_never_gets_what_is_missing_says_so() -> None:
    sim = run(Counting, [tick(0, 1), *(frame(at, b"x") for at in range(1, 9))])
    with pytest.raises(AssertionError, match="wait behind a gap"):
        read_exactly(sim.logs["accepted"][1:])


def test_a_fold_that_depends_on_its_batches_is_found_out() -> None:
    """The simulation itself has teeth."""

    class Batchy(Counting):
        def apply(self, state, records):  # type: ignore[no-untyped-def]
            state, outputs = super().apply(state, records)
            return state, [one._replace(value=b"%d" % len(records)) for one in outputs]

    make: Callable[[], Fold[Any]] = Batchy
    oracle = run(make, LOG)
    assert any(run(make, LOG, seed=seed, faults=ROUGH, steps=50).read("accepted") != oracle.read("accepted")
               for seed in range(5))  # fmt: skip


def test_registry_missing_is_no_poison() -> None:
    with pytest.raises(RegistryMissing):
        Counting(registries=set()).apply(Counting().start(SOURCE), [tick(0, 1)])
