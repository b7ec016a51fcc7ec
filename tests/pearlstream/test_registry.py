"""The device registry: a log whose every version stands for one exact fleet."""

from __future__ import annotations

import polars as pl
import pytest

from pearlstream.catalogue import load_catalogue
from pearlstream.errors import FrameError, RegistryMissing
from pearlstream.registry import EMPTY_VERSION, RegistryBook, decode_devices
from pearlstream.testing.world import T0, World

CATALOGUE = load_catalogue()
FEED, CITY = "air.quality", "440300"


def test_a_version_follows_from_what_was_registered_and_in_which_order() -> None:
    one, two, other = World(CATALOGUE), World(CATALOGUE), World(CATALOGUE)
    for world in (one, two):
        world.register(FEED, CITY, 2)
        world.register(FEED, "440100", 1)
    other.register(FEED, "440100", 1)
    other.register(FEED, CITY, 2)
    assert one.version == two.version
    assert one.version != other.version
    assert len({EMPTY_VERSION, one.version, other.version}) == 3


def test_an_old_version_still_shows_the_fleet_of_then() -> None:
    world = World(CATALOGUE)
    world.register(FEED, CITY, 2)
    then = world.version
    world.register(FEED, CITY, 3, prefix="new")
    now = world.book.at(world.version).devices(FEED, CITY)
    before = world.book.at(then).devices(FEED, CITY)
    assert now is not None
    assert before is not None
    assert (len(before), len(now)) == (2, 5)


def test_a_device_registered_again_is_replaced_as_a_whole() -> None:
    world = World(CATALOGUE)
    world.register(FEED, CITY, 2, grade="ref")
    world.register(FEED, CITY, 1, grade="micro")
    part = world.book.last.devices(FEED, CITY)
    assert part is not None
    assert dict(part.select("device", "grade").iter_rows()) == {"d0": "micro", "d1": "ref"}


def test_in_service_is_from_inclusive_to_until_exclusive() -> None:
    world = World(CATALOGUE)
    world.register(FEED, CITY, 1, from_ms=0, until_ms=T0 + 1000)
    registry = world.book.last
    found = [registry.in_service(FEED, CITY, T0 + at) is not None for at in (-1, 0, 999, 1000)]
    assert found == [False, True, True, False]


def test_a_version_that_was_not_read_yet_is_said_to_be_missing() -> None:
    with pytest.raises(RegistryMissing, match="deadbeef"):
        RegistryBook(CATALOGUE.feeds).at("deadbeef")


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"[1]", b'{"feed": "x"}', b'{"feed":"air.quality","city":"X","device":[1]}']
)
def test_a_record_that_cannot_be_read_says_so_and_moves_the_version_on(value: bytes) -> None:
    book = RegistryBook(CATALOGUE.feeds)
    with pytest.raises(FrameError):
        decode_devices(value, CATALOGUE.feeds)
    version = book.add([value])
    assert version != EMPTY_VERSION


def test_a_single_device_is_read_as_well_as_columns() -> None:
    key, devices = decode_devices(
        b'{"feed":"air.quality","city":"440300","device":"a","site":"s","cadence_s":300,"from_ms":0,"attrs":{"grade":"ref"}}',
        CATALOGUE.feeds,
    )
    assert key == (FEED, CITY)
    assert devices.select("device", "cadence_s", "grade").row(0) == ("a", 300.0, "ref")
    assert devices.schema["until_ms"] == pl.Int64
