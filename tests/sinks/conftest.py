"""The embedded store with a database for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pearlstream.settings import ClickHouse
from pearlstream.store import Store


@pytest.fixture
def store_settings(new_database: Callable[[], ClickHouse]) -> ClickHouse:
    """Settings of the embedded store with a database name that nobody else has."""
    return new_database()


@pytest.fixture
def store(store_settings: ClickHouse) -> Iterator[Store]:
    """A store whose database does not exist yet."""
    store = Store(store_settings)
    yield store
    store.command(f"DROP DATABASE IF EXISTS `{store.database}`")
    store.close()
