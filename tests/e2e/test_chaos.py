"""Whatever breaks, and whenever: nothing is lost and nothing doubled, on the embedded broker and store."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from chaos_process import TIMEOUT_S, assert_nothing_lost, chaos, done, started

from deploy.chaos.schedule import draw


@pytest.mark.slow
def test_kills_a_zombie_and_a_cut_lose_and_double_nothing(tmp_path: Path) -> None:
    code, report, said = chaos(tmp_path, "--rounds", "6", "--seed", "23", "--rate", "600")
    assert code == 0, (said, report.get("findings"))
    assert_nothing_lost(report, 6)
    planned = draw(23, 6, ("kill", "pause", "cut"))
    assert done(report) == [(fault.act, fault.target) for fault in planned]
    assert {("kill", "worker"), ("kill", "sink"), ("kill", "store"), ("pause", "worker")} <= set(done(report))
    assert report["restarts"]["store"] == 1
    assert report["restarts"]["sink"] == 1
    assert not [fault for fault in report["faults"] for pid in fault["pids"] if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_a_run_that_is_asked_to_end_counts_the_rounds_that_were_done(tmp_path: Path) -> None:
    process = started(tmp_path, "--rounds", "50", "--fault", "kill", "--target", "sink", "--rate", "400")
    until = time.monotonic() + TIMEOUT_S
    while not [log for log in tmp_path.glob("data/runs/*/logs/sink.log") if log.read_text().count("sink started") > 1]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said, complaints = process.communicate(timeout=TIMEOUT_S)
    report = json.loads(said)
    assert report["stopped"]
    assert report["drained"]
    assert report["rounds"] < 50
    assert (report["missing"], report["doubled"]) == (0, 0)
    # a run that ends before any window has settled proves nothing of the indicators, and says so
    compared = report["settled"]["rows"] > 0
    assert process.returncode == (0 if compared else 1), complaints
    assert len(report["findings"]) == (0 if compared else 1)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--fault", "scale"], 2, "needs a broker with groups"),
        (["--fault", "scale", "--target", "sink", "--kafka", "127.0.0.1:1"], 2, "no fault is left"),
        (["--kafka", "kafka.example.org:9092"], 2, "on this machine only"),
        (["--rounds", "0"], 2, "--rounds"),
        (["--kafka", "127.0.0.1:1", "--rounds", "1"], 70, "does not answer"),
    ],
    ids=["scale", "nothing left", "elsewhere", "rounds", "no broker"],
)
def test_what_is_wrong_in_the_call_is_said(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    ended, report, said = chaos(tmp_path, *arguments)
    assert (ended, report) == (code, {}), said
    assert words in said
    assert "Traceback" not in said


def test_a_broker_and_store_of_the_settings_are_never_touched(tmp_path: Path) -> None:
    from deploy.chaos.cli import _settings

    before = dict(os.environ)
    os.environ["PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS"] = "live.example.org:9092"
    os.environ["PEARLSTREAM_CLICKHOUSE__URL"] = "https://live.example.org:8443"
    try:
        settings = _settings(None)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert settings.kafka.bootstrap_servers == ""
    assert settings.clickhouse.url == ""
