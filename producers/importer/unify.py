"""One device, one instant, one reading: repeats are set aside, and files that are joined become one.

Readings without sequence number are told apart by device and time alone, so `admit` would drop the second of two.
Here it is said which row that was; and where files hold different fields of one device, nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from producers.importer.convert import KEY

WHO = ["ts", "city", "device"]
Repeat = tuple[int, int, str, str]
"""File number, line, reason, message of a row that is set aside."""


def unify(frame: pl.DataFrame, fields: Sequence[str], names: Sequence[str], join: bool) -> tuple[pl.DataFrame, list[Repeat]]:
    """Readings in order of `KEY`, all rows of an instant together: what is left, and the repeats.

    `names`: the files by number.
    """
    if not len(frame):
        return frame, []
    again = frame.select(pl.struct(WHO).is_duplicated()).to_series()
    if not again.any():
        return frame, []
    groups = frame.filter(again).partition_by(WHO, maintain_order=True)
    kept: list[pl.DataFrame] = []
    repeats: list[Repeat] = []
    for group in groups:
        first, found = _joined(group, fields) if join else (group[:1], list(range(1, len(group))))
        kept.append(first)
        repeats += _messages(group, found, names, join)
    rest = pl.concat([frame.filter(~again), *kept], how="vertical_relaxed")
    return rest.select(frame.columns).cast(dict(frame.schema)).sort(KEY), repeats


def _joined(group: pl.DataFrame, fields: Sequence[str]) -> tuple[pl.DataFrame, list[int]]:
    """Rows of one device and time as one; a row that gives a field again is a repeat."""
    rows = group.to_dicts()
    whole, found = rows[0], []
    for at, row in enumerate(rows[1:], 1):
        given = {name: row[name] for name in fields if row[name] is not None}
        if any(whole[name] is not None for name in given):
            found.append(at)
        else:
            whole |= given
    return pl.DataFrame([whole], schema=group.schema), found


def _messages(group: pl.DataFrame, found: Sequence[int], names: Sequence[str], join: bool) -> Iterator[Repeat]:
    for at in found:
        first, row = group.row(0, named=True), group.row(at, named=True)
        remedy = "" if join or first["file"] == row["file"] else "; set join = true if the files hold different fields"
        message = f"{row['device']} was read for this time at {names[first['file']]}:{first['line']}{remedy}"
        yield row["file"], row["line"], "duplicate", message
