"""A device table as JSON and columns, for the snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pearlstream.folds.devices import DeviceTable, Irregular, OldRun
from pearlstream.folds.ranges import Ranges
from pearlstream.folds.recent import DEPTH, Recent

Columns = dict[str, NDArray[Any]]


def pack_table(table: DeviceTable) -> tuple[dict[str, Any], Columns]:
    """JSON-able part and columns of a table."""
    size = len(table.names)
    meta: dict[str, Any] = {
        "cities": {city: list(names) for city, names in table.index.items()},
        "irregular": {
            row: [_ranges(s.ranges), [[o.run, o.until_ms, _ranges(o.ranges)] for o in s.old], s.repeats, s.boots]
            for row, s in table.irregular.items()
        },
        "stamps": {row: sorted(seen) for row, seen in table.stamps.items()},
        "pane_gaps": [{row: _ranges(r) for row, r in gaps.items()} for gaps in table.pane_gaps],
    }
    columns: Columns = {
        "rows": np.array([row for names in table.index.values() for row in names.values()], np.int64),
        "top": table.top[:size],
        "base": table.base[:size],
        "ts_top": table.ts_top[:size],
        "run": table.run[:size],
    }
    columns |= {f"pane_top{i}": column[:size] for i, column in enumerate(table.pane_top)}
    columns |= {f"pane_base{i}": column[:size] for i, column in enumerate(table.pane_base)}
    columns |= {"recent_name": table.recent.name[:size].ravel(), "recent_said": table.recent.said[:size].ravel()}
    columns["recent_taken"] = table.recent.taken[:size]
    columns |= {f"watch/{name}": column for name, column in table.watch.pack(size).items()}
    return meta, columns


def unpack_table(table: DeviceTable, meta: Mapping[str, Any], columns: Columns) -> DeviceTable:
    """Fill an empty table."""
    pairs = [(city, name) for city, names in meta["cities"].items() for name in names]
    rows = columns["rows"]
    table.names = [("", "")] * len(pairs)
    for (city, name), row in zip(pairs, rows.tolist(), strict=True):
        table.index.setdefault(city, {})[name] = row
        table.names[row] = (city, name)
    size = max(64, len(pairs))

    def column(name: str, fill: int) -> NDArray[Any]:
        out = np.full(size, fill, dtype=columns[name].dtype)
        out[: len(columns[name])] = columns[name]
        return out

    table.top, table.base = column("top", -1), column("base", 0)
    table.ts_top, table.run = column("ts_top", -1), column("run", 0)
    table.pane_top = [column(f"pane_top{i}", -1) for i in range(len(table.pane_lengths))]
    table.pane_base = [column(f"pane_base{i}", 0) for i in range(len(table.pane_lengths))]
    table.irregular = {
        int(row): Irregular(_read(ranges), [OldRun(run, until, _read(r)) for run, until, r in old], repeats, boots)
        for row, (ranges, old, repeats, boots) in meta["irregular"].items()
    }
    table.stamps = {int(row): set(seen) for row, seen in meta["stamps"].items()}
    table.pane_gaps = [{int(row): _read(r) for row, r in gaps.items()} for gaps in meta["pane_gaps"]]
    table.watch.unpack({name[6:]: column for name, column in columns.items() if name.startswith("watch/")})
    table.watch.grow(size)
    name, said = (columns[which].reshape(-1, DEPTH) for which in ("recent_name", "recent_said"))
    table.recent = Recent(name, said, columns["recent_taken"])
    table.recent.grow(size)
    for known in table.index.values():
        own = np.fromiter(known.values(), np.int64, len(known))
        table.watch.settle(own, int(own[0]))
    return table


def _ranges(ranges: Ranges) -> list[Any]:
    return [ranges.top, ranges.gaps, ranges.forgotten]


def _read(value: list[Any]) -> Ranges:
    return Ranges(value[0], [(low, high) for low, high in value[1]], value[2])
