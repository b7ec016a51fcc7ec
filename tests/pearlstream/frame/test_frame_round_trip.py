"""What is written is read back, in all encodings, whatever the readings."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pytest
from frame_builders import (
    CITIES,
    CLOCK_MS,
    FEEDS,
    GOOD,
    METER,
    PROBE,
    arrow,
    arrow_record,
    json_record,
    record,
    stream,
    taken,
    with_cells,
)
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.errors import FrameError
from pearlstream.frame import (
    ARROW,
    JSON,
    SENML,
    accepted_schema,
    canonical_schema,
    decode,
    encode_arrow,
    encode_batch,
    encode_json_columns,
    encode_json_reading,
    encode_senml,
    read_accepted,
)
from pearlstream.frame.text import clean

floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(1 << 63), (1 << 63) - 1)
texts = st.text(max_size=40).map(clean).filter(lambda text: len(text.encode()) <= 256)
times = st.integers((1 << 28) * 1000, 4_000_000_000_000)
ids = st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)
readings = st.fixed_dictionaries(
    {
        "device": ids,
        "ts": times,
        "seq": st.none() | st.integers(0, (1 << 64) - 1),
        "level": floats,
        "temp_c": st.none() | floats,
        "cars": st.none() | integers,
        "open": st.none() | st.booleans(),
        "state": st.none() | st.sampled_from(["RUN", "IDLE"]),
        "note": st.none() | texts,
    }
)
frames = st.lists(readings, max_size=12).map(lambda rows: {name: [row[name] for row in rows] for name in GOOD})


@given(frames)
def test_arrow_is_read_back_and_may_be_sent_on(columns: dict[str, list[Any]]) -> None:
    value = encode_arrow(PROBE, columns)
    decoded = taken(record(value, ARROW))
    assert decoded.batch.schema == canonical_schema(PROBE)
    assert decoded.batch.to_pydict() == columns
    assert decoded.exact
    assert not decoded.flaws
    assert decoded.flags is None
    assert read_accepted(PROBE, value).to_pydict() == columns | {
        name: [0] * len(columns["ts"]) for name in ("run", "qc")
    }


@given(frames)
def test_columnar_json_is_read_back(columns: dict[str, list[Any]]) -> None:
    decoded = taken(record(encode_json_columns(PROBE, "440300", columns), None, schema=""))
    assert decoded.batch.to_pydict() == columns
    assert decoded.batch.schema == canonical_schema(PROBE)
    assert not decoded.exact
    assert not decoded.flaws


@given(readings)
def test_one_reading_as_json_is_read_back(reading: dict[str, Any]) -> None:
    decoded = taken(record(encode_json_reading(PROBE, "440300", reading), JSON))
    assert decoded.batch.to_pylist() == [reading]


@given(frames)
def test_senml_is_read_back_but_for_the_sequence(columns: dict[str, list[Any]]) -> None:
    decoded = taken(record(encode_senml(PROBE, columns), SENML))
    assert decoded.batch.to_pydict() == columns | {"seq": [None] * len(columns["ts"])}
    assert not decoded.flaws


@pytest.mark.parametrize("rows", [0, 1, 500])
def test_arrow_is_written_as_arrow_itself_would(rows: int) -> None:
    batch = pa.RecordBatch.from_pylist(
        [{"device": "d", "ts": n, "seq": n} for n in range(rows)], canonical_schema(PROBE)
    )
    assert encode_batch(batch) == stream(batch.schema, [batch])


def test_columns_may_be_numpy_arrow_or_lists() -> None:
    level = np.ma.MaskedArray([1.5, 9.0, 2.5], mask=[False, True, False])
    columns = {
        "device": np.array(["a", "b", "c"]),
        "ts": np.arange(3),
        "seq": np.arange(3),
        "level": level,
        "cars": pa.array([1, None, 3], pa.int32()),
        "open": np.array([True, False, True]),
        "boot": ["x", "x", None],
    }
    batch = taken(record(encode_arrow(PROBE, columns), ARROW)).batch
    assert batch.schema.names == [*canonical_schema(PROBE).names, "boot"]
    assert batch.to_pydict() == {
        "device": ["a", "b", "c"], "ts": [0, 1, 2], "seq": [0, 1, 2], "level": [1.5, None, 2.5], "temp_c": [None] * 3,
        "cars": [1, None, 3], "open": [True, False, True], "state": [None] * 3, "note": [None] * 3,
        "boot": ["x", "x", None],
    }  # fmt: skip
    again = taken(record(encode_json_columns(PROBE, "440300", columns), JSON)).batch
    assert again.to_pydict() == batch.to_pydict()


def test_nan_stays_nan_in_arrow_and_is_left_out_elsewhere() -> None:
    columns = with_cells(level=np.array([1.0, np.nan, 3.0]))
    assert [flaw.reason for flaw in taken(record(encode_arrow(PROBE, columns), ARROW)).flaws] == ["not_finite"]
    for kind, value in ((JSON, encode_json_columns(PROBE, "440300", columns)), (SENML, encode_senml(PROBE, columns))):
        assert [flaw.reason for flaw in taken(record(value, kind)).flaws] == ["null_required"]


def test_a_column_that_the_feed_does_not_have_is_not_written() -> None:
    with pytest.raises(ValueError, match="humidity"):
        encode_arrow(PROBE, GOOD | {"humidity": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"(?i)length"):
        encode_arrow(PROBE, GOOD | {"level": [1.0]})


def test_what_other_libraries_write_is_read_but_not_sent_on() -> None:
    frame = pl.DataFrame(GOOD).with_columns(pl.col("ts").cast(pl.Datetime("ms", "UTC")))
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    decoded = taken(record(stream(table.schema, table.to_batches()), ARROW))
    assert decoded.batch.to_pydict() == GOOD
    assert decoded.batch.schema == canonical_schema(PROBE)
    assert not decoded.exact


@pytest.mark.parametrize("narrow", [pa.int8(), pa.uint16(), pa.int32(), pa.int64(), pa.uint64()], ids=str)
def test_integers_of_any_width_are_read_for_numbers(narrow: Any) -> None:
    cells = with_cells(level=[1, 2, 3], cars=[3, None, 5], seq=[1, 2, 3])
    decoded = taken(arrow_record(cells, level=narrow, cars=narrow, seq=narrow))
    assert decoded.batch.to_pydict() == cells
    assert not decoded.flaws


def test_several_batches_are_one_frame() -> None:
    batch = pa.RecordBatch.from_pydict(GOOD, canonical_schema(PROBE))
    decoded = taken(record(stream(batch.schema, [batch.slice(0, 1), batch.slice(1)]), ARROW))
    assert decoded.batch.to_pydict() == GOOD
    assert not decoded.exact
    with pytest.raises(FrameError, match="more than 64 batches"):
        taken(record(stream(batch.schema, [batch.slice(0, 0)] * 65), ARROW))


def test_columns_in_another_order_may_be_sent_on_as_they_are() -> None:
    value = arrow({name: GOOD[name] for name in reversed(GOOD)})
    decoded = taken(record(value, ARROW))
    assert decoded.exact
    assert decoded.batch.to_pydict() == GOOD
    assert read_accepted(PROBE, value).select(canonical_schema(PROBE).names).equals(decoded.batch)


def test_a_frame_with_run_and_qc_of_its_own_is_never_sent_on_as_it_is() -> None:
    batch = pa.RecordBatch.from_pydict(GOOD | {"run": [0] * 3, "qc": [0] * 3}, accepted_schema(PROBE))
    assert not taken(record(encode_batch(batch), ARROW)).exact
    assert read_accepted(PROBE, encode_batch(batch)).equals(batch)
    assert read_accepted(PROBE, b"").num_rows == 0


def test_scalars_stand_for_all_readings_of_a_json_frame() -> None:
    body = {
        "feed": "town.probe@2",
        "city": "440300",
        "device": "d-1",
        "ts": [1, 2],
        "seq": [1, 2],
        "level": 0,
        "boot": "b",
    }
    decoded = taken(json_record(body))
    assert decoded.batch["device"].to_pylist() == ["d-1", "d-1"]
    assert decoded.batch["level"].to_pylist() == [0.0, 0.0]
    assert decoded.batch["boot"].to_pylist() == ["b", "b"]


def test_the_feed_of_a_json_frame_may_stand_in_its_body() -> None:
    body = {"feed": METER.id, "city": "440300", "device": "m-1", "ts": 5, "seq": 1, "flow": 2.5}
    decoded = taken(record(orjson.dumps(body), None, schema=""))
    assert decoded.feed is METER
    assert decoded.batch.to_pylist() == [{"device": "m-1", "ts": 5, "seq": 1, "flow": 2.5}]


def test_a_relative_time_before_the_first_tick_cannot_be_resolved() -> None:
    pack = record(orjson.dumps([{"n": "d-1/level", "v": 1}]), SENML)
    assert [flaw.reason for flaw in decode(pack, FEEDS, CITIES, None).flaws] == ["senml_unresolved"]
    assert decode(pack, FEEDS, CITIES, CLOCK_MS).batch["ts"].to_pylist() == [CLOCK_MS]
