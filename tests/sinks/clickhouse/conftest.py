"""A migrated store, a small world, and a sink between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mend_world import Run, simulated
from pydantic import SecretStr
from sink_world import World, drain, truncate

from pearlstream.catalogue import Catalogue
from pearlstream.program import Program, compile_catalogue
from pearlstream.settings import ClickHouse
from pearlstream.store import Store
from sinks.clickhouse import sql
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.schema import ROLLUPS


@pytest.fixture(scope="session")
def shared_store(new_database: Callable[[], ClickHouse], catalogue: Catalogue) -> Iterator[Store]:
    """One migrated database for all tests that do not care about the schema: migrating takes a second."""
    store = Store(new_database())
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


@pytest.fixture(scope="session")
def program(catalogue: Catalogue) -> Program:
    """The shipped catalogue, compiled."""
    return compile_catalogue(catalogue)


@pytest.fixture(scope="session")
def midnight(catalogue: Catalogue) -> Run:
    """Minutes about midnight of the simulated cluster: to be looked at, never to be added to."""
    return simulated(catalogue)


@pytest.fixture
def midnight_stored(midnight: Run, migrated: Store) -> Store:
    """The store with those minutes in it. Tokens outlive a partition that was replaced, hence the new table."""
    migrated.command(f"DROP TABLE {sql.qualified(migrated.database, ROLLUPS.name)} SYNC")
    migrated.command(sql.create_table(migrated.database, ROLLUPS))
    drain(midnight, migrated)
    return migrated


@pytest.fixture
def alive(migrated: Store, town: World) -> Store:
    """The store with a live log in it: that of the town."""
    drain(town, migrated)
    return migrated


@pytest.fixture
def alive_settings(embedded_store: Any, alive: Store) -> ClickHouse:
    """How others reach that store."""
    password = SecretStr(embedded_store.password)
    return ClickHouse(url=embedded_store.url, user=embedded_store.user, password=password, database=alive.database)
