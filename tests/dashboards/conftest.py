"""A store that has its tables and nothing in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pearlstream.catalogue import Catalogue
from pearlstream.settings import ClickHouse
from pearlstream.store import Store
from sinks.clickhouse.migrate import migrate


@pytest.fixture(scope="module")
def empty_store(new_database: Callable[[], ClickHouse], catalogue: Catalogue) -> Iterator[Store]:
    """A migrated database of our own; a table without a database is one of it."""
    settings = new_database()
    outside = Store(settings)
    migrate(outside, catalogue)
    inside = Store(settings, inside=True)
    yield inside
    inside.close()
    outside.command(f"DROP DATABASE `{settings.database}`")
    outside.close()
