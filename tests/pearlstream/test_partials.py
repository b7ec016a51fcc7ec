"""Partials: any split of the rows, in any order, merges into the same partials."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.aggregate import aggregate
from pearlstream.errors import CatalogueError
from pearlstream.measures import MeasureKind, MeasureSpec
from pearlstream.partials import PARTIAL, merge, parse_dims
from pearlstream.terms import ColumnType, Term

COLUMNS = {"x": ColumnType.NUMBER, "zone": ColumnType.TEXT}
SCHEMA = {"city": pl.String, "ts": pl.Int64, "late": pl.Boolean, "x": pl.Float64, "zone": pl.String}


def spec(kind: MeasureKind, value: str = "x", **more: Any) -> MeasureSpec:
    return MeasureSpec(f"x.{kind}", "test.feed", kind, Term.parse(value, COLUMNS), **more)


SPECS = [
    spec(MeasureKind.SUM, "x * 0.37"),
    spec(MeasureKind.MIN),
    spec(MeasureKind.MAX, by=("zone",)),
    spec(MeasureKind.MAP, "1", key=Term.parse("x", COLUMNS), edges=(-1.0, 0.0, 5.0)),
]
KINDS = {one.name: one.kind for one in SPECS}
row = st.fixed_dictionaries(
    {
        "city": st.sampled_from(["440100", "HK"]),
        "ts": st.integers(0, 40_000),
        "late": st.booleans(),
        "x": st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.1, 0.2, 0.3]),
        "zone": st.sampled_from(["core", "rural"]),
    }
)
frames = st.lists(row, max_size=40).map(lambda rows: pl.DataFrame(rows, schema=SCHEMA))


def partials(df: pl.DataFrame) -> pl.DataFrame:
    return aggregate(df, SPECS)


@given(df=frames, cuts=st.lists(st.integers(0, 40), max_size=5), seed=st.integers(0, 999))
def test_any_cut_of_the_rows_in_any_order_merges_into_the_whole(df: pl.DataFrame, cuts: list[int], seed: int) -> None:
    shuffled = df.sample(fraction=1, shuffle=True, seed=seed)
    marks = [0, *sorted(min(cut, len(df)) for cut in cuts), len(df)]
    pieces = [partials(shuffled[low:high]) for low, high in pairwise(marks)]
    random.Random(seed).shuffle(pieces)
    assert merge(pieces, KINDS).equals(partials(df))


@given(a=frames, b=frames, c=frames)
def test_merging_is_associative_and_commutative(a: pl.DataFrame, b: pl.DataFrame, c: pl.DataFrame) -> None:
    one, two, three = partials(a), partials(b), partials(c)
    left = merge([merge([one, two], KINDS), three], KINDS)
    assert left.equals(merge([one, merge([two, three], KINDS)], KINDS))
    assert left.equals(merge([three, two, one], KINDS))


def test_merging_adds_sums_maps_and_rows_and_keeps_extremes() -> None:
    df = pl.DataFrame({"city": "HK", "ts": [1, 2], "late": False, "x": [3.0, -4.0], "zone": "core"})
    merged = merge([partials(df[:1]), partials(df[1:])], KINDS)
    assert merged.select("measure", "key", "value", "n").rows() == [
        ("x.map", 0, 1000, 1),
        ("x.map", 2, 1000, 1),
        ("x.min", None, -4000, 2),
        ("x.sum", None, -370, 2),
        ("x.max", None, 3000, 2),
    ]


def test_panes_and_dimensions_merge_when_they_are_left_out() -> None:
    df = pl.DataFrame({"city": "HK", "ts": [1, 20_000], "late": [True, False], "x": [3.0, 4.0], "zone": ["a", "b"]})
    window = merge(partials(df), KINDS, by=("city", "measure", "key"))
    assert window.columns == ["city", "measure", "key", "value", "n"]
    assert window.filter(measure="x.max").row(0) == ("HK", "x.max", None, 4000, 2)


def test_sums_wrap_as_they_do_in_the_store_instead_of_failing() -> None:
    one = partials(pl.DataFrame({"city": "HK", "ts": [1], "late": False, "x": [1.0], "zone": "a"}))
    big = one.filter(measure="x.sum").with_columns(value=pl.lit(2**63 - 1, dtype=pl.Int64))
    assert merge([big, big], KINDS)["value"].item() == -2


def test_a_measure_of_unknown_kind_is_not_merged_by_guesswork() -> None:
    df = pl.DataFrame({"city": "HK", "ts": [1], "late": False, "x": [1.0], "zone": "a"})
    with pytest.raises(CatalogueError, match=r"no kind is known for measure 'x\.map'"):
        merge(partials(df), {})


def test_merging_nothing_gives_nothing() -> None:
    assert merge([], KINDS).schema == PARTIAL


@pytest.mark.parametrize(
    ("text", "values"),
    [("", {}), ("site=a%2Cb%3D%2525", {"site": "a,b=%25"}), ("a=,b=x y", {"a": "", "b": "x y"})],
)
def test_the_text_of_dimensions_reads_back(text: str, values: dict[str, str]) -> None:
    assert parse_dims(text) == values
