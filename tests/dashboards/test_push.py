"""`dashboards push`: what is created, what is left alone, what is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_grafana import TOKEN, TinyGrafana, serve

from dashboards.cli import dashboards
from dashboards.push import connect
from pearlstream.errors import ServiceError, SettingsError
from pearlstream.settings import Grafana


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyGrafana]:
    """A Grafana that is empty, and settings that lead to it."""
    tiny = TinyGrafana()
    address, stop = serve(tiny)
    for name, value in {
        "GRAFANA__URL": address,
        "GRAFANA__TOKEN": TOKEN,
        "GRAFANA__CLICKHOUSE_PASSWORD": "for-reading-only",
        "GRAFANA__PROMETHEUS_URL": "http://prometheus:9090",
        "CLICKHOUSE__URL": "http://clickhouse:8123",
    }.items():
        monkeypatch.setenv(f"PEARLSTREAM_{name}", value)
    yield tiny
    stop()


def push(*arguments: str) -> str:
    """What the command says."""
    result = CliRunner().invoke(dashboards, ["push", "--language", "en", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def written(grafana: TinyGrafana) -> list[str]:
    return [asked.path for asked in grafana.asked if asked.method != "GET"]


def test_a_first_push_creates_everything_and_a_second_one_changes_nothing(grafana: TinyGrafana) -> None:
    first = push()
    creating = written(grafana)
    grafana.asked.clear()
    second = push()

    assert "create folder" in first
    assert len(creating) == 1 + 2 + 14, "folder, data sources, boards"
    assert written(grafana) == []
    assert second.strip().endswith("0 changed")


def test_a_dry_run_says_what_would_change_and_writes_nothing(grafana: TinyGrafana) -> None:
    said = push("--dry-run")

    assert "17 would change" in said
    assert written(grafana) == []
    assert grafana.boards == {}


def test_a_board_that_somebody_edited_is_put_right_and_the_difference_named(grafana: TinyGrafana) -> None:
    push()
    edited = {**grafana.boards["pearlstream-city-en"]["dashboard"], "refresh": "1d"}
    grafana.save({"dashboard": edited, "folderUid": "pearlstream", "message": "my own refresh"})

    assert "update board pearlstream-city-en (refresh)" in push()
    assert grafana.boards["pearlstream-city-en"]["dashboard"]["refresh"] == "10s"
    assert push().strip().endswith("0 changed")


def test_a_data_source_that_leads_elsewhere_is_put_right(grafana: TinyGrafana) -> None:
    push()
    grafana.sources["pearlstream-clickhouse"]["jsonData"]["host"] = "elsewhere"

    assert "update data source Pearlstream ClickHouse (jsonData.host)" in push()
    assert grafana.sources["pearlstream-clickhouse"]["jsonData"]["host"] == "clickhouse"


def test_the_password_goes_to_grafana_and_is_never_said(grafana: TinyGrafana) -> None:
    said = push()
    sent = next(asked.body for asked in grafana.asked if asked.path == "/datasources" and asked.body)

    assert sent["secureJsonData"] == {"password": "for-reading-only"}
    assert "for-reading-only" not in said


def test_a_wrong_token_is_an_error_that_says_what_to_do(grafana: TinyGrafana, monkeypatch: Any) -> None:
    monkeypatch.setenv("PEARLSTREAM_GRAFANA__TOKEN", "glsa_wrong")

    with pytest.raises(ServiceError, match="no") as caught:
        CliRunner().invoke(dashboards, ["push"], catch_exceptions=False)
    assert "rights" in (caught.value.remedy or "")
    assert "glsa_wrong" not in str(caught.value)


def test_a_grafana_that_is_away_is_an_error_that_says_what_to_do(monkeypatch: Any) -> None:
    monkeypatch.setenv("PEARLSTREAM_GRAFANA__URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PEARLSTREAM_GRAFANA__TOKEN", TOKEN)
    monkeypatch.setenv("PEARLSTREAM_CLICKHOUSE__URL", "http://clickhouse:8123")

    with pytest.raises(ServiceError, match="cannot be reached"):
        CliRunner().invoke(dashboards, ["push"], catch_exceptions=False)


@pytest.mark.parametrize(("url", "token"), [("", "glsa_x"), ("grafana:3000", "glsa_x"), ("http://g:3000", "")])
def test_settings_that_lead_nowhere_are_errors(url: str, token: str) -> None:
    with pytest.raises(SettingsError):
        connect(Grafana(url=url, token=token))  # type: ignore[arg-type]
