"""Decoding: from a record of the log `readings` to the columns of one feed and city, or a word why not.

What is judged here is what a frame says by itself: its envelope, its encoding, its types, its texts. Times,
plausible ranges and sequences need a clock and a memory, and are judged by `admit`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from pearlstream.catalogue.models import Feed
from pearlstream.errors import FrameError
from pearlstream.fold import Record
from pearlstream.frame import limits
from pearlstream.frame.arrow import Opened, as_sent, nothing_to_mend, open_arrow, read_arrow
from pearlstream.frame.findings import Findings, Flags, Flaw, Read
from pearlstream.frame.headers import ARROW, JSON, SENML, SchemaVersion, first_headers, is_clock
from pearlstream.frame.json import parse_object, read_json, stated
from pearlstream.frame.partition import expected_partition
from pearlstream.frame.refusals import too_large
from pearlstream.frame.schema import layout_of
from pearlstream.frame.senml import read_senml
from pearlstream.frame.text import ID_PATTERN, is_id, listed, nearest, shown

CATALOGUE_LIST = "`pearlstream catalogue list` shows what is known"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame as columns.

    `batch` has the canonical columns of `feed` (and `boot`, if the frame has that column), one row per reading
    sent. A row with a flaw stays in it with nulls in the flawed cells and is named in `flaws`, once, in the
    order of rows. `flags`: bits of `Quality` per row, None if there are none.
    `exact`: nothing was mended, converted or left out, so the bytes of the frame say the same to a reader of
    canonical frames. `sent_ms`: wall clock of the gateway, for metrics only. `gateway` is empty if the frame
    does not say. `boot`: the life of its sequences that the whole frame belongs to. `notes`: what the sender
    should know, though nothing was set aside for it.
    """

    feed: Feed
    city: str
    batch: Any
    flaws: list[Flaw]
    flags: Flags | None
    exact: bool
    gateway: str
    sent_ms: int | None
    boot: str | None
    sim: bool
    notes: tuple[str, ...]


def decode(
    record: Record,
    feeds: Mapping[str, Feed],
    cities: Collection[str],
    clock_ms: int | None = None,
    *,
    partition: int = 0,
    partitions: int = 0,
) -> Decoded:
    """Decode a frame of the feeds (by id) and cities of a catalogue. Pure, and total over arbitrary bytes.

    `clock_ms`: the clock of the partition, from which relative times of SenML count. `partition`: where the
    record lies, of `partitions`; 0 of them leaves the place unchecked.

    Device ids of Arrow frames are not looked at: `bad_ids` does so, and need do so only for devices that are
    not known yet.

    Raises FrameError with a reason of `FRAME_REASONS` if the frame as a whole is refused, and nothing else.
    """
    return _read(_envelope(record, feeds, cities, partition, partitions), feeds, clock_ms)


def decode_all(
    records: Iterable[tuple[Record, int | None]],
    feeds: Mapping[str, Feed],
    cities: Collection[str],
    *,
    partition: int = 0,
    partitions: int = 0,
) -> list[Decoded | FrameError]:
    """What `decode` makes of each of some records, with the clock of each; an error where it would raise.

    Frames of one kind are looked at together, and one by one only where something is wrong in one of them.
    """
    done: list[Decoded | FrameError | None] = []
    waiting: dict[int, list[tuple[int, _Envelope, Opened]]] = {}
    for record, clock_ms in records:
        one: Decoded | FrameError | None = None
        try:
            envelope = _envelope(record, feeds, cities, partition, partitions)
            if envelope.kind == ARROW and envelope.feed is not None and envelope.value:
                opened = open_arrow(envelope.value, layout_of(envelope.feed))
                waiting.setdefault(id(opened.plan), []).append((len(done), envelope, opened))
            else:
                one = _read(envelope, feeds, clock_ms)
        except FrameError as error:
            one = error
        done.append(one)
    for frames in waiting.values():
        for at, one in _looked_at(frames):
            done[at] = one
    return [one for one in done if one is not None]


def _looked_at(frames: Sequence[tuple[int, _Envelope, Opened]]) -> Iterable[tuple[int, Decoded | FrameError]]:
    """Frames of one plan, each with its place."""
    feed = frames[0][1].feed
    assert feed is not None
    sound = nothing_to_mend([opened for _, _, opened in frames], feed.id)
    for at, envelope, opened in frames:
        found = Findings(feed.id)
        try:
            read = as_sent(opened) if sound else read_arrow(opened, found)
            yield at, _agreed(feed, envelope, read, found)
        except FrameError as error:
            yield at, error


class _Envelope(NamedTuple):
    """What stands on the outside of a frame; `feed` is None if only the body says it."""

    headers: Mapping[str, str]
    city: str
    kind: str
    value: bytes
    feed: Feed | None


def _envelope(
    record: Record, feeds: Mapping[str, Feed], cities: Collection[str], partition: int, partitions: int
) -> _Envelope:
    headers = first_headers(record.headers)
    city = _city(record.key, cities, partition, partitions)
    kind = _content_type(headers.get("content-type"))
    value = _bounded(record.value, kind)
    schema = headers.get("schema")
    return _Envelope(headers, city, kind, value, None if schema is None else _of_schema(schema, feeds))


def _read(envelope: _Envelope, feeds: Mapping[str, Feed], clock_ms: int | None) -> Decoded:
    _, _, kind, value, feed = envelope
    if feed is not None and not value:
        read, found = Read(pa.RecordBatch.from_pylist([], layout_of(feed).schema)), Findings(feed.id)
    elif kind == JSON:
        body = parse_object(value)
        feed = feed or _of_body(stated(body, "feed"), feeds)
        found = Findings(feed.id)
        read = read_json(body, layout_of(feed), found)
    else:
        if feed is None:
            raise _unknown_feed("the frame has no header schema", "send it, for example `schema: traffic.flow@1`")
        found = Findings(feed.id)
        if kind == ARROW:
            read = read_arrow(open_arrow(value, layout_of(feed)), found)
        else:
            read = read_senml(value, layout_of(feed), found, clock_ms)
    return _agreed(feed, envelope, read, found)


def _agreed(feed: Feed, envelope: _Envelope, read: Read, found: Findings) -> Decoded:
    if read.cities or read.feeds:
        _agree(read, feed, envelope.city)
    return _decoded(feed, envelope.city, read, found, envelope.headers)


# --- the envelope ----------------------------------------------------------------------------------------


def _city(key: bytes | None, cities: Collection[str], partition: int, partitions: int) -> str:
    """The city that a key names. `<code>#<shard>` is no key yet: behind `admit` nobody merges the shards of a city."""
    if key is None:
        raise FrameError("key_missing", "the record has no key", remedy="key = city code")
    city = key.decode("ascii", "replace")
    if city not in cities:
        remedy = nearest(city, cities, "key = city code; `pearlstream catalogue list` shows them")
        raise FrameError("unknown_city", f"no city {shown(key)[1:]}", remedy=remedy)
    if partitions:
        expected = expected_partition(key, partitions)
        if expected != partition:
            raise FrameError(
                "wrong_partition",
                f"the key {key.decode()} belongs to partition {expected} of {partitions}, not to {partition}",
                remedy="partition by murmur2 of the key, as Kafka's own clients do, or send through `listen kafka`",
            )
    return city


def _content_type(text: str | None) -> str:
    """The encoding that a header `content-type` names; JSON if there is none. Parameters do not matter."""
    if text is None or text in (ARROW, JSON, SENML):
        return text or JSON
    plain = text.partition(";")[0].strip().lower()
    if plain not in (ARROW, JSON, SENML):
        raise FrameError(
            "content_type_unknown", f"content-type is {shown(text)}", remedy=f"send {ARROW}, {JSON} or {SENML}"
        )
    return plain


def _bounded(value: bytes | None, kind: str) -> bytes:
    """The value, if it is one and not too large."""
    if value is None:
        reason = "arrow_truncated" if kind == ARROW else "json_malformed"
        raise FrameError(reason, "the value is null", remedy="send a frame; one of 0 rows is a sign of life")
    limit = limits.MESSAGE_BYTES if kind == ARROW else limits.JSON_BYTES
    if len(value) > limit:
        raise too_large(len(value), limit)
    return value


def _of_schema(text: str, feeds: Mapping[str, Feed]) -> Feed:
    """The feed of a schema version."""
    try:
        schema = SchemaVersion.parse(text)
    except ValueError:
        raise FrameError(
            "unknown_schema", f"the schema {shown(text)} has another form", remedy="write it like traffic.flow@1"
        ) from None
    feed = feeds.get(schema.feed)
    if feed is None:
        raise _unknown_feed(f"no feed {schema.feed}", nearest(schema.feed, feeds, CATALOGUE_LIST))
    if feed.version != schema.version:
        raise FrameError("unknown_schema", f"no version {schema}", remedy=f"the catalogue has {feed.schema}")
    return feed


def _of_body(stated_feeds: tuple[str, ...], feeds: Mapping[str, Feed]) -> Feed:
    """The feed that a JSON body names, as `traffic.flow` or `traffic.flow@1`."""
    if not stated_feeds:
        raise _unknown_feed("neither header nor body name a feed", "send the header schema or `feed` in the body")
    if len(stated_feeds) > 1:
        raise _mixed(f"feeds {listed(stated_feeds)}")
    name = stated_feeds[0]
    if "@" in name:
        return _of_schema(name, feeds)
    feed = feeds.get(name)
    if feed is None:
        raise _unknown_feed(f"no feed {shown(name)}", nearest(name, feeds, CATALOGUE_LIST))
    return feed


def _unknown_feed(message: str, remedy: str) -> FrameError:
    return FrameError("unknown_feed", message, remedy=remedy)


def _mixed(what: str, rows: int = 0) -> FrameError:
    return FrameError("mixed_frame", f"{what} in one frame", remedy="one frame: one feed, one city", rows=rows)


def _agree(read: Read, feed: Feed, city: str) -> None:
    """Refuse a frame whose content names another city or feed than its envelope, or several."""
    rows = read.batch.num_rows
    if len(read.cities) > 1:
        raise _mixed(f"{feed.id}: cities {listed(read.cities)}", rows)
    if len(read.feeds) > 1 or (read.feeds and read.feeds[0] not in (feed.id, feed.schema)):
        raise _mixed(f"{feed.schema} by its header and {listed(read.feeds)} by its content", rows)
    if read.cities and read.cities[0] != city:
        raise FrameError(
            "key_mismatch",
            f"{feed.id}: the key says {city}, the frame {listed(read.cities)}",
            remedy="key = city code",
            rows=rows,
        )


def _decoded(feed: Feed, city: str, read: Read, found: Findings, headers: Mapping[str, str]) -> Decoded:
    flaws, flags = found.flaws(), found.flags
    notes = []
    if read.ignored:
        notes.append(
            f"{feed.id}: ignored {listed(read.ignored)}; known columns: {layout_of(feed).known}; "
            f"bump the schema version?"
        )
    gateway, boot, sent = headers.get("gateway"), headers.get("boot"), headers.get("sent-ms")
    if gateway is not None and not is_id(gateway):
        notes.append(f"header gateway: ignored {shown(gateway)}; send an id like {ID_PATTERN}")
        gateway = None
    if boot is not None and not is_id(boot):
        notes.append(f"header boot: ignored {shown(boot)}; send an id like {ID_PATTERN}")
        boot = None
    return Decoded(
        feed=feed,
        city=city,
        batch=read.batch,
        flaws=flaws,
        flags=flags,
        exact=read.exact and not flaws and flags is None,
        gateway=gateway or "",
        sent_ms=int(sent) if sent is not None and is_clock(sent) else None,
        boot=boot,
        sim=headers.get("sim") == "1",
        notes=tuple(notes),
    )
