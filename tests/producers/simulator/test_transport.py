"""What goes wrong on the way: in the declared measure, labelled, and never to the sequence numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from simulator_kit import MINUTE_MS, ON_THE_WAY, PlanMaker

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed
from producers.simulator.plan import Plan
from producers.simulator.run import Simulation


def with_faults(catalogue: Catalogue, feed: str, **faults: Any) -> Catalogue:
    """The catalogue with other faults for one feed."""
    declared = catalogue.feeds[feed].model_dump()
    declared["simulate"]["faults"] = faults
    return replace(catalogue, feeds={**catalogue.feeds, feed: Feed.model_validate(declared)})


def sent(plan: Plan) -> tuple[Simulation, dict[str, list[tuple[int, int, int]]]]:
    """The simulation after its run, and (seq, ts, tick after which it was sent) by device, in order of sending."""
    simulation = Simulation(plan)
    found: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for step in simulation.steps():
        for frame in step.frames:
            columns = (frame.batch.column(name).to_pylist() for name in ("device", "seq", "ts"))
            for device, seq, ts in zip(*columns, strict=True):
                found[device].append((seq, ts, step.clock_ms - plan.tick_ms))
    return simulation, found


def test_sequence_numbers_rise_by_one_per_reading_and_lost_ones_leave_gaps(plan: PlanMaker) -> None:
    simulation, found = sent(plan(minutes=10, feeds=("factory.machine",), faults=ON_THE_WAY))
    readings = 60  # ten minutes at a cadence of ten seconds
    missing = 0
    for rows in found.values():
        seqs = {seq for seq, _, _ in rows}
        assert seqs <= set(range(readings))
        missing += readings - len(seqs)
    lost = simulation.lost()
    assert missing == lost["network"] + lost["gateway_outage"] + lost["on_the_way"]
    assert missing / (readings * len(found)) == pytest.approx(0.003, rel=0.3)


def test_repeats_carry_the_same_values_and_come_in_the_declared_measure(plan: PlanMaker) -> None:
    made = plan(minutes=10, feeds=("factory.machine",), rate=200.0, faults=ON_THE_WAY)
    simulation, found = sent(made)
    counts = Counter((device, seq, ts) for device, rows in found.items() for seq, ts, _ in rows)
    repeats = sum(count - 1 for count in counts.values())
    assert repeats / len(counts) == pytest.approx(0.002, rel=0.25)
    assert len({(device, seq) for device, seq, _ in counts}) == len(counts)
    assert simulation.outages == [] or repeats > 0


def test_few_readings_are_late_and_some_are_out_of_order(plan: PlanMaker) -> None:
    _, found = sent(plan(minutes=10, feeds=("factory.machine",), rate=200.0))
    rows = [row for rows in found.values() for row in rows]
    stamps, clocks = np.array([ts for _, ts, _ in rows]), np.array([clock for _, _, clock in rows])
    off = np.abs(stamps - clocks) > 60_000  # clocks that are wrong by minutes or hours
    late = (stamps // 10_000 * 10_000 + 20_000 < clocks) & ~off
    assert 0.0 < late.mean() < 0.01
    disorder = sum(a[0] > b[0] for rows in found.values() for a, b in pairwise(rows))
    assert 0.0005 < disorder / len(rows) < 0.02


def test_clocks_are_a_little_off_and_few_quite_wrong(plan: PlanMaker) -> None:
    made = plan(minutes=1, rate=3_000.0, feeds=("factory.machine",))
    simulation = Simulation(made)
    clocks = simulation._runs["factory.machine"].transport.clocks
    share = np.count_nonzero(clocks.wrong_ms) / len(clocks.wrong_ms)
    assert share == pytest.approx(0.002, rel=0.5)
    assert {abs(off) for off in clocks.wrong_ms} & {8 * 3_600_000.0}
    labels = [label for step in simulation.steps() for label in step.labels if label.kind == "clock_wrong"]
    assert len(labels) == np.count_nonzero(clocks.wrong_ms)


OUTAGE = {"per_day": 300.0, "median_min": 3.0, "p95_min": 6.0}
QUIET = {"median_s": 0.4, "p99_s": 1.0, "loss": 0.0, "duplicates": 0.0, "disorder": 0.0}


def test_an_outage_is_labelled_and_its_readings_come_late_in_a_flush(plan: PlanMaker, catalogue: Catalogue) -> None:
    shaken = with_faults(
        catalogue, "traffic.flow", network=QUIET, outage=OUTAGE, clock={"wrong": 0.0, "drift_ppm": 0.0}
    )
    made = replace(plan(minutes=30, feeds=("traffic.flow",), cities=("440100", "440300")), catalogue=shaken)
    simulation, found = sent(made)
    labels = {label for step in Simulation(made).steps() for label in step.labels if label.kind == "gateway_outage"}
    assert labels == {episode.label() for episode in simulation.outages}
    over = [e for e in simulation.outages if made.start_ms < e.from_ms and e.until_ms < made.end_ms - 5 * MINUTE_MS]
    assert over
    for episode in over:
        held = [
            clock
            for device, rows in found.items()
            if episode.city in device
            for _, ts, clock in rows
            if episode.from_ms <= ts < episode.until_ms - 5_000
        ]
        assert all(clock + made.tick_ms >= episode.until_ms for clock in held)
    assert simulation.lost()["gateway_outage"] > 0


def test_readings_behind_an_outage_are_late_lost_or_still_held_and_never_forgotten(
    plan: PlanMaker, catalogue: Catalogue
) -> None:
    shaken = with_faults(catalogue, "traffic.flow", network=QUIET, outage=OUTAGE)
    made = replace(plan(minutes=20, feeds=("traffic.flow",), faults=ON_THE_WAY), catalogue=shaken)
    simulation, found = sent(made)
    lost = simulation.lost()
    unique = sum(len({seq for seq, _, _ in rows}) for rows in found.values())
    repeats_held = lost["on_the_way"] - (20 * 627 - unique - lost["gateway_outage"])
    assert unique + lost["gateway_outage"] + lost["on_the_way"] >= 20 * 627
    assert repeats_held <= 0.03 * lost["on_the_way"] + 3


def test_another_feed_in_the_catalogue_changes_no_reading_of_a_feed(plan: PlanMaker) -> None:
    both, one = plan(minutes=1), plan(minutes=1, feeds=("traffic.flow",))
    every = [f.payload() for s in Simulation(both).steps() for f in s.frames if f.feed.id == "traffic.flow"]
    assert every == [f.payload() for s in Simulation(one).steps() for f in s.frames]
