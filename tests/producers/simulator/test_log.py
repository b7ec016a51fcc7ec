"""The simulated log: one and the same for one plan, in order, with time that says the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from simulator_kit import PlanMaker

from pearlstream.frame import decode, read_tick
from producers.simulator.ledger import Ledger
from producers.simulator.plan import Plan
from producers.simulator.run import Simulation, Step, log_steps, simulate

PARTITIONS = 6


def contents(plan: Plan) -> list[tuple[str, str, int, bytes, object]]:
    """Frames as they would be sent, step by step."""
    return [
        (frame.city, frame.gateway, frame.close_ms, frame.payload(), step.clock_ms)
        for step in simulate(plan)
        for frame in step.frames
    ]


def readings_of(plan: Plan) -> Counter[tuple[object, ...]]:
    """What was sent, without regard to frames."""
    found: Counter[tuple[object, ...]] = Counter()
    for step in simulate(plan):
        for frame in step.frames:
            found.update(zip(*frame.batch.to_pydict().values(), strict=True))
    return found


@pytest.mark.parametrize("encoding", ["arrow", "mixed"])
def test_two_runs_of_a_plan_make_the_same_log_byte_for_byte(plan: PlanMaker, encoding: str) -> None:
    first = log_steps(simulate(plan(encoding=encoding)), PARTITIONS)
    second = log_steps(simulate(plan(encoding=encoding)), PARTITIONS)
    assert {p: log.records for p, log in first.items()} == {p: log.records for p, log in second.items()}
    assert sum(len(log.records) for log in first.values()) > 500


def test_another_seed_makes_another_log(plan: PlanMaker) -> None:
    assert contents(plan(minutes=0.5)) != contents(plan(minutes=0.5, seed=2))


def test_readings_do_not_depend_on_how_time_is_cut_into_steps(plan: PlanMaker) -> None:
    whole = plan(minutes=1.5)
    assert readings_of(whole) == readings_of(replace(whole, tick_ms=1_000, frame_ms=500))


def test_a_longer_run_begins_like_a_shorter_one(plan: PlanMaker) -> None:
    short, long = contents(plan(minutes=1)), contents(plan(minutes=2))
    end = plan(minutes=1).end_ms
    assert [c for c in short if c[4] <= end] == [c for c in long if c[4] <= end]


def test_the_log_begins_with_the_registry_and_ticks_every_step_until_it_has_drained(plan: PlanMaker) -> None:
    made = plan()
    steps = list(simulate(made))
    assert steps[0].devices
    assert not steps[0].frames
    assert not any(step.devices for step in steps[1:])
    assert {step.registry for step in steps} == {steps[0].devices[-1][1]}
    clocks = [step.clock_ms for step in steps]
    assert clocks == list(range(made.start_ms, clocks[-1] + 1, made.tick_ms))
    assert made.end_ms + 40_000 <= clocks[-1] <= made.end_ms + 120_000


def test_gateways_are_flushed_before_each_tick_and_frames_go_out_in_order(plan: PlanMaker) -> None:
    before = plan().start_ms
    for step in simulate(plan()):
        closes = [frame.close_ms for frame in step.frames]
        assert closes == sorted(closes)
        assert all(before < close <= step.clock_ms for close in closes)
        before = step.clock_ms


def test_a_frame_closes_when_it_is_full_or_its_time_is_up(plan: PlanMaker) -> None:
    made = plan(minutes=0.5, rate=2_000.0, frame_rows=50, frame_ms=2_000)
    frames = [frame for step in simulate(made) for frame in step.frames]
    assert max(frame.rows for frame in frames) == 50
    for frame in frames:
        if frame.rows < 50:
            since = (frame.close_ms - made.start_ms) % made.tick_ms
            assert since in (0, 2_000, 4_000)


def test_without_faults_every_reading_arrives_in_its_own_step(plan: PlanMaker) -> None:
    made = plan(faults=False)
    sent = Counter[str]()
    for step in simulate(made):
        for frame in step.frames:
            stamps = frame.batch.column("ts").to_pylist()
            told_ms = made.tick_ms if frame.feed.emits == "samples" else made.tick_ms + frame.feed.cadence_s * 1000
            assert step.clock_ms - told_ms <= min(stamps)
            assert max(stamps) < step.clock_ms
            sent[frame.feed.id] += frame.rows
    simulation = Simulation(made)
    assert set(simulation.lost().values()) == {0}
    assert sent["traffic.flow"] == 2 * 627
    assert sent["factory.machine"] == 12 * 627


def test_every_frame_can_be_read_whatever_its_encoding(plan: PlanMaker) -> None:
    made = plan(minutes=0.5, encoding="mixed")
    kinds = Counter[str]()
    for partition, log in log_steps(simulate(made), PARTITIONS).items():
        for record in log.records:
            if read_tick(record) is None:
                feeds, cities = made.catalogue.feeds, made.catalogue.cities
                decoded = decode(record, feeds, cities, partition=partition, partitions=PARTITIONS)
                assert not decoded.flaws
                kinds[dict(record.headers)["content-type"].decode()] += 1
    assert len(kinds) == 3


def test_the_ledger_counts_what_was_sent(plan: PlanMaker) -> None:
    ledger = Ledger()
    steps: list[Step] = []
    for step in simulate(plan()):
        ledger.note(step.frames)
        ledger.note_tick(step.clock_ms)
        steps.append(step)
    books = ledger.as_json()
    assert books["produced"] == sum(frame.rows for step in steps for frame in step.frames)
    assert books["produced"] == sum(feed["produced"] for feed in books["feeds"].values())
    assert books["ticks"] == len(steps)
    assert books["last_clock_ms"] == steps[-1].clock_ms
    flows = books["feeds"]["traffic.flow"]
    assert flows["produced"] == sum(city["produced"] for city in flows["cities"].values())


def test_truth_labels_come_when_their_episode_begins(plan: PlanMaker) -> None:
    made = plan(minutes=17)
    labels = [(step.clock_ms, label) for step in simulate(made) for label in step.labels]
    kinds = Counter(label.kind for _, label in labels)
    assert kinds["scenario"] == 1
    assert kinds["effect"] == 15  # four effects in three cities at once, no2 later; those with a lag have not begun
    for clock_ms, label in labels:
        assert label.from_ms <= clock_ms
        assert clock_ms == made.start_ms or clock_ms - made.tick_ms < label.from_ms
