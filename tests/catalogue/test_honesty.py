"""What the catalogue may not claim: one target only, no norm that is none, no person, no city out of its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.catalogue.wording import DEMO_DEFAULT, limits
from pearlstream.fold import header
from producers.simulator.plan import make_plan
from producers.simulator.run import log_steps, simulate

ROOT = Path(__file__).parents[2]
OUTSIDE = {"810000", "820000"}
"""Hong Kong and Macao: they cooperate in the plan and are not administered by it."""
TARGET = re.compile(r"\btargets?\b|目标|目標", re.IGNORECASE)
DENIED = ("not targets", "only target")
"""How a page may use the word: to say what is none, and which one is."""
PERSONAL = re.compile(
    r"(^|_)(name|phone|mobile|email|address|passport|id_card|id_no|plate|licen[cs]e|face|imsi|imei|msisdn|birth\w*|gender|"
    r"sex|age|user_id|owner|driver|person\w*|citizen\w*|patient\w*|resident\w*)(_|$)"
)
NO_PERSONS = {"age_s"}
"""Fields that only sound so: how old a data set is."""


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue()


# ---------------------------------------------------------------- targets and limits


def test_there_is_one_target_and_it_is_a_card_without_a_needle(shipped: Catalogue) -> None:
    targets = [card for card in shipped.cards.values() if card.kind == "target"]
    assert [card.id for card in targets] == ["core_share_2027"]
    assert "16 %" in targets[0].text.en


def texts(value: Any) -> Iterator[str]:
    """Every text in an entry."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for held in value.values():
            yield from texts(held)
    elif isinstance(value, list):
        for held in value:
            yield from texts(held)


def test_no_entry_but_that_card_speaks_of_a_target(shipped: Catalogue) -> None:
    for table in (shipped.feeds, shipped.indicators, shipped.scenarios, shipped.tasks, shipped.sub_items):
        for id_, entry in table.items():
            said = [text for text in texts(entry.model_dump(mode="json")) if TARGET.search(text)]
            assert not said, f"{id_} speaks of a target: {said}"


@pytest.mark.parametrize("page", ["feeds.md", "indicators.md", "scenarios.md"])
def test_no_page_calls_an_indicator_a_target(page: str) -> None:
    for line in (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8").splitlines():
        if TARGET.search(line) and "core_share_2027" not in line:
            assert any(word in line for word in DENIED), line


def test_a_limit_of_a_norm_is_a_declared_one_and_everything_else_a_demo_default(shipped: Catalogue) -> None:
    for one in shipped.indicators.values():
        said = limits(one)
        assert all(DEMO_DEFAULT not in reference.label for reference in one.reference), one.id
        assert len([text for text in said if text.startswith("reference limit")]) == len(one.reference)
        if one.alert and not one.reference:
            assert said == [DEMO_DEFAULT]


# ---------------------------------------------------------------- simulated, and nobody's


def test_every_simulated_record_says_that_it_is_simulated(shipped: Catalogue) -> None:
    plan = make_plan(shipped, [("SC02", 0)], duration_ms=60_000, rate=20.0)
    logs = log_steps(simulate(plan), partitions=2)
    said = [header(record.headers, "sim") for log in logs.values() for record in log.records]
    assert len(said) > 50
    assert set(said) == {"1"}


def test_no_field_names_a_person(shipped: Catalogue) -> None:
    for feed in shipped.feeds.values():
        for field in {*feed.fields, *feed.static} - NO_PERSONS:
            assert not PERSONAL.search(field), f"{feed.id}.{field}"


# ---------------------------------------------------------------- who belongs where


def test_hong_kong_and_macao_are_in_no_total_of_the_province(shipped: Catalogue) -> None:
    for group in shipped.groups.values():
        if "province" in group.id or "guangdong" in group.name.en.lower():
            assert not OUTSIDE & set(group.cities), group.id
            assert len(group.cities) == 21
    assert set(shipped.groups["gba"].cities) >= OUTSIDE
    for one in shipped.indicators.values():
        assert one.scope != "province", f"{one.id}: the plan's own total is no signal of this project"


# ---------------------------------------------------------------- what the plan is covered by


def test_every_sub_item_of_the_plan_has_an_indicator(shipped: Catalogue) -> None:
    assert (len(shipped.tasks), len(shipped.sub_items)) == (6, 22)
    spoken = {one.sub_item for one in shipped.indicators.values()}
    assert set(shipped.sub_items) <= spoken
    assert spoken - set(shipped.sub_items) == {"safety", "health"}


def test_eighteen_feeds_and_seventy_two_indicators(shipped: Catalogue) -> None:
    assert [feed.number for feed in sorted(shipped.feeds.values(), key=lambda feed: feed.number)] == [
        f"F{number:02}" for number in range(1, 19)
    ]
    of_the_plan = [one.id for one in shipped.indicators.values() if one.sub_item in shipped.sub_items]
    assert (len(of_the_plan), len(shipped.indicators) - len(of_the_plan)) == (61, 11)


def test_thirteen_scenarios_and_every_alert_of_their_claims_has_a_rule(shipped: Catalogue) -> None:
    assert list(shipped.scenarios) == [f"SC{number:02}" for number in range(13)]
    for scenario in shipped.scenarios.values():
        for claim in scenario.truth:
            if claim.must != "move":
                assert shipped.indicators[claim.indicator].alert, f"{scenario.id}: {claim.indicator} has no rule"


def test_whatever_may_open_says_why(shipped: Catalogue) -> None:
    for scenario in shipped.scenarios.values():
        assert all(claim.note for claim in scenario.truth if claim.must == "may"), scenario.id
