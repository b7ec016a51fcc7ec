"""Who spoke in the past: a version of the registry of the act's own.

It is the newest one of the live log, and in it the devices that were loaded: those that the log knows as it knows them,
in service since their first recorded reading; the others as they were described with the readings. The live log's own
versions do not change, so its folds know nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from pearlstream.fold import Record, headers_of
from pearlstream.program import Program
from pearlstream.registry import decode_devices, encode_devices, next_version
from pearlstream.store import Store
from sinks.clickhouse import schema, sql
from sinks.clickhouse.arrow import stream
from sinks.clickhouse.chain import item_of
from sinks.clickhouse.mend.fleet import ACTS_FROM, StoredFleet
from sinks.clickhouse.shapes import shape_devices


class Version(NamedTuple):
    """A version of the registry and the records that make it out of one of the log's."""

    name: str
    entry: int
    records: tuple[bytes, ...]


def version_of(store: Store, program: Program, records: Sequence[bytes]) -> Version:
    """The version that holds these devices too. Raises StoreError, RegistryMissing."""
    fleet, feeds = StoredFleet(store, program.catalogue.feeds), program.catalogue.feeds
    live, entry = fleet.newest
    made, name = [], live
    for record in records:
        key, devices = decode_devices(record, feeds)
        known = fleet.at(live, key.feed).devices(key.feed, key.city)
        value = encode_devices(feeds[key.feed], key.city, _joined(known, devices))
        made.append(value)
        name = next_version(name, value)
    return Version(name, ACTS_FROM + entry + 1, tuple(made))


def _joined(known: pl.DataFrame | None, recorded: pl.DataFrame) -> pl.DataFrame:
    """Recorded devices, those that are known with what is known of them."""
    if known is None:
        return recorded
    served = recorded.select("device", pl.col("from_ms").alias("began"), pl.col("until_ms").alias("ended"))
    both = known.join(served, on="device", how="inner", maintain_order="left").with_columns(
        pl.min_horizontal("from_ms", "began").alias("from_ms"),
        pl.when(pl.col("until_ms").is_not_null()).then(pl.max_horizontal("until_ms", "ended")).alias("until_ms"),
    )
    strange = recorded.join(known, on="device", how="anti", maintain_order="left")
    return pl.concat([both.select(recorded.columns), strange])


def store_version(store: Store, program: Program, version: Version) -> None:
    """Write it where a recount looks for the registry of then. Doing it twice changes nothing. Raises StoreError."""
    headers = headers_of({"registry": version.name})
    items = [item_of("devices", 0, Record(version.entry, None, value, headers)) for value in version.records]
    rows = shape_devices(program.catalogue, items).tables[schema.DEVICES_HISTORY.name]
    settings = {**sql.INSERT_SETTINGS, "insert_deduplicate": 0}  # the key makes a line single
    store.insert(sql.qualified(store.database, schema.DEVICES_HISTORY.name), rows.column_names, stream(rows), settings)
