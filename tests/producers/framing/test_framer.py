"""Single readings become frames; what cannot be framed goes on alone and is set aside with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pearlstream.catalogue import load_catalogue
from pearlstream.fold import InProcess, Log, Output, header
from pearlstream.folds.admit import Admit
from pearlstream.frame import Tick, tick_record
from pearlstream.position import Source
from pearlstream.program import compile_catalogue
from pearlstream.registry import EMPTY_VERSION, RegistryBook
from producers.framing.framer import Envelope, Frame, Framer, Message
from producers.writer import MAX_RECORD_BYTES

CATALOGUE = load_catalogue()
FEED, CITY, T0 = "traffic.flow", "440300", 1_780_002_000_000


def reading(seq: int = 0, **more: Any) -> dict[str, Any]:
    return {"device": f"d{seq % 3}", "ts": T0 + seq, "seq": seq, "flow_vpm": 12.5, **more}


def message(body: Any, key: bytes | None = CITY.encode(), **headers: str) -> Message:
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message(key, value, tuple((name, text.encode()) for name, text in headers.items()))


def framer(rows: int = 500, **envelope: str) -> Framer:
    return Framer(CATALOGUE, Envelope(**envelope), rows, "listen-test")


def admitted(frames: list[Frame]) -> list[Output]:
    log = Log()
    log.append(*tick_record(Tick(T0, "test/1", EMPTY_VERSION)))
    for frame in frames:
        log.append(frame.key, frame.value, frame.headers)
    book = RegistryBook(CATALOGUE.feeds)
    return InProcess(Admit(compile_catalogue(CATALOGUE), book), Source("t", 0)).feed(log.records)


def total(outputs: list[Output], name: str) -> int:
    return sum(int(header(one.headers, name) or 0) for one in outputs if one.target == "accepted")


def reasons(outputs: list[Output]) -> list[str | None]:
    return [header(one.headers, "reason") for one in outputs if one.target == "quarantine"]


def test_readings_of_one_feed_and_city_go_together_and_all_are_accepted() -> None:
    frames = framer(rows=4, feed=FEED).frames([message(reading(seq)) for seq in range(10)])
    assert [frame.rows for frame in frames] == [4, 4, 2]
    assert total(admitted(frames), "accepted") == 10


@pytest.mark.parametrize(
    ("one", "envelope"),
    [
        (message(reading(feed=FEED, city=CITY), key=None), {}),
        (message(reading(feed=f"{FEED}@1"), key=CITY.encode()), {}),
        (message(reading(), key=b"x", feed=FEED, city=CITY), {}),
        (message(reading(), key=b"x", kind=FEED, town=CITY), {"feed_header": "kind", "city_header": "town"}),
        (message(reading(), key=b"x"), {"feed": FEED, "city": CITY}),
    ],
    ids=["body", "schema-and-key", "headers", "named-headers", "options"],
)
def test_feed_and_city_come_from_options_headers_body_or_key(one: Message, envelope: dict[str, str]) -> None:
    frames = framer(**envelope).frames([one])
    assert [(frame.key, header(frame.headers, "schema")) for frame in frames] == [(CITY.encode(), f"{FEED}@1")]
    assert total(admitted(frames), "accepted") == 1


BAD = {
    "no json": (message(b"{"), "json_malformed"),
    "no object": (message([1, 2]), "json_malformed"),
    "two objects": (message(b'{"a":1},{"b":2}'), "json_malformed"),
    "no device": (message({"ts": T0, "seq": 1}), "column_missing"),
    "no city": (message(reading(), key=b"nowhere"), "unknown_city"),
    "no key": (message(reading(), key=None), "key_missing"),
    "nested": (message(reading(flow_vpm={"a": [[[1]]]})), "json_too_deep"),
    "text for a number": (message(reading(flow_vpm="12,5")), "wrong_type"),
    "larger than a record": (message(reading(note="x" * 2_000_000)), "json_malformed"),
    "a key larger than a record": (message(reading(), key=b"k" * 2_000_000), "unknown_city"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_a_bad_message_is_set_aside_alone_and_its_neighbours_are_kept(bad: Message, reason: str) -> None:
    good = [message(reading(seq)) for seq in range(6)]
    frames = framer(feed=FEED).frames([*good[:3], bad, *good[3:]])
    assert all(len(frame.key or b"") + len(frame.value) < MAX_RECORD_BYTES for frame in frames)
    assert [frame.alone for frame in frames].count(True) == 1
    outputs = admitted(frames)
    assert total(outputs, "accepted") == 6
    assert reasons(outputs) == [reason]


def test_an_empty_message_is_a_sign_of_life_and_nothing_more() -> None:
    good = [message(reading(seq)) for seq in range(6)]
    outputs = admitted(framer(feed=FEED).frames([*good[:3], Message(CITY.encode(), None, ()), *good[3:]]))
    assert (total(outputs, "rows"), total(outputs, "accepted")) == (6, 6)
    assert reasons(outputs) == []


def test_a_message_of_an_unknown_feed_goes_on_for_admit_to_name_it() -> None:
    outputs = admitted(framer().frames([message(reading(feed="nothing.there"))]))
    assert reasons(outputs) == ["unknown_feed"]


def test_a_number_written_as_text_is_read_as_it_would_be_alone() -> None:
    outputs = admitted(framer(feed=FEED).frames([message(reading(0)), message(reading(1, flow_vpm="13.5"))]))
    assert (total(outputs, "accepted"), reasons(outputs)) == (2, [])


def test_a_frame_that_grows_too_large_is_cut_in_two() -> None:
    many = [message(reading(seq, device=f"{'d' * 60}{seq % 3}")) for seq in range(20_000)]
    frames = framer(rows=100_000, feed=FEED).frames(many)
    assert len(frames) > 1
    assert max(len(frame.value) for frame in frames) <= 900_000
    assert sum(frame.rows for frame in frames) == len(many)
