"""The command `pearlstream score`: three short scenarios, a tenth of the devices."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import orjson
import pytest

from deploy.score.report import Board
from deploy.score.runs import Task, score
from pearlstream.catalogue import load_catalogue
from pearlstream.cli import run

SHORT = ("SC02", "SC10", "SC12")
KEYS = {"rows", "passed", "recall", "precision", "delay_s", "false_per_cluster_day", "failed"}


@pytest.fixture(scope="module")
def scored() -> tuple[int, dict[str, Any]]:
    """The exit code of the command and what it says."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        wanted = [word for name in SHORT for word in ("--scenario", name)]
        code = run(["score", *wanted, "--seed", "1", "--fleet", "0.1", "--jobs", "1", "--json"])
    return code, orjson.loads(out.getvalue())


def test_the_report_has_the_keys_that_programs_read(scored: tuple[int, dict[str, Any]]) -> None:
    code, body = scored
    assert set(body) >= KEYS
    assert set(body["delay_s"]) == {"p50", "p95"}
    assert body["rows"] == body["passed"] + len(body["failed"]) > 0
    assert (code == 0) is (not body["failed"] and not body["missed_goals"])
    assert body["fleet"] == 0.1
    assert set(body["scenarios"]) == set(SHORT)


def test_a_tenth_of_the_devices_is_enough_for_the_rush(scored: tuple[int, dict[str, Any]]) -> None:
    rush = scored[1]["scenarios"]["SC02"]
    assert rush["passed"] == rush["rows"] > 30
    assert rush["recall"] == 1.0


def test_with_fewer_devices_rules_miss_but_nothing_speaks_that_should_not(scored: tuple[int, dict[str, Any]]) -> None:
    """Three stations owe fewer readings than some rules want to see; what must stay quiet and what must move holds,
    and with it that a fault of the telemetry raises no alert about the city."""
    _, body = scored
    failed = [one for one in body["failed"] if " fires " not in one["claim"]]
    assert not failed
    assert body["scenarios"]["SC12"]["recall"] >= 0.5
    assert body["flaps"] == 0


def test_an_unknown_scenario_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "--scenario", "SC99"]) == 2
    assert "there is no scenario 'SC99'" in capsys.readouterr().err


def test_the_board_tells_what_failed_and_that_the_fleet_is_sampled(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board(fleet=0.02)
    board.add(score(Task(load_catalogue(), "SC12", 1, fleet=0.02)))

    board.tell()

    said = capsys.readouterr().out
    assert "SC12" in said
    assert "2% of the devices" in said
    assert board.total.failed
    assert all(one.reason in said for one in board.total.failed[:3])
