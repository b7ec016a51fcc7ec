"""The catalogue of bad input, by id: what arrives, in which encoding, and what becomes of it.

Every case ends with the same sentence: the next good frame is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pytest
from frame_builders import (
    CLOCK_MS,
    GOOD,
    METER,
    PROBE,
    arrow,
    arrow_record,
    json_record,
    measured,
    record,
    senml_record,
    stream,
    taken,
    with_cells,
)

from pearlstream.errors import FrameError
from pearlstream.fold import Record
from pearlstream.frame import ARROW, FRAME_REASONS, JSON, ROW_REASONS, SENML, bad_ids, expected_partition
from pearlstream.quality import Quality

NAN, INF = float("nan"), float("inf")
GOOD_ARROW, GOOD_JSON = arrow(GOOD), orjson.dumps(GOOD)


@dataclass
class Case:
    """`refused`: the reason for the whole frame, and a part of what is said about it. Otherwise the frame is
    decoded with `rows` readings; `flaws`: reason by row; `flags` by row; `cells`: columns as they come out;
    `noted`: part of a note."""

    id: str
    record: Record
    refused: str = ""
    said: str = ""
    rows: int = 3
    flaws: dict[int, str] = field(default_factory=dict)
    flags: dict[int, Quality] = field(default_factory=dict)
    cells: dict[str, list[Any]] = field(default_factory=dict)
    noted: str = ""
    exact: bool = False
    where: dict[str, int] = field(default_factory=dict)


def patched(value: bytes, old: bytes, new: bytes) -> bytes:
    """`value` with its only `old` replaced."""
    assert value.count(old) == 1
    return value.replace(old, new)


def forged_length(value: bytes, rows: int) -> bytes:
    """An Arrow stream whose first batch says it has `rows` rows."""
    head = len(pa.ipc.read_schema(pa.py_buffer(value)).serialize())
    at = value.index(struct.pack("<q", 3), head)  # the batch's length is the first 3 in its metadata
    return value[:at] + struct.pack("<q", rows) + value[at + 8 :]


def forged_nulls(value: bytes, nulls: int) -> bytes:
    """An Arrow stream whose first column with one null says it has `nulls`."""
    at = value.index(struct.pack("<qq", 3, 1))
    return value[:at] + struct.pack("<qq", 3, nulls) + value[at + 16 :]


def forged_offset(value: bytes, wild: int) -> bytes:
    """An Arrow stream whose device column ends `wild` bytes into its text."""
    return patched(value, struct.pack("<4i", 0, 3, 6, 9), struct.pack("<4i", 0, 3, wild, 9))


def nested(depth: int) -> bytes:
    """JSON with an array nested `depth` deep below the object."""
    return b'{"level": ' + b"[" * depth + b"]" * depth + b"}"


def unreadable() -> Iterator[Case]:
    """B01 to B09: bytes that are no frame, or that must not be read."""
    yield Case("B01-json", record(b'{"device": ["d-1"', JSON), "json_malformed", "byte 17")
    yield Case("B01-json-array", record(b"[1, 2]", JSON, schema=""), "json_malformed", "one object")
    yield Case("B01-json-null-value", record(None, JSON), "json_malformed", "null")
    yield Case("B01-senml", record(b"[{]", SENML), "json_malformed", "byte 2")
    yield Case("B01-content-type", record(GOOD_JSON, "text/csv"), "content_type_unknown", "text/csv")
    yield Case("B02-arrow", record(GOOD_ARROW[:-60], ARROW), "arrow_truncated", f"got {len(GOOD_ARROW) - 60}")
    yield Case("B02-arrow-in-schema", record(GOOD_ARROW[:100], ARROW), "arrow_truncated")
    yield Case("B02-arrow-null-value", record(None, ARROW), "arrow_truncated")
    yield Case("B03-length", record(forged_length(GOOD_ARROW, 4), ARROW), "arrow_invalid")
    yield Case("B03-length-wild", record(forged_length(GOOD_ARROW, 1 << 40), ARROW), "arrow_invalid", "rows in")
    yield Case("B03-nulls", record(forged_nulls(GOOD_ARROW, 2), ARROW), "arrow_invalid", "null_count")
    yield Case("B03-nulls-wild", record(forged_nulls(GOOD_ARROW, 4), ARROW), "arrow_invalid", "4 nulls")
    yield Case("B03-offset", record(forged_offset(GOOD_ARROW, 1 << 28), ARROW), "arrow_invalid", "town.probe/device")
    yield Case("B03-offset-falls", record(forged_offset(GOOD_ARROW, -6), ARROW), "arrow_invalid", "town.probe/device")
    yield Case("B03-not-arrow", record(b"PAR1" * 10, ARROW), "arrow_invalid", "byte 0")
    yield Case("B03-no-schema", record(GOOD_ARROW[GOOD_ARROW.index(b"\xff" * 4, 8) :], ARROW), "arrow_invalid", "begin")
    yield Case("B03-trailing", record(GOOD_ARROW + b"more", ARROW), "arrow_invalid", "4 bytes follow")
    yield Case("B03-twice", record(arrow_twice(), ARROW), "arrow_invalid", "twice")
    for codec in ("lz4", "zstd"):
        packed = arrow(GOOD, pa.ipc.IpcWriteOptions(compression=codec))
        yield Case(f"B04-{codec}", record(packed, ARROW), "arrow_compressed", "Kafka's zstd")
    yield Case("B05-dictionary", arrow_record(with_cells(note=pa.array(["a"] * 3).dictionary_encode())),
               "arrow_type_unsupported", "town.probe/note")  # fmt: skip
    yield from (
        Case(f"B05-{name}", arrow_record(GOOD | {column: cells}), "arrow_type_unsupported", column)
        for name, column, cells in (
            ("nested", "temp_c", pa.array([[1.0]] * 3)),
            ("view", "note", pa.array(["a"] * 3, pa.string_view())),
            ("float32", "level", pa.array([1.0] * 3, pa.float32())),
            ("bool-as-int", "open", pa.array([1] * 3)),
            ("time-in-us", "ts", pa.array([1] * 3, pa.timestamp("us", "UTC"))),
            ("time-without-zone", "ts", pa.array([1] * 3, pa.timestamp("ms"))),
            ("city", "city", pa.array([440300] * 3)),
            ("nested-extra", "extra", pa.array([{"a": 1}] * 3)),
        )
    )
    extension = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["1"] * 3))
    yield Case("B05-extension", arrow_record(GOOD | {"note": extension}), "arrow_type_unsupported", "extension")
    for name, value in (("arrow", GOOD_ARROW), ("json", GOOD_JSON)):
        hostile = record(value, ARROW if name == "arrow" else JSON, **{"Faust_Ag_ReplyTo": "elsewhere"})
        yield Case(f"B05-header-{name}", hostile, "header_forbidden", "Faust-Ag-ReplyTo")
    for kind in (ARROW, JSON, SENML):
        yield Case(f"B06-{kind}", record(b" " * 20_000_000, kind), "too_large", "900 kB")
    yield Case("B08-deep", record(nested(1000), JSON), "json_too_deep", "flat")
    yield Case("B08-just-too-deep", record(nested(4), JSON), "json_too_deep")
    yield Case("B08-after-a-quote", record(b'{"a\\"": "' + b"\\\\" + b'", "b": ' + b"[" * 9, JSON), "json_too_deep")
    yield Case("B08-brackets-in-text", json_record(with_cells(note=["[[[[[[", '"{{{{{', "]]"])),
               cells={"note": ["[[[[[[", '"{{{{{', "]]"]})  # fmt: skip
    yield Case("B08-many", record(b"[" + b"[]," * 330_000 + b"[]]", SENML), "senml_unresolved")
    yield Case("B08-18-MB", record(b"[]" * 9_000_000, JSON), "too_large")
    twice = GOOD_JSON.replace(b'"level":', b'"level":[9,9,9],"level":')
    yield Case("B09-json", record(twice, JSON), cells={"level": GOOD["level"]})


def arrow_twice() -> bytes:
    """A stream with two columns of one name."""
    return stream(pa.schema([("ts", pa.int64()), ("ts", pa.int64())]), [])


def values() -> Iterator[Case]:
    """B10 to B16: cells and columns that are not what they should be."""
    yield Case("B10-arrow", arrow_record(with_cells(level=[1.0, NAN, 2.0], temp_c=[INF, None, -INF])),
               flaws={0: "not_finite", 1: "not_finite", 2: "not_finite"},
               cells={"level": [1.0, None, 2.0], "temp_c": [None] * 3})  # fmt: skip
    yield Case("B10-json", record(GOOD_JSON.replace(b"-2.25", b"NaN"), JSON), "json_malformed")
    yield Case("B10-json-1e400", record(GOOD_JSON.replace(b"-2.25", b"1e400"), JSON), "json_malformed")
    yield Case("B10-senml", senml_record(measured(v=1e308, bv=1e308)), rows=1, flaws={0: "not_finite"})
    yield Case("B11-arrow", arrow_record(with_cells(seq=[7, -1, 8]), seq=pa.int64()), flaws={1: "integer_range"},
               said="0 to 18446744073709551615", cells={"seq": [7, None, 8]})  # fmt: skip
    yield Case("B11-arrow-unsigned", arrow_record(with_cells(cars=[1, 2, 1 << 63]), cars=pa.uint64()),
               flaws={2: "integer_range"})  # fmt: skip
    yield Case("B11-json", record(GOOD_JSON.replace(b"[7,1,8]", b"[18446744073709551616,-1,8]"), JSON),
               flaws={0: "integer_range", 1: "integer_range"}, cells={"seq": [None, None, 8]})  # fmt: skip
    yield Case("B11-json-most", json_record(with_cells(seq=[0, (1 << 64) - 1, 1 << 53])),
               cells={"seq": [0, (1 << 64) - 1, 1 << 53]})  # fmt: skip
    yield Case("B11-senml", senml_record(measured(), measured(n="d-1/cars", u=None, v=1 << 63)), rows=1,
               flaws={0: "integer_range"})  # fmt: skip
    as_text = with_cells(temp_c=["21.5", None, " 22"[1:]], cars=["3", "0", None], ts=[str(ts) for ts in GOOD["ts"]])
    coerced = dict.fromkeys(range(3), Quality.COERCED)
    text_types = {"temp_c": pa.string(), "cars": pa.large_string(), "ts": pa.string()}
    for name, made in (("json", json_record(as_text)), ("arrow", arrow_record(as_text, **text_types))):
        yield Case(f"B12-{name}-coerced", made, flags=coerced, cells={"ts": GOOD["ts"], "temp_c": [21.5, None, 22.0]})
    comma = with_cells(temp_c=["21,5", None, "22"])
    for name, made in (("json", json_record(comma)), ("arrow", arrow_record(comma, temp_c=pa.string()))):
        yield Case(f"B12-{name}-comma", made, flaws={0: "wrong_type", 2: "wrong_type"}, said="send numbers")
    yield Case("B12-senml-coerced", senml_record(measured(v="1.5")), rows=1, flags={0: Quality.COERCED},
               cells={"level": [1.5]})  # fmt: skip
    wrong = with_cells(level=[True, [1], {}], open=[1, "true", None], note=[5, None, ["a"]], device=["d-1", 5, "d-1"])
    yield Case("B12-json-wrong", json_record(wrong), flaws=dict.fromkeys(range(3), "wrong_type"), said="got 5, wanted")
    yield Case("B12-json-fraction", json_record(with_cells(cars=[1.5, 2.0, 1e300])), cells={"cars": [None, 2, None]},
               flaws={0: "wrong_type", 2: "integer_range"})  # fmt: skip
    yield Case("B12-arrow-fraction", arrow_record(with_cells(cars=[1.5, 2.0, NAN]), cars=pa.float64()),
               flaws={0: "wrong_type", 2: "not_finite"}, cells={"cars": [None, 2, None]})  # fmt: skip
    wrong_types = measured(v=None, vb=True), measured(n="d-2/open"), measured(n="d-2/level")
    yield Case("B12-senml-wrong", senml_record(*wrong_types),
               rows=2, flaws={0: "wrong_type", 1: "wrong_type"}, said="wanted true or false")  # fmt: skip
    for name, made in (("arrow", arrow_record(with_cells(level=None))), ("json", json_record(with_cells(level=None)))):
        yield Case(f"B13-{name}-required", made, "column_missing", "known columns: device, ts, seq, level")
    for name, made in (("arrow", arrow_record(with_cells(temp_c=None, seq=None))),
                       ("json", json_record(with_cells(temp_c=None, seq=None)))):  # fmt: skip
        nothing = {"temp_c": [None] * 3, "seq": [None] * 3}
        yield Case(f"B13-{name}-optional", made, cells=nothing, exact=name == "arrow")
    yield Case("B13-json-empty", record(b"{}", JSON), "column_missing", "town.probe/device")
    yield Case("B13-senml-seq", record(b"[]", SENML, schema=METER.schema), "column_missing", "town.meter/seq")
    extra = with_cells(humidity=[1, 2, 3], qc=[0, 0, 64])
    for name, made in (("arrow", arrow_record(extra)), ("json", json_record(extra))):
        yield Case(f"B14-{name}", made, noted="ignored humidity, qc; known columns", cells=GOOD)
    yield Case("B14-senml", senml_record(measured(), measured(n="d-1/humidity")), rows=1, noted="ignored humidity")
    empty = with_cells(level=[1.0, None, 2.0], device=["d-1", "d-2", None])
    for name, made in (("arrow", arrow_record(empty)), ("json", json_record(empty))):
        yield Case(f"B15-{name}", made, flaws={1: "null_required", 2: "null_required"}, said="town.probe/level: row 1")
    yield Case("B15-arrow-null-type", arrow_record(with_cells(level=pa.nulls(3), temp_c=pa.nulls(3))),
               flaws=dict.fromkeys(range(3), "null_required"))  # fmt: skip
    yield Case("B15-senml", senml_record(measured(n="d-1/temp_c", u="Cel")), rows=1, flaws={0: "null_required"})
    yield Case("B16-json", json_record(with_cells(level=[1.0, 2.0])), "ragged", "level 2")


def envelopes() -> Iterator[Case]:
    """B17 to B21: what the outside of a frame says, and how much is in it."""
    for name, value, kind in (("arrow", GOOD_ARROW, ARROW), ("json", GOOD_JSON, JSON), ("senml", b"[]", SENML)):
        yield Case(f"B17-feed-{name}", record(value, kind, schema="town.prob@2"), "unknown_feed", "'town.probe'?")
        yield Case(f"B17-no-feed-{name}", record(value, kind, schema=""), "unknown_feed", "schema")
        yield Case(f"B17-version-{name}", record(value, kind, schema="town.probe@3"), "unknown_schema", "town.probe@2")
        yield Case(f"B17-schema-{name}", record(value, kind, schema="town.probe"), "unknown_schema", "traffic.flow@1")
        yield Case(f"B17-city-{name}", record(value, kind, key=b"440310"), "unknown_city", "'440300'?")
        yield Case(f"B19-no-key-{name}", record(value, kind, key=None), "key_missing", "key = city code")
        right = expected_partition(b"440300", 6)
        yield Case(f"B19-place-{name}", record(value, kind), "wrong_partition", f"partition {right} of 6",
                   where={"partition": (right + 1) % 6, "partitions": 6})  # fmt: skip
    yield Case("B17-city-bytes", record(GOOD_ARROW, ARROW, key=b"\xff\x00"), "unknown_city")
    yield Case("B17-city-shard", record(GOOD_ARROW, ARROW, key=b"440300#3"), "unknown_city", "'440300'?")
    yield Case("B17-body-feed", json_record(GOOD | {"feed": "town.prob"}, schema=""), "unknown_feed", "'town.probe'?")
    yield Case("B17-body-version", json_record(GOOD | {"feed": "town.probe@1"}, schema=""), "unknown_schema")
    yield Case("B18-two-feeds", json_record(GOOD | {"feed": ["town.probe", "town.meter"]}, schema=""), "mixed_frame")
    yield Case("B18-header-and-body", json_record(GOOD | {"feed": "town.meter"}), "mixed_frame", "town.probe@2")
    cities = {"city": ["440300", "440100", "440300"]}
    yield Case("B18-json", json_record(GOOD | cities), "mixed_frame", "440300, 440100")
    yield Case("B18-arrow", arrow_record(GOOD | cities), "mixed_frame", "440300, 440100")
    yield Case("B18-arrow-feed", arrow_record(GOOD | {"feed": ["town.meter"] * 3}), "mixed_frame")
    yield Case("B18-agree", json_record(GOOD | {"feed": "town.probe", "city": 440300}), cells=GOOD)
    yield Case("B18-agree-arrow", arrow_record(GOOD | {"city": ["440300", None, "440300"]}), cells=GOOD)
    yield Case("B19-json-city", json_record(GOOD | {"city": "440100"}), "key_mismatch", "440100")
    yield Case("B19-arrow-city", arrow_record(GOOD | {"city": ["440100"] * 3}), "key_mismatch", "440100")
    yield Case("B19-null-tick", record(b"", None, key=None), "key_missing")
    yield Case("B20-arrow", record(stream(pa.ipc.open_stream(GOOD_ARROW).schema, []), ARROW), rows=0)
    yield Case("B20-arrow-batch", arrow_record({name: [] for name in GOOD}), rows=0, exact=True)
    yield Case("B20-json", json_record({name: [] for name in GOOD}), rows=0)
    yield Case("B20-senml", senml_record(), rows=0)
    yield Case("B20-no-bytes", record(b"", ARROW), rows=0)
    many = {"device": ["d"] * 110_000, "ts": [1] * 110_000, "level": [0.0] * 110_000}
    yield Case("B21-arrow", arrow_record(many), "too_many_rows", "110000 rows")
    half = pa.RecordBatch.from_pydict({"device": ["d"] * 60_000, "ts": [1] * 60_000, "level": [0.0] * 60_000})
    yield Case("B21-arrow-batches", record(stream(half.schema, [half] * 2), ARROW), "too_many_rows", "120000 rows")
    zeros = [0] * 100_001
    yield Case("B21-json", json_record({"device": "d", "ts": zeros, "level": 0}), "too_many_rows", "100001 rows")
    wide = {f"x{n}": [0] * 3 for n in range(60)}
    yield Case("B21-arrow-columns", arrow_record(GOOD | wide), "too_many_columns", "69 columns")
    yield Case("B21-json-columns", json_record(GOOD | wide), "too_many_columns", "69 columns")


def texts() -> Iterator[Case]:
    """B29 to B31: bytes that are no text, and texts that are more than they seem."""
    yield Case("B29-json", record(patched(GOOD_JSON, b"fine", b"f\xffne"), JSON), "not_utf8", "byte ")
    yield Case("B29-arrow", record(patched(GOOD_ARROW, b"fine", b"f\xffne"), ARROW), "not_utf8", "town.probe/note")
    yield Case("B29-senml", record(b'[{"n":"\xff/level"}]', SENML), "not_utf8")
    for text in ("d 1", "", "d\u200b1", "\u202ed1", "=d1", "x" * 65, "d\n", "'; DROP TABLE", "démon"):
        ids = with_cells(device=["d-1", text, "d-1"])
        row = "B31" if "DROP" in text else "B30"
        yield Case(f"{row}-json-id-{text!a}", json_record(ids), flaws={1: "bad_id"}, said="{1,64}")
        yield Case(f"{row}-arrow-id-{text!a}", arrow_record(ids), exact=True)  # judged by bad_ids
        yield Case(f"{row}-senml-id-{text!a}", senml_record(measured(n=f"{text}/level")), rows=1,
                   flaws={0: "bad_id" if text else "senml_unresolved"})  # fmt: skip
    notes = with_cells(note=["a\u200b\x07b", "e\u0301", "x" * 257])
    for name, made in (("json", json_record(notes)), ("arrow", arrow_record(notes))):
        yield Case(f"B30-{name}-text", made, cells={"note": ["ab", "é", None]}, flaws={2: "too_large"},
                   flags={0: Quality.TEXT_CLEANED, 1: Quality.TEXT_CLEANED}, said="at most 256 bytes")  # fmt: skip
    words = with_cells(state=["RUN", "run", "RUN\u200b"])
    for name, made in (("json", json_record(words)), ("arrow", arrow_record(words))):
        yield Case(f"B30-{name}-word", made, flaws={1: "not_in_values", 2: "not_in_values"}, said="one of IDLE, RUN")
    yield Case("B38-bom", record(b"\xef\xbb\xbf" + GOOD_JSON, JSON), cells=GOOD)
    yield Case("B38-utf16", record(GOOD_JSON.decode().encode("utf-16"), JSON), "not_utf8")


def senml() -> Iterator[Case]:
    """B39, B40: what RFC 8428 lets a pack say, and what it cannot say."""
    at = CLOCK_MS // 1000
    yield Case("B39-base-values", senml_record({"bn": "d-1/", "bt": at, "bu": "m", "bv": 1.0, "n": "level", "v": 0.5},
                                               {"n": "temp_c", "u": "K", "v": 294.15},
                                               {"bn": "d-2/", "bt": at + 10, "n": "level", "t": -0.5, "v": 1.25}),
               rows=2, cells={"device": ["d-1", "d-2"], "ts": [CLOCK_MS, CLOCK_MS + 9500], "level": [1.5, 2.25],
                              "temp_c": [pytest.approx(22.0), None]})  # fmt: skip
    first = {"bn": "urn:dev:ow:10e2073a01080063/", "bt": 1.276020076001e9, "bu": "Cel", "bver": 5}
    pack = (first | {"n": "temp_c", "v": 20.1}, {"n": "temp_c", "t": -5, "v": 21.2},
            {"n": "level", "u": "m", "v": 1}, {"n": "level", "u": "m", "t": -5, "v": 2})  # fmt: skip
    yield Case("B39-as-in-rfc-8428", senml_record(*pack), rows=2,
               cells={"device": ["urn:dev:ow:10e2073a01080063"] * 2, "ts": [1276020076001, 1276020071001],
                      "temp_c": [20.1, 21.2], "level": [1.0, 2.0]})  # fmt: skip
    yield Case("B39-base-alone", senml_record({"bn": "d-1/level", "bt": at, "bver": 10}, {"v": 2}), rows=1,
               cells={"level": [2.0], "ts": [CLOCK_MS]})  # fmt: skip
    yield Case("B39-base-value-only", senml_record({"bn": "d-1/", "bt": at, "bv": 3}, {"n": "level"}), rows=1,
               cells={"level": [3.0]})  # fmt: skip
    yield Case("B39-relative", senml_record(measured(t=-5), measured(t=None, n="d-2/level"), measured(t=(1 << 28) - 1)),
               cells={"ts": [CLOCK_MS - 5000, CLOCK_MS, CLOCK_MS + ((1 << 28) - 1) * 1000]},
               flags=dict.fromkeys(range(3), Quality.TIME_RELATIVE))  # fmt: skip
    yield Case("B39-absolute", senml_record(measured(t=1 << 28)), rows=1, cells={"ts": [(1 << 28) * 1000]})
    yield Case("B39-other-types", senml_record(measured(), measured(n="d-1/open", v=None, vb=True),
                                               measured(n="d-1/state", v=None, vs="RUN"),
                                               measured(n="d-1/cars", u=None, v=4)),
               rows=1, cells={"open": [True], "state": ["RUN"], "cars": [4]})  # fmt: skip
    yield Case("B39-same-again", senml_record(measured(), measured(v=9)), rows=2, cells={"level": [1.5, 9.0]})
    for name, wrong in (
        ("no-value", {"v": None}), ("two-values", {"vs": "a"}), ("data", {"v": None, "vd": "AAAA"}),
        ("sum", {"v": None, "s": 1}), ("unit", {"u": "Pa"}), ("unit-type", {"u": 5}),
        ("base-text", {"bv": 1, "v": "2"}),
    ):  # fmt: skip
        pack = measured(), measured(n="d-1/temp_c", **wrong), measured(n="d-9/level")
        yield Case(f"B40-{name}", senml_record(*pack), rows=2, flaws={0: "senml_unresolved"}, said="SenML record 1")
    for name, wrong in (
        ("no-name", {"n": None}), ("no-field", {"n": "d-1"}), ("no-device", {"n": "/level"}), ("name-type", {"n": 5}),
        ("time-type", {"t": "now"}), ("time-wild", {"t": 1e308}),
    ):  # fmt: skip
        pack = measured(), measured(**wrong), measured(n="d-9/level")
        yield Case(f"B40-{name}", senml_record(*pack), flaws={1: "senml_unresolved"}, said="SenML record 1")
    for name, refused in (
        ("must-understand", measured(x_=1)), ("version", measured(bver=11)), ("version-type", measured(bver="10")),
        ("base-type", measured(bn=5)), ("base-time", measured(bt=True)), ("no-record", 5),
    ):  # fmt: skip
        yield Case(f"B40-{name}", senml_record(measured(), refused), "senml_unresolved", "SenML record 1")
    yield Case("B40-versions", senml_record(measured(bver=10), measured(bver=9)), "senml_unresolved", "bver 9")
    yield Case("B40-object", record(b"{}", SENML), "senml_unresolved", "array of records")


CASES = [case for group in (unreadable, values, envelopes, texts, senml) for case in group()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_input_gets_its_word_and_the_next_good_frame_is_decoded(case: Case) -> None:
    if case.refused:
        with pytest.raises(FrameError) as caught:
            taken(case.record, **case.where)
        assert caught.value.reason == case.refused, caught.value
        assert case.refused in FRAME_REASONS
        assert case.said in str(caught.value)
        assert caught.value.remedy
        assert str(caught.value).isprintable()
    else:
        check_decoded(case)
    assert taken(record(GOOD_ARROW, ARROW)).batch.to_pydict() == GOOD
    assert taken(record(GOOD_JSON, JSON)).batch.to_pydict() == GOOD
    assert taken(senml_record(measured())).batch["level"].to_pylist() == [1.5]


def check_decoded(case: Case) -> None:
    decoded = taken(case.record, **case.where)
    assert decoded.batch.num_rows == case.rows
    assert {flaw.row: flaw.reason for flaw in decoded.flaws} == case.flaws
    assert set(case.flaws.values()) <= set(ROW_REASONS)
    for flaw in decoded.flaws:
        assert flaw.message.startswith(f"{decoded.feed.id}/")
        assert flaw.message.isprintable()
    assert case.said in " ".join(flaw.message for flaw in decoded.flaws)
    flags = {} if decoded.flags is None else {row: Quality(bits) for row, bits in enumerate(decoded.flags) if bits}
    assert flags == case.flags
    for name, cells in case.cells.items():
        assert decoded.batch[name].to_pylist() == cells, name
    assert case.noted in " ".join(decoded.notes)
    assert bool(case.noted) == bool(decoded.notes)
    assert decoded.exact == case.exact


def test_ids_of_an_arrow_frame_are_judged_by_bad_ids() -> None:
    ids = ["d-1", "'; DROP TABLE", "\u202ed1"]
    batch = taken(arrow_record(with_cells(device=ids))).batch
    assert [(flaw.row, flaw.reason) for flaw in bad_ids(PROBE, batch)] == [(1, "bad_id"), (2, "bad_id")]
    assert [flaw.row for flaw in bad_ids(PROBE, batch, [0, 2])] == [2]
    assert "\\u202e" in bad_ids(PROBE, batch)[1].message
