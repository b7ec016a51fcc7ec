"""Gateways: readings in order of arrival, cut into frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pearlstream.catalogue.models import Feed
from pearlstream.frame import ARROW, JSON, SENML, canonical_schema, encode_batch, encode_json_columns, encode_senml
from producers.simulator.chance import Ints
from producers.simulator.columns import Coded, Column
from producers.simulator.fleet import Fleet
from producers.simulator.plan import Encoding
from producers.simulator.rows import Rows

MAX_BYTES = 900_000
"""Frames are cut so that they stay below this, whatever their encoding."""
_BLOAT = {ARROW: 1, JSON: 3, SENML: 16}
"""Bytes of an encoding over those of Arrow, at most."""
_ROTATION = (ARROW, JSON, SENML)


@dataclass(frozen=True)
class Frame:
    """What a gateway sends at `close_ms` of event time: readings of one feed and city, not encoded yet.

    `repeats`: how many of the rows were sent before.
    """

    feed: Feed
    city: str
    gateway: str
    content_type: str
    close_ms: int
    rows: int
    repeats: int
    batch: Any
    """The readings as an Arrow record batch with the feed's canonical columns."""

    def payload(self) -> bytes:
        """The value of the record."""
        if self.content_type == ARROW:
            return encode_batch(self.batch)
        columns = {name: self.batch.column(name) for name in self.batch.schema.names}
        given = {name: values.to_pylist() for name, values in columns.items() if values.null_count < len(values)}
        if self.content_type == JSON:
            return encode_json_columns(self.feed, self.city, given)
        return encode_senml(self.feed, given)


class Gateways:
    """The gateways of one feed."""

    def __init__(self, fleet: Fleet, encoding: Encoding) -> None:
        self.fleet = fleet
        self._schema = canonical_schema(fleet.feed)
        self._ids = pa.array(fleet.ids.tolist(), type=pa.string())
        self._frame_ms = max(1, round(fleet.feed.framing.seconds * 1000))
        self._types = [_content_type(fleet.feed, encoding, index) for index in range(len(fleet.gateways))]

    def frames(self, rows: Rows, from_ms: int, until_ms: int) -> Iterator[Frame]:
        """The frames that close in (from_ms, until_ms], gateway by gateway; the last of each closes at its end."""
        gateway = self.fleet.gateway[rows.device]
        slot = (rows.arrival_ms - from_ms) // self._frame_ms
        order = np.lexsort((np.arange(len(rows)), rows.arrival_ms, slot, gateway))
        rows, gateway, slot = rows.take(order), gateway[order], slot[order]
        batch = self._batch(rows)
        most_rows = {kind: self._most_rows(batch, kind) for kind in set(self._types)}
        cuts = np.flatnonzero((gateway[1:] != gateway[:-1]) | (slot[1:] != slot[:-1])) + 1
        ends = np.r_[cuts, len(rows)]
        for start, end in zip(np.r_[0, cuts].tolist(), ends.tolist(), strict=True):
            way = int(gateway[start])
            most = most_rows[self._types[way]]
            due = min(until_ms, from_ms + (int(slot[start]) + 1) * self._frame_ms)
            for at in range(start, end, most):
                upto = min(end, at + most)
                full = upto - at == most
                close_ms = min(due, int(rows.arrival_ms[upto - 1])) if full else due
                yield self._frame(batch, rows, way, at, upto, close_ms)

    def _frame(self, batch: Any, rows: Rows, way: int, at: int, upto: int, close_ms: int) -> Frame:
        name, city = self.fleet.gateways[way]
        return Frame(
            feed=self.fleet.feed,
            city=self.fleet.cities[city].id,
            gateway=name,
            content_type=self._types[way],
            close_ms=close_ms,
            rows=upto - at,
            repeats=int(np.count_nonzero(rows.repeat[at:upto])),
            batch=batch.slice(at, upto - at),
        )

    def _most_rows(self, batch: Any, content_type: str) -> int:
        a_row = max(1, int(batch.nbytes) // len(batch)) * _BLOAT[content_type]
        return max(1, min(self.fleet.feed.framing.rows, MAX_BYTES // a_row))

    def _batch(self, rows: Rows) -> Any:
        """The readings with the feed's canonical columns; what is not simulated is null."""
        given: dict[str, Any] = {
            "device": self._ids.take(pa.array(rows.device)),
            "ts": pa.array(rows.ts_ms),
            "seq": _seq(self.fleet.feed, rows.seq),
        }
        arrays = []
        for field in self._schema:
            if field.name in given:
                arrays.append(given[field.name])
            elif field.name in rows.values:
                arrays.append(_array(rows.values[field.name], field.type))
            else:
                arrays.append(pa.nulls(len(rows), field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _seq(feed: Feed, seq: Ints) -> Any:
    if feed.seq == "none":
        return pa.nulls(len(seq), pa.uint64())
    return pa.array(seq.astype(np.uint64))


def _array(column: Column, kind: Any) -> Any:
    if isinstance(column, Coded):
        return pa.array(list(column.words), type=kind).take(pa.array(column.codes))
    return pa.array(column, type=kind)


def _content_type(feed: Feed, encoding: Encoding, index: int) -> str:
    """Every gateway speaks one encoding; where they are mixed, they take turns.

    SenML knows no sequence numbers: feeds that require them are sent as JSON instead.
    """
    chosen = _ROTATION[index % 3] if encoding == "mixed" else {"arrow": ARROW, "json": JSON, "senml": SENML}[encoding]
    return JSON if chosen == SENML and feed.seq == "required" else chosen


def in_order(frames: Sequence[Frame]) -> list[Frame]:
    """Frames of all feeds in the order in which their gateways close them."""
    return sorted(frames, key=lambda frame: (frame.close_ms, frame.feed.id, frame.gateway))
