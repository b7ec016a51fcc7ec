"""The frames of one feed in a batch, gathered into columns: aggregate once, split afterwards.

A call into Polars or NumPy costs the same for one row as for a thousand, so `admit` never works frame by
frame: it lays the frames of a batch end to end, judges all rows at once, and cuts the verdicts apart again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from pearlstream.errors import FrameError
from pearlstream.fold import Headers
from pearlstream.folds.checks import Verdicts, check_ranges, check_times, flag_zone_behind
from pearlstream.folds.devices import FORGOTTEN, REPEAT, RESTART, SUSPECT, DeviceTable, Ints
from pearlstream.folds.order import DeviceOrder
from pearlstream.folds.recent import names_of, said_of
from pearlstream.folds.rollup import CUT, code_column, time_columns
from pearlstream.frame import Decoded, bad_ids
from pearlstream.program import FeedProgram
from pearlstream.quality import COLUMNS as QUALITY_COLUMNS
from pearlstream.quality import Quality
from pearlstream.registry import Registry, static_type

PANE_MS = 10_000
NO_CLOCK = -1


@dataclass
class Item:
    """One record of the batch that is not a tick: what it decoded to, and where its rows stand."""

    offset: int
    key: bytes | None
    value: bytes
    clock: int
    frame: Decoded | None
    headers: Headers = ()
    fault: tuple[str, str, int] | None = None
    """Reason, message and rows seen, for a frame that is set aside whole."""
    cut: int = 0
    start: int = 0
    stop: int = 0
    accepted: int = 0
    bad: int = 0
    """Rows that are set aside."""
    dup: int = 0
    late: int = 0
    marked: int = 0
    """Rows that have a run above 0 or a quality flag."""

    def set_aside(self, error: FrameError) -> None:
        """Note why the frame as a whole cannot be used."""
        self.fault = (error.reason, str(error), error.rows)


@dataclass
class Gathered:
    """All rows of one feed in the batch, with the verdict on each.

    Made by `gather` out of frames, or by `pearlstream.folds.direct` out of readings that never were frames: those
    have no `items`, and their `device` (row in the device table), `places` and `cuts` are known beforehand.
    """

    program: FeedProgram
    items: list[Item]
    ts: Ints
    seq: Ints
    clock: Ints
    offset_ms: Ints
    verdicts: Verdicts
    fields: dict[str, pl.Series]
    """The measured fields on their grids."""
    device: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    places: pl.Series | None = None
    """City codes."""
    cuts: Ints | None = None
    repeat: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    run: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    late: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    by_device: DeviceOrder | None = None
    """The order of the accepted readings by device."""

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Rows that are accepted."""
        kept: NDArray[np.bool_] = (self.verdicts.reason == 0) & ~self.repeat
        return kept


def count(g: Gathered) -> None:
    """Note in each item how its rows fared."""
    starts, stops = np.array([(item.start, item.stop) for item in g.items], np.int64).reshape(-1, 2).T
    kept = g.kept

    def each(mask: NDArray[np.bool_]) -> list[int]:
        total = np.concatenate(([0], np.cumsum(mask)))
        found: list[int] = (total[stops] - total[starts]).tolist()
        return found

    bad = g.verdicts.reason != 0
    masks = (kept, bad, g.repeat & ~bad, g.late & kept, (g.run != 0) | (g.verdicts.qc != 0))
    for item, *found in zip(g.items, *map(each, masks), strict=True):
        item.accepted, item.bad, item.dup, item.late, item.marked = found


def gather(program: FeedProgram, items: Sequence[Item], offsets_ms: dict[str, int]) -> Gathered:
    """Lay the frames of one feed end to end and note what decoding found in them. `offsets_ms`: zone by city."""
    batches, at = [], 0
    for item in items:
        assert item.frame is not None
        batch = item.frame.batch
        batches.append(batch.select(program_columns(program)))
        item.start, at = at, at + batch.num_rows
        item.stop = at
    table = pa.Table.from_batches(batches).combine_chunks()
    clock = np.empty(at, np.int64)
    offset = np.empty(at, np.int64)
    verdicts = Verdicts(at)
    for item in items:
        here = slice(item.start, item.stop)
        clock[here] = item.clock
        assert item.frame is not None
        offset[here] = offsets_ms[item.frame.city]
        if item.frame.flags is not None:
            verdicts.qc[here] |= item.frame.flags
        for flaw in item.frame.flaws:
            verdicts.set_aside_row(item.start + flaw.row, flaw.reason, flaw.message)
    ts = table["ts"].fill_null(0).to_numpy()
    seq_column = table["seq"]
    seq = seq_column.fill_null(2**63).to_numpy()
    large = (seq > 2**63 - 1) & seq_column.is_valid().to_numpy()
    verdicts.set_aside(large, "integer_range", f"{program.feed.id}/seq: above 2^63-1; start the sequence at 0")
    signed = np.where(seq > 2**63 - 1, -1, seq.astype(np.int64, copy=False))
    fields = quantised(program, {name: _series(table[name]) for name in program.feed.fields})
    return Gathered(program, list(items), ts, signed, clock, offset, verdicts, fields)


def _series(column: Any) -> pl.Series:
    series = pl.from_arrow(column)
    assert isinstance(series, pl.Series)
    return series


def program_columns(program: FeedProgram) -> list[str]:
    """The columns of a frame that are read on: all that the feed declares."""
    return ["device", "ts", "seq", *program.feed.fields]


def judge(g: Gathered, devices: DeviceTable) -> None:
    """Judge every row: time, range, identity; note accepted readings in `devices`, and the label `late`."""
    feed = g.program.feed
    v = g.verdicts
    check_times(v, feed.id, g.ts, g.clock, g.offset_ms)
    numeric = {n: g.fields[n].to_numpy() for n, s in feed.fields.items() if s.type in ("float", "int")}
    check_ranges(v, feed.id, feed.fields, numeric)
    if g.items:
        _find_devices(g, devices)
    sound = np.flatnonzero(v.reason == 0)
    boots = _boots(g)
    named = [boots[at] for at in sound.tolist()] if boots is not None else None
    by_device = DeviceOrder.of(g.device[sound])
    identity = devices.identify(g.device[sound], g.seq[sound], g.ts[sound], g.clock[sound], named, by_device)
    g.run = np.zeros(v.rows, np.uint32)
    g.run[sound] = identity.run
    verdict = np.zeros(v.rows, np.uint8)
    verdict[sound] = identity.verdict
    v.qc[verdict == RESTART] |= np.uint32(Quality.SEQ_RESTART)
    v.set_aside(
        verdict == FORGOTTEN,
        "dedup_window_exceeded",
        f"{feed.id}/seq: too many gaps to tell whether it came before; state `boot`, or send in order",
    )
    v.set_aside(
        verdict == SUSPECT,
        "dup_suspect",
        f"{feed.id}/seq: more than 50 repeats in a row; if the device restarted, state `boot` and redrive these",
    )
    g.repeat = verdict == REPEAT
    _find_conflicts(g, devices, sound, by_device)
    unbroken = np.zeros(v.rows, bool)
    unbroken[sound] = identity.unbroken
    flag_zone_behind(v, unbroken, g.ts, g.clock, g.offset_ms)
    kept = g.kept
    g.by_device = by_device.only(kept[sound])
    _watch(g, devices, np.flatnonzero(kept))
    g.late = (g.clock >= 0) & ((g.ts // PANE_MS + 1) * PANE_MS + feed.hold_s * 1000 < g.clock)


def _find_conflicts(g: Gathered, devices: DeviceTable, sound: Ints, by_device: DeviceOrder) -> None:
    """Set aside the repeats that say something else than the reading did that they repeat."""
    name = names_of(g.seq[sound], g.ts[sound], g.run[sound])
    said = said_of(g.ts[sound], {field: taken(series, sound) for field, series in g.fields.items()})
    conflict = devices.recent.conflicts(by_device, name, said, g.kept[sound], g.repeat[sound])
    found = np.zeros(g.verdicts.rows, bool)
    found[sound] = conflict
    g.repeat &= ~found
    g.verdicts.set_aside(
        found,
        "seq_conflict",
        f"{g.program.feed.id}/seq: the device has used this number just before, with another time or other values, and "
        "the first counts; are there two devices of one name, or does its counter stand still?",
    )


def _watch(g: Gathered, devices: DeviceTable, kept: Ints) -> None:
    """Set the flags that need a device's past; only what is accepted becomes part of it."""
    watch = devices.watch
    columns = {name: g.fields[name].cast(pl.Float64).to_numpy()[kept] for name in watch.fields}
    g.verdicts.qc[kept] |= watch.flags(g.device[kept], g.ts[kept], g.clock[kept], columns, g.by_device)


def _boots(g: Gathered) -> list[str | None] | None:
    """The life that each reading's device names, by column or for the whole frame; None if no frame names any."""
    frames = [item.frame for item in g.items if item.frame is not None]
    if not any(frame.boot or "boot" in frame.batch.schema.names for frame in frames):
        return None
    boots: list[str | None] = []
    for frame in frames:
        batch = frame.batch
        own = batch.column("boot").to_pylist() if "boot" in batch.schema.names else [None] * batch.num_rows
        boots += [one or frame.boot for one in own]
    return boots if any(boots) else None


def quantised(program: FeedProgram, raw: Mapping[str, pl.Series]) -> dict[str, pl.Series]:
    """The measured fields on their grids: floats are rounded to the declared decimals before anything is summed."""
    made: dict[str, pl.Series] = {}
    for name, spec in program.feed.fields.items():
        series = raw[name]
        if spec.type == "float":
            scale = 10.0**spec.decimals
            values = np.floor(series.to_numpy() * scale + 0.5) / scale
            series = pl.Series(name, values, nan_to_null=True)
        made[name] = series
    return made


def _find_devices(g: Gathered, devices: DeviceTable) -> None:
    """The row of every reading's device in the table; devices met for the first time are checked and added."""
    g.device = np.full(g.verdicts.rows, -1, np.int64)
    cities: dict[str, list[Item]] = {}
    for item in g.items:
        assert item.frame is not None
        cities.setdefault(item.frame.city, []).append(item)
    for city, items in cities.items():
        names = pa.chunked_array([item.frame.batch.column(0) for item in items if item.frame]).combine_chunks()
        words = names.dictionary_encode()
        distinct = words.dictionary.to_pylist()
        codes = words.indices.fill_null(len(distinct)).to_numpy()
        rows = np.append(devices.rows_of(city, distinct), -1)[codes]
        places = np.concatenate([np.arange(item.start, item.stop) for item in items])
        if (rows < 0).any():
            _meet(g, devices, city, names, places, np.flatnonzero(rows < 0))
            rows = np.append(devices.rows_of(city, distinct), -1)[codes]
        g.device[places] = rows


def _meet(g: Gathered, devices: DeviceTable, city: str, names: Any, places: Ints, strange: Ints) -> None:
    """Check the ids of readings (`strange`, among those at `places`) whose devices are not known; add the good."""
    for flaw in bad_ids(g.program.feed, names, strange.tolist()):
        g.verdicts.set_aside_row(int(places[flaw.row]), flaw.reason, flaw.message)
    sound = strange[g.verdicts.reason[places[strange]] == 0]
    devices.add(city, names.take(pa.array(sound)).to_pylist())


def measured_rows(g: Gathered, devices: DeviceTable, statics: pl.DataFrame) -> pl.DataFrame:
    """The accepted rows with every column that the feed's measures read, and the number of their cut."""
    kept = np.flatnonzero(g.kept)
    names = g.program.columns
    feed = g.program.feed
    places, cuts = _places_and_cuts(g)
    ts, clock, device = g.ts[kept], g.clock[kept], g.device[kept]
    columns: dict[str, pl.Series] = {
        "city": taken(places, kept),
        "ts": pl.Series(ts),
        "clock": pl.Series(np.where(clock < 0, ts, clock)),
        "late": pl.Series(g.late[kept]),
        CUT: pl.Series(cuts[kept]),
    }
    columns |= {name: taken(series, kept) for name, series in g.fields.items() if name in names}
    columns |= {name: statics[name][device] for name in statics.columns if name in names}
    if "device" in names:
        columns["device"] = pl.Series([devices.names[row][1] for row in device], dtype=pl.String)
    columns |= time_columns(names, ts, clock, g.offset_ms[kept])
    for name, words in feed.words.items():
        if f"{name}_code" in names:
            source = taken(g.fields[name], kept) if name in g.fields else statics[name][device]
            columns[f"{name}_code"] = code_column(words, source)
    for which, length in enumerate(g.program.pane_lengths_s):
        first = devices.first_in_pane(which, device, ts // (length * 1000), g.by_device)
        columns[f"first_in_pane_{length}"] = pl.Series(first)
    for name in names & QUALITY_COLUMNS.keys():
        columns[name] = pl.Series((g.verdicts.qc[kept] & np.uint32(QUALITY_COLUMNS[name])) != 0)
    for mask in g.program.masks:
        columns[f"unflagged_{mask}"] = pl.Series((g.verdicts.qc[kept] & np.uint32(mask)) == 0)
    return pl.DataFrame(columns)


def taken(series: pl.Series, rows: Ints) -> pl.Series:
    """Some rows of a series; given in rising order, so that all of them are the series itself."""
    return series if len(rows) == len(series) else series[rows]


def _places_and_cuts(g: Gathered) -> tuple[pl.Series, Ints]:
    """The city of every row, and the number of its cut."""
    if g.places is not None and g.cuts is not None:
        return g.places, g.cuts
    sizes = [item.stop - item.start for item in g.items]
    cities = pl.Series([item.frame.city for item in g.items if item.frame is not None], dtype=pl.String)
    cuts = np.repeat(np.array([item.cut for item in g.items], np.int64), sizes)
    return cities[np.repeat(np.arange(len(sizes)), sizes)], cuts


def static_columns(program: FeedProgram, devices: DeviceTable, registry: Registry) -> pl.DataFrame:
    """The registry's columns that the feed's measures read, one row per row of the device table."""
    wanted = ["zone", "site", *program.feed.static]
    names = [n for n in wanted if n in program.columns or f"{n}_code" in program.columns]
    known = pl.DataFrame(devices.names, schema={"city": pl.String, "device": pl.String}, orient="row")
    parts = [
        part.select(pl.lit(key.city).alias("city"), "device", *names)
        for key, part in registry.parts.items()
        if key.feed == program.feed.id
    ]
    if not parts:
        types = {name: static_type(spec.type) for name, spec in program.feed.static.items()}
        return known.with_columns(pl.lit(None, dtype=types.get(n, pl.String())).alias(n) for n in names).select(names)
    return known.join(pl.concat(parts), on=["city", "device"], how="left", maintain_order="left").select(names)
