"""Reading SenML (RFC 8428): packs of single measurements, gathered into readings.

A record is named `<device>/<field>`; records of one device and one time are one reading. Base values hold from
their record on, until the same base value comes again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pearlstream.errors import FrameError
from pearlstream.frame import limits
from pearlstream.frame.findings import Findings, Read
from pearlstream.frame.json import batch_of, parse_json
from pearlstream.frame.refusals import too_many_rows
from pearlstream.frame.schema import Column, Layout
from pearlstream.frame.text import shown
from pearlstream.frame.units import converted
from pearlstream.quality import Quality

VERSION = 10
"""The version of RFC 8428."""
ABSOLUTE_S = 1 << 28
"""Times below this many seconds count from now (RFC 8428, section 4.5.3)."""

_BASE = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
_KNOWN = _BASE | {"n", "u", "v", "vs", "vb", "vd", "s", "t", "ut"}
_BASE_FIELDS = {"bn": "name", "bt": "time", "bu": "unit", "bv": "value"}
_VALUES = ("v", "vs", "vb", "vd")
_RFC = "see RFC 8428"
_NAME_LIKE = "name records <device>/<field>"


class _Unresolved(Exception):
    """Why one record cannot be resolved, and what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class _Base(NamedTuple):
    """The base values in force."""

    name: str = ""
    time: float = 0
    unit: str = ""
    value: float | None = None


class _Rows:
    """Readings as they gather: cells by column, and which row a device and time have."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.relative: list[int] = []
        self._last: dict[tuple[str, Any], int] = {}

    def row(self, device: str | None, ts: Any, relative: bool, field: str) -> int:
        """The row of a device and time in which `field` is free; a new one if there is none."""
        key = (device or "", ts)
        at = self._last.get(key)
        if device is None or at is None or field in self.rows[at]:
            at = len(self.rows)
            if at == limits.ROWS:
                raise too_many_rows(at + 1)
            self.rows.append({"device": device, "ts": ts})
            if relative:
                self.relative.append(at)
            if device is not None:
                self._last[key] = at
        return at

    def columns(self, layout: Layout) -> dict[str, list[Any]]:
        """The cells by column."""
        names = [column.name for column in layout.columns if column.name != "seq"]
        return {name: [row.get(name) for row in self.rows] for name in names}


def read_senml(value: bytes, layout: Layout, found: Findings, clock_ms: int | None) -> Read:
    """Read a SenML pack of a feed. `clock_ms`: what relative times count from. SenML has no `seq`.

    Raises FrameError: those of `parse_json`, too_many_rows, column_missing if the feed requires `seq`, and
    senml_unresolved where the pack as a whole must not be read (unknown keys that end in `_`, versions, base
    values of a wrong type).
    """
    pack = parse_json(value)
    feed = layout.feed.id
    if layout.feed.seq == "required":
        raise FrameError("column_missing", f"{feed}/seq: SenML has no sequence", remedy="send Arrow or JSON")
    if not isinstance(pack, list):
        raise FrameError("senml_unresolved", f"{feed}: a pack is {shown(pack)}", remedy="send an array of records")
    rows, base, version = _Rows(), _Base(), None
    ignored: dict[str, None] = {}
    for index, record in enumerate(pack):
        if not isinstance(record, dict):
            raise _refused(feed, index, f"is {shown(record)}", "send an array of records")
        if not record.keys() <= _KNOWN:
            _check_keys(feed, index, record)
        if not _BASE.isdisjoint(record):
            version = _check_version(feed, index, record, version)
            base = _rebased(feed, index, record, base)
            if record.keys() <= _BASE:
                continue
        _gather(index, record, base, rows, layout, found, clock_ms, ignored)
    batch = batch_of(rows.columns(layout), len(rows.rows), layout, found)
    if rows.relative:
        found.flag(rows.relative, Quality.TIME_RELATIVE)
    return Read(batch, ignored=tuple(ignored))


def _refused(feed: str, index: int, what: str, remedy: str) -> FrameError:
    return FrameError("senml_unresolved", f"{feed}: SenML record {index} {what}", remedy=remedy)


def _check_keys(feed: str, index: int, record: Mapping[str, Any]) -> None:
    """A key that ends in `_` must be understood, and we understand none; others may be passed over."""
    for key in record:
        if key.endswith("_"):
            raise _refused(feed, index, f"has the key {shown(key)}, which must be understood", "leave it out")


def _check_version(feed: str, index: int, record: Mapping[str, Any], version: int | None) -> int | None:
    given = record.get("bver", version)
    if given is None:
        return None
    if type(given) is not int or not 1 <= given <= VERSION or (version is not None and given != version):
        raise _refused(feed, index, f"has bver {shown(given)}", f"send one version, at most {VERSION}")
    return given


def _rebased(feed: str, index: int, record: Mapping[str, Any], base: _Base) -> _Base:
    """The base values from this record on."""
    for key in ("bn", "bu"):
        if key in record and type(record[key]) is not str:
            raise _refused(feed, index, f"has {key} {shown(record[key])}", "send a text")
    for key in ("bt", "bv"):
        if key in record and not _is_number(record[key]):
            raise _refused(feed, index, f"has {key} {shown(record[key])}", "send a number")
    return base._replace(**{name: record[key] for key, name in _BASE_FIELDS.items() if key in record})


def _is_number(value: object) -> bool:
    return type(value) is int or type(value) is float


def _gather(
    index: int,
    record: Mapping[str, Any],
    base: _Base,
    rows: _Rows,
    layout: Layout,
    found: Findings,
    clock_ms: int | None,
    ignored: dict[str, None],
) -> None:
    """Put one record into its row. One that cannot be resolved sets its row aside, a row of its own if need be."""
    device, ts, relative, name = None, None, False, "senml"
    try:
        device, name = _named(record, base)
        column = layout.by_name.get(name)
        if column is None or name not in layout.feed.fields:
            ignored[name] = None
            return
        ts, relative = _time(record, base, clock_ms)
        cell = _value(record, base, column, layout)
    except _Unresolved as wrong:
        at = rows.row(device, ts, relative, name)
        found.flaw(at, "senml_unresolved", name, f"SenML record {index}: {wrong.what}", wrong.remedy)
    else:
        rows.rows[rows.row(device, ts, relative, name)][name] = cell


def _named(record: Mapping[str, Any], base: _Base) -> tuple[str, str]:
    """Device and field of a record."""
    given = record.get("n", "")
    if type(given) is not str:
        raise _Unresolved(f"n is {shown(given)}", "send a text")
    device, slash, field = (base.name + given).rpartition("/")
    if not slash or not device or not field:
        raise _Unresolved(f"the name is {shown(base.name + given)}", _NAME_LIKE)
    return device, field


def _time(record: Mapping[str, Any], base: _Base, clock_ms: int | None) -> tuple[int, bool]:
    """Time of a record in ms since 1970 UTC, and whether it was counted from the clock."""
    given = record.get("t", 0)
    if not _is_number(given):
        raise _Unresolved(f"t is {shown(given)}", "send seconds since 1970 UTC as a number")
    seconds = base.time + given
    exact_ms = seconds * 1000
    if not math.isfinite(exact_ms):
        raise _Unresolved(f"the time is {shown(seconds)}", "send seconds since 1970 UTC")
    ms = exact_ms if type(exact_ms) is int else math.floor(exact_ms + 0.5)
    if seconds >= ABSOLUTE_S:
        return ms, False
    if clock_ms is None:
        raise _Unresolved("the time is relative, and no clock is known yet", "send seconds since 1970 UTC")
    return clock_ms + ms, True


def _value(record: Mapping[str, Any], base: _Base, column: Column, layout: Layout) -> Any:
    """The value of a record in the unit of its field. A wrong type is left to be found with the cells."""
    given = [key for key in _VALUES if key in record]
    if len(given) > 1:
        raise _Unresolved(f"has {' and '.join(given)}", "one value a record")
    if given == ["vd"]:
        raise _Unresolved("a data value (vd)", f"send {column.wanted}")
    if not given and base.value is None:
        raise _Unresolved("has only a sum" if "s" in record else "has no value", f"send {column.wanted}; {_RFC}")
    value = record[given[0]] if given else 0
    if column.kind not in ("float", "int"):
        return value
    if base.value is not None and given in ([], ["v"]):
        if not _is_number(value):
            raise _Unresolved(f"v is {shown(value)}, to be added to bv", "send a number")
        value += base.value
    return _in_unit(value, record.get("u", base.unit), column, layout) if _is_number(value) else value


def _in_unit(value: float, unit: Any, column: Column, layout: Layout) -> float:
    wanted = layout.feed.fields[column.name].unit
    if unit in ("", wanted):
        return value
    result = converted(value, unit, wanted) if type(unit) is str else None
    if result is None:
        raise _Unresolved(f"the unit is {shown(unit)}", f"send {wanted or 'no unit'}, or a unit that converts to it")
    return result
