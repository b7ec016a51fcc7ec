"""The registry of then, out of the store: what a static field of a device was when a reading came."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from operator import itemgetter

import polars as pl

from pearlstream.catalogue.models import Feed
from pearlstream.errors import RegistryMissing
from pearlstream.registry import COLUMNS, EMPTY_VERSION, PartKey, Registry, static_type
from pearlstream.store import Store
from sinks.clickhouse.mend import sql

ACTS_FROM = 1 << 62
"""Entries from here on are no offsets of the topic `devices`: an act made a version of its own, out of the version that
is complete with the entry `entry - ACTS_FROM - 1` (-1: out of the empty one) and the rows that carry its name."""


class StoredFleet:
    """Versions of the registry as far as `devices_history` (and, for older databases, `devices`) tells of them."""

    def __init__(self, store: Store, feeds: Mapping[str, Feed]) -> None:
        self._store, self._feeds = store, feeds
        self._entries: dict[str, pl.DataFrame] = {}
        self._made: dict[tuple[str, str], Registry] = {}

    @cached_property
    def _versions(self) -> dict[str, int]:
        return {str(version): int(entry) for version, entry in self._store.query(sql.versions(self._store.database))}

    @property
    def newest(self) -> tuple[str, int]:
        """The newest version of the topic `devices`, and the entry that it is complete with (-1: the empty one)."""
        mine = {version: entry for version, entry in self._versions.items() if entry < ACTS_FROM}
        return max(mine.items(), key=itemgetter(1), default=(EMPTY_VERSION, -1))

    def at(self, version: str, feed: str) -> Registry:
        """The devices of one feed in a version. Raises RegistryMissing if the store does not know the version."""
        known = self._made.get((version, feed))
        if known is None:
            known = self._made[version, feed] = Registry(version, self._parts(version, feed))
        return known

    def _parts(self, version: str, feed: str) -> dict[PartKey, pl.DataFrame]:
        if version == EMPTY_VERSION:
            return {}
        if version not in self._versions:
            raise RegistryMissing(
                f"the registry version {version} is not in the store, so what devices were like then is not known",
                remedy="start the sink, which reads the topic `devices` from its beginning, and try again",
            )
        entry = self._versions[version]
        own = pl.col("registry") == version
        upto = entry - ACTS_FROM - 1 if entry >= ACTS_FROM else entry
        rows = self._of(feed).filter((pl.col("entry") <= upto) | own)
        newest = rows.unique(["city", "device"], keep="last", maintain_order=True).drop("entry", "registry")
        parts = newest.partition_by("city", as_dict=True, maintain_order=True, include_key=False)
        return {PartKey(feed, str(city)): part for (city,), part in parts.items()}

    def _of(self, feed: str) -> pl.DataFrame:
        found = self._entries.get(feed)
        if found is None:
            static = self._feeds[feed].static
            names = {f"s{number}": name for number, name in enumerate(static)}
            text = sql.registered(self._store.database, tuple(static))
            rows = pl.DataFrame(self._store.arrow(text, {"feed": feed, **names}))
            typed = [pl.col(name).cast(dtype) for name, dtype in COLUMNS.items()]
            typed += [_static(name, spec.type) for name, spec in static.items()]
            found = self._entries[feed] = rows.select("city", "entry", "registry", *typed)
        return found


def _static(name: str, kind: str) -> pl.Expr:
    """A static field that the store keeps as text."""
    column = pl.col(name).cast(pl.String)
    return (column == "True").alias(name) if kind == "bool" else column.cast(static_type(kind))
