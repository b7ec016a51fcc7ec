"""The bench: a load that can be counted, and figures that only count if everything came out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from click.testing import CliRunner

from deploy.bench import board, cli, placed, pure, services, sweep
from deploy.bench.cli import CASES, bench
from deploy.bench.figures import Counted, Figure, Run, beside
from deploy.bench.load import Encoding, Load, Sent, make
from deploy.demo.probe import Page, parse
from pearlstream.catalogue import load_catalogue
from pearlstream.errors import ServiceError
from pearlstream.fold import InProcess, Record, header
from pearlstream.folds.admit import Admit
from pearlstream.position import Source
from pearlstream.program import compile_catalogue
from pearlstream.registry import RegistryBook

CATALOGUE = load_catalogue()
SMALL = Load(readings=1_200, frame_rows=50, cities=3, devices=60, rate=60.0, partitions=2, disorder=0.05)


def test_the_same_load_is_the_same_log() -> None:
    assert make(SMALL, CATALOGUE).sent == make(SMALL, CATALOGUE).sent


def test_a_load_that_comes_after_another_goes_on_where_that_ended() -> None:
    first, second = make(SMALL, CATALOGUE), make(SMALL, CATALOGUE, after=SMALL)
    book = RegistryBook(CATALOGUE.feeds)
    book.add([value for value, _ in first.devices])
    fold = Admit(compile_catalogue(CATALOGUE), book, SMALL.partitions)
    outputs = []
    for partition in range(SMALL.partitions):
        records = numbered([one for one in (*first.sent, *second.sent) if one.partition == partition])
        outputs += InProcess(fold, Source("t", partition)).feed(records)
    counted = pure.count_admitted([first, second], outputs)
    assert [(one.what, one.got) for one in counted if not one.exact] == []
    assert sum(one.target == "rollups" for one in outputs) == first.ticks + second.ticks


def numbered(sent: list[Sent]) -> list[Record]:
    return [Record(at, one.key, one.value, one.headers) for at, one in enumerate(sent)]


@pytest.mark.parametrize("stage", ["encode", "decode", "admit", "indicate"])
def test_a_stage_measured_on_a_small_load_counts(stage: str) -> None:
    figure = pure.measure(stage, SMALL, 1, CATALOGUE)
    assert [one for one in figure.counted if not one.exact] == []
    assert figure.exact
    assert figure.as_json()["readings_per_s"] > 0


@pytest.mark.parametrize("encoding", ["arrow", "json"])
def test_a_worker_in_its_place_writes_each_reading_once(encoding: Encoding) -> None:
    figure = placed.measure("worker", replace(SMALL, encoding=encoding, partitions=6), 1, CATALOGUE)
    assert [one for one in figure.counted if not one.exact] == []
    assert figure.exact
    (run,) = figure.runs
    assert run.readings == SMALL.readings
    assert run.cpu_s["worker"] > 0
    assert figure.peak_rss_mb["worker"] > 50


@pytest.mark.parametrize(("stage", "processes"), [("sink", 2), ("end", 5)])
def test_what_is_measured_to_the_store_is_there_once(stage: str, processes: int) -> None:
    figure = placed.measure(stage, replace(SMALL, partitions=6), 1, CATALOGUE)
    assert [one.what for one in figure.counted] == ["stored readings", "readings in the rollups"]
    assert figure.exact
    assert len(figure.runs[0].cpu_s) == processes


def test_a_reading_that_is_lost_or_doubled_is_a_figure_that_does_not_count() -> None:
    made = make(SMALL, CATALOGUE)
    book = RegistryBook(CATALOGUE.feeds)
    book.add([value for value, _ in made.devices])
    program = compile_catalogue(CATALOGUE)
    lanes = made.lanes()
    whole = [one for n, lane in lanes.items() for one in pure.admitted(program, book, SMALL, n, lane)]
    frame = next(output for output in whole if output.target == "accepted")
    for outputs in ([one for one in whole if one is not frame], [*whole, frame]):
        figure = Figure("admit", [Run(1, 1.0, {"self": 1.0})], {"self": 1.0}, pure.count_admitted([made], outputs))
        assert not figure.exact
        assert any(line.startswith("accepted readings") for line in figure.as_json()["wrong"])


def test_a_count_that_is_off_says_by_how_much() -> None:
    said = Figure("worker", [Run(1, 1.0, {"self": 1.0})], {}, [Counted("readings", 995, 1000)]).as_json()
    assert said["wrong"] == ["readings: 995 of 1000 (-5)"]


def test_a_figure_that_nobody_counted_or_ran_does_not_count() -> None:
    assert not Figure("admit", [Run(1, 1.0, {"self": 1.0})], {"self": 1.0}).exact
    assert not Figure("admit", [], {}, [Counted("readings", 1, 1)]).exact


def test_the_figure_is_the_median_of_its_runs_and_adds_up_processes() -> None:
    runs = [Run(1_000_000, wall, {"worker": wall, "broker": 1.0}) for wall in (1.0, 2.0, 10.0)]
    said = Figure("worker", runs, {"worker": 400.0, "broker": 100.0}, [Counted("readings", 1, 1)]).as_json()
    assert (said["readings_per_s"], said["cpu_s_per_million"], said["runs"]) == (500_000, 3.0, 3)
    assert said["cpu_s_per_million_by_process"] == {"worker": 2.0, "broker": 1.0}
    assert said["peak_rss_mb_by_process"] == {"worker": 400.0, "broker": 100.0}
    assert said["peak_rss_mb"] == 500.0


def as_json(stage: str, workers: int, wall: float, cpu: Mapping[str, float], got: int = 1) -> dict[str, Any]:
    peaks = {name: 100.0 for name in cpu if name != "producer"}
    made = Figure(stage, [Run(1_000_000, wall, cpu)], peaks, [Counted("readings", got, 1)]).as_json()
    return {**made, "workers": workers, "encoding": "arrow", "frame_rows": 500}


def test_two_workers_are_set_beside_one() -> None:
    one = as_json("end", 1, 4.0, {"producer": 1.0, "worker": 3.0})
    two = as_json("end", 2, 2.5, {"producer": 1.0, "worker-1": 2.0, "worker-2": 3.0})
    two["beside"] = beside(two, one)
    assert two["beside"] == {"stage": "end", "workers": 1, "readings_per_s": 1.6, "cpu_s_per_million": 1.5}
    lines = [" ".join(line.split()) for line in board.told(two)]
    assert lines == [
        "end x2 arrow 500 400,000 6.00 200",
        "producer 1.00",
        "worker-1 2.00 100",
        "worker-2 3.00 100",
        "1.6 times the readings/s of end, for 1.5 times the CPU time",
    ]


def test_a_figure_that_does_not_count_is_set_beside_nothing() -> None:
    good, bad = as_json("worker", 1, 1.0, {"worker": 1.0}), as_json("worker", 2, 1.0, {"worker": 1.0}, got=2)
    for figure, base in ((bad, good), (good, bad)):
        found = beside(figure, base)
        assert (found["readings_per_s"], found["cpu_s_per_million"]) == (None, None)
    told = board.told({**bad, "beside": beside(bad, good)})
    assert told[-2:] == [
        "  not set beside worker: one of the two does not count",
        "  does not count: readings: 2 of 1 (+1)",
    ]


def test_only_what_workers_share_is_measured_for_each_number_of_them() -> None:
    wanted = cli._each(("worker", "sink", "admit"), (1, 2, 2))
    assert wanted == [("worker", 1), ("worker", 2), ("sink", 1), ("admit", 1)]


def test_loads_that_are_short_roll_up_each_by_itself() -> None:
    made = placed.make_loads(Load(readings=1_000, cities=2, devices=20, partitions=2), 3, CATALOGUE)
    clocks = [[int(header(tick.headers, "clock") or 0) for tick in one.sent if tick.key is None] for one in made]
    assert all(max(earlier) < max(later) for earlier, later in itertools.pairwise(clocks))


def test_two_workers_share_the_log_and_write_each_reading_once() -> None:
    arguments = ["--json", "--stage", "worker", "--workers", "1", "--workers", "2", "--runs", "1", "--readings", "5000"]
    ran = CliRunner().invoke(bench, arguments)
    assert ran.exit_code == 0, ran.output
    one, two = json.loads(ran.stdout)
    assert [figure["exact"] for figure in (one, two)] == [True, True]
    assert list(one["cpu_s_per_million_by_process"]) == ["worker"]
    shares = two["cpu_s_per_million_by_process"]
    assert list(shares) == ["worker-1", "worker-2"]
    assert min(shares.values()) > 0
    assert (two["workers"], two["beside"]["workers"]) == (2, 1)
    assert two["peak_rss_mb_by_process"].keys() == shares.keys()


@dataclass
class Says:
    """A worker, as far as its page tells: the partitions that it has, or None while it does not answer."""

    partitions: Sequence[int] | None

    def page(self) -> Page | None:
        if self.partitions is None:
            return None
        return parse(
            "".join(f'pearlstream_worker_applied_offset{{stage="admit",partition="{n}"}} -1\n' for n in self.partitions)
        )


@pytest.mark.parametrize(
    ("shares", "done"),
    [
        ([[0, 1, 2]], True),
        ([[0, 2], [1]], True),
        ([[0, 1, 2], []], False),
        ([[0, 1, 2], [1]], False),
        ([[0], [1]], False),
        ([[0, 1, 2], None], False),
    ],
    ids=["alone", "shared", "one has all", "one is had twice", "one is missing", "one is silent"],
)
def test_partitions_are_shared_out_when_each_has_one_worker(shares: list[Sequence[int] | None], done: bool) -> None:
    assert services.shared_out([Says(share) for share in shares], 3) is done


def test_workers_of_a_group_may_not_sleep_for_long() -> None:
    placed._not_too_long(1.0)
    with pytest.raises(ServiceError, match="fewer --readings"):
        placed._not_too_long(7.0)


def test_every_stage_of_the_command_can_be_measured() -> None:
    assert {stage for stage, _ in CASES.values()} == {*pure.STAGES, *placed.STAGES}


def test_an_unknown_feed_is_a_wrong_call() -> None:
    ran = CliRunner().invoke(bench, ["--feed", "nothing.there"])
    assert ran.exit_code == 2
    assert "catalogue list" in ran.output


def test_the_command_measures_a_stage_in_a_process_of_its_own() -> None:
    arguments = ["--json", "--stage", "decode-json", "--runs", "2", "--readings", "3000", "--cities", "2"]
    ran = CliRunner().invoke(bench, arguments)
    assert ran.exit_code == 0, ran.output
    (figure,) = json.loads(ran.stdout)
    assert (figure["stage"], figure["encoding"], figure["runs"], figure["exact"]) == ("decode-json", "json", 2, True)
    assert {"readings_per_s", "cpu_s_per_million", "peak_rss_mb"} <= figure.keys()


def test_what_a_frame_and_a_reading_cost_is_read_off_the_curve() -> None:
    points = [sweep.Point(rows, 2.0 + 150.0 / rows, 100.0) for rows in (1, 10, 100, 1000)]
    assert sweep.cost_of(points) == pytest.approx((2.0, 150.0))
    assert "a reading costs 2.00 us, a frame 150 us" in sweep.drawn("frame-rows", points)[-1]


def test_what_a_device_takes_is_read_off_the_curve() -> None:
    points = [sweep.Point(1000, 1.0, 100.0), sweep.Point(1000 + (1 << 20), 1.5, 164.0)]
    assert sweep.bytes_each(points) == 64


def test_a_sweep_of_small_frames_takes_fewer_readings() -> None:
    made = dict(sweep.loads("frame-rows", {"readings": 1_000_000, "frame_rows": 500}))
    assert made[1]["readings"] == sweep.MOST_FRAMES
    assert made[5000] == {"readings": 1_000_000, "frame_rows": 5000}


def test_a_sweep_measures_each_point_and_draws_the_curve() -> None:
    done = CliRunner().invoke(bench, ["--sweep", "cities", "--readings", "5000", "--devices", "100", "--runs", "1"])
    assert done.exit_code == 0, done.output
    curve = [line.split() for line in done.output.splitlines() if line.strip().startswith("cities")]
    assert [words[1] for words in curve] == ["1", "5", "23"]
    assert all("█" in words[2] for words in curve)
