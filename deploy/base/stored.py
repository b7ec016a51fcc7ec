"""History from the store: the partials of the last weeks once more through `indicate`, with other formulas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from pearlstream.catalogue.bases import HOUR_MS, Ordinary
from pearlstream.catalogue.models import Feed
from pearlstream.errors import ServiceError
from pearlstream.fold import InProcess, Record, headers_of
from pearlstream.folds.cluster import Cluster
from pearlstream.folds.indicate import Indicate
from pearlstream.folds.rollup import PARTIAL_ARROW, encode_partials
from pearlstream.learn import LATEST_WEEKS, WEEK_MS, Learnable, medians, units_in
from pearlstream.measures import MeasureKind
from pearlstream.position import Position, Source
from pearlstream.program import compile_catalogue
from pearlstream.registry import COLUMNS, RegistryBook, encode_devices, static_type
from pearlstream.store import Store

NEWEST = "SELECT toUnixTimestamp64Milli(max(pane_ms)) FROM {db:Identifier}.rollups"

PARTIALS = """
SELECT feed, city, dims, toUnixTimestamp64Milli(pane_ms), pane_len_s, measure, key, v_sum, v_min, v_max, n, late
FROM {db:Identifier}.rollups_v
WHERE pane_ms >= fromUnixTimestamp64Milli({from_ms:Int64}) AND pane_ms < fromUnixTimestamp64Milli({until_ms:Int64})
  AND measure IN {measures:Array(String)}
"""

DEVICES = """
SELECT device, zone, site, lon, lat, cadence_s, toUnixTimestamp64Milli(from_ms), toUnixTimestamp64Milli(until_ms),
  toUnixTimestamp64Milli(calibrated_ms), origin, attrs
FROM {db:Identifier}.devices_v WHERE feed = {feed:String} AND city = {city:String} ORDER BY device
"""

CITIES = "SELECT DISTINCT city FROM {db:Identifier}.devices_v WHERE feed = {feed:String} ORDER BY city"


def learn_from_store(what: Learnable, store: Store) -> list[Ordinary]:
    """Bases of the latest weeks in the store, as their readings came: late ones count. Raises ServiceError."""
    ((newest,),) = store.query(NEWEST, {"db": store.database})
    if not newest:
        raise ServiceError("the store holds no rollups", remedy="let the pipeline run first, or use --scenario")
    from_ms = max(0, (int(newest) - LATEST_WEEKS * WEEK_MS) // HOUR_MS * HOUR_MS)
    book = RegistryBook(what.catalogue.feeds)
    book.add(list(_devices(what, store)))
    rows = _rows(what, store, book, from_ms, int(newest) + 1)
    return medians(rows, what, units_in(book.last, what.programs, what.wanted)) if not rows.is_empty() else []


def _devices(what: Learnable, store: Store) -> Iterator[bytes]:
    """The devices of each feed and city, as records of the registry."""
    for name in what.feeds:
        feed = what.catalogue.feeds[name]
        for (city,) in store.query(CITIES, {"db": store.database, "feed": name}):
            if city in what.catalogue.cities:
                found = store.query(DEVICES, {"db": store.database, "feed": name, "city": city})
                yield encode_devices(feed, str(city), _frame(feed, found))


def _frame(feed: Feed, found: Iterable[Any]) -> pl.DataFrame:
    rows = [
        [*row[:-1], *(_static(row[-1].get(name), spec.type) for name, spec in feed.static.items())] for row in found
    ]
    names = {**COLUMNS, **{name: static_type(spec.type) for name, spec in feed.static.items()}}
    asked = ["device", "zone", "site", "lon", "lat", "cadence_s", "from_ms", "until_ms", "calibrated_ms", "origin"]
    schema = {name: names[name] for name in (*asked, *feed.static)}
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False)


def _static(text: str | None, kind: str) -> Any:
    """A static field as the registry holds it; the store keeps it as text."""
    if text is None:
        return None
    if kind == "bool":
        return text in ("True", "true", "1")
    return float(text) if kind == "float" else int(text) if kind == "int" else text


def _rows(what: Learnable, store: Store, book: RegistryBook, from_ms: int, until_ms: int) -> pl.DataFrame:
    """Indicator rows of the learnable catalogue: a tick per hour, with the partials of that hour before it."""
    program = compile_catalogue(what.catalogue)
    stages = (Indicate(program, book, provisional=False), Cluster(program, book, provisional=False))
    folds: list[InProcess[Any]] = [InProcess(stage, Source("store", 0)) for stage in stages]
    source = Source("rollups", 0)
    hold_ms = max(one.hold_ms for one in program.indicators)
    frames: list[pl.DataFrame] = []
    for number, at_ms in enumerate(range(from_ms, until_ms + 2 * HOUR_MS, HOUR_MS)):
        partials = _partials(what, program.kinds, store, at_ms - HOUR_MS, at_ms) if number else b""
        facts: dict[str, str | int] = {
            "from": str(Position(source, number - 1, number)),
            "clock": at_ms + hold_ms + 1,
            "registry": book.last.version,
        }
        record = Record(number, None, partials, headers_of(facts))
        for output in (output for fold in folds for output in fold.feed([record])):
            frame = pl.from_arrow(pa.ipc.open_stream(output.value).read_all())
            assert isinstance(frame, pl.DataFrame)
            frames.append(frame.filter(pl.col("value").is_not_null()))
    return pl.concat(frames) if frames else pl.DataFrame()


def _partials(what: Learnable, kinds: dict[str, MeasureKind], store: Store, from_ms: int, until_ms: int) -> bytes:
    """What the store holds of an hour, under the names of the learnable catalogue.

    Bases of one indicator share its measures, so each of their copies gets them.
    """
    aliases: dict[str, list[str]] = {}
    for measure in kinds:
        id_, _, name = measure.partition(".")
        own = f"{what.wanted[id_].indicator}.{name}" if id_ in what.wanted else measure
        aliases.setdefault(own, []).append(measure)
    span = {"from_ms": from_ms, "until_ms": until_ms, "measures": list(aliases)}
    value_of = {MeasureKind.SUM: 7, MeasureKind.MAP: 7, MeasureKind.MIN: 8, MeasureKind.MAX: 9}
    rows = [
        (
            row[0], row[1], row[2], int(row[3]), int(row[4]), alias,
            int(row[6]) if kinds[alias] is MeasureKind.MAP else None,
            int(row[value_of[kinds[alias]]]), int(row[10]), bool(row[11]),
        )
        for row in store.query(PARTIALS, {"db": store.database, **span})
        for alias in aliases[row[5]]
    ]  # fmt: skip
    if not rows:
        return b""
    schema = pl.Schema(pl.DataFrame(PARTIAL_ARROW.empty_table()).schema)
    return encode_partials(pl.DataFrame(rows, schema=schema, orient="row"))
