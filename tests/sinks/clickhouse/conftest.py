"""A migrated store, a small world, and a sink between them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from sink_world import World, truncate

from pearlstream.catalogue import Catalogue
from pearlstream.settings import ClickHouse
from pearlstream.store import Store
from sinks.clickhouse.migrate import migrate


@pytest.fixture(scope="session")
def shared_store(embedded_store: Any, catalogue: Catalogue) -> Iterator[Store]:
    """One migrated database for all tests that do not care about the schema: migrating takes a second."""
    settings = ClickHouse(
        url=embedded_store.url,
        user=embedded_store.user,
        password=SecretStr(embedded_store.password),
        database=f"t_{uuid.uuid4().hex[:12]}",
    )
    store = Store(settings)
    migrate(store, catalogue)
    yield store
    store.command(f"DROP DATABASE `{store.database}`")
    store.close()


@pytest.fixture
def migrated(shared_store: Store) -> Store:
    """A store with all tables, empty but for the catalogue's own."""
    truncate(shared_store)
    return shared_store


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    """Three minutes of a small town, folded and in a broker."""
    world = World(catalogue)
    world.play()
    return world


@pytest.fixture(scope="session")
def town(catalogue: Catalogue) -> World:
    """The same for all tests: to be looked at, never to be added to."""
    town = World(catalogue)
    town.play()
    return town
