"""Rows of a frame in its own encoding, and bytes from outside as text that does nothing to a terminal."""

from __future__ import annotations

import orjson
import pyarrow as pa
import pytest

from pearlstream.frame import ARROW, JSON, SENML
from pearlstream.frame.parts import content_type_of, rows_of_frame, shown_payload


def arrow(rows: int) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"device": [f"d{n}" for n in range(rows)], "ts": list(range(rows))})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_rows_of_an_arrow_frame() -> None:
    some = rows_of_frame(arrow(5), ARROW, [1, 3])
    assert pa.ipc.open_stream(some).read_all().to_pydict() == {"device": ["d1", "d3"], "ts": [1, 3]}
    assert content_type_of(some) == ARROW


def test_rows_of_a_columnar_json_frame_keep_its_scalars() -> None:
    frame = orjson.dumps({"feed": "traffic.flow", "device": ["a", "b", "c"], "ts": 7})
    assert orjson.loads(rows_of_frame(frame, JSON, [2])) == {"feed": "traffic.flow", "device": ["c"], "ts": 7}
    assert content_type_of(frame) == JSON


def test_a_pack_of_senml_stays_whole() -> None:
    pack = b' [{"n": "a/x", "v": 1}]'
    assert rows_of_frame(pack, SENML, [0]) == pack
    assert content_type_of(pack) == SENML


@pytest.mark.parametrize(
    ("value", "kind", "rows"),
    [
        (arrow(2), ARROW, [7]), (arrow(2)[:-40], ARROW, [0]), (b"[1]", JSON, [0]), (b'{"a": [1]}', JSON, [3]),
        (b"{", JSON, [0]),
    ],
    ids=["no such row", "torn", "no object", "no such element", "no JSON"],
)  # fmt: skip
def test_what_has_no_such_rows_is_refused(value: bytes, kind: str, rows: list[int]) -> None:
    with pytest.raises(ValueError, match=r"cannot be taken|no object"):
        rows_of_frame(value, kind, rows)


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert shown_payload("\x1b[31m深圳\u202e".encode()) == "\\u001b[31m深圳\\u202e"
    assert shown_payload(b"x" * 5000).endswith("(1000 characters more)")
    shown = shown_payload(b"\xff\x00AB" * 100)
    assert shown.startswith("000000  ff 00 41 42")
    assert shown.endswith("... (144 bytes more)")
