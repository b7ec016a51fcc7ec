"""Redriving: what was set aside goes into `readings` once more, with its old identity.

The rows of a finding are sent in a frame of their own, in the encoding and with the headers that they came with. The
devices' sequence numbers stay, so `admit` knows what it has had already: whoever redrives twice is counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pearlstream.errors import FrameError
from pearlstream.fold import Headers, Record
from pearlstream.frame import decode, expected_partition
from pearlstream.frame.parts import content_type_of, rows_of_frame
from pearlstream.frame.text import is_id
from pearlstream.program import Program
from pearlstream.store import Store
from sinks.clickhouse.mend.acts import Act
from sinks.clickhouse.mend.findings import Filter, Finding, SetAside, load_set_aside
from sinks.clickhouse.mend.standing import LATENESS_MS, standing

Send = Callable[[int, bytes, bytes, Headers], None]
"""Writes partition, key, value and headers to `readings` and returns when it is acknowledged. Raises ServiceError."""
_GONE_WITH_THE_SENDER = frozenset({"clock", "driver", "sent-ms", "from"})
"""Headers that are not sent again: they spoke of another moment."""


@dataclass(frozen=True)
class Again:
    """A frame to be sent: the findings that it answers, and what is sent; or why it cannot be."""

    findings: tuple[str, ...]
    partition: int = 0
    key: bytes = b""
    value: bytes = b""
    headers: Headers = ()
    refused: str = ""

    @property
    def record(self) -> Record:
        """As it would stand in the log."""
        return Record(0, self.key, self.value, self.headers)


@dataclass
class Redriven:
    """What came of it: findings sent and refused (name and why), frames sent."""

    sent: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    frames: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def prepare(
    store: Store, program: Program, findings: Sequence[Finding], partitions: int, boot: str | None = None
) -> Iterator[Again]:
    """The frames that answer findings, one for all findings of a frame. Raises StoreError.

    `boot` names the life of the devices' sequences, for readings that were taken for repeats.
    """
    clock = standing(store).clock
    frames: dict[tuple[str, int, int], list[Finding]] = {}
    for one in findings:
        frames.setdefault((one.topic_id, one.partition, one.offset), []).append(one)
    for group in frames.values():
        names = tuple(one.finding for one in group)
        came = load_set_aside(store, names[:1])[names[0]]
        why = _refusal(group, came, clock)
        yield Again(names, refused=why) if why else _again(program, group, came, partitions, boot)


def _refusal(group: Sequence[Finding], came: SetAside, clock: int) -> str:
    """Why a frame cannot be sent again, empty if it can."""
    first = group[0]
    if any(one.done == "redrive" for one in group):
        return "it was sent again before; what came of it stands in quarantine under another name, or in the readings"
    if any(one.done == "discard" for one in group):
        return "it was discarded"
    if first.cut:
        return f"only {first.kept:,} of its {first.length:,} bytes were kept; let its source send it again, in parts"
    if not came.key:
        return "it has no key, so nobody can say which city it is of"
    if 0 < first.clock_ms < clock - LATENESS_MS:
        return "it came more than a day of the log ago, and would be set aside as too_late; import it as history"
    return ""


def _again(program: Program, group: Sequence[Finding], came: SetAside, partitions: int, boot: str | None) -> Again:
    names = tuple(one.finding for one in group)
    headers = {name: value for name, value in came.headers.items() if name not in _GONE_WITH_THE_SENDER}
    kind = headers.setdefault("content-type", content_type_of(came.payload))
    if group[0].schema:
        headers.setdefault("schema", group[0].schema)
    if group[0].gateway:
        headers.setdefault("gateway", group[0].gateway)
    if boot:
        headers["boot"] = boot
    value = came.payload
    if not any(one.whole for one in group):
        try:
            value = rows_of_frame(value, kind, sorted({row for one in group for row in one.rows}))
        except ValueError as error:
            return Again(names, refused=str(error))
    sent = tuple((name, text.encode("ascii", "replace")) for name, text in _current(program, headers).items())
    return Again(names, expected_partition(came.key, partitions), came.key, value, sent)


def _current(program: Program, headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with the version of the feed that is in force: what was declared anew is what it is read with."""
    feed = program.catalogue.feeds.get(headers.get("schema", "").partition("@")[0])
    return {**headers, "schema": feed.schema} if feed is not None else dict(headers)


def outlook(program: Program, again: Again) -> str:
    """What decoding says about it with the catalogue of now: empty if it can be read, else the reason and remedy."""
    try:
        read = decode(again.record, program.catalogue.feeds, program.catalogue.cities)
    except FrameError as error:
        return f"{error.reason}: {error}"
    return "; ".join(f"row {flaw.row} {flaw.reason}: {flaw.message}" for flaw in read.flaws[:3])


def redrive(store: Store, frames: Sequence[Again], wanted: Filter, send: Send, why: str = "") -> Redriven:
    """Send frames and note each as soon as it is acknowledged. Raises ServiceError, StoreError.

    Killed between the two, the next call sends that frame once more, which counts nothing twice.
    """
    result = Redriven(refused={name: one.refused for one in frames if one.refused for name in one.findings})
    ready = [one for one in frames if not one.refused]
    if not ready:
        return result
    act = Act.begin(store, "redrive", asdict(wanted), why)
    for one in ready:
        act.write([act.row(1, name) for name in one.findings])
        send(one.partition, one.key, one.value, one.headers)
        act.write([act.row(2, name) for name in one.findings])
        result.sent += one.findings
        result.frames += 1
    act.done(rows=len(result.sent))
    return result


def check_boot(boot: str | None) -> None:
    """Raise ValueError if it is no id."""
    if boot is not None and not is_id(boot):
        raise ValueError(f"boot {boot!r} is no id: letters, digits and . _ : - only")
