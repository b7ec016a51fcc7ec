"""`catalogue show` and `list`: a sub-item of the plan with everything that speaks for it."""

from __future__ import annotations

import json

import pytest

from pearlstream.catalogue import load_catalogue
from pearlstream.cli import run


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["catalogue", "show", *arguments]) == 0
    return capsys.readouterr().out


def test_a_sub_item_is_shown_with_task_feeds_and_indicators(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "4.3")
    for said in (
        "sub_item 4.3\n",
        "推进数字城乡融合共进",
        "task 4: ",
        "F01  traffic.flow",
        "I43a: Travel-time index 行程时间指数 (x)",
        "travel / free",
        "5 min, every 5 min",
        "raised at >= 1.8 (3 windows), cleared at <= 1.6 (6 windows) (warning); demo default",
        "reference limit 1: limit of GB 3095",
        "GB/T 33171",
    ):
        assert said in out


def test_a_sub_item_as_json_names_what_a_program_needs(capsys: pytest.CaptureFixture[str]) -> None:
    item = json.loads(shown(capsys, "4.3", "--json"))
    assert (item["kind"], item["id"], item["task"]["id"]) == ("sub_item", "4.3", "4")
    assert {"number": "F01", "id": "traffic.flow"}.items() <= item["feeds"][0].items()
    first = item["indicators"][0]
    assert (first["id"], first["value"], first["window"]["length_s"]) == ("I43a", "travel / free", 300)
    assert first["alert"]["thresholds"][0]["raise"]["value"] == 1.8
    assert first["sources"]


def test_a_task_is_shown_with_its_sub_items(capsys: pytest.CaptureFixture[str]) -> None:
    assert "  4.3 Joint progress" in shown(capsys, "4")
    assert [item["id"] for item in json.loads(shown(capsys, "4", "--json"))["sub_items"]] == ["4.1", "4.2", "4.3"]


@pytest.mark.parametrize(
    ("name", "kind", "id_"),
    [
        ("F01", "feed", "traffic.flow"),
        ("traffic.flow", "feed", "traffic.flow"),
        ("I43a", "indicator", "I43a"),
        ("rush", "scenario", "SC02"),
        ("core_share_2027", "card", "core_share_2027"),
    ],
)
def test_an_entry_is_found_by_id_number_or_alias(
    name: str, kind: str, id_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = json.loads(shown(capsys, name, "--json"))
    assert (entry["kind"], entry["id"]) == (kind, id_)
    assert shown(capsys, name).startswith(f"{kind} {id_}\n")


@pytest.mark.parametrize(("name", "near"), [("2.9", "2."), ("I43", "I43"), ("trafic.flow", "traffic.flow")])
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "show", name]) != 0
    assert f"did you mean '{near}" in capsys.readouterr().err


def test_the_list_of_sub_items_is_that_of_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "list", "sub_items", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sub_items"] == list(load_catalogue().sub_items)
