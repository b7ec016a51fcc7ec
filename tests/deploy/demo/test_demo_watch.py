"""Which of many windows and series is shown."""

from __future__ import annotations

from demo_scenes import WINDOW_MS, catalogue

from deploy.demo.probe import parse
from deploy.demo.watch import Rates, Series, choose


def series(
    indicator: str, value: float | None, state: str, maturity: str, back: int = 0, dims: str = "", city: str = "M1"
) -> Series:
    return Series(indicator, city, dims, WINDOW_MS - back * 300_000, value, state, maturity)


def test_the_newest_settled_window_is_shown_with_the_one_before() -> None:
    rows = [
        series("A2", 3.0, "RAISED", "provisional"),
        series("A2", 2.0, "WATCH", "settled", 1),
        series("A2", 1.5, "OK", "corrected", 2),
    ]
    shown = choose(rows, catalogue().indicators)["A2", "M1"]
    assert (shown.value, shown.state, shown.before) == (2.0, "WATCH", 1.5)


def test_until_a_window_is_settled_the_open_one_with_a_value_is_shown() -> None:
    rows = [series("A2", None, "NODATA", "provisional"), series("A2", 1.2, "OK", "provisional", 1)]
    shown = choose(rows, catalogue().indicators)["A2", "M1"]
    assert (shown.value, shown.shown) == (1.2, "OPEN")


def test_a_settled_window_without_data_is_not_passed_over() -> None:
    rows = [series("A2", None, "NODATA", "settled"), series("A2", 1.2, "OK", "settled", 1)]
    assert choose(rows, catalogue().indicators)["A2", "M1"].state == "NODATA"


def test_the_series_over_all_dimensions_is_preferred() -> None:
    rows = [
        series("A1", 0.1, "RAISED", "settled", dims="sector=x"),
        series("A1", 0.8, "OK", "settled"),
    ]
    assert choose(rows, catalogue().indicators)["A1", "M1"].value == 0.8


def test_without_a_total_the_worst_series_is_shown_in_the_direction_that_is_bad() -> None:
    up = [series("X1", v, "OK", "settled", dims=f"feed=f{v}") for v in (99.0, 96.0, 98.0)]
    assert choose(up, catalogue().indicators)["X1", "M1"].value == 96.0
    down = [series("A2", v, "OK", "settled", dims=f"k={v}") for v in (1.1, 1.4, 1.2)]
    assert choose(down, catalogue().indicators)["A2", "M1"].value == 1.4


def test_a_state_outweighs_a_value() -> None:
    rows = [
        series("X1", 10.0, "RAISED", "provisional", dims="feed=a"),
        series("X1", 96.0, "OK", "settled", dims="feed=b"),
        series("X1", 94.0, "WATCH", "settled", dims="feed=c"),
    ]
    assert choose(rows, catalogue().indicators)["X1", "M1"].value == 94.0


def test_indicators_that_the_catalogue_does_not_have_are_left_out() -> None:
    assert choose([series("Z9", 1.0, "OK", "settled")], catalogue().indicators) == {}


def test_rates_are_taken_over_the_last_seconds() -> None:
    rates = Rates(span_s=4)
    assert rates.note(0.0, (0.0,)) == (0.0,)
    assert rates.note(2.0, (200.0,)) == (100.0,)
    for second in range(3, 12):
        rates.note(float(second), (200.0,))
    assert rates.note(12.0, (200.0,)) == (0.0,)


def test_a_metrics_page_is_summed_by_labels() -> None:
    page = parse('# TYPE lag gauge\nlag{stage="admit",partition="0"} 3\nlag{stage="admit",partition="1"} 4\n')
    assert page.total("lag", stage="admit") == 7
    assert page.total("lag", stage="indicate") is None
    assert page.by("lag", "partition", stage="admit") == {"0": 3, "1": 4}
