"""`dashboards push`: what is created, what is left alone, what is said."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from openapi import Description
from tiny_grafana import TOKEN, TinyGrafana, serve

from dashboards.cli import dashboards
from dashboards.push import HIDDEN, connect
from pearlstream.errors import ServiceError, SettingsError
from pearlstream.settings import Grafana

RULES = files("deploy").joinpath("prometheus/rules.yml").read_text("utf-8").count("- alert:")
DESCRIPTION = Path(__file__).parents[3] / "shared" / "data" / "grafana" / "openapi3.json"


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
        "GRAFANA__ALERT_EMAIL": "on-call@example.org",
        "GRAFANA__ALERT_WEBHOOK": "https://hooks.example.org/s3cret",
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
    assert len(creating) == 1 + 2 + 14 + 2 + RULES, "folder, data sources, boards, contact points, rules"
    assert written(grafana) == []
    assert second.strip().endswith("0 changed")


def test_a_dry_run_says_what_would_change_and_writes_nothing(grafana: TinyGrafana) -> None:
    said = push("--dry-run")

    assert f"{19 + RULES} would change" in said
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


def test_an_alert_rule_that_somebody_changed_is_put_right(grafana: TinyGrafana) -> None:
    push()
    grafana.rules["pearlstream-sink-behind"]["data"][0]["model"]["expr"] = "1"
    grafana.rules["pearlstream-store-away"]["for"] = "1h"

    said = push()

    assert "update alert rule PearlstreamSinkBehind (data.0.model.expr)" in said
    assert "update alert rule PearlstreamStoreAway (for)" in said
    assert push().strip().endswith("0 changed")


def test_a_contact_point_that_leads_elsewhere_is_put_right_and_its_address_never_said(grafana: TinyGrafana) -> None:
    push()
    grafana.contacts["pearlstream-webhook"]["settings"]["url"] = "https://elsewhere.example.org"

    said = push()

    assert "update contact point Pearlstream (webhook) (settings.url)" in said
    assert "s3cret" not in said
    assert grafana.contacts["pearlstream-webhook"]["settings"]["url"].endswith("s3cret")


def test_what_grafana_hides_is_not_taken_for_a_difference(grafana: TinyGrafana) -> None:
    push()
    grafana.contacts["pearlstream-webhook"]["settings"]["url"] = HIDDEN

    assert push().strip().endswith("0 changed")


def test_without_a_contact_point_the_default_policy_decides_whom_rules_tell(
    grafana: TinyGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PEARLSTREAM_GRAFANA__ALERT_EMAIL")
    monkeypatch.delenv("PEARLSTREAM_GRAFANA__ALERT_WEBHOOK")
    push()

    assert grafana.contacts == {}
    assert len(grafana.rules) == RULES
    assert not any("notification_settings" in rule for rule in grafana.rules.values())


def test_without_prometheus_there_are_no_rules(grafana: TinyGrafana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEARLSTREAM_GRAFANA__PROMETHEUS_URL")
    push()

    assert (grafana.rules, grafana.contacts) == ({}, {})


@pytest.mark.skipif(not DESCRIPTION.exists(), reason="Grafana's OpenAPI description is not here")
def test_grafana_describes_every_request_that_is_made(grafana: TinyGrafana) -> None:
    push()
    grafana.boards["pearlstream-city-en"]["dashboard"]["refresh"] = "1d"
    grafana.versions["pearlstream-city-en"].append({"version": 99, "message": "mine"})
    grafana.sources["pearlstream-clickhouse"]["jsonData"]["host"] = "elsewhere"
    grafana.contacts["pearlstream-email"]["settings"]["addresses"] = "somebody@example.org"
    grafana.rules["pearlstream-sink-behind"]["for"] = "1h"
    push()

    described = Description.read(DESCRIPTION)
    assert {asked.method for asked in grafana.asked} == {"GET", "POST", "PUT"}
    assert [fault for asked in grafana.asked for fault in described.faults(*asked)] == []
    wrong = {"title": "no condition", "forr": "1m"}
    assert len(described.faults("POST", "/v1/provisioning/alert-rules", wrong)) > 2


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
