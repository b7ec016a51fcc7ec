"""The catalogue, and a store that has its tables and nothing in them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.settings import ClickHouse
from pearlstream.store import Store
from sinks.clickhouse.migrate import migrate


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The shipped catalogue."""
    return load_catalogue()


@pytest.fixture(scope="module")
def empty_store(embedded_store: Any, catalogue: Catalogue) -> Iterator[Store]:
    """A migrated database of our own; a table without a database is one of it."""
    settings = ClickHouse(
        url=embedded_store.url,
        user=embedded_store.user,
        password=SecretStr(embedded_store.password),
        database=f"t_{uuid.uuid4().hex[:12]}",
    )
    outside = Store(settings)
    migrate(outside, catalogue)
    inside = Store(settings, inside=True)
    yield inside
    inside.close()
    outside.command(f"DROP DATABASE `{settings.database}`")
    outside.close()
