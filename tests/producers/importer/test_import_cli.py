"""`pearlstream import` as a person and as a program meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from importer_kit import kit_overlay, lines, minutes, read_rejects

from pearlstream.errors import PearlstreamError
from producers.importer.cli import import_files

MAPPING = """
name = "kit"
feed = "test.kit"
city = "XX-A"
device = "{who}"
overlay = "lay"
[time]
column = "t"
zone = "UTC"
[fields]
temp_c = "temp"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a mapping `kit.toml` and its overlay."""
    monkeypatch.chdir(tmp_path)
    for name in ("PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS", "PEARLSTREAM_KAFKA__PREFIX", "PEARLSTREAM_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    kit_overlay(tmp_path / "lay")
    (tmp_path / "kit.toml").write_text(MAPPING)
    (tmp_path / "a.csv").write_text(minutes(["20"] * 30))
    return tmp_path


def call(*arguments: str) -> Any:
    """Exit code or error, and what was printed."""
    return CliRunner().invoke(import_files, ["--map", "kit.toml", *arguments], standalone_mode=False)


def test_a_dry_run_shows_readings_devices_range_and_counts(folder: Path):
    (folder / "a.csv").write_text(lines("2016-01-01 00:00,d1,20", "2016-01-01 00:01,d1,x", "2016-01-01 00:02,d1,61"))
    result = call("a.csv", "--dry-run")
    assert result.return_value == 1, "a row was refused for a fault"
    for word in ("2 readings of test.kit", "2016-01-01T00:00:00Z", "d1", "XX-A", "wrong_type", "range", "120 s"):
        assert word in result.output
    assert "kit.rejects.csv" in result.output
    assert read_rejects(folder / "kit.rejects.csv")[0][:3] == ("a.csv", 3, "wrong_type")


def test_clean_files_leave_no_rejects_file_and_exit_with_0(folder: Path):
    assert call("a.csv", "--dry-run").return_value == 0
    assert not (folder / "kit.rejects.csv").exists()


def test_rows_without_any_value_are_told_but_are_no_fault(folder: Path):
    (folder / "a.csv").write_text(minutes(["20", "NA", "21"]))
    result = call("a.csv", "--dry-run")
    assert result.return_value == 0
    assert "no_value" in result.output


def test_a_range_with_one_end_and_cells_that_look_like_markup_are_shown_as_they_are(folder: Path):
    (folder / "kit.toml").write_text(MAPPING.replace("temp_c", "share_pct"))
    (folder / "a.csv").write_text(minutes(["20", "-1", "[bold]"]))
    result = call("a.csv", "--dry-run")
    assert "share_pct: 1 values outside 0.. %" in result.output
    assert "'[bold]'" in result.output


def test_in_process_computes_the_indicators(folder: Path):
    result = call("a.csv", "--in-process")
    assert result.return_value == 0
    assert "30 readings accepted, 0 late, 0 refused" in result.output
    assert "X09" in result.output


def test_json_is_all_that_stands_on_stdout(folder: Path):
    result = call("a.csv", "--in-process", "--json")
    body = json.loads(result.stdout)
    assert (body["rows"], body["readings"], body["sent"]) == (30, 30, None)
    assert (body["prefix"], body["database"]) == ("import.kit.", "pearlstream_kit")
    assert body["devices"][0]["device"] == "d1"
    assert body["folded"]["accepted"] == 30
    assert "X09" in {row["indicator"] for row in body["folded"]["indicators"]}


def test_without_a_broker_it_says_what_needs_none(folder: Path):
    result = call("a.csv")
    assert isinstance(result.exception, PearlstreamError)
    assert "--dry-run" in result.exception.remedy


def test_b38_headless_an_unusual_dialect_exits_with_2_and_the_flags_help(folder: Path):
    (folder / "a.csv").write_text("t;who;temp\n2016-01-01 00:00;d1;20,5\n2016-01-01 00:05;d1;20,5\n")
    result = call("a.csv", "--dry-run")
    assert isinstance(result.exception, PearlstreamError)
    assert result.exception.exit_code == 2
    assert "--delimiter ';' --decimal ','" in result.exception.remedy
    told = call("a.csv", "--dry-run", "--encoding", "utf-8", "--delimiter", ";", "--decimal", ",")
    assert told.return_value == 0


def test_a_unit_is_told_by_flag(folder: Path):
    (folder / "a.csv").write_text(minutes(["50", "50 °F"]))
    with_unit = call("a.csv", "--dry-run", "--unit", "temp_c=degF", "--json")
    assert with_unit.return_value == 0
    assert isinstance(call("a.csv", "--dry-run").exception, PearlstreamError)


@pytest.mark.parametrize(
    "arguments", [[], ["absent.csv"], ["a.csv", "--unit", "x"], ["a.csv", "--delimiter", "#"], ["a.csv", "--prefix"]]
)
def test_a_wrong_call_is_a_usage_error(folder: Path, arguments: list[str]):
    result = CliRunner().invoke(import_files, ["--map", "kit.toml", *arguments])
    assert result.exit_code == 2


def test_help_shows_the_way(folder: Path):
    text = CliRunner().invoke(import_files, ["--help"]).output
    for word in ("--dry-run", "--in-process", "examples/", "Exit codes"):
        assert word in text


def test_a_whole_import_onto_a_broker(folder: Path, embedded_broker: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS", embedded_broker)
    result = call("a.csv", "--prefix", "import.whole.")
    assert result.return_value == 0, result.exception
    assert "sent 30 readings" in result.output
    assert "PEARLSTREAM_KAFKA__PREFIX=import.whole." in result.output
    assert "PEARLSTREAM_CLICKHOUSE__DATABASE=pearlstream_whole" in result.output
    assert "pearlstream worker" in result.output
