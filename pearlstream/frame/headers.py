"""Headers: what stands on the outside of a record, and the tick, which is nothing but headers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from pearlstream.catalogue.models import Feed
from pearlstream.errors import FrameError
from pearlstream.fold import Headers, Record
from pearlstream.frame.text import is_id, shown
from pearlstream.seal import CLOCK_MAC, UNSEALED, Seal

ARROW = "application/vnd.apache.arrow.stream"
"""Content type of an Arrow IPC stream, the default of our own producers."""
JSON = "application/json"
"""Content type of one reading as an object, or of a columnar frame."""
SENML = "application/senml+json"
"""Content type of an RFC 8428 pack."""

LAST_CLOCK_MS = 253_402_300_799_999
"""The last millisecond of the year 9999. A tick cannot be taken back, so an absurd one must not be believed."""

_FORBIDDEN = "faust-ag-"
_schema = re.compile(r"([a-z][a-z0-9.]{0,47})@([1-9][0-9]{0,8})").fullmatch
_clock = re.compile(r"[0-9]{1,15}").fullmatch
_registry = re.compile(r"[0-9a-f]{8}").fullmatch
_driver = re.compile(r"[A-Za-z0-9._:/-]{0,96}").fullmatch


def is_clock(text: str) -> bool:
    """Whether `text` is a number of milliseconds since 1970 UTC, before the year 10000."""
    return _clock(text) is not None and int(text) <= LAST_CLOCK_MS


class SchemaVersion(NamedTuple):
    """A version of a feed's schema, written `traffic.flow@1`."""

    feed: str
    version: int

    def __str__(self) -> str:
        return f"{self.feed}@{self.version}"

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, text: str) -> SchemaVersion:
        """Read `<feed>@<version>`. Raises ValueError if it has another form."""
        match = _schema(text)
        if match is None:
            raise ValueError(f"not a schema version: {text!r}")
        return cls(match[1], int(match[2]))


class Tick(NamedTuple):
    """Time, as the log knows it: what follows in the partition arrived after `clock_ms` (ms since 1970 UTC).

    `driver`: who drives time, `<id>/<epoch>`. `registry`: the version of the device registry in force.
    `sim`: the driver is a simulation.
    """

    clock_ms: int
    driver: str = ""
    registry: str = "00000000"
    sim: bool = False


def first_headers(headers: Headers) -> dict[str, str]:
    """Headers by name as text; of a repeated name the first counts. Bytes outside ASCII become U+FFFD.

    Raises FrameError (`header_forbidden`) on a header that would make Faust send our output elsewhere.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name[:9].lower() == _FORBIDDEN:
            text = f"the header {shown(name)} is not allowed"
            raise FrameError("header_forbidden", text, remedy="leave out Faust-Ag-* headers")
        if name not in found and value is not None:
            found[name] = value.decode("ascii", "replace")
    return found


def tick_record(tick: Tick, seal: Seal = UNSEALED) -> tuple[None, bytes, tuple[tuple[str, bytes], ...]]:
    """Key, value and headers of a tick. It goes to every partition by number, as it has no key."""
    headers = [
        ("clock", b"%d" % tick.clock_ms),
        ("driver", tick.driver.encode("ascii", "replace")),
        ("registry", tick.registry.encode("ascii", "replace")),
    ]
    if tick.sim:
        headers.append(("sim", b"1"))
    if seal.keys:
        headers.append((CLOCK_MAC, seal.of(tick)))
    return None, b"", tuple(headers)


def read_tick(record: Record, seal: Seal = UNSEALED) -> Tick | None:
    """The tick that a record is, or None if it is none (a tick has no key, zero bytes and the header `clock`).

    Raises FrameError: `tick_malformed` if clock, registry or driver cannot be read, `tick_forged` if it is not under
    the seal, `header_forbidden`.
    """
    if record.key is not None or record.value != b"":
        return None
    values = first_headers(record.headers)
    clock = values.get("clock")
    if clock is None:
        return None
    registry, driver = values.get("registry", ""), values.get("driver", "")
    if not is_clock(clock):
        raise _malformed("clock", clock, "send the milliseconds since 1970 UTC as decimal digits")
    if not _registry(registry):
        raise _malformed("registry", registry, "send the registry version as 8 hexadecimal digits")
    if not _driver(driver):
        raise _malformed("driver", driver, "send <id>/<epoch>")
    tick = Tick(int(clock), driver, registry, values.get("sim") == "1")
    if not seal.holds(tick, values.get(CLOCK_MAC, "")):
        why = "has a seal that is not ours" if CLOCK_MAC in values else "has no seal"
        raise FrameError(
            "tick_forged",
            f"a tick of {clock} by {shown(driver)} {why}",
            remedy="only who drives time writes ticks; give it the same PEARLSTREAM_KAFKA__CLOCK_KEY",
        )
    return tick


def _malformed(name: str, value: str, remedy: str) -> FrameError:
    return FrameError("tick_malformed", f"the header {name} of a tick is {shown(value)}", remedy=remedy)


def frame_headers(
    feed: Feed, content_type: str, gateway: str, sent_ms: int | None, sim: bool, boot: str | None = None
) -> tuple[tuple[str, bytes], ...]:
    """Headers of a frame. `sent_ms`: wall clock of the gateway (for metrics only). `boot`: names the life of the
    devices' sequences; give it whenever it is known, nothing is guessed then.

    Raises ValueError if `gateway` or `boot` is no id.
    """
    for name, value in (("gateway", gateway), ("boot", boot)):
        if value is not None and not is_id(value):
            raise ValueError(f"{name} {value!r} is no id")
    headers = [
        ("content-type", content_type.encode()),
        ("schema", feed.schema.encode()),
        ("gateway", gateway.encode()),
    ]
    if sent_ms is not None:
        headers.append(("sent-ms", b"%d" % sent_ms))
    if boot is not None:
        headers.append(("boot", boot.encode()))
    if sim:
        headers.append(("sim", b"1"))
    return tuple(headers)
