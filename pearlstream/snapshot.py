"""Snapshots as records of the topic `state.<stage>`, and back.

A snapshot is one record under the key `<topic id>/<partition>`; a bigger one is cut into parts under keys
that alternate between two sets (`.../a/1`, `.../b/1`), so that compaction never leaves half of each. Every
part carries the hash of the whole, and only whole snapshots count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import orjson

from pearlstream.fold import Headers, Record, header, headers_of
from pearlstream.position import Source
from pearlstream.runner import Snapshot

PART_BYTES = 4 << 20
"""Bytes of the largest part."""


class StateRecord(NamedTuple):
    """One record to write to `state.<stage>`, into the partition of its source."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Maker(NamedTuple):
    """Who made a snapshot: a snapshot of another stage, fold version or catalogue is of no use."""

    fold: str
    catalogue: str


@dataclass(frozen=True)
class Found:
    """A whole snapshot found in the state topic, and the set of keys its parts stand under (empty: one part)."""

    snapshot: Snapshot
    turn: str


def encode(
    maker: Maker, source: Source, snapshot: Snapshot, turn: str, part_bytes: int = PART_BYTES
) -> list[StateRecord]:
    """The records of a snapshot; `turn` is the set of keys (`a` or `b`) to use if it has several parts."""
    parts = [snapshot.blob[at : at + part_bytes] for at in range(0, len(snapshot.blob), part_bytes)] or [b""]
    common: dict[str, str | int] = {
        "applied": snapshot.applied,
        "uptos": orjson.dumps(dict(snapshot.uptos)).decode(),
        "fold": maker.fold,
        "catalogue": maker.catalogue,
        "sha256": sha256(snapshot.blob).hexdigest(),
    }
    return [
        StateRecord(
            str(source).encode() if len(parts) == 1 else f"{source}/{turn}/{number}".encode(),
            part,
            headers_of({**common, "part": f"{number}/{len(parts)}"}),
        )
        for number, part in enumerate(parts, start=1)
    ]


def find(records: Iterable[Record], maker: Maker, source: Source) -> tuple[list[Found], int]:
    """The whole snapshots of a source among records of the state topic, and how many others there were.

    The newest by `applied` comes first: whichever is taken is a correct start, the newest saves most work.
    """
    parts: dict[tuple[str, ...], dict[int, bytes]] = defaultdict(dict)
    ignored = 0
    for record in records:
        key, _, turn = _split(record.key)
        if key != str(source):
            continue
        stated = _stated(record.headers)
        if stated is None or stated[:2] != (maker.fold, maker.catalogue):
            ignored += 1
            continue
        number, _, count = (header(record.headers, "part") or "").partition("/")
        if number.isdigit() and count.isdigit():
            parts[(*stated, count, turn)][int(number)] = record.value or b""
    found = [whole for name, pieces in parts.items() if (whole := _join(name, pieces)) is not None]
    ignored += len(parts) - len(found)
    return sorted(found, key=lambda one: one.snapshot.applied, reverse=True), ignored


def _split(key: bytes | None) -> tuple[str, str, str]:
    """Source, part number and turn of a key."""
    pieces = (key or b"").decode("ascii", "replace").split("/")
    return "/".join(pieces[:2]), pieces[3] if len(pieces) == 4 else "", pieces[2] if len(pieces) == 4 else ""


def _stated(headers: Headers) -> tuple[str, str, str, str, str] | None:
    """Maker, `applied`, `uptos` and hash as the headers state them, or None if one is missing."""
    values = [header(headers, name) for name in ("fold", "catalogue", "applied", "uptos", "sha256")]
    if any(value is None for value in values):
        return None
    fold, catalogue, applied, uptos, digest = (value or "" for value in values)
    return fold, catalogue, applied, uptos, digest


def _join(name: Sequence[str], pieces: dict[int, bytes]) -> Found | None:
    """The whole snapshot, or None if a part is missing or its bytes are not what they were."""
    _, _, applied, uptos, digest, count, turn = name
    try:
        blob = b"".join(pieces[number] for number in range(1, int(count) + 1))
        if sha256(blob).hexdigest() != digest:
            return None
        return Found(Snapshot(int(applied), blob, {str(k): int(v) for k, v in orjson.loads(uptos).items()}), turn)
    except (KeyError, ValueError, AttributeError):
        return None
