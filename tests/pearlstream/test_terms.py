"""Terms: what the whitelist lets through, what it means, and what it refuses, with the reason."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.errors import CatalogueError, TermError
from pearlstream.nodes import LIMIT
from pearlstream.rows import Rows
from pearlstream.terms import ColumnType, Kind, Term

COLUMNS = {
    "flow_vpm": ColumnType.NUMBER,
    "speed_kmh": ColumnType.NUMBER,
    "freeflow_kmh": ColumnType.NUMBER,
    "to": ColumnType.TEXT,
    "state": ColumnType.TEXT,
    "ai_ctrl": ColumnType.BOOLEAN,
}
ROW = {"flow_vpm": 10.0, "speed_kmh": 50.0, "freeflow_kmh": 80.0, "to": "INTL", "state": "RUN", "ai_ctrl": True}


def value(text: str, **fields: Any) -> Any:
    """The term over one row, made of ROW and the given fields."""
    schema = {"to": pl.String, "state": pl.String, "ai_ctrl": pl.Boolean}
    data = {name: pl.Series([field], dtype=schema.get(name)) for name, field in (ROW | fields).items()}
    (found,) = values(Term.parse(text, COLUMNS), pl.DataFrame(data))
    return found


def values(term: Term, df: pl.DataFrame) -> list[Any]:
    """The term in each row: a number, or true or false, or None."""
    numbers = [None if math.isnan(number) else number for number in term.numbers(Rows(df)).tolist()]
    if term.kind is Kind.NUMBER:
        return numbers
    assert term.holds(Rows(df)).tolist() == [number == 1.0 for number in numbers]
    return [number if number is None else bool(number) for number in numbers]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flow_vpm * 3 + 1", 31.0),
        ("flow_vpm / speed_kmh", 0.2),
        ("flow_vpm / greatest(speed_kmh, 3)", 0.2),
        ("-(flow_vpm - 12) * 2", 4.0),
        ("floor(0 - flow_vpm * 0.25)", -3.0),
        ("abs(speed_kmh - freeflow_kmh) <= 30", True),
        ("sqrt(flow_vpm * 10)", 10.0),
        ("least(flow_vpm, speed_kmh, 3)", 3.0),
        ("case when state = 'DOWN' then 1 when flow_vpm > 5 then 2 else 3 end", 2.0),
        ("case when state = 'DOWN' then 1 end", None),
        ("case when state = 'DOWN' then 1 else null end", None),
        ("to = 'INTL' and not ai_ctrl", False),
        ("state in ('RUN', 'IDLE')", True),
        ("state not in ('RUN', 'IDLE')", False),
        ("state <> to", True),
        ("flow_vpm in (9, 10)", True),
        ("ai_ctrl + 1", 2.0),
        ("ai_ctrl = true", True),
        ("\"to\" = 'INTL'", True),
    ],
)
def test_a_term_means_what_it_says(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ("flow_vpm + 1", {"flow_vpm": None}, None),
        ("flow_vpm + 1", {"flow_vpm": math.nan}, None),
        ("flow_vpm + 1", {"flow_vpm": math.inf}, None),
        ("flow_vpm + 0", {"flow_vpm": 2**53}, 2.0**53),
        ("flow_vpm + 0", {"flow_vpm": 2.0**53 + 2}, None),
        ("flow_vpm is null", {"flow_vpm": math.nan}, True),
        ("flow_vpm is not null", {}, True),
        ("flow_vpm > 1", {"flow_vpm": None}, None),
        ("flow_vpm = speed_kmh", {"flow_vpm": math.nan, "speed_kmh": math.nan}, None),
        ("flow_vpm > 1 or ai_ctrl", {"flow_vpm": None}, True),
        ("flow_vpm > 1 and not ai_ctrl", {"flow_vpm": None}, False),
        ("case when flow_vpm > 1 then 1 else 2 end", {"flow_vpm": None}, 2.0),
        ("greatest(flow_vpm, 3)", {"flow_vpm": None}, 3.0),
        ("flow_vpm / speed_kmh", {"speed_kmh": 0.0}, None),
        ("flow_vpm / speed_kmh", {"speed_kmh": -0.0}, None),
        ("flow_vpm / speed_kmh", {"speed_kmh": 9e-10}, None),
        ("flow_vpm / speed_kmh", {"speed_kmh": 1e-9}, 1e10),
        ("sqrt(flow_vpm)", {"flow_vpm": -1.0}, None),
        ("state = 'RUN'", {"state": None}, None),
        ("state in ('RUN', 'x')", {"state": None}, None),
    ],
)
def test_what_is_unknown_stays_unknown(text: str, fields: dict[str, Any], expected: Any) -> None:
    assert value(text, **fields) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("flow_vpm / 60", "divides by a constant"),
        ("flow_vpm / (2 * 3)", "divides by a constant"),
        ("flow_vpn", "did you mean 'flow_vpm'?"),
        ("t.flow_vpm", "not a plain name"),
        ("round(flow_vpm)", "not allowed"),
        ("floor(flow_vpm, 2)", "not allowed"),
        ("flow_vpm::int", "not allowed"),
        ("flow_vpm % 2", "not allowed"),
        ("flow_vpm between 1 and 2", "not allowed"),
        ("coalesce(flow_vpm, 0)", "not allowed"),
        ("count(*)", "not allowed"),
        ("flow_vpm in (select 1)", "not allowed"),
        ("flow_vpm in (1, speed_kmh)", "not a constant"),
        ("case flow_vpm when 1 then 2 end", "not allowed"),
        ("if(ai_ctrl, 1, 2)", "not allowed"),
        ("flow_vpm = null", "not allowed"),
        ("flow_vpm is true", "IS NULL"),
        ("flow_vpm speed_kmh", "not allowed"),
        ("flow_vpm; speed_kmh", "not allowed"),
        ("flow_vpm --3", "comment"),
        ("flow_vpm /* why */", "comment"),
        ("1 < flow_vpm < 3", "a < b AND b < c"),
        ("state", "is text"),
        ("state + 1", "is text"),
        ("state < 'X'", "orders text"),
        ("state = 1", "compares text with something else"),
        ("flow_vpm = 'x'", "compares text with something else"),
        ("case when flow_vpm then 1 end", "needed"),
        ("not flow_vpm", "needed"),
        ("greatest(flow_vpm)", "two or more"),
        ("99999999999999999", "too big"),
        ("1e999", "too big"),
        ("flow_vpm * 5e", "'5e' is not a number"),
        ("*".join(["flow_vpm"] * 20), "could overflow"),
        ("sqrt(sqrt(sqrt(sqrt(flow_vpm))))", "too deeply"),
        ("", "empty"),
        (" ", "empty"),
        ("flow_vpm +", "cannot be read"),
        ("'unfinished", "cannot be read"),
        ("(" * 30 + "1" + ")" * 30, "too big"),
        ("not " * 480 + "ai_ctrl", "too deeply"),
        ("+".join(["flow_vpm"] * 100), "levels deep"),
        ("flow_vpm + " * 200 + "1", "characters"),
    ],
)
def test_a_term_outside_the_whitelist_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(TermError) as caught:
        Term.parse(text, COLUMNS)
    assert isinstance(caught.value, CatalogueError)
    assert reason in str(caught.value)
    assert caught.value.remedy


@given(st.text(max_size=60) | st.text("flow_vpm()+-*/'\" <>=,.;azANDOR0123\\`", max_size=80))
def test_any_text_gives_a_term_or_a_term_error(text: str) -> None:
    with contextlib.suppress(TermError):
        Term.parse(text, COLUMNS)


def test_a_term_knows_its_columns_and_its_kind() -> None:
    term = Term.parse("case when state = 'RUN' then flow_vpm else 2 * flow_vpm end", COLUMNS)
    assert term.columns == {"state", "flow_vpm"}
    assert term.kind is Kind.NUMBER
    assert Term.parse("ai_ctrl", COLUMNS).kind is Kind.CONDITION
    assert term == Term.parse(term.text, COLUMNS)
    assert hash(term) == hash(Term.parse(term.text, COLUMNS))


def test_a_number_is_no_condition_but_a_condition_counts_as_one_or_zero() -> None:
    with pytest.raises(TermError, match="condition is needed"):
        Term.parse("flow_vpm", COLUMNS).as_condition()
    counted = Term.parse("flow_vpm > 3", COLUMNS).as_number()
    df = pl.DataFrame({"flow_vpm": [1.0, 5.0, None]})
    assert values(counted, df) == [0.0, 1.0, None]


def test_columns_without_types_take_the_type_of_their_use() -> None:
    term = Term.parse("case when on_air and kind = 'x' then level else 0 end", ["on_air", "kind", "level"])
    df = pl.DataFrame({"on_air": [True, True], "kind": ["x", "y"], "level": [3, 4]})
    assert values(term, df) == [3.0, 0.0]


def test_a_column_without_a_type_can_be_asked_whether_it_is_known() -> None:
    df = pl.DataFrame({"kind": ["x", None], "level": [1.5, 2.5], "on_air": [None, True]})
    term = Term.parse("case when kind is null then 1 else level end", ["kind", "level", "on_air"])
    assert values(term, df) == [1.5, 1.0]
    for column, known in {"kind": [True, False], "level": [True, True], "on_air": [False, True]}.items():
        assert values(term.known(column), df) == known
    with pytest.raises(TermError, match="did you mean 'level'"):
        term.known("levle")


def test_integers_and_floats_of_the_same_value_give_the_same_result() -> None:
    term = Term.parse("flow_vpm / speed_kmh", COLUMNS)
    integers = pl.DataFrame({"flow_vpm": [7, 22, 2**53], "speed_kmh": [3, 7, 11]})
    floats = integers.cast(pl.Float64)
    assert values(term, integers) == values(term, floats)


@pytest.mark.parametrize(
    "text",
    [
        "flow_vpm / speed_kmh",
        "flow_vpm / greatest(speed_kmh, 0)",
        "flow_vpm / case when flow_vpm >= 0 then 7.3 else speed_kmh end",
        "flow_vpm / abs(speed_kmh)",
        "flow_vpm / (speed_kmh * 1)",
    ],
)
def test_division_does_not_depend_on_how_the_divisor_is_stored_or_the_rows_are_cut(text: str) -> None:
    flows = [n * 0.7 for n in range(300)]
    single = pl.DataFrame({"flow_vpm": flows}).with_columns(pl.lit(7.3).alias("speed_kmh"))
    full = pl.DataFrame({"flow_vpm": flows, "speed_kmh": [7.3] * len(flows)})
    term = Term.parse(text, COLUMNS)
    pieces = [value for piece in single.iter_slices(7) for value in values(term, piece)]
    for result in (values(term, single), values(term, full), pieces):
        assert result == [flow / 7.3 for flow in flows]


def test_a_term_may_bound_its_result_because_its_fields_are_bounded() -> None:
    assert Term.parse("flow_vpm * speed_kmh + 1", COLUMNS).node.bound == LIMIT * LIMIT + 1


def test_text_cannot_break_out_of_the_sql_of_clickhouse() -> None:
    sql = Term.parse(r"""state = 'a\'' OR 1=1 -- ' """.strip(), COLUMNS).clickhouse()
    assert sql == r"(toString(`state`) = 'a\\\' OR 1=1 -- ')"
