"""A migrated store, a small world, and a sink between them."""

from __future__ import annotations

import pytest

from sink_world import World

from pearlstream.catalogue import Catalogue
from pearlstream.store import Store
from sinks.clickhouse.migrate import migrate


@pytest.fixture
def migrated(store: Store, catalogue: Catalogue) -> Store:
    """A store with all tables."""
    migrate(store, catalogue)
    return store


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    """Three minutes of a small town, folded and in a broker."""
    world = World(catalogue)
    world.play()
    return world
