"""The page over a real store: every panel of every board, and everything that must not happen."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from live_data import ALERT_MS, NEWEST_MS, OLDEST_MS

from dashboards.build import boards
from dashboards.live.assets import FOLDER
from dashboards.live.guard import check_host
from dashboards.live.reader import Reader
from dashboards.live.server import Live
from dashboards.model import TONGUES, Kind
from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.errors import SettingsError
from pearlstream.settings import ClickHouse
from pearlstream.store import StoreError, Trouble

UIDS = [board.uid for board in boards(load_catalogue(), TONGUES[0])]
KINDS = [uid for uid in UIDS if not re.search(r"task[12356]|safety", uid)]
"""One board of each kind."""
ECHARTS = "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"
"""SHA-256 of dist/echarts.min.js of version 6.1.0."""


async def asked(page: TestClient, uid: str, *keys: str, **given: str) -> dict[str, Any]:
    """What the page is told of some panels, asked until the store has answered."""
    for _ in range(60):
        parameters = [*given.items(), *(("p", key if ":" in key else f"{key}:") for key in keys)]
        answer = await page.get(f"/api/d/{uid}", params=parameters)
        assert answer.status == 200, await answer.text()
        told: dict[str, Any] = await answer.json()
        if told["ready"] and not any(one.get("waiting") for one in told["panels"].values()):
            return told
        await asyncio.sleep(0.1)
    raise AssertionError(f"the store did not answer: {told}")


@pytest.mark.parametrize("uid", KINDS)
async def test_every_panel_is_answered(page: TestClient, uid: str) -> None:
    html = await (await page.get(f"/d/{uid}")).text()
    keys = re.findall(r'data-key="([^"]+)"', html)
    assert keys
    told = await asked(page, uid, *keys)
    assert set(told["panels"]) == set(keys)
    assert {key: one["said"] for key, one in told["panels"].items() if one.get("failed")} == {}


@pytest.mark.parametrize("tag", [tongue.tag for tongue in TONGUES])
async def test_the_overview_speaks_every_language(page: TestClient, catalogue: Catalogue, tag: str) -> None:
    html = await (await page.get(f"/d/pearlstream-overview-{tag}")).text()
    tongue = next(one for one in TONGUES if one.tag == tag)
    assert all(tongue(task.name) in html.replace("&#x27;", "'") for task in catalogue.tasks.values())
    map_key = next(key for key in re.findall(r'panel map"[^>]*data-key="(\d+)"', html))
    told = await asked(page, f"pearlstream-overview-{tag}", map_key)
    names = {point["name"] for point in told["panels"][map_key]["option"]["series"][0]["data"]}
    assert names == {tongue(city.name) for city in catalogue.cities.values()}


async def test_the_past_is_shown_as_it_was(page: TestClient) -> None:
    firing = next(
        str(place)
        for place, panel in enumerate(next(boards(load_catalogue(), TONGUES[0])).panels)
        if panel.kind is Kind.TABLE and "alerts" in panel.queries[0].sql
    )
    now = await asked(page, UIDS[0], firing)
    before = await asked(page, UIDS[0], firing, **{"from": str(OLDEST_MS), "to": str(ALERT_MS - 600_000)})
    assert len(now["panels"][firing]["table"]["rows"]) == now["open"] == 2
    assert "table" not in before["panels"][firing]
    assert (before["to"], before["newest"]) == (ALERT_MS - 600_000, NEWEST_MS)
    assert before["open"] == 2, "the badge is of now"


async def test_what_has_not_changed_is_not_sent_again(page: TestClient) -> None:
    first = (await asked(page, UIDS[0], "0"))["panels"]["0"]
    assert (await asked(page, UIDS[0], f"0:{first['version']}"))["panels"]["0"] == {"same": True}


@pytest.mark.parametrize(
    "query",
    [
        "var-indicator=I43a' OR 1=1 --",
        "var-indicator=$__all",
        "from=now-1h);DROP TABLE indicators",
        "to=' UNION SELECT 1",
        "from=now-1s&to=now",
    ],
)
async def test_an_address_that_is_none_of_ours_is_refused(page: TestClient, query: str) -> None:
    for path in (f"/d/{UIDS[0]}", f"/api/d/{UIDS[0]}"):
        answer = await page.get(f"{path}?{query}&p=0:")
        assert answer.status == 400
        assert answer.content_type == "text/plain"


async def test_a_panel_that_there_is_not_is_not_answered(page: TestClient) -> None:
    assert (await asked(page, UIDS[0], "999", "0@x", "';--"))["panels"] == {}
    assert (await page.get("/d/pearlstream-nothing-en")).status == 404
    assert (await page.get("/d/..%2f..%2fetc%2fpasswd")).status == 404
    assert (await page.get("/static/x/../../guard.py")).status == 404
    assert (await page.post(f"/d/{UIDS[0]}")).status == 405


async def test_another_name_for_this_machine_is_turned_away(page: TestClient) -> None:
    answer = await page.get(f"/d/{UIDS[0]}", headers={"Host": "evil.example"})
    assert answer.status == 403


async def test_the_browser_is_told_to_load_nothing_from_elsewhere(page: TestClient) -> None:
    answer = await page.get(f"/d/{UIDS[0]}")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    html = await answer.text()
    assert not re.findall(r'(?:src|href)="(?!/)', html)
    assert "<script>" not in html


async def test_names_of_the_store_do_not_become_html(page: TestClient) -> None:
    told = await asked(page, "pearlstream-scenario-en", "1")
    assert "Morning rush <b>" in str(told), "the story's name is there as text"
    html = await (await page.get("/d/pearlstream-scenario-en")).text()
    assert "Morning rush <b>" not in html


async def test_the_store_cannot_be_written_to(filled: ClickHouse) -> None:
    reader = Reader(filled)
    for statement in (
        "DROP TABLE alerts",
        "INSERT INTO alerts (alert_id) VALUES ('x')",
        "CREATE TABLE t (a UInt8) ENGINE=Memory",
    ):
        with pytest.raises(StoreError):
            await reader(statement)
    assert await reader("SELECT 1 AS one") == [{"one": 1}]
    reader.close()


async def test_a_store_that_is_away_is_said_and_the_page_still_comes(catalogue: Catalogue) -> None:
    async def away(_sql: str) -> list[dict[str, Any]]:
        raise StoreError("the store cannot be reached", trouble=Trouble.AWAY)

    async with TestClient(TestServer(Live(catalogue, away).app())) as page:
        assert (await page.get(f"/d/{UIDS[0]}")).status == 200
        told = await (await page.get(f"/api/d/{UIDS[0]}?p=0:")).json()
        assert told["trouble"] == "the store cannot be reached"
        assert told["panels"] == {}


async def test_a_token_is_asked_for_once_and_then_remembered(catalogue: Catalogue) -> None:
    async def nothing(_sql: str) -> list[dict[str, Any]]:
        return []

    app = Live(catalogue, nothing, token="a token of some length").app()
    async with TestClient(TestServer(app)) as page:
        assert (await page.get("/")).status == 401
        assert (await page.get("/?token=another")).status == 401
        assert (await page.get("/healthz")).status == 200
        entered = await page.get("/?token=a token of some length")
        assert entered.status == 200
        assert "token" not in str(entered.url)
        assert (await page.get(f"/d/{UIDS[0]}")).status == 200


def test_others_reach_the_page_only_if_they_must_show_a_token() -> None:
    check_host("127.0.0.1", "")
    check_host("::1", "")
    check_host("0.0.0.0", "a token of some length")
    with pytest.raises(SettingsError, match="asks nobody"):
        check_host("0.0.0.0", "")


def test_echarts_is_the_file_that_apache_published() -> None:
    body = (FOLDER / "vendor" / "echarts.min.js").read_bytes()
    assert hashlib.sha256(body).hexdigest() == ECHARTS


def test_no_file_of_ours_names_another_host() -> None:
    for path in FOLDER.glob("*.*"):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text("utf-8")), path.name
