"""The report: fixed keys, and every equation that does not hold is a finding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.demo.clients import Life, Wanted, client_settings, environment_of, simulator_spec
from deploy.demo.folder import RunFolder
from deploy.demo.report import Facts, conclude, read_books, summary
from deploy.demo.watch import Totals
from pearlstream.errors import ServiceError
from pearlstream.settings import Settings

BOOKS = {
    "seed": 7,
    "produced": 1000,
    "wall_s": 10.0,
    "start_ms": 1_000_000,
    "last_clock_ms": 1_650_000,
    "duration_s": 600.0,
    "stopped": False,
}
TOTALS = Totals(seen=1000, accepted=970, duplicate=20, late=5, frames=50, stored=970, quarantined={"range": 10})
LEDGER: dict[str, Any] = {"missing": 0, "doubled": 0, "pending": 0, "findings": []}


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    monkeypatch.chdir(tmp_path)
    environment = {
        "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "PEARLSTREAM_CLICKHOUSE__URL": "http://127.0.0.1:8",
        "PEARLSTREAM_CLICKHOUSE__USER": "somebody",
        "PEARLSTREAM_CLICKHOUSE__PASSWORD": "geheim",
    }
    settings = client_settings(Settings(), environment, "pearl.", "pearlstream_x")
    return Life(
        1, settings, tmp_path / "simulate-1.json", {"worker": "http://127.0.0.1:1", "sink": "http://127.0.0.1:2"}
    )


@pytest.fixture
def facts(life: Life) -> Facts:
    return Facts(
        run_id="x",
        life=life,
        scenario="SC02",
        catalogue_version="0" * 8,
        books=BOOKS,
        totals=TOTALS,
        rollup_count=970,
        settled=(12, "ab" * 32),
        alerts=(3, 1),
        ledger=LEDGER,
        freshness_ms={"p50": 870.0, "p99": 1810.0},
        restarts={"worker": 2, "sink": 0},
        cpu_s={"worker": 1.5},
        store_version="26.9",
        drained=True,
    )


def test_the_fixed_keys_are_there_with_what_they_mean(facts: Facts) -> None:
    report = conclude(facts).report
    assert {key: report[key] for key in list(report)[:8]} == {
        "seed": 7,
        "scenario": "SC02",
        "duration_s": 600.0,
        "readings": {"produced": 1000, "accepted": 970, "quarantined": 10, "duplicate": 20, "late": 5},
        "stored": {"raw": 970, "rollup_count": 970},
        "freshness_ms": {"p50": 870.0, "p99": 1810.0},
        "alerts": {"fired": 3, "resolved": 1},
        "score": None,
    }
    assert report["ledger"]["missing"] == report["ledger"]["doubled"] == 0
    assert report["restarts"] == {"worker": 2, "sink": 0}


def test_the_report_is_json_without_secrets(facts: Facts) -> None:
    assert b"geheim" not in orjson.dumps(conclude(facts).report)


def test_a_run_in_which_all_equations_hold_is_exact(facts: Facts) -> None:
    outcome = conclude(facts)
    assert outcome.exact
    assert any("nothing missing, nothing doubled" in line for line in summary(outcome))


@pytest.mark.parametrize(
    "wrong",
    [
        {"drained": False},
        {"totals": TOTALS._replace(seen=999)},
        {"totals": TOTALS._replace(accepted=969)},
        {"totals": TOTALS._replace(stored=971)},
        {"rollup_count": 969},
        {
            "ledger": LEDGER
            | {"findings": [{"what": "x", "where": "y", "missing": 1, "doubled": 0, "places": ["3: +1"]}]}
        },
    ],
    ids=["not drained", "lost on the way in", "row without verdict", "doubled row", "rollups short", "ledger"],
)
def test_whatever_does_not_add_up_is_a_finding(facts: Facts, wrong: dict[str, Any]) -> None:
    outcome = conclude(replace(facts, **wrong))
    assert not outcome.exact
    assert any(line.startswith("not exact: ") for line in summary(outcome))
    assert outcome.report["findings"]


def test_a_run_that_was_stopped_says_how_far_it_came(facts: Facts) -> None:
    stopped = replace(facts, books={**BOOKS, "stopped": True, "last_clock_ms": 1_120_000})
    assert conclude(stopped).report["duration_s"] == 120.0


def test_books_that_are_missing_are_said(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no books"):
        read_books(tmp_path / "simulate-1.json")


def test_the_password_travels_in_the_environment_and_nowhere_else(life: Life, tmp_path: Path) -> None:
    spec = simulator_spec(Wanted((("SC02", 0),), 60.0, duration_ms=1500), life, RunFolder("x", tmp_path))
    assert spec.env["PEARLSTREAM_CLICKHOUSE__PASSWORD"] == "geheim"
    assert "geheim" not in " ".join(spec.argv)
    assert "geheim" not in repr(life.settings)
    assert "geheim" not in repr(spec)


def test_the_simulator_is_asked_for_what_was_wanted(life: Life, tmp_path: Path) -> None:
    wanted = Wanted((("typhoon", 0), ("rush", 5_400_000)), 0.0, seed=3, duration_ms=90_000, rate=500.0, start="now")
    line = " ".join(simulator_spec(wanted, life, RunFolder("x", tmp_path)).argv)
    for part in (
        "--scenario typhoon --scenario rush+5400000ms",
        "--seed 3",
        "--speed max",
        "--duration 90000ms",
        "--rate 500",
        "--start now",
    ):
        assert part in line


def test_children_inherit_only_on_request(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "else")
    assert "SOMETHING" not in environment_of(life.settings)
    assert environment_of(life.settings, inherit=True)["SOMETHING"] == "else"
