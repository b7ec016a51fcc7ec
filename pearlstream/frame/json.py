"""Reading JSON: one reading as an object, or a columnar frame whose fields are arrays."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pyarrow as pa

from pearlstream.errors import FrameError
from pearlstream.frame import limits
from pearlstream.frame.cells import to_array
from pearlstream.frame.findings import Findings, Read
from pearlstream.frame.refusals import column_missing, too_many_columns, too_many_rows
from pearlstream.frame.schema import BOOT, SAID, Layout, with_boot
from pearlstream.frame.text import listed, shown

SEND_JSON = "send one object or a columnar frame, UTF-8"
_BOM = b"\xef\xbb\xbf"
_REST = bytes(set(range(256)) - set(b'[]{}"'))
# Possessive: a quote that is never closed takes the rest, instead of being tried again from every quote in it.
_strings = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def parse_object(value: bytes) -> dict[str, Any]:
    """Parse the body of a JSON frame. Raises FrameError as `parse_json` does."""
    body = parse_json(value)
    if not isinstance(body, dict):
        raise FrameError("json_malformed", f"the body is {shown(body)}", remedy=SEND_JSON)
    return body


def parse_json(value: bytes) -> Any:
    """Parse JSON within our limits. Of a repeated key the last counts; a byte order mark is skipped.

    Raises FrameError: json_too_deep, not_utf8, json_malformed (with the place).
    """
    _check_depth(value)
    text = value[3:] if value.startswith(_BOM) else value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            value.decode()
        except UnicodeDecodeError as wrong:
            raise FrameError("not_utf8", f"byte {wrong.start} is not UTF-8", remedy="send text as UTF-8") from None
        at = len(error.doc[: error.pos].encode()) + len(value) - len(text)
        raise FrameError("json_malformed", f"byte {at}: {error.msg.partition(':')[0]}", remedy=SEND_JSON) from None


def _check_depth(value: bytes) -> None:
    """Refuse deep nesting before a parser builds it: brackets outside strings are counted on the bytes."""
    if b"\\" in value:
        value = _strings.sub(b"", value)
    # Without escapes quotes come in pairs, so what lies between two of them may go first: it is faster by far.
    marks = _strings.sub(b"", value.translate(None, _REST).replace(b'""', b""))
    depth = 0
    for mark in marks:
        depth += 1 if mark in b"[{" else -1
        if depth > limits.JSON_DEPTH:
            raise FrameError(
                "json_too_deep", f"more than {limits.JSON_DEPTH} brackets open at once", remedy="frames are flat"
            )


def stated(body: dict[str, Any], name: str) -> tuple[str, ...]:
    """The distinct cities or feeds that a JSON body names under `name`; none if it is silent."""
    said = body.get(name)
    words = said if isinstance(said, list) else [said]
    texts = (str(word) if type(word) in (str, int) else shown(word) for word in words if word is not None)
    return tuple(dict.fromkeys(texts))


def read_json(body: dict[str, Any], layout: Layout, found: Findings) -> Read:
    """Read a parsed body of a feed. `found` is filled with what is wrong in its rows.

    Raises FrameError: column_missing, ragged, too_many_columns, too_many_rows.
    """
    given = [name for name in body if name not in SAID]
    if len(given) > limits.COLUMNS:
        raise too_many_columns(len(given))
    missing = [column.name for column in layout.columns if column.required and column.name not in body]
    if missing:
        raise column_missing(layout, missing, given)
    rows = _rows(body, layout)
    columns = {
        name: body[name] if isinstance(body[name], list) else [body[name]] * rows
        for name in given
        if name in layout.by_name
    }
    ignored = tuple(name for name in given if name not in layout.by_name)
    return Read(batch_of(columns, rows, layout, found), False, ignored, stated(body, "city"), stated(body, "feed"))


def _rows(body: dict[str, Any], layout: Layout) -> int:
    """Readings in a body: the common length of its arrays, 1 if all is scalar."""
    lengths = {name: len(body[name]) for name in layout.by_name if isinstance(body.get(name), list)}
    rows = max(lengths.values(), default=1)
    if rows > limits.ROWS:
        raise too_many_rows(rows)
    if len(set(lengths.values())) > 1:
        every = listed(f"{name} {length}" for name, length in lengths.items())
        raise FrameError(
            "ragged",
            f"{layout.feed.id}/{min(lengths, key=lambda name: lengths[name])}: columns of unequal length: {every}",
            remedy="one value per reading in each array; scalars are repeated",
            rows=rows,
        )
    return rows


def batch_of(columns: dict[str, list[Any]], rows: int, layout: Layout, found: Findings) -> Any:
    """Columns of Python cells as a record batch of the feed. Ids are checked; flawed cells become null."""
    found.rows = rows
    arrays = []
    for column in layout.columns:
        cells = columns.get(column.name)
        if column.kind == "id":
            column = column._replace(kind="strict id")
        arrays.append(pa.nulls(rows, column.type) if cells is None else to_array(cells, column, found))
    schema = layout.schema
    if "boot" in columns:
        schema = with_boot(schema)
        arrays.append(to_array(columns["boot"], BOOT, found))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
