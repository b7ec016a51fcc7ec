"""Worker processes on a real broker: killed, stopped, frozen; what a reader sees is exact."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
from workers import PARTITIONS, Process, Topics

from pearlstream.fold import Output, Record
from pearlstream.position import Source
from pearlstream.testing.folds import Counting, frame, tick
from pearlstream.testing.simulated import read_exactly

Start = Callable[..., Process]
TARGETS = ("accepted", "rollups")


class Load(threading.Thread):
    """Writes frames and ticks into every partition at an even pace, the last record being a tick."""

    def __init__(self, topics: Topics, frames: int, per_second: float) -> None:
        super().__init__(daemon=True)
        self.topics, self.frames, self.pause_s = topics, frames, 10 / per_second
        self.start()

    def run(self) -> None:
        for number in range(self.frames):
            for partition in range(PARTITIONS):
                if number % 10 == 0:
                    self.topics.write("readings", partition, tick(0, number + 1))
                self.topics.write("readings", partition, frame(0, b"%d" % number, b"44%d" % (number % 3)))
            if number % 10 == 9:
                time.sleep(self.pause_s)
        for partition in range(PARTITIONS):
            self.topics.write("readings", partition, tick(0, self.frames + 1))
        self.topics.flush()


def expected(topics: Topics, partition: int, readings: list[Record]) -> list[Output]:
    fold = Counting()
    state = fold.start(Source(topics.ids["readings"], partition))
    outputs: list[Output] = []
    for record in readings:
        state, made = fold.apply(state, [record])
        outputs += made
    return outputs


def check_exact(topics: Topics, load: Load) -> int:
    """Wait until everything is covered, compare with the fold run straight through; returns the repeats seen."""
    load.join(60)
    last = tick(0, load.frames + 1).headers
    repeats = 0
    for partition in range(PARTITIONS):
        readings = topics.read("readings", partition, lambda found: bool(found) and found[-1].headers == last)
        outputs = expected(topics, partition, readings)
        for target in TARGETS:
            wanted = [(one.key, one.value, one.headers) for one in outputs if one.target == target]
            log = topics.read(
                target, partition, lambda found, last=wanted[-1][2]: any(r.headers == last for r in found)
            )
            got = [(one.key, one.value, one.headers) for one in read_exactly(log)]
            assert got == wanted
            repeats += len(log) - len(got)
    return repeats


def test_a_worker_killed_twice_under_load_loses_and_doubles_nothing(topics: Topics, start_worker: Start) -> None:
    load = Load(topics, frames=500, per_second=250)
    for _ in range(2):
        worker = start_worker("--alone")
        worker.wait_ready()
        time.sleep(0.3)
        worker.kill()
    start_worker("--alone")
    check_exact(topics, load)


def test_a_worker_stopped_by_sigterm_ends_cleanly_and_its_successor_goes_on(
    topics: Topics, start_worker: Start
) -> None:
    load = Load(topics, frames=100, per_second=1000)
    worker = start_worker("--alone")
    assert check_exact(topics, load) == 0
    assert worker.terminate() == 0
    again = Load(topics, frames=50, per_second=1000)
    worker = start_worker("--alone")
    worker.wait_ready()
    again.join()
    for partition in range(PARTITIONS):
        readings = topics.read("readings", partition, lambda found: len(found) >= 100 + 11 + 50 + 6)
        wanted = [one.headers for one in expected(topics, partition, readings) if one.target == "accepted"]
        log = topics.read("accepted", partition, lambda found, last=wanted[-1]: any(r.headers == last for r in found))
        assert [one.headers for one in log] == wanted, "nothing is written twice after a clean stop"


@pytest.mark.slow
def test_of_two_workers_in_a_group_one_is_killed_and_the_other_takes_over(topics: Topics, start_worker: Start) -> None:
    workers = [start_worker(), start_worker()]
    for worker in workers:
        worker.wait_ready(60)
    load = Load(topics, frames=1500, per_second=100)
    time.sleep(3)
    workers[0].kill()
    check_exact(topics, load)
    assert workers[1].process.poll() is None


@pytest.mark.slow
def test_a_frozen_worker_that_wakes_up_beside_its_successor_does_no_harm(topics: Topics, start_worker: Start) -> None:
    frozen = start_worker("--alone")
    frozen.wait_ready()
    load = Load(topics, frames=1000, per_second=200)
    time.sleep(1)
    os.kill(frozen.process.pid, signal.SIGSTOP)
    start_worker("--alone").wait_ready()
    time.sleep(2)
    os.kill(frozen.process.pid, signal.SIGCONT)
    assert check_exact(topics, load) > 0
    assert frozen.process.poll() is None


@pytest.mark.slow
def test_killed_again_and_again(topics: Topics, start_worker: Start) -> None:
    load = Load(topics, frames=3000, per_second=150)
    while load.is_alive():
        worker = start_worker("--alone")
        worker.wait_ready()
        time.sleep(0.5)
        worker.kill()
    start_worker("--alone")
    check_exact(topics, load)
