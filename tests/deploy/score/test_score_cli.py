"""The command `pearlstream score`, with a few devices."""

from __future__ import annotations

import orjson
import pytest

from deploy.score.report import Board
from deploy.score.runs import Task, score
from pearlstream.catalogue import load_catalogue
from pearlstream.cli import run

KEYS = {"rows", "passed", "recall", "precision", "delay_s", "false_per_cluster_day", "failed"}


def test_the_report_has_the_keys_that_programs_read(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["score", "--scenario", "rush", "--seed", "1", "--fleet", "0.1", "--jobs", "1", "--json"])

    body = orjson.loads(capsys.readouterr().out)

    assert set(body) >= KEYS
    assert set(body["delay_s"]) == {"p50", "p95"}
    assert body["rows"] == body["passed"] + len(body["failed"]) > 0
    assert (code == 0) is (not body["failed"] and not body["missed_goals"])
    assert body["fleet"] == 0.1


def test_an_unknown_scenario_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "--scenario", "SC99"]) == 2
    assert "there is no scenario 'SC99'" in capsys.readouterr().err


def test_the_board_tells_what_failed_and_that_the_fleet_is_sampled(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board(fleet=0.1)
    board.add(score(Task(load_catalogue(), "SC02", 1, fleet=0.1)))

    board.tell()

    said = capsys.readouterr().out
    assert "SC02" in said
    assert "10% of the devices" in said
    assert all(one.reason in said for one in board.total.failed[:3])
