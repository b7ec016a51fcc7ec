"""Messages of one reading each, put together into frames of one feed and city. Pure.

Whatever could spoil the frame it lies in (no JSON, no known feed or city, nothing where a device or a time is wanted,
nested cells, numbers written as text) goes on as it came, in a frame of its own, so that `admit` judges it alone and
keeps it with a reason. Nothing is dropped here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed
from pearlstream.fold import Headers, header
from pearlstream.frame import JSON, encode_json_columns, frame_headers
from pearlstream.frame.schema import layout_of

FRAME_BYTES = 900_000
"""A frame is cut in two above this. Of a single message that is larger, so much goes on: the broker takes no more."""
KEY_BYTES = 256
"""So much of a key goes on that names no city."""
_NESTED = frozenset({list, dict})


class Message(NamedTuple):
    """A message of the source topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class Frame(NamedTuple):
    """A record for `readings`. `rows`: messages in it; `alone`: one that could spoil a frame, for `admit` to judge."""

    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    rows: int
    alone: bool = False


@dataclass(frozen=True)
class Envelope:
    """Where a message says what it is. `feed`, `city`: the same for all of them; empty: as the message says.

    Then the headers named here count, then the fields `feed` and `city` of the body, and at last the key as a city.
    """

    feed: str = ""
    city: str = ""
    feed_header: str = "feed"
    city_header: str = "city"


class Framer:
    """Puts messages together. `rows`: the most readings in a frame; `gateway`: the id that frames carry."""

    def __init__(self, catalogue: Catalogue, envelope: Envelope, rows: int, gateway: str) -> None:
        self._feeds: dict[str, Feed] = {}
        for feed in catalogue.feeds.values():
            self._feeds |= {feed.id: feed, feed.schema: feed}
        self._shapes = {feed.id: _Shape.of(feed) for feed in catalogue.feeds.values()}
        self._cities = frozenset(catalogue.cities)
        self._envelope, self._rows, self._gateway = envelope, rows, gateway

    def frames(self, messages: Sequence[Message], sent_ms: int | None = None) -> list[Frame]:
        """The frames of a batch. `sent_ms`: wall clock, for metrics only."""
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        made: list[Frame] = []
        for message in messages:
            body = _body(message.value)
            feed, city = self._named(message, body)
            if body is None or feed is None or city not in self._cities or not self._shapes[feed.id].framable(body):
                made.append(self._alone(message, feed, city, sent_ms))
            else:
                groups.setdefault((feed.id, city), []).append(body)
        for (name, city), members in groups.items():
            feed = self._feeds[name]
            for at in range(0, len(members), self._rows):
                made += self._framed(feed, city, members[at : at + self._rows], sent_ms)
        return made

    def _named(self, message: Message, body: Mapping[str, Any] | None) -> tuple[Feed | None, str]:
        """Feed (None if it is not known) and city ("" if it is not said) of a message."""
        said, envelope = body or {}, self._envelope
        feed = envelope.feed or header(message.headers, envelope.feed_header) or said.get("feed")
        city = envelope.city or header(message.headers, envelope.city_header) or said.get("city")
        city = city or (message.key or b"").decode("ascii", "replace")
        return self._feeds.get(feed) if isinstance(feed, str) else None, str(city)

    def _framed(self, feed: Feed, city: str, members: Sequence[dict[str, Any]], sent_ms: int | None) -> Iterator[Frame]:
        names = [name for name in layout_of(feed).by_name if any(name in body for body in members)]
        columns = {name: [body.get(name) for body in members] for name in names}
        value = encode_json_columns(feed, city, columns)
        if len(value) > FRAME_BYTES and len(members) > 1:
            half = len(members) // 2
            yield from self._framed(feed, city, members[:half], sent_ms)
            yield from self._framed(feed, city, members[half:], sent_ms)
            return
        headers = frame_headers(feed, JSON, self._gateway, sent_ms, sim=False)
        yield Frame(city.encode(), value, headers, len(members))

    def _alone(self, message: Message, feed: Feed | None, city: str, sent_ms: int | None) -> Frame:
        """A message as it came, as far as a record has room for it; `admit` says what is wrong with it."""
        headers = [("content-type", JSON.encode()), ("gateway", self._gateway.encode())]
        if feed is not None:
            headers.append(("schema", feed.schema.encode()))
        if sent_ms is not None:
            headers.append(("sent-ms", b"%d" % sent_ms))
        key = city.encode() if city in self._cities else message.key
        key = key[:KEY_BYTES] if key is not None else None
        return Frame(key, (message.value or b"")[:FRAME_BYTES], tuple(headers), 1, alone=True)


def _body(value: bytes | None) -> dict[str, Any] | None:
    """The body of a message, None if it is no JSON object or too large for a frame."""
    if value is not None and len(value) > FRAME_BYTES:
        return None
    try:
        body = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


class _Shape(NamedTuple):
    """Of a feed, the columns of a frame: those without which there is no reading, and which of all hold numbers."""

    required: tuple[str, ...]
    numeric: Mapping[str, bool]

    @classmethod
    def of(cls, feed: Feed) -> _Shape:
        columns = layout_of(feed).by_name
        required = tuple(name for name, column in columns.items() if column.required)
        return cls(required, {name: column.kind in ("float", "int") for name, column in columns.items()})

    def framable(self, body: Mapping[str, Any]) -> bool:
        """Whether nothing in a reading could make a frame be refused, or its neighbours be doubted."""
        for name in self.required:
            if body.get(name) is None:
                return False
        for name, cell in body.items():
            kind = type(cell)
            if kind is str:
                if self.numeric.get(name, False):
                    return False
            elif kind in _NESTED and name in self.numeric:
                return False
        return True
