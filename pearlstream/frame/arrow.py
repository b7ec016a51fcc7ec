"""Reading Arrow streams: what a stream declares is planned once, what a batch claims is checked each time.

A gateway sends the same schema with every frame, so the bytes of the schema message lead to a plan that was
made before; a frame of the canonical types then costs one check of its envelope, one zero-copy read, one full
validation and one look at each column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pearlstream.errors import FrameError
from pearlstream.frame import limits
from pearlstream.frame.cells import LEAVE_OUT, to_array
from pearlstream.frame.findings import Findings, Read
from pearlstream.frame.flatbuf import BATCH, DICTIONARY, SCHEMA, Message, batch_rows, check_schema, messages
from pearlstream.frame.refusals import arrow_invalid, column_missing, too_many_columns, too_many_rows
from pearlstream.frame.schema import BOOT, SAID, Column, Layout, with_boot
from pearlstream.frame.text import listed, told

_PLANS = 256
_PLAN_BYTES = 8 << 10
_LAST = b""
"""Key of the plan used last and its schema message: a message says its own length, so its bytes end alike."""
_UTC = ("UTC", "utc", "Etc/UTC", "+00:00", "Z")
_PLAIN = (
    pa.types.is_primitive,  # integers, floats, dates, times
    pa.types.is_boolean,
    pa.types.is_null,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
)


class Plan(NamedTuple):
    """How the columns of one stream schema become those of a feed.

    `picks`: for each column of the result its place in the stream, or -1. `straight`: the batch is already the
    result. `exact`: names and types are all canonical, so the bytes may be sent on. `buffers`: of a batch.
    `city`, `feed`: places of columns of that name, or -1.
    """

    schema: Any
    result: Any
    columns: tuple[Column, ...]
    picks: tuple[int, ...]
    straight: bool
    exact: bool
    buffers: int
    ignored: tuple[str, ...]
    city: int
    feed: int


class Opened(NamedTuple):
    """An Arrow stream that could be read, before its cells are looked at. `whole`: it held just one batch."""

    batch: Any
    plan: Plan
    whole: bool


def open_arrow(value: bytes, layout: Layout) -> Opened:
    """Read an Arrow stream of a feed.

    Raises FrameError: arrow_truncated, arrow_invalid, arrow_compressed, arrow_type_unsupported, not_utf8,
    column_missing, too_many_columns, too_many_rows.
    """
    stream, plan = _plan_of(value, layout)
    batches: list[Any] = []
    rows = 0
    for message in stream:
        if len(batches) == limits.BATCHES:
            text = f"more than {limits.BATCHES} batches in one stream"
            raise FrameError("arrow_invalid", text, remedy="send one batch a frame", rows=rows)
        batches.append(_batch(value, message, plan, layout))
        rows += batches[-1].num_rows
        if rows > limits.ROWS:
            raise too_many_rows(rows)
    batch = batches[0] if len(batches) == 1 else _joined(batches, plan.schema)
    return Opened(batch, plan, len(batches) == 1)


def read_arrow(opened: Opened, found: Findings) -> Read:
    """The columns of the feed. `found` is filled with what is wrong in the rows."""
    batch, plan, whole = opened
    found.rows = batch.num_rows
    result, same = _result(batch, plan, found)
    exact = same and plan.exact and whole
    return Read(result, exact, plan.ignored, _distinct(batch, plan.city), _distinct(batch, plan.feed))


def nothing_to_mend(frames: Sequence[Opened], feed: str) -> bool:
    """Whether the cells of frames of one plan are all as they should be, looked at together.

    A look at a column costs the same for ten cells as for a thousand, and almost every frame is sound.
    """
    plan = frames[0].plan
    if not plan.straight:
        return False
    together = pa.concat_batches([frame.batch for frame in frames])
    found = Findings(feed, together.num_rows)
    return _result(together, plan, found)[1] and found.nothing


def as_sent(opened: Opened) -> Read:
    """The columns of a frame in which there is nothing to mend."""
    return Read(opened.batch, opened.plan.exact and opened.whole, opened.plan.ignored)


def _batch(value: bytes, message: Message, plan: Plan, layout: Layout) -> Any:
    if message.kind == DICTIONARY:
        raise _unsupported("the stream holds dictionary-encoded columns", layout)
    if message.kind != BATCH:
        raise arrow_invalid(f"a message of kind {message.kind} stands where a record batch is expected")
    rows = batch_rows(message, len(plan.schema), plan.buffers)
    encapsulated = pa.py_buffer(value).slice(message.start, message.stop - message.start)
    batch = None
    try:
        batch = pa.ipc.read_record_batch(encapsulated, plan.schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:
        raise _invalid_batch(batch, str(error), layout.feed.id, rows) from None
    return batch


def _invalid_batch(batch: Any, error: str, feed: str, rows: int) -> FrameError:
    """The error for a batch that cannot be read (None) or that full validation refuses; names the column."""
    field = feed
    for name, column in zip(batch.schema.names, batch.columns, strict=True) if batch is not None else ():
        try:
            column.validate(full=True)
        except (pa.ArrowException, ValueError) as wrong:
            field, error = f"{feed}/{listed((name,))}", str(wrong)
            break
    if "UTF8" in error:
        return FrameError("not_utf8", f"{field}: {told(error)}", remedy="send text as UTF-8", rows=rows)
    return arrow_invalid(f"{field}: {told(error)}", rows)


def _joined(batches: list[Any], schema: Any) -> Any:
    """Several batches as one, none as an empty one."""
    if batches:
        return pa.concat_batches(batches)
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _distinct(batch: Any, at: int) -> tuple[str, ...]:
    """The words of a column that names cities or feeds."""
    if at < 0:
        return ()
    words = batch.column(at).unique().to_pylist()
    return tuple(word for word in words if word is not None)


# --- the plan --------------------------------------------------------------------------------------------


def _plan_of(value: bytes, layout: Layout) -> tuple[Iterator[Message], Plan]:
    """The messages of a stream after its schema, and the plan for that schema."""
    last: tuple[bytes, Plan] | None = layout.plans.get(_LAST)
    if last is not None and value.startswith(last[0]):
        return messages(value, len(last[0])), last[1]
    stream = messages(value)
    message = next(stream, None)
    if message is None or message.kind != SCHEMA:
        raise arrow_invalid("the stream does not begin with a schema")
    head = value[: message.stop]
    plan: Plan | None = layout.plans.get(head)
    if plan is None:
        plan = _make_plan(head, message, layout)
        if len(layout.plans) >= _PLANS:
            layout.plans.clear()
    if len(head) <= _PLAN_BYTES:
        layout.plans[head] = plan
        layout.plans[_LAST] = head, plan
    return stream, plan


def _make_plan(head: bytes, message: Message, layout: Layout) -> Plan:
    schema = _schema(head, message, layout)
    names = list(schema.names)
    columns = layout.columns + ((BOOT,) if "boot" in names else ())
    missing = [column.name for column in columns if column.required and column.name not in names]
    if missing:
        raise column_missing(layout, missing, names)
    for field in schema:
        wanted = layout.by_name.get(field.name)
        plain = any(test(field.type) for test in _PLAIN)
        if field.name in SAID:
            plain = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        if not plain or (wanted and not _readable(field.type, wanted)):
            raise _unsupported(f"{layout.feed.id}/{listed((field.name,))} is of type {told(str(field.type))}", layout)
    result = layout.schema if len(columns) == len(layout.columns) else with_boot(layout.schema)
    ignored = tuple(name for name in names if name not in layout.by_name and name not in SAID)
    return Plan(
        schema=schema,
        result=result,
        columns=columns,
        picks=tuple(names.index(column.name) if column.name in names else -1 for column in columns),
        straight=schema.equals(result, check_metadata=True),
        exact=all(field.name in layout.by_name and field.type == layout.by_name[field.name].type for field in schema),
        buffers=sum(_buffers(field.type) for field in schema),
        ignored=ignored,
        city=names.index("city") if "city" in names else -1,
        feed=names.index("feed") if "feed" in names else -1,
    )


def _schema(head: bytes, message: Message, layout: Layout) -> Any:
    """The schema of a stream, once it is known to be harmless to look at."""
    if len(head) > limits.SCHEMA_BYTES:
        raise arrow_invalid(f"the schema has {len(head)} bytes")
    if message.stop != message.body:
        raise arrow_invalid("the schema message has a body")
    if b"ARROW:extension" in message.metadata:  # before an Arrow library looks for code to run for it
        raise _unsupported("the stream holds columns of an extension type", layout)
    check_schema(message)
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(head))
        names = schema.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise arrow_invalid(f"the schema cannot be read: {told(str(error))}") from None
    if len(names) > limits.COLUMNS:
        raise too_many_columns(len(names))
    if len(set(names)) != len(names):
        raise arrow_invalid("a column stands twice in the schema")
    return schema


def _readable(given: Any, column: Column) -> bool:
    """Whether a column of a stream may be of type `given`."""
    if given == column.type or pa.types.is_null(given):
        return True
    if pa.types.is_string(given) or pa.types.is_large_string(given):
        return column.kind != "bool"
    if column.name == "ts" and pa.types.is_timestamp(given):
        return bool(given.unit == "ms" and given.tz in _UTC)
    if column.kind in ("float", "int"):
        return bool(pa.types.is_integer(given) or (pa.types.is_float64(given) and column.name not in ("ts", "seq")))
    return False


def _buffers(given: Any) -> int:
    """Buffers of a column in a batch: validity and values, offsets for lengths that vary, none for nulls."""
    if pa.types.is_null(given):
        return 0
    varying = any(
        test(given)
        for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )
    return 3 if varying else 2


def _unsupported(what: str, layout: Layout) -> FrameError:
    types = ", ".join(f"{column.name} {column.type}" for column in layout.columns)
    return FrameError("arrow_type_unsupported", what, remedy=f"send plain columns: {types}, boot string")


# --- the rows --------------------------------------------------------------------------------------------


def _result(batch: Any, plan: Plan, found: Findings) -> tuple[Any, bool]:
    """The columns of the feed, and whether they hold just what was sent."""
    same = True
    sent = batch.columns
    arrays = []
    for column, pick in zip(plan.columns, plan.picks, strict=True):
        if pick < 0:
            arrays.append(pa.nulls(found.rows, column.type))
            continue
        given = sent[pick]
        array = _column(given, column, found)
        same = same and array is given
        arrays.append(array)
    if same and plan.straight:
        return batch, True
    return pa.RecordBatch.from_arrays(arrays, schema=plan.result), same


def _column(given: Any, column: Column, found: Findings) -> Any:
    """A column as it is kept: the very array if there is nothing to mend or to convert in it."""
    if given.type != column.type:
        given = _converted(given, column)
        if given.type != column.type:
            return to_array(given.to_pylist(), column, found)
    if column.required and given.null_count:
        found.null(np.flatnonzero(given.is_null().to_numpy(zero_copy_only=False)).tolist(), column)
    kind = column.kind
    if kind == "float":
        return _finite(given, column, found)
    if kind == "enum":
        good = column.values.issuperset(word for word in given.unique().to_pylist() if word is not None)
    elif kind == "text":
        good = _plain_text(given)
    else:
        good = kind != "boot"
    if good:
        return given
    mended = to_array(given.to_pylist(), column._replace(required=False), found)
    return given if mended.equals(given) else mended


def _converted(given: Any, column: Column) -> Any:
    """A column of another type where that needs no look at its cells; otherwise the column as it is."""
    if pa.types.is_null(given.type):
        return pa.nulls(len(given), column.type)
    if pa.types.is_large_string(given.type):
        given = given.cast(pa.string())
    elif pa.types.is_timestamp(given.type):
        given = given.cast(pa.int64())
    elif pa.types.is_integer(given.type):
        try:
            given = given.cast(column.type, safe=column.kind == "int")
        except pa.ArrowInvalid:
            return given  # some cell does not fit: the cells say which
    return given


def _finite(given: Any, column: Column, found: Findings) -> Any:
    if not given.null_count and np.isfinite(given.to_numpy()).all():
        return given
    values = given.to_numpy(zero_copy_only=False)  # a null becomes NaN
    finite = np.isfinite(values)
    if np.count_nonzero(finite) + given.null_count == len(values):
        return given
    bad = np.flatnonzero(~finite & given.is_valid().to_numpy(zero_copy_only=False))
    for row in bad.tolist():
        found.cell(row, "not_finite", column, float(values[row]), LEAVE_OUT)
    return pa.array(values, mask=~finite)


def _plain_text(given: Any) -> bool:
    """Whether a text column is printable ASCII and short throughout, so that there is nothing to clean."""
    _, offsets, data = given.buffers()
    if not len(given) or not data or not offsets:
        return True
    ends = np.frombuffer(offsets, np.int32, len(given) + 1, 4 * given.offset)
    text = np.frombuffer(data, np.uint8)
    printable = bool(((text >= 0x20) & (text <= 0x7E)).all())
    return printable and int(np.diff(ends).max()) <= limits.TEXT_BYTES
