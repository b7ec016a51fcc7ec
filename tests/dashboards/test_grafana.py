"""Boards as Grafana's JSON: what Grafana trips over if it is wrong."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from dashboards.build import FILES, boards, files, write
from dashboards.grafana import dashboard
from dashboards.model import COLUMNS, TONGUES, Tongue
from pearlstream.catalogue import Catalogue

Json = dict[str, Any]


def made(catalogue: Catalogue, tongue: Tongue = TONGUES[0]) -> list[Json]:
    return [dashboard(board) for board in boards(catalogue, tongue)]


def panels(board: Json) -> list[Json]:
    """All panels, those in folded rows as well."""
    return [one for panel in board["panels"] for one in [panel, *panel.get("panels", [])]]


def test_the_committed_files_are_what_the_catalogue_says(catalogue: Catalogue) -> None:
    wanted = files(catalogue)
    committed = {path.relative_to(FILES).as_posix(): path.read_bytes() for path in FILES.glob("*/*.json")}

    assert committed.keys() == wanted.keys()
    assert [name for name in wanted if committed[name] != wanted[name]] == [], "run `pearlstream dashboards build`"


def test_writing_twice_changes_nothing_and_takes_away_what_is_gone(catalogue: Catalogue, tmp_path: Any) -> None:
    first = write(catalogue, tmp_path)
    (tmp_path / "en" / "pearlstream-gone-en.json").write_text("{}")

    assert len(first) == len(files(catalogue))
    assert write(catalogue, tmp_path) == ["en/pearlstream-gone-en.json"]
    assert write(catalogue, tmp_path) == []


def test_uids_are_fixed_unique_and_short_enough(catalogue: Catalogue) -> None:
    uids = [board["uid"] for tongue in TONGUES for board in made(catalogue, tongue)]

    assert len(set(uids)) == len(uids)
    assert max(map(len, uids)) <= 40
    assert {board["id"] for board in made(catalogue)} == {None}


def test_panels_have_numbers_of_their_own_and_do_not_overlap(catalogue: Catalogue) -> None:
    for board in made(catalogue):
        assert len({panel["id"] for panel in panels(board)}) == len(panels(board))
        places = [panel["gridPos"] for panel in panels(board)]
        assert all(place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS for place in places)
        for one, other in itertools.combinations(board["panels"], 2):
            assert not overlap(one["gridPos"], other["gridPos"]), (board["uid"], one["title"], other["title"])


def overlap(one: Json, other: Json) -> bool:
    return bool(
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_links_lead_to_boards_that_there_are(catalogue: Catalogue) -> None:
    for tongue in TONGUES:
        found = made(catalogue, tongue)
        uids = {board["uid"] for board in found}
        for board in found:
            assert {link["url"].split("?")[0].removeprefix("/d/") for link in board["links"]} <= uids


@pytest.mark.parametrize("key", ["targets", "annotations"])
def test_queries_name_the_format_twice_alike(catalogue: Catalogue, key: str) -> None:
    """The plugin's back end reads `format`, Explore reads `queryType`."""
    for board in made(catalogue):
        if key == "targets":
            asked = [t for panel in panels(board) for t in panel.get("targets", []) if "rawSql" in t]
        else:
            asked = [mark["target"] for mark in board["annotations"]["list"]]
        assert all({"timeseries": 0, "table": 1}[one["queryType"]] == one["format"] for one in asked)


def test_open_windows_and_nothing_else_are_drawn_dashed(catalogue: Catalogue) -> None:
    for board in boards(catalogue, TONGUES[0]):
        drawn = {panel["title"]: panel for panel in panels(dashboard(board))}
        for panel in board.panels:
            overrides = drawn[panel.title].get("fieldConfig", {}).get("overrides", [])
            dashed = [o["matcher"]["options"] for o in overrides if o["matcher"]["id"] == "byFrameRefID"]
            assert dashed == [query.name for query in panel.queries if query.unsettled]
