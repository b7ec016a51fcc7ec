"""Builders: a feed with a field of every type, good readings of it, and frames of them in a line."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa

from pearlstream.catalogue.models import Feed, FieldSpec, Name
from pearlstream.fold import Record
from pearlstream.frame import ARROW, JSON, SENML, Decoded, canonical_schema, decode

SHENZHEN = b"440300"
CITIES = {"440300", "440100", "810000"}
CLOCK_MS = 1_773_100_800_000
PROBE = Feed(
    id="town.probe",
    version=2,
    name=Name(en="Probe", zh="探头"),
    device="a device with a field of every type",
    cadence_s=10,
    seq="optional",
    fields={
        "level": FieldSpec(unit="m", required=True),
        "temp_c": FieldSpec(unit="Cel"),
        "cars": FieldSpec(type="int", unit="pcs"),
        "open": FieldSpec(type="bool"),
        "state": FieldSpec(type="enum", values=("RUN", "IDLE")),
        "note": FieldSpec(type="text"),
    },
)
METER = Feed(
    id="town.meter", name=Name(en="Meter", zh="表"), device="a meter that counts its messages", cadence_s=60,
    seq="required", fields={"flow": FieldSpec(unit="m3/h")},
)  # fmt: skip
FEEDS = {feed.id: feed for feed in (PROBE, METER)}

GOOD: dict[str, list[Any]] = {
    "device": ["d-1", "d-2", "d-1"],
    "ts": [CLOCK_MS - 2000, CLOCK_MS - 1500, CLOCK_MS - 1],
    "seq": [7, 1, 8],
    "level": [1.5, 0.0, -2.25],
    "temp_c": [21.5, None, 22.0],
    "cars": [3, 0, None],
    "open": [True, False, None],
    "state": ["RUN", "IDLE", None],
    "note": ["fine", "", None],
}
"""Three readings of PROBE."""


def record(value: bytes | None, content_type: str | None, *, key: bytes | None = SHENZHEN, **headers: str) -> Record:
    """A record with the headers of a frame of PROBE; `schema=""` leaves the schema out, `a_b` is header a-b."""
    given = {"content-type": content_type or "", "schema": PROBE.schema, "gateway": "gw-1", "sent-ms": "1773100800123"}
    given |= {name.replace("_", "-"): text for name, text in headers.items()}
    return Record(0, key, value, tuple((name, text.encode()) for name, text in given.items() if text))


def arrow(columns: dict[str, Any], options: Any = None, **types: Any) -> bytes:
    """Columns as an Arrow stream, written by pyarrow alone. `types`: Arrow types other than the canonical ones."""
    canonical = {field.name: field.type for field in canonical_schema(PROBE)}
    arrays = {
        name: cells if isinstance(cells, pa.Array) else pa.array(cells, types.get(name, canonical.get(name)))
        for name, cells in columns.items()
    }
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))
    return stream(batch.schema, [batch], options)


def stream(schema: Any, batches: list[Any], options: Any = None) -> bytes:
    """Batches as an Arrow stream, written by pyarrow alone."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def arrow_record(columns: dict[str, Any], **kwargs: Any) -> Record:
    """A frame of PROBE in Arrow."""
    return record(arrow(columns, **kwargs), ARROW)


def json_record(columns: dict[str, Any], **headers: str) -> Record:
    """A frame of PROBE in JSON."""
    return record(orjson.dumps(columns), JSON, **headers)


def senml_record(*pack: Any) -> Record:
    """A frame of PROBE in SenML."""
    return record(orjson.dumps(list(pack)), SENML)


def measured(**fields: Any) -> dict[str, Any]:
    """One SenML record: level 1.5 m of device d-1 at the clock, but for what is given (None leaves a key out)."""
    given = {"n": "d-1/level", "u": "m", "v": 1.5, "t": CLOCK_MS / 1000} | fields
    return {key: value for key, value in given.items() if value is not None}


def with_cells(**cells: Any) -> dict[str, list[Any]]:
    """The good readings, but for whole columns; `None` leaves a column out."""
    return {name: column for name, column in (GOOD | cells).items() if column is not None}


def taken(given: Record, **kwargs: Any) -> Decoded:
    """Decode with the feeds, cities and clock of these builders."""
    return decode(given, FEEDS, CITIES, CLOCK_MS, **kwargs)
