"""The device registry: who ought to speak.

The registry is a log (topic `devices`): each record adds or replaces devices of one feed and city, and names
the version that it completes. A version is a chain hash of everything before it, so it stands for one exact
fleet; a tick names the version in force, and a replay therefore knows the fleet of then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl

from pearlstream.catalogue.models import Feed
from pearlstream.errors import FrameError, RegistryMissing

EMPTY_VERSION = "00000000"
"""The version of a registry in which nobody has been registered."""

COLUMNS: Mapping[str, pl.DataType] = {
    "device": pl.String(),
    "zone": pl.String(),
    "site": pl.String(),
    "lon": pl.Float64(),
    "lat": pl.Float64(),
    "cadence_s": pl.Float64(),
    "from_ms": pl.Int64(),
    "until_ms": pl.Int64(),
    "calibrated_ms": pl.Int64(),
    "origin": pl.String(),
}
"""Columns of a part of the registry besides the feed's static fields."""

_STATIC_TYPES: Mapping[str, pl.DataType] = {
    "float": pl.Float64(),
    "int": pl.Int64(),
    "bool": pl.Boolean(),
    "enum": pl.String(),
    "text": pl.String(),
}


class PartKey(NamedTuple):
    """A part of the registry: the devices of one feed in one city."""

    feed: str
    city: str


def static_type(kind: str) -> pl.DataType:
    """The column type of a static field of that kind."""
    return _STATIC_TYPES[kind]


def encode_devices(feed: Feed, city: str, devices: pl.DataFrame) -> bytes:
    """One record of the topic `devices`: columnar JSON, as a frame is; static fields stand under `attrs`.

    `devices` has the columns `COLUMNS` and the feed's static fields. A column with one value throughout is
    written as a scalar.
    """

    def column(name: str) -> Any:
        values = devices[name].to_list()
        return values[0] if values and name != "device" and len(set(values)) == 1 else values

    body: dict[str, Any] = {"feed": feed.id, "city": city}
    body.update({name: column(name) for name in COLUMNS})
    body["attrs"] = {name: column(name) for name in feed.static}
    return orjson.dumps(body)


def decode_devices(value: bytes, feeds: Mapping[str, Feed]) -> tuple[PartKey, pl.DataFrame]:
    """Inverse of `encode_devices`; one device as an object of scalars is read too.

    Raises FrameError (reason `registry_malformed`) if it is no device record of a known feed.
    """
    try:
        body = orjson.loads(value)
        feed = feeds[body["feed"]]
        names = body["device"] if isinstance(body["device"], list) else [body["device"]]
        attrs = body.get("attrs", {})
        columns = {
            name: _column(body.get(name), len(names), dtype) for name, dtype in COLUMNS.items() if name != "device"
        }
        statics = {
            name: _column(attrs.get(name), len(names), static_type(spec.type)) for name, spec in feed.static.items()
        }
        frame = pl.DataFrame({"device": pl.Series(names, dtype=pl.String()), **columns, **statics})
        return PartKey(feed.id, str(body["city"])), frame
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise FrameError(
            "registry_malformed", f"a device record cannot be read: {error}", remedy="see the reference of `devices`"
        ) from None


def _column(value: Any, rows: int, dtype: pl.DataType) -> pl.Series:
    values = value if isinstance(value, list) else [value] * rows
    if len(values) != rows:
        raise ValueError(f"{len(values)} values for {rows} devices")
    return pl.Series(values, dtype=dtype, strict=False)


def next_version(version: str, value: bytes) -> str:
    """The version that a device record completes: a hash over the version before it and its bytes."""
    return hashlib.blake2b(version.encode() + value, digest_size=4).hexdigest()


@dataclass(frozen=True)
class Registry:
    """One version of the registry: an immutable set of parts."""

    version: str
    parts: Mapping[PartKey, pl.DataFrame]

    def devices(self, feed: str, city: str) -> pl.DataFrame | None:
        """The devices of a feed in a city, or None if none was ever registered."""
        return self.parts.get(PartKey(feed, city))

    def has(self, feeds: Iterable[str]) -> bool:
        """Whether a device of each of these feeds was ever registered, in whatever city."""
        return set(feeds) <= {key.feed for key, part in self.parts.items() if len(part)}

    def in_service(self, feed: str, city: str, at_ms: int) -> pl.DataFrame | None:
        """The devices in service at an instant (ms since 1970 UTC), or None if there is none."""
        part = self.devices(feed, city)
        if part is None:
            return None
        until = part["until_ms"].fill_null(np.iinfo(np.int64).max)
        some = part.filter((part["from_ms"] <= at_ms) & (until > at_ms))
        return some if len(some) else None


@dataclass
class RegistryBook:
    """All versions of the registry that a process has read so far, by version.

    Feed it the records of the topic `devices` in their order; ask it for the version that a tick names.
    """

    feeds: Mapping[str, Feed]
    _versions: dict[str, Registry] = field(default_factory=dict)
    _last: Registry = field(init=False)

    def __post_init__(self) -> None:
        self._last = Registry(EMPTY_VERSION, {})
        self._versions[EMPTY_VERSION] = self._last

    @property
    def last(self) -> Registry:
        """The newest version."""
        return self._last

    def read(self, records: Iterable[tuple[bytes, str | None]]) -> None:
        """Add records: value and the version that its header says it completes (checked where given).

        A record that cannot be read still moves the version on, as it did for whoever wrote it.
        """
        parts = dict(self._last.parts)
        version = self._last.version
        for value, stated in records:
            version = next_version(version, value)
            if stated is not None and stated != version:
                version = stated
            try:
                key, devices = decode_devices(value, self.feeds)
            except FrameError:
                pass
            else:
                old = parts.get(key)
                parts[key] = devices if old is None else _replaced(old, devices)
            self._last = Registry(version, dict(parts))
            self._versions[version] = self._last

    def add(self, values: Sequence[bytes]) -> str:
        """Add records of one's own making and return the version that they complete."""
        self.read((value, None) for value in values)
        return self._last.version

    def at(self, version: str) -> Registry:
        """The registry of that version. Raises RegistryMissing if it has not been read yet."""
        found = self._versions.get(version)
        if found is None:
            raise RegistryMissing(
                f"the registry version {version} is not in the topic devices yet",
                remedy="the producer must register its devices before the tick that names them",
            )
        return found


def _replaced(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """The devices of `old` that are not registered again, then those of `new`."""
    return pl.concat([old.join(new, on="device", how="anti", maintain_order="left"), new])
