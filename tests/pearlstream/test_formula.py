"""Formulas: the arithmetic over merged measures, what null does in it, and what is refused."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.errors import TermError
from pearlstream.formula import Column, Formula, Histogram
from pearlstream.measures import MeasureKind

NAMES = ["a", "b", "c", "none", "shares", "pairs", "core", "rural"]
VALUES: dict[str, Any] = {
    "a": 90,
    "b": 10.0,
    "c": 0,
    "none": None,
    "shares": {1: 500, 2: 500},
    "pairs": {1: 3, 7: 1, 9: 0},
    "core": Histogram((10.0, 20.0, 30.0), {1: 10, 2: 10}),
    "rural": Histogram((10.0, 20.0, 30.0), {1: 20}),
}


def column(given: Any) -> Column:
    """A value as a column of one row."""
    if isinstance(given, float | int):
        return np.array([given], np.float64)
    return math.nan if given is None else [given]


def value(text: str, **values: Any) -> float | None:
    columns = {name: column(given) for name, given in (VALUES | values).items()}
    (found,) = Formula.parse(text, NAMES).over(columns, 1).tolist()
    return None if math.isnan(found) else found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100 * a / (a + b)", 90.0),
        ("greatest(a / 60, b / 200)", 1.5),
        ("quantile(core, 0.5) / quantile(rural, 0.5)", 20 / 15),
        ("distinct(pairs) / 506", 2 / 506),
        ("DISTINCT (pairs)", 2.0),
        ("10000 * hhi(shares)", 5000.0),
        ("effective(shares)", 2.0),
        ("evenness(shares, 2)", 1.0),
        ("geomean(a, b, 30)", 30.0),
        ("1000000 * a / 7", 90e6 / 7),
        ("a - b - 1", 79.0),
        ("a / b / 3", 3.0),
        ("-a + b * 2", -70.0),
        ("floor(a / 7)", 12.0),
        ("abs(b - a)", 80.0),
        ("sqrt(a + b)", 10.0),
        ("least(a, b, 3)", 3.0),
        ("case when a < 11.4 then 0 when a < 170 then 3 else 8 end", 3.0),
        ("case when b = 10 and not a = 10 then 1 else 2 end", 1.0),
        ("a > b", 1.0),
        ("(a > b) + true", 2.0),
        ("none is null", 1.0),
        ("none is not null or a <> 90", 0.0),
    ],
)
def test_a_formula_means_what_it_says(text: str, expected: float) -> None:
    assert value(text) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "none + 1",
        "a * none",
        "-none",
        "a / c",
        "a / (b - 10)",
        "sqrt(-a)",
        "1e300 * 1e300",
        "a > none",
        "not (none > 1)",
        "a > 1 and none > 1",
        "greatest(none, none)",
        "greatest(none, a / c)",
        "case when none > 1 then 1 end",
        "case when a > 1 then none else 1 end",
        "geomean(a, none)",
        "geomean(a, -b)",
        "quantile(core, 0.5) / (a - 90)",
    ],
)
def test_what_is_unknown_or_no_number_is_null(text: str) -> None:
    assert value(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("greatest(none, b)", 10.0),
        ("least(none, b, a)", 10.0),
        ("a < 1 and none > 1", 0.0),
        ("none > 1 or a > 1", 1.0),
        ("case when none > 1 then 1 else 2 end", 2.0),
        ("geomean(a, c)", 0.0),
    ],
)
def test_null_does_not_hide_what_is_decided_without_it(text: str, expected: float) -> None:
    assert value(text) == expected


def test_empty_and_absent_maps_have_no_quantile_and_no_shares() -> None:
    empty = Histogram((1.0,), {})
    nothings: list[Any] = [{}, None]
    for nothing in nothings:
        for text in ("hhi(shares)", "effective(shares)", "evenness(shares, 3)"):
            found = Formula.parse(text, NAMES).over({"shares": [nothing]}, 1)
            assert np.isnan(found).all()
    assert value("quantile(core, 0.5)", core=empty) is None
    assert np.isnan(Formula.parse("quantile(core, 0.5)", NAMES).over({"core": [None]}, 1)).all()
    assert value("distinct(pairs)", pairs={}) == 0.0
    assert np.isnan(Formula.parse("a + 1", ["a"]).over({}, 1)).all()


def test_a_histogram_is_also_a_map() -> None:
    assert value("distinct(core)") == 2.0


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_finite_number_is_null(number: float) -> None:
    assert value("a + 1", a=number) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a / b", ("a", "b")),
        ("100 * a / b", ("a", "b")),
        ("100 * (a / b)", ("a", "b")),
        ("a / (b * 60)", ("a", "b")),
        ("1e4 * a / b / 2", ("a", "b")),
        ("a / (b + c)", None),
        ("a * b / c", None),
        ("a / b / c", None),
        ("1 - a / b", None),
        ("a / greatest(b, 1)", None),
        ("100 * a", None),
        ("100 / a", None),
        ("a", None),
    ],
)
def test_one_plain_ratio_is_recognised(text: str, expected: tuple[str, str] | None) -> None:
    assert Formula.parse(text, NAMES).ratio() == expected


def test_a_formula_knows_which_measures_it_uses_and_how() -> None:
    formula = Formula.parse("quantile(core, 0.5) + hhi(shares) * a", NAMES)
    assert (formula.scalars, formula.maps, formula.histograms) == (
        frozenset({"a"}),
        frozenset({"shares"}),
        frozenset({"core"}),
    )
    assert formula.names == {"a", "shares", "core"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("aa / b", "did you mean 'a'?"),
        ("quantile(core)", "cannot be read"),
        ("quantile(core, 2)", "from 0 to 1"),
        ("quantile(core, a)", "from 0 to 1"),
        ("quantile(a + 1, 0.5)", "not the name of a map"),
        ("hhi(hhi(shares))", "not the name of a map"),
        ("distinct(distinct(pairs))", "'DISTINCT(pairs)' is not the name of a map"),
        ("evenness(shares)", "not allowed"),
        ("evenness(shares, 1)", "from 2"),
        ("median(core)", "not allowed"),
        ("max(a)", "not allowed"),
        ("a in (1, 2)", "not allowed"),
        ("a % 2", "not allowed"),
        ("a; b", "not allowed"),
        ("a --1", "comment"),
        ("1 < a < 2", "a < b AND b < c"),
        ("case when a then 1 end", "needed"),
        ("greatest(a)", "two or more"),
        ("a = 'x'", "does not fit"),
        ("a is true", "IS NULL"),
        ("geomean()", "not allowed"),
        ("0e", "'0e' is not a number"),
        ("", "empty"),
    ],
)
def test_a_formula_outside_the_whitelist_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(TermError) as caught:
        Formula.parse(text, NAMES)
    assert reason in str(caught.value)
    assert caught.value.remedy


def test_with_kinds_given_maps_and_numbers_are_told_apart_when_parsing() -> None:
    kinds = {"a": MeasureKind.SUM, "m": MeasureKind.MAP}
    assert Formula.parse("a / distinct(m)", kinds).names == {"a", "m"}
    for text in ("a / m", "hhi(a)"):
        with pytest.raises(TermError, match="is of kind"):
            Formula.parse(text, kinds)


@pytest.mark.parametrize("text", ["shares + 1", "hhi(a)", "quantile(shares, 0.5)"])
def test_without_kinds_they_are_told_apart_when_evaluating(text: str) -> None:
    with pytest.raises(TypeError, match="measure"):
        value(text)


def test_the_order_of_the_text_fixes_the_last_bit() -> None:
    assert value("a / 3 * b", a=0.1, b=0.7) == 0.1 / 3 * 0.7
    assert value("b * a / 3", a=0.1, b=0.7) == 0.7 * 0.1 / 3


def test_every_row_is_what_it_would_be_alone() -> None:
    a, b = np.array([90.0, math.nan, 7.0, -4.0, 0.0]), np.array([10.0, 1.0, 0.0, 2.5, math.nan])
    for text in (
        "a / b",
        "case when a > 1 and b < 5 then sqrt(a) when b is null then -1 else 2 * b end",
        "greatest(a, b, 0) - least(a, b)",
        "geomean(a, b)",
        "1 + (a > b)",
        "7",
    ):
        formula = Formula.parse(text, NAMES)
        alone = [formula.over({"a": a[at : at + 1], "b": b[at : at + 1]}, 1)[0] for at in range(len(a))]
        np.testing.assert_array_equal(formula.over({"a": a, "b": b}, len(a)), alone)


scalars = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats()


@given(a=scalars, b=scalars, c=scalars)
def test_evaluation_never_fails_and_gives_a_finite_number_or_null(a: Any, b: Any, c: Any) -> None:
    for text in ("a / b", "sqrt(a) * b - c", "greatest(a, b) / least(b, c)", "geomean(a, b, c)", "floor(a * b) + c"):
        (got,) = Formula.parse(text, NAMES).over({"a": column(a), "b": column(b), "c": column(c)}, 1).tolist()
        assert not math.isinf(got)


@given(st.text("abcnoe()+-*/'\" <>=,.;quantilhdisctADR015\\", max_size=60))
def test_any_text_gives_a_formula_or_a_term_error(text: str) -> None:
    with contextlib.suppress(TermError):
        Formula.parse(text, NAMES)
