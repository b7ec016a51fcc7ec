"""The rules about the pipeline's health as Grafana's alert rules, and whom they tell.

There is one list of these rules: that of Prometheus (`deploy/prometheus/rules.yml`, which `promtool` tests). Who runs
an Alertmanager needs no more; who has only Grafana gets the same rules here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import yaml

from dashboards.boards.common import FOLDER_UID
from dashboards.grafana import PROMETHEUS
from pearlstream.errors import SettingsError
from pearlstream.settings import Grafana

RECEIVER = "Pearlstream"
"""The contact point: its integrations have one name."""
EXPRESSION = {"type": "__expr__", "uid": "__expr__"}
LOOK_BACK_S = 600
MAX_UID = 40
Json = dict[str, Any]


def alert_rules(settings: Grafana) -> list[Json]:
    """Every alert of the Prometheus rules as an alert rule of Grafana; recording rules stay in Prometheus.

    They tell the contact point if there is one, else whom Grafana's default policy names.
    """
    told = {"notification_settings": {"receiver": RECEIVER}} if contact_points(settings) else {}
    return [{**_rule(group["name"], rule), **told} for group in _groups() for rule in group["rules"] if "alert" in rule]


def _groups() -> list[Json]:
    found: Json = yaml.safe_load(files("deploy").joinpath("prometheus/rules.yml").read_text("utf-8"))
    groups: list[Json] = found["groups"]
    return groups


def _rule(group: str, rule: Mapping[str, Any]) -> Json:
    """A Prometheus alert is on where its expression has a series, whatever the value, which may be 0. Grafana asks
    whether a value is above 0: so it asks whether there is a number."""
    return {
        "uid": _uid(rule["alert"]),
        "orgID": 1,
        "folderUID": FOLDER_UID,
        "ruleGroup": group,
        "title": rule["alert"],
        "condition": "met",
        "data": list(_steps(rule["expr"])),
        "noDataState": "OK",
        "execErrState": "Error",
        "for": rule.get("for", "0s"),
        "labels": {**rule.get("labels", {}), "source": "pearlstream"},
        "annotations": {name: _said(text) for name, text in rule.get("annotations", {}).items()},
        "isPaused": False,
    }


def _steps(expression: str) -> Iterator[Json]:
    yield _step(
        "query", PROMETHEUS, {"expr": expression, "instant": True, "range": False, "editorMode": "code"}, LOOK_BACK_S
    )
    there = "is_number($query) || is_nan($query) || is_inf($query)"
    yield _step("there", EXPRESSION, {"type": "math", "expression": there})
    above = [{"evaluator": {"type": "gt", "params": [0]}}]
    yield _step("met", EXPRESSION, {"type": "threshold", "expression": "there", "conditions": above})


def _step(name: str, source: Mapping[str, str], model: Json, look_back_s: int = 0) -> Json:
    return {
        "refId": name,
        "datasourceUid": source["uid"],
        "relativeTimeRange": {"from": look_back_s, "to": 0},
        "model": {"refId": name, "datasource": dict(source), **model},
    }


def _uid(alert: str) -> str:
    """`PearlstreamSinkBehind` -> `pearlstream-sink-behind`."""
    uid = "-".join(re.findall(r"[A-Z][a-z0-9]*", alert)).lower()
    assert len(uid) <= MAX_UID, f"the name of alert {alert} is too long for Grafana"
    return uid


def _said(text: str) -> str:
    """An annotation of Prometheus as Grafana reads it, where `$value` is a text about all steps."""
    return re.sub(r"\$value\b", "$values.query.Value", text)


def contact_points(settings: Grafana) -> list[Json]:
    """Whom the rules tell: an address for mail, a web hook, both or nobody. Raises SettingsError if the hook's address
    is none."""
    found: list[Json] = []
    if settings.alert_email:
        found.append(_contact("email", {"addresses": settings.alert_email, "singleEmail": False}))
    hook = settings.alert_webhook.get_secret_value()
    if hook:
        if not re.match(r"https?://[^\s/]", hook):
            raise SettingsError(
                "setting PEARLSTREAM_GRAFANA__ALERT_WEBHOOK is no address", remedy="write it like https://host/path"
            )
        found.append(_contact("webhook", {"url": hook, "httpMethod": "POST"}))
    return found


def _contact(kind: str, settings: Json) -> Json:
    return {
        "uid": f"pearlstream-{kind}",
        "name": RECEIVER,
        "type": kind,
        "settings": settings,
        "disableResolveMessage": False,
    }
