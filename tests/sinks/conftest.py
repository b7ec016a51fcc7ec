"""A store for the tests of the sinks: the real engine, chDB, in this process, a database per test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import pytest

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.settings import ClickHouse
from pearlstream.store import Store


class ChdbStore(Store):
    """The store without its HTTP endpoint."""

    def _connect(self) -> Any:
        return clickhouse_connect.get_client(interface="chdb")


@pytest.fixture
def store() -> Iterator[Store]:
    """A store with an empty database name of its own."""
    store = ChdbStore(ClickHouse(url="http://127.0.0.1:1", database=f"t_{uuid.uuid4().hex[:12]}"))
    yield store
    store.command(f"DROP DATABASE IF EXISTS `{store.database}`")
    store.close()


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The shipped catalogue."""
    return load_catalogue()
