"""Prometheus' own checker on our configuration, and whether what is asked for is ever said."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dashboards.build import boards
from dashboards.model import TONGUES
from pearlstream.catalogue import load_catalogue
from sinks.clickhouse.metrics import Metrics
from streams.metrics import render

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(
    "arguments", ["check config prometheus.yml", "check rules rules.yml", "test rules rules_test.yml"]
)
def test_promtool_finds_nothing_wrong(arguments: str) -> None:
    result = subprocess.run(["promtool", *arguments.split()], cwd=FOLDER, capture_output=True, text=True)

    assert result.returncode == 0, result.stdout + result.stderr


def said() -> set[str]:
    """The names of all samples that worker and sink can say."""
    from prometheus_client import generate_latest

    text = (render([]) + generate_latest(Metrics().registry)).decode()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    buckets = {f"{name}{end}" for name, kind in kinds.items() if kind == "histogram" for end in ("_bucket", "_count")}
    return {*kinds, *buckets, "up"}


def asked(text: str) -> set[str]:
    """The names of our metrics in a text, those that a rule records left out."""
    return set(re.findall(r"\b(?:pearlstream|process)_\w+", text))


def test_rules_ask_for_metrics_that_somebody_says() -> None:
    assert asked((FOLDER / "rules.yml").read_text()) <= said()


def test_the_board_asks_for_metrics_that_somebody_says() -> None:
    board = next(one for one in boards(load_catalogue(), TONGUES[0]) if "pipeline" in one.uid)
    queries = [query.sql for panel in board.panels for query in panel.queries if query.of == "prometheus"]

    assert queries
    assert asked(" ".join(queries)) <= said()


def test_every_alert_is_tried_by_a_test() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (FOLDER / "rules.yml").read_text()))
    tried = set(re.findall(r"alertname: (\w+)", (FOLDER / "rules_test.yml").read_text()))

    assert alerts == tried
