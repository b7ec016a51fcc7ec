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
_REST = "_rest"


def unify(
    frame: pl.DataFrame, fields: Sequence[str], names: Sequence[str], join: bool
) -> tuple[pl.DataFrame, list[Repeat]]:
    """Readings in order of `KEY`, all rows of an instant together: what is left, and the repeats.

    `fields`: columns that are measured. `names`: the files by number. `join`: rows of one device and time that
    give different fields are one reading; it stands where the first of them stood.
    """
    again = frame.select(pl.struct(WHO).is_duplicated()).to_series()
    if not again.any():
        return frame, []
    some = frame.filter(again)
    repeated = some.select(~pl.struct(WHO).is_first_distinct()).to_series()
    if join:
        joined, conflicts = _joined(some, fields)
        repeated &= conflicts
    else:
        joined = some.filter(~repeated)
    whole = pl.concat([frame.filter(~again), joined.select(frame.columns)]).sort(KEY)
    return whole, list(_messages(some.with_columns(repeated.alias(_REST)), names, join))


def _joined(some: pl.DataFrame, fields: Sequence[str]) -> tuple[pl.DataFrame, pl.Series]:
    """Rows of one device and time as one, and which rows give a field that came before."""
    twice = pl.any_horizontal((pl.col(name).count().over(WHO) > 1) for name in fields)
    clash = some.select(twice).to_series()
    clean = [pl.col(name).drop_nulls().first() for name in fields]
    others = [pl.col(name).first() for name in some.columns if name not in (*WHO, *fields)]
    parts = [some.filter(~clash).group_by(WHO, maintain_order=True).agg(*others, *clean).select(some.columns)]
    conflicts = pl.zeros(len(some), pl.Int8, eager=True).cast(pl.Boolean)
    if clash.any():
        positions = some.with_row_index("_at").filter(clash)
        bad: list[int] = []
        for group in positions.partition_by(WHO, maintain_order=True):
            whole, repeats = _one(group.drop("_at"), fields)
            parts.append(whole)
            bad += [int(group["_at"][at]) for at in repeats]
        conflicts = pl.Series(range(len(some))).is_in(bad)
    return pl.concat(parts), conflicts


def _one(group: pl.DataFrame, fields: Sequence[str]) -> tuple[pl.DataFrame, list[int]]:
    """Rows of one device and time, taken in turn; one that gives a field again is a repeat, whole."""
    rows = group.to_dicts()
    whole, repeats = rows[0], []
    for at, row in enumerate(rows[1:], 1):
        given = {name: row[name] for name in fields if row[name] is not None}
        if any(whole[name] is not None for name in given):
            repeats.append(at)
        else:
            whole |= given
    return pl.DataFrame([whole], schema=group.schema), repeats


def _messages(some: pl.DataFrame, names: Sequence[str], join: bool) -> Iterator[Repeat]:
    firsts = [pl.col(name).first().over(WHO).alias(f"_{name}") for name in ("file", "line")]
    for row in some.with_columns(firsts).filter(pl.col(_REST)).iter_rows(named=True):
        remedy = "" if join or row["_file"] == row["file"] else "; set join = true if the files hold different fields"
        message = f"{row['device']} was read for this time at {names[row['_file']]}:{row['_line']}{remedy}"
        yield row["file"], row["line"], "duplicate", message
