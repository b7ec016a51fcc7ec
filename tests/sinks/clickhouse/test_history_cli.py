"""`pearlstream import --backfill` as a person and as a program meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from history_world import CITY, START, checked, file_of, lines
from sink_world import T0

from deploy.history.cli import import_files
from pearlstream.errors import PearlstreamError
from pearlstream.settings import ClickHouse
from pearlstream.store import Store

NIGHT = START + 23 * 3_600_000
MAPPING = f"""
name = "roads"
feed = "traffic.flow"
city = "{CITY}"
device = "{{who}}"
cadence_s = 300
[time]
column = "t"
zone = "UTC"
[fields]
flow_vpm = "flow"
speed_kmh = "speed"
[registry]
attrs = {{ freeflow_kmh = 60.0, seg_len_m = 60.0, capacity_vpm = 60.0, road_class = "motorway" }}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a mapping and a file, and no settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("KAFKA__BOOTSTRAP_SERVERS", "CLICKHOUSE__URL", "CATALOGUE__OVERLAYS", "SETTINGS"):
        monkeypatch.delenv(f"PEARLSTREAM_{name}", raising=False)
    (tmp_path / "roads.toml").write_text(MAPPING)
    file_of(tmp_path, lines(NIGHT, 2))
    return tmp_path


def call(*arguments: str) -> Any:
    """Exit code or error, and what was printed."""
    return CliRunner().invoke(import_files, ["--map", "roads.toml", "a.csv", *arguments], standalone_mode=False)


def test_without_backfill_it_is_the_importer(folder: Path) -> None:
    result = call("--dry-run")
    assert result.return_value == 0
    assert "48 readings of traffic.flow" in result.output


@pytest.mark.parametrize("options", [("--in-process",), ("--prefix", "import.x.")])
def test_what_does_not_go_together_is_a_usage_error(folder: Path, options: tuple[str, ...]) -> None:
    assert "--backfill loads into a store" in str(call("--backfill", *options).exception)
    assert "--why goes with --backfill" in str(call("--why", "x", "--dry-run").exception)


def test_the_store_and_the_catalogue_must_be_those_of_the_live_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = call("--backfill").exception
    assert isinstance(error, PearlstreamError)
    assert "no store is named" in error.message
    monkeypatch.setenv("PEARLSTREAM_CLICKHOUSE__URL", "http://127.0.0.1:1")
    (folder / "roads.toml").write_text(f'overlay = "."\n{MAPPING}')
    error = call("--backfill").exception
    assert isinstance(error, PearlstreamError)
    assert "PEARLSTREAM_CATALOGUE__OVERLAYS" in error.remedy


def test_days_refused_and_days_loaded_are_told_apart(
    folder: Path, alive: Store, alive_settings: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("url", "user", "database"):
        monkeypatch.setenv(f"PEARLSTREAM_CLICKHOUSE__{name.upper()}", getattr(alive_settings, name))
    monkeypatch.setenv("PEARLSTREAM_CLICKHOUSE__PASSWORD", alive_settings.password.get_secret_value())
    file_of(folder, lines(NIGHT, 2) + lines(T0 - 3_600_000, 1))
    result = call("--backfill", "--why", "archive", "--json")
    assert result.return_value == 1
    report = json.loads(result.stdout)["backfill"]
    total = {"readings": 48, "fresh": 48, "known": 0, "quarantined": {}}
    assert report["total"] == {**total, "panes": report["total"]["panes"]}
    assert [day["day"] for day in report["days"]] == ["2023-11-08", "2023-11-09"]
    assert report["refused"][0]["readings"] == 24
    assert report["windows"] > 0
    file_of(folder, lines(NIGHT, 2))
    told = call("--backfill", "--dry-run")
    assert told.return_value == 0
    assert "2023-11-08  0 readings would be stored, 24 were there before" in told.output
    checked(alive)
