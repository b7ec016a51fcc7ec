"""Measures: what a row contributes, which rows count, and what partials come out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from pearlstream.aggregate import aggregate, unusable
from pearlstream.errors import CatalogueError, TermError
from pearlstream.measures import (
    PARTIAL,
    MeasureKind,
    MeasureSpec,
    PaneOf,
    clickhouse_select,
    rows_measure,
)
from pearlstream.terms import ColumnType, Term

COLUMNS = {
    "flow": ColumnType.NUMBER,
    "speed": ColumnType.NUMBER,
    "zone": ColumnType.TEXT,
    "open": ColumnType.BOOLEAN,
}
SCHEMA = {
    "city": pl.String,
    "ts": pl.Int64,
    "clock": pl.Int64,
    "late": pl.Boolean,
    "flow": pl.Float64,
    "speed": pl.Float64,
    "zone": pl.String,
    "open": pl.Boolean,
}
READING: dict[str, Any] = {
    "city": "440300",
    "ts": 10_000,
    "clock": 20_000,
    "late": False,
    "flow": 2.0,
    "speed": 60.0,
    "zone": "core",
    "open": True,
}


def readings(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([READING | row for row in rows], schema=SCHEMA)


def term(text: str) -> Term:
    return Term.parse(text, COLUMNS)


def measure(value: str = "flow", kind: str = "sum", **more: Any) -> MeasureSpec:
    more |= {name: term(more[name]) for name in ("where", "key") if name in more}
    return MeasureSpec("x.m", "traffic.flow", MeasureKind(kind), term(value), **more)


def result(df: pl.DataFrame, spec: MeasureSpec, *columns: str) -> list[tuple[Any, ...]]:
    return aggregate(df, [spec]).select(columns or ("value", "n")).rows()


def test_a_partial_has_the_columns_of_the_contract() -> None:
    df = aggregate(readings({}), [measure()])
    assert df.schema == PARTIAL
    assert df.row(0) == ("traffic.flow", "440300", "", 10_000, 10, "x.m", None, 2000, 1, False)


@pytest.mark.parametrize(
    ("flow", "decimals", "expected"),
    [
        (0.0004, 3, 0),
        (0.0005, 3, 1),
        (-0.0005, 3, 0),
        (-0.0006, 3, -1),
        (1.5, 0, 2),
        (-1.5, 0, -1),
        (-0.0, 3, 0),
        (2.0**53, 0, 2**53),
    ],
)
def test_a_contribution_is_rounded_onto_the_grid_half_upwards(flow: float, decimals: int, expected: int) -> None:
    assert result(readings({"flow": flow}), measure(decimals=decimals)) == [(expected, 1)]


@pytest.mark.parametrize(("kind", "expected"), [("sum", [(9000, 3)]), ("min", [(2000, 3)]), ("max", [(4000, 3)])])
def test_a_kind_says_how_values_become_one(kind: str, expected: list[tuple[int, int]]) -> None:
    assert result(readings({"flow": 3.0}, {"flow": 4.0}, {"flow": 2.0}), measure(kind=kind)) == expected


def test_a_row_counts_only_if_every_required_field_is_known() -> None:
    df = readings({}, {"speed": None}, {"speed": float("nan")}, {"flow": None})
    travel = measure("flow * 60 / greatest(speed, 3)", decimals=0)
    assert result(df, travel) == [(2 + 40 + 40, 3)]
    assert result(df, replace(travel, required=frozenset({"speed"}))) == [(2, 1)]


def test_a_row_counts_only_where_the_condition_holds_and_is_known() -> None:
    df = readings({"open": True}, {"open": False}, {"open": None}, {"flow": None})
    assert result(df, measure("1", where="open", decimals=0)) == [(2, 2)]


def test_rows_that_give_no_number_are_left_out_and_counted() -> None:
    df = readings({}, {"speed": 0.0}, {"flow": None}, {"flow": 1e15}, {"flow": 1e15, "open": False})
    ratio, big = measure("flow / speed"), measure("flow", where="open", decimals=3)
    keyed = replace(measure("1", "map", key="flow / speed"), name="x.k")
    assert unusable(df, [replace(ratio, name="x.r"), big, keyed]) == {"x.r": 4, "x.m": 2, "x.k": 2}
    assert unusable(df, []) == {}
    assert result(df, big, "n") == [(2,)]


def test_a_place_without_a_counted_row_has_no_partial() -> None:
    assert aggregate(readings({"open": False}), [measure(where="open")]).is_empty()


def test_panes_are_cut_by_event_time_or_by_arrival() -> None:
    df = readings({"ts": 9_999}, {"ts": 10_000}, {"ts": 19_999, "clock": 30_000}, {"ts": -1})
    assert result(df, measure(), "pane_ms", "n") == [(-10_000, 1), (0, 1), (10_000, 2)]
    assert result(df, measure(pane_of=PaneOf.ARRIVAL), "pane_ms", "n") == [(20_000, 3), (30_000, 1)]
    assert result(df, measure(pane_len_s=60), "pane_ms", "pane_len_s", "n") == [(-60_000, 60, 1), (0, 60, 3)]


def test_late_readings_make_partials_of_their_own() -> None:
    df = readings({}, {"late": True}, {"late": True})
    assert result(df, measure(), "late", "n") == [(False, 1), (True, 2)]


def test_dimensions_are_canonical_text_sorted_by_name_with_separators_escaped() -> None:
    df = readings({"zone": "a,b=c%"}, {"zone": None}, {"zone": ""}, {"zone": "core"})
    spec = measure(by=("zone", "city"))
    assert result(df, spec, "dims", "n") == [
        ("city=440300,zone=", 2),
        ("city=440300,zone=a%2Cb%3Dc%25", 1),
        ("city=440300,zone=core", 1),
    ]


def test_a_map_adds_per_whole_key() -> None:
    df = readings({"speed": 3.9}, {"speed": 3.0}, {"speed": -0.5}, {"speed": None})
    assert result(df, measure(kind="map", key="speed"), "key", "value", "n") == [(-1, 2000, 1), (3, 4000, 2)]


def test_a_histogram_counts_per_bucket_of_its_edges() -> None:
    speeds = [-1.0, 0.0, -0.0, 9.9, 10.0, 20.0, 1e6]
    spec = measure("1", "map", key="speed", edges=(0.0, 10.0, 20.0), decimals=0)
    df = readings(*({"speed": speed} for speed in speeds))
    assert result(df, spec, "key", "value") == [(0, 1), (1, 3), (2, 1), (3, 2)]


def test_the_built_in_measure_counts_all_rows() -> None:
    df = readings({}, {"flow": None}, {"city": "HK"})
    rows = aggregate(df, [rows_measure("traffic.flow")])
    assert rows.select("city", "measure", "value", "n").rows() == [
        ("440300", "traffic.flow.rows", 2, 2),
        ("HK", "traffic.flow.rows", 1, 1),
    ]


def test_further_columns_keep_partials_apart_and_come_first() -> None:
    df = readings({}, {}, {}).with_columns(pl.Series("tick", [2, 1, 1]))
    out = aggregate(df, [measure()], ("tick",))
    assert out.columns == ["tick", *PARTIAL]
    assert out.select("tick", "n").rows() == [(1, 2), (2, 1)]


def test_no_rows_or_no_measures_give_no_partials() -> None:
    assert aggregate(readings({}).clear(), [measure()]).schema == PARTIAL
    assert aggregate(readings({}), []).schema == PARTIAL


def test_measures_of_one_plan_do_not_disturb_each_other() -> None:
    df = readings({}, {"flow": 5.0, "zone": "rural"}, {"speed": None, "late": True}, {"open": False, "ts": 25_000})
    specs = [
        measure(),
        measure("flow / speed"),
        measure(where="open"),
        measure(kind="max", by=("zone",)),
        measure("1", "map", key="speed"),
        measure("1", "map", key="speed", edges=(10.0, 30.0)),
        measure("1", "map", key="speed", by=("zone",)),
        measure(pane_len_s=3600),
        measure(pane_of=PaneOf.ARRIVAL),
        measure(decimals=0),
        measure(required=frozenset({"speed"})),
    ]
    named = [replace(spec, name=f"x.{i:02}") for i, spec in enumerate(specs)]
    together = aggregate(df, named)
    alone = pl.concat([aggregate(df, [spec]) for spec in named])
    assert together.sort(together.columns).equals(alone.sort(alone.columns))


def test_a_measure_names_the_columns_that_it_reads() -> None:
    spec = measure("flow", where="open", by=("zone",), required=frozenset({"speed"}))
    assert spec.columns == {"flow", "open", "zone", "speed"}


@pytest.mark.parametrize(
    "more",
    [
        {"key": "speed"},
        {"kind": "map"},
        {"edges": (1.0,)},
        {"kind": "map", "key": "speed", "edges": (1.0, 1.0)},
        {"kind": "map", "key": "speed", "edges": (float("nan"),)},
        {"decimals": -1},
        {"decimals": 10},
        {"pane_len_s": 0},
        {"by": ("zone", "zone")},
        {"by": ("zone; drop",)},
        {"where": "flow"},
        {"required": frozenset({"sped"})},
    ],
)
def test_a_measure_whose_parts_do_not_fit_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises((CatalogueError, TermError)) as caught:
        measure(**more)
    assert caught.value.remedy


def test_the_select_for_stored_readings_takes_its_place_and_time_from_the_caller() -> None:
    sql = clickhouse_select(measure(), "db.view", where="ts < 5", time="toUnixTimestamp64Milli(ts)", late="is_late")
    assert "FROM db.view WHERE (ts < 5)" in sql
    assert "toInt64(toUnixTimestamp64Milli(ts))" in sql
    assert "toBool(is_late)" in sql
    assert "cast_keep_nullable = 1, aggregate_functions_null_for_empty = 1" in sql
