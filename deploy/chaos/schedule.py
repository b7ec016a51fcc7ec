"""What is broken, when and for how long: drawn from the seed, before anything runs."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

KINDS = ("kill", "pause", "cut", "scale")
"""kill: SIGKILL. pause: SIGSTOP, a successor goes on meanwhile where there can be one, SIGCONT. cut: the connection to
the broker breaks, or stands still. scale: workers join and leave while readings come (needs a broker with groups)."""

PAUSE_S = (9.0, 14.0)
"""Longer than a session lasts: the group moves on, and what wakes up is a zombie."""
SHORT_PAUSE_S = (2.0, 8.0)
CUT_S = (1.0, 12.0)
GAP_S = (1.0, 5.0)
"""Between the end of one fault and the next."""

_TARGETS: dict[str, tuple[tuple[str, int], ...]] = {
    "kill": (("worker", 4), ("sink", 3), ("store", 2), ("worker+sink", 1)),
    "pause": (("worker", 3), ("sink", 1), ("store", 1)),
    "cut": (("worker", 2), ("sink", 1), ("producer", 1), ("everybody", 1)),
    "scale": (("worker", 1),),
}
"""Who is hit by what, and how often."""
_WEIGHTS = {"kill": 4, "pause": 2, "cut": 2, "scale": 2}


class Fault(NamedTuple):
    """One round. `act`: what is done to `target`; `lot` picks one of several workers; times in seconds.

    `after_s`: so long after the last round is over; `for_s`: so long a pause or cut lasts; `again`: killed a second
    time as soon as it is started again.
    """

    round: int
    kind: str
    act: str
    target: str
    after_s: float
    for_s: float
    lot: int
    again: bool = False

    def as_json(self) -> dict[str, Any]:
        """The round as the report shows it."""
        return self._asdict()


def draw(seed: int, rounds: int, kinds: Collection[str] = KINDS, targets: Collection[str] = ()) -> list[Fault]:
    """The rounds, in their order: a function of its arguments. Every kind comes once before any comes twice.

    `targets`: only these, where a kind knows them. Raises ValueError if nothing is left to be done.
    """
    rng = random.Random(f"{seed}/{rounds}")
    possible = {kind: _possible(kind, targets) for kind in KINDS if kind in kinds}
    possible = {kind: choices for kind, choices in possible.items() if choices}
    if not possible:
        raise ValueError("no fault is left: no kind that was asked for can hit what was asked for")
    first = list(possible)
    rng.shuffle(first)
    faults, joined = [], False
    for number in range(1, rounds + 1):
        kind = first.pop() if first else rng.choices(list(possible), [_WEIGHTS[kind] for kind in possible])[0]
        names, weights = zip(*possible[kind], strict=True)
        target = rng.choices(names, weights)[0]
        if kind == "scale":
            joined = not joined
        faults.append(_fault(rng, number, kind, target, joined=joined))
    return faults


def _possible(kind: str, targets: Collection[str]) -> Sequence[tuple[str, int]]:
    return [choice for choice in _TARGETS[kind] if not targets or choice[0] in targets]


def _fault(rng: random.Random, number: int, kind: str, target: str, *, joined: bool) -> Fault:
    act, for_s = kind, 0.0
    if kind == "pause":
        for_s = rng.uniform(*(PAUSE_S if target == "worker" else SHORT_PAUSE_S))
    elif kind == "cut":
        act = rng.choice(("cut", "stall"))
        for_s = rng.uniform(*CUT_S)
    elif kind == "scale":
        act = "add" if joined else "remove"
    again = kind == "kill" and target != "store" and rng.random() < 0.25
    after_s = rng.uniform(*GAP_S)
    return Fault(number, kind, act, target, round(after_s, 2), round(for_s, 2), rng.randrange(1 << 16), again)
