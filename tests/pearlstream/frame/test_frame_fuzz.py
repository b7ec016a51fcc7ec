"""Arbitrary bytes: whatever arrives, decoding ends in a frame that holds its word, or in a word why not."""

from __future__ import annotations

import random
import re

import orjson
import pytest
from frame_builders import CITIES, CLOCK_MS, FEEDS, GOOD, PROBE, arrow, record, taken, with_cells
from test_bad_input import CASES

from pearlstream.errors import FrameError
from pearlstream.fold import Record
from pearlstream.frame import (
    ARROW,
    FRAME_REASONS,
    JSON,
    ROW_REASONS,
    SENML,
    Decoded,
    accepted_schema,
    bad_ids,
    canonical_schema,
    decode,
    decode_all,
    encode_arrow,
    encode_senml,
    read_accepted,
)
from pearlstream.frame.schema import with_boot

BIG = {name: cells * 20 for name, cells in GOOD.items()}


def json_cells() -> dict[str, list[object]]:
    """Readings whose cells are texts where they can be."""
    return {name: [cell if cell is None else str(cell) for cell in cells] for name, cells in GOOD.items()}


CORPUS = [
    record(encode_arrow(PROBE, BIG), ARROW),
    record(encode_arrow(PROBE, GOOD | {"boot": ["b-1"] * 3}), ARROW),
    record(arrow(with_cells(humidity=[1, 2, 3], seq=None)), ARROW),
    record(orjson.dumps(GOOD), JSON),
    record(orjson.dumps({"feed": PROBE.id} | {name: cells[0] for name, cells in GOOD.items()}), None, schema=""),
    record(encode_senml(PROBE, GOOD), SENML),
    record(orjson.dumps(BIG), JSON),
    record(orjson.dumps(json_cells()), JSON),
]
BAD = [case.record for case in CASES if case.record.value and len(case.record.value) < 8000]
WILD = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\xff" * 8,
    b"[",
    b"]",
    b'"',
    b"\\",
)
TOKENS = (
    b"null",
    b"true",
    b"-1",
    b"0.5",
    b"1e308",
    b"18446744073709551616",
    b'"2.5"',
    b'"x"',
    b'""',
    b"[]",
    b"{}",
    b'"d-1/note"',
)
ROUNDS = 30_000

_token = re.compile(rb'-?[0-9][0-9.e+-]*|"[^"]*"(?!:)|true|false|null')


def mutated(given: Record, draw: random.Random) -> Record:
    """A record with one to three mutations of its value, and now and then one of its headers or key."""
    value = bytearray(given.value or b"")
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at = draw.randrange(len(value) + 1)
        if value[:1] in (b"{", b"[") and draw.random() < 0.7:
            tokens = list(_token.finditer(bytes(value)))
            if tokens:
                start, stop = draw.choice(tokens).span()
                value[start:stop] = draw.choice(TOKENS)
            continue
        match draw.randrange(6):
            case 0 if at < len(value):
                value[at] ^= 1 << draw.randrange(8)
            case 1:
                wild = draw.choice(WILD)
                value[at : at + len(wild)] = wild
            case 2:
                del value[at : at + draw.choice((1, 2, 8, 16, len(value)))]
            case 3:
                other = draw.choice(CORPUS).value or b""
                start = draw.randrange(len(other) + 1)
                value[at:at] = other[start : start + draw.randint(1, 64)]
            case 4 if len(value) >= 8:
                at &= ~7  # where Arrow keeps its lengths and offsets
                size = draw.choice((4, 8))
                value[at : at + size] = (draw.choice((-1, 1)) << draw.randrange(31)).to_bytes(
                    size, "little", signed=True
                )
            case _:
                value[at:at] = value[at : at + draw.randint(1, 64)]
    headers, key = given.headers, given.key
    if draw.random() < 0.03:
        headers = draw.choice(CORPUS).headers
    if draw.random() < 0.05:
        name, text = draw.choice(list(headers) or [("schema", b"")])
        headers = ((name, text[: draw.randrange(len(text) + 1)] + draw.choice(WILD)), *headers)
    if draw.random() < 0.02:
        key = draw.choice((None, b"", b"\xff", b"440100", b"440300#x"))
    return Record(0, key, bytes(value), headers)


def check(given: Record) -> bool:
    """Decode, hold the result to its word, and say whether it was decoded."""
    clock = CLOCK_MS if given.value and given.value[-1] % 2 else None
    try:
        decoded = decode(given, FEEDS, CITIES, clock, partition=0, partitions=0)
    except FrameError as error:
        refused = error
    else:
        check_decoded(given, decoded)
        return True
    assert refused.reason in FRAME_REASONS
    assert str(refused).isprintable()
    assert refused.remedy
    return False


def check_decoded(given: Record, decoded: Decoded) -> None:
    feed, batch = decoded.feed, decoded.batch
    batch.validate(full=True)
    assert batch.schema in (canonical_schema(feed), with_boot(canonical_schema(feed)))
    assert {flaw.reason for flaw in decoded.flaws} <= ROW_REASONS.keys()
    rows = [flaw.row for flaw in decoded.flaws]
    assert rows == sorted(set(rows))
    assert all(
        0 <= row < batch.num_rows and flaw.message.isprintable() for row, flaw in zip(rows, decoded.flaws, strict=True)
    )
    assert decoded.flags is None or len(decoded.flags) == batch.num_rows
    good = [row for row in range(batch.num_rows) if row not in set(rows)]
    for name in ("device", "ts", "level"):
        if name in batch.schema.names:
            assert None not in [batch[name][row].as_py() for row in good]
    assert all(flaw.reason == "bad_id" for flaw in bad_ids(feed, batch))
    if decoded.exact:
        accepted = read_accepted(feed, given.value or b"")
        assert accepted.schema == accepted_schema(feed)
        assert accepted.select(canonical_schema(feed).names).equals(batch.select(canonical_schema(feed).names))


def fuzz(seed: int, rounds: int) -> None:
    draw = random.Random(seed)
    decoded = sum(check(mutated(draw.choice(CORPUS if n % 4 else BAD), draw)) for n in range(rounds))
    assert 0 < decoded < rounds, "a fuzzer that meets only one outcome tests nothing"
    assert taken(CORPUS[0]).batch.to_pydict() == BIG


def test_mutated_frames_are_decoded_or_refused_and_nothing_else() -> None:
    fuzz(1, ROUNDS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
def test_many_mutated_frames_are_decoded_or_refused_and_nothing_else(seed: int) -> None:
    fuzz(seed, 50_000)


def told(one: Decoded | FrameError) -> object:
    """All that a decoded frame or an error says."""
    if isinstance(one, FrameError):
        return one.reason, str(one), one.rows
    flags = None if one.flags is None else one.flags.tolist()
    rest = (one.feed.id, one.city, one.flaws, flags, one.exact, one.gateway, one.sent_ms, one.boot, one.sim, one.notes)
    return one.batch.to_pydict().__repr__(), one.batch.schema, rest


def alone(given: Record, clock_ms: int | None) -> Decoded | FrameError:
    try:
        return decode(given, FEEDS, CITIES, clock_ms)
    except FrameError as error:
        return error


@pytest.mark.parametrize("seed", range(8))
def test_frames_decoded_together_are_what_each_is_alone(seed: int) -> None:
    draw = random.Random(seed)
    sound = [(draw.choice(CORPUS), CLOCK_MS) for _ in range(12)]
    mixed = [(mutated(draw.choice(CORPUS + BAD), draw), draw.choice((None, CLOCK_MS))) for _ in range(200)]
    for frames in (sound, mixed, sound + mixed[:3]):
        together = decode_all(frames, FEEDS, CITIES)
        assert [told(one) for one in together] == [told(alone(*frame)) for frame in frames]
