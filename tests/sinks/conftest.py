"""The embedded store with a database for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.settings import ClickHouse
from pearlstream.store import Store


@pytest.fixture
def store_settings(embedded_store: Any) -> ClickHouse:
    """Settings of the embedded store with a database name that nobody else has."""
    return ClickHouse(
        url=embedded_store.url,
        user=embedded_store.user,
        password=SecretStr(embedded_store.password),
        database=f"t_{uuid.uuid4().hex[:12]}",
    )


@pytest.fixture
def store(store_settings: ClickHouse) -> Iterator[Store]:
    """A store whose database does not exist yet."""
    store = Store(store_settings)
    yield store
    store.command(f"DROP DATABASE IF EXISTS `{store.database}`")
    store.close()


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The shipped catalogue."""
    return load_catalogue()
