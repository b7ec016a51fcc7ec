"""The readings of a load as a peer gets them: one JSON message each, and what has to come of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import NamedTuple

import orjson
import pyarrow as pa

from deploy.bench.load import Made
from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed
from pearlstream.fold import header

WINDOW_MS = 10_000


class Message(NamedTuple):
    """One reading, of whose fields only one goes along."""

    city: str
    device: str
    metric: str
    ts_ms: int
    value: float

    def encoded(self) -> bytes:
        """As JSON, the time in seconds."""
        said = {"city": self.city, "device": self.device, "metric": self.metric}
        return orjson.dumps({**said, "ts": self.ts_ms / 1000, "value": self.value})


class Window(NamedTuple):
    """The readings of a city and metric in ten seconds, which begin at `start_ms`."""

    city: str
    metric: str
    start_ms: int


class Aggregate(NamedTuple):
    """What is known of the readings of a window."""

    readings: int = 0
    total: float = 0.0
    least: float = inf
    greatest: float = -inf


def messages(made: Made, catalogue: Catalogue) -> Iterator[Message]:
    """Every reading of a load (in Arrow), in the order of its frames."""
    for one in made.sent:
        if one.key is None:
            continue
        feed = catalogue.feeds[(header(one.headers, "schema") or "").partition("@")[0]]
        field = _measured(feed)
        table = pa.ipc.open_stream(one.value).read_all()
        columns = (table[name].to_pylist() for name in ("device", "ts", field))
        city, metric = one.key.decode(), f"{feed.id}.{field}"
        for device, ts, value in zip(*columns, strict=True):
            yield Message(city, device, metric, ts, float(value))


def _measured(feed: Feed) -> str:
    return next(name for name, spec in feed.fields.items() if spec.type in ("float", "int"))


def windows(sent: Iterable[Message]) -> dict[Window, Aggregate]:
    """What a table must hold in the end."""
    found: dict[Window, Aggregate] = {}
    for one in sent:
        window = Window(one.city, one.metric, one.ts_ms // WINDOW_MS * WINDOW_MS)
        readings, total, least, greatest = found.get(window, Aggregate())
        found[window] = Aggregate(readings + 1, total + one.value, min(least, one.value), max(greatest, one.value))
    return found
