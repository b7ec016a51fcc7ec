"""A feed, its indicators and what happens to them are declared, not programmed: the how-to pages, put to the test."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.score import runs
from deploy.score.runs import Task, plan_of, score
from pearlstream.catalogue import Catalogue, load_catalogue

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
GUANGZHOU = "440100"

RULE = """
[indicator.alert]
thresholds = [{ raise = { op = ">=", value = 1_500, count = 2 }, clear = { op = "<=", value = 1_200, count = 2 } }]
"""


def declared(page: str) -> list[str]:
    """The TOML examples of a how-to page."""
    return re.findall(r"```toml\n(.*?)```", (HOW_TO / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that somebody has who follows the pages."""
    root = tmp_path_factory.mktemp("my")
    feed, indicators = declared("add-a-feed.md")[:2]
    (scenario, *_) = declared("add-a-scenario.md")
    for kind, text in (("feeds", feed), ("indicators", indicators), ("scenarios", scenario)):
        (root / kind).mkdir()
        (root / kind / "mine.toml").write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def catalogue(overlay: Path) -> Catalogue:
    return load_catalogue([overlay])


def test_the_pages_declare_a_feed_with_two_indicators_and_a_scenario(catalogue: Catalogue) -> None:
    assert "bike.dock" in catalogue.feeds
    assert {"Z2", "Z3"} <= set(catalogue.indicators)
    assert catalogue.scenario("marathon").truth


def test_claims_of_a_made_up_scenario_score_a_made_up_rule(
    overlay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rides treble in Guangzhou: the rule of an overlay fires where the scenario's truth says that it does."""

    def of_docks_alone(*arguments: Any) -> Any:
        return replace(plan_of(*arguments), feeds=("bike.dock",))

    monkeypatch.setattr(runs, "plan_of", of_docks_alone)
    only = tmp_path / "only"
    (only / "scenarios").mkdir(parents=True)
    (only / "indicators").mkdir()
    rides = declared("add-a-feed.md")[1].split("[[indicator]]")[2]
    (only / "indicators" / "rides.toml").write_text(f"[[indicator]]{rides}{RULE}", encoding="utf-8")
    (only / "scenarios" / "race.toml").write_text(
        textwrap.dedent(f"""
            [[scenario]]
            id = "MY02"
            alias = "race"
            name = {{ en = "Race", zh = "比赛" }}
            start = "2026-12-06T07:00:00+08:00"
            length_s = 3_600

            [[scenario.effect]]
            feed = "bike.dock"
            field = "rentals"
            op = "multiply"
            amount = 3
            envelope = {{ start = 10, hold = 30 }}
            cities = {{ {GUANGZHOU} = 1.0 }}

            [[scenario.truth]]
            indicator = "Z3"
            cities = ["{GUANGZHOU}"]
            must = "fire"
            between = [15, 30]
            clear_by = 60

            [[scenario.truth]]
            indicator = "Z3"
            cities = ["440300"]
            must = "stay_clear"

            [[scenario.truth]]
            must = "move"
            feed = "bike.dock"
            field = "rentals"
            cities = ["{GUANGZHOU}"]
            between = [10, 40]
            factor = 2.5

            [[scenario.truth]]
            indicator = "Z3"
            cities = ["{GUANGZHOU}"]
            must = "move"
            between = [25, 40]
            factor = 2.0
            """),
        encoding="utf-8",
    )
    found = score(Task(load_catalogue([overlay, only]), "MY02", seed=1, fleet=1.0))
    assert [verdict.reason for verdict in found.verdicts] == [""] * len(found.verdicts)
