"""Thousands of schedules: whatever happens, in whatever order, a reader that skips and holds sees the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from pearlstream.fold import Output, Record
from pearlstream.position import Source
from pearlstream.runner import Limits
from pearlstream.testing.folds import Counting, frame, tick
from pearlstream.testing.hunt import Schedule, hunt, shrunk
from pearlstream.testing.simulated import CALM, ROUGH, Faults, Simulation, run

FEW, MANY = 1500, 20_000


def a_log(length: int, every: int = 4, salt: str = "") -> list[Record]:
    """Ticks with frames between them."""
    return [
        tick(at, 1000 * at + 1) if at % every == 0 else frame(at, f"{salt}{at}".encode(), b"44%d" % (at % 3))
        for at in range(length)
    ]


def straight(records: Sequence[Record], source: Source = Source("sim", 0)) -> list[Output]:  # noqa: B008 - immutable
    fold = Counting()
    _, outputs = fold.apply(fold.start(source, records[0].offset), list(records))
    return outputs


def told(outputs: Sequence[Output], target: str) -> list[tuple[Any, ...]]:
    return [(one.key, one.value, one.headers) for one in outputs if one.target == target]


def exact(records: Sequence[Record]) -> Schedule:
    """Every target as the fold says, straight through."""
    expected = straight(records)

    def check(sim: Simulation) -> None:
        for target in ("accepted", "rollups"):
            assert [(r.key, r.value, r.headers) for r in sim.read(target)] == told(expected, target), target

    return Schedule(Counting, records, check, {"limits": Limits(3, 1 << 30), "batch": 6})


def test_thousands_of_schedules() -> None:
    assert hunt(exact(a_log(20)), range(FEW), ROUGH, 90) == FEW


@pytest.mark.slow
def test_tens_of_thousands_of_schedules_that_nobody_has_seen_before() -> None:
    first = random.SystemRandom().randrange(1 << 40)
    assert hunt(exact(a_log(20)), range(first, first + MANY), ROUGH, 120) == MANY


@pytest.mark.parametrize("name", ["freeze", "compact"])
def test_zombies_and_compaction_together_with_crashes(name: str) -> None:
    faults = CALM._replace(crash=0.05, zombie=0.05, **{name: 0.1})
    assert hunt(exact(a_log(16)), range(300), faults, 90) == 300


def test_one_that_was_frozen_goes_on_when_all_is_done_and_changes_nothing() -> None:
    woken = 0
    for seed in range(60):
        sim = run(Counting, a_log(16), seed=seed, faults=CALM._replace(freeze=0.05, zombie=0.05), steps=40)
        assert [(r.key, r.value, r.headers) for r in sim.read("accepted")] == told(straight(a_log(16)), "accepted")
        woken += len(sim.logs["accepted"]) > len(sim.read("accepted"))
    assert woken > 10, "some wrote again what was written"


def test_a_source_that_is_made_anew_is_read_from_its_beginning_and_told_from_the_old_one() -> None:
    old, new = a_log(14), a_log(18, every=3, salt="new")
    expected = straight(new, Source("sim+", 0))
    for seed in range(200):
        sim = Simulation(Counting, old, seed, ROUGH, Limits(3, 1 << 30))
        for _ in range(seed % 60):
            sim.step()
        sim.recreate(new)
        for _ in range(60):
            sim.step()
        sim.settle()
        for target in ("accepted", "rollups"):
            got = [(r.key, r.value, r.headers) for r in sim.read_of_this_life(target)]
            assert got == told(expected, target), "\n".join([f"seed {seed}", *sim.trace])


def test_a_failure_is_shrunk_to_what_one_can_read() -> None:
    class Forgetful(Counting):
        """Loses what it counted when it is packed: wrong after any restart from a snapshot."""

        def pack(self, state: Any) -> bytes:
            return super().pack(type(state)(state.source, state.uptos, state.clock_ms, 0, {}))

    schedule = exact(a_log(20))
    broken = Schedule(Forgetful, schedule.records, schedule.check, schedule.options)
    with pytest.raises(AssertionError, match="seed=") as error:
        hunt(broken, range(200), ROUGH, 90)
    text = str(error.value)
    assert "trace:" in text
    kinds = text.partition("faults={")[2].partition("}")[0]
    assert kinds.count(":") < len(ROUGH), f"fewer kinds are needed than {kinds}"
    steps = int(text.partition("steps=")[2].partition(",")[0])
    seed = int(text.partition("seed=")[2].partition(",")[0])
    assert 0 < steps < 90
    faults = Faults(**{k: v for k, v in ROUGH._asdict().items() if f"'{k}'" in kinds})
    assert broken.failure(seed, faults, steps) is not None
    assert broken.failure(seed, faults, steps - 1) is None, "not one step is left that is not needed"
    assert shrunk(broken, seed, faults, steps).startswith(f"seed={seed}")
