"""The rounds follow from the seed, and every kind that was asked for has its turn."""

from __future__ import annotations

import pytest

from deploy.chaos.schedule import CUT_S, GAP_S, KINDS, PAUSE_S, draw


def test_a_seed_gives_the_same_rounds_and_another_seed_others() -> None:
    assert draw(7, 20) == draw(7, 20)
    assert draw(7, 20) != draw(8, 20)


def test_every_kind_comes_once_before_any_comes_twice() -> None:
    for seed in range(20):
        assert {fault.kind for fault in draw(seed, len(KINDS))} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_was_asked_for_is_done(kind: str) -> None:
    assert {fault.kind for fault in draw(3, 30, [kind])} == {kind}


def test_only_who_was_asked_for_is_hit() -> None:
    assert {fault.target for fault in draw(3, 30, KINDS, ["sink"])} == {"sink"}


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(ValueError, match="no fault is left"):
        draw(1, 5, ["scale"], ["sink"])


def test_times_lie_within_their_bounds() -> None:
    faults = draw(5, 300)
    assert all(GAP_S[0] <= fault.after_s <= GAP_S[1] for fault in faults)
    assert all(CUT_S[0] <= fault.for_s <= CUT_S[1] for fault in faults if fault.kind == "cut")
    zombies = [fault for fault in faults if fault.kind == "pause" and fault.target == "worker"]
    assert zombies
    assert all(PAUSE_S[0] <= fault.for_s <= PAUSE_S[1] for fault in zombies)


def test_workers_join_before_they_leave_by_turns() -> None:
    acts = [fault.act for fault in draw(2, 40, ["scale"])]
    assert acts == ["add", "remove"] * 20
