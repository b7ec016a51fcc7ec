"""A store with something to show, and the page of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from aiohttp.test_utils import TestClient, TestServer
from live_data import GUANGZHOU, SHENZHEN, alerts, story, windows

from dashboards.live.reader import Reader
from dashboards.live.server import Live
from pearlstream.catalogue import Catalogue
from pearlstream.settings import ClickHouse
from pearlstream.store import Store
from sinks.clickhouse.migrate import migrate


@pytest.fixture(scope="session")
def filled(new_database: Callable[[], ClickHouse], catalogue: Catalogue) -> Iterator[ClickHouse]:
    """Settings of a store with windows, alerts and a scenario."""
    settings = new_database()
    outside = Store(settings)
    migrate(outside, catalogue)
    store = Store(settings, inside=True)
    windows(store, catalogue)
    alerts(store, SHENZHEN, GUANGZHOU)
    story(store)
    yield settings
    store.close()
    outside.command(f"DROP DATABASE `{settings.database}`")
    outside.close()


@pytest.fixture
async def page(filled: ClickHouse, catalogue: Catalogue) -> AsyncIterator[TestClient]:
    """A client of the page."""
    reader = Reader(filled)
    async with TestClient(TestServer(Live(catalogue, reader).app())) as client:
        yield client
    reader.close()
