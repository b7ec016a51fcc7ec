"""Fixtures for everybody: the embedded broker and store, real ones, started once for all tests of a run."""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import structlog
from pydantic import SecretStr

from deploy.embedded.broker import Broker
from deploy.embedded.store.launch import Store
from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.logs import configure
from pearlstream.settings import ClickHouse


@dataclass(frozen=True)
class StoreAddress:
    """Where the store is and who may come in."""

    url: str
    user: str
    password: str = field(repr=False)


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a broker. All tests share it: take topic names of your own."""
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker.bootstrap_servers
    broker.stop()


@pytest.fixture(scope="session")
def embedded_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreAddress]:
    """A store: url, user, password. All tests share it: take a database of your own."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.start()
    yield StoreAddress(store.url, store.user, store.password)
    store.stop()


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The shipped catalogue."""
    return load_catalogue()


@pytest.fixture(scope="session")
def new_database(embedded_store: StoreAddress) -> Callable[[], ClickHouse]:
    """Makes settings of the embedded store, each with a database name that nobody else has."""

    def settings() -> ClickHouse:
        store, name = embedded_store, f"t_{uuid.uuid4().hex[:12]}"
        return ClickHouse(url=store.url, user=store.user, password=SecretStr(store.password), database=name)

    return settings


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What the process logs during a test, as JSON lines; afterwards logging is as if nobody had set it up."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    stream = io.StringIO()
    configure("info", stream, json=True)
    yield stream
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.reset_defaults()
