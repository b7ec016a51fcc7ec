"""Government cases, registers and platform trade: what their sources tell, and what scenarios can do to them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.catalogue.scenario import Effect, Envelope, Scenario
from pearlstream.formula import Formula
from producers.simulator.columns import Coded
from producers.simulator.plan import ScenarioAt, instant_ms, make_plan
from producers.simulator.run import Simulation

HOUR_MS = 3_600_000
FEEDS = ("gov.case", "innov.event", "platform.txn")
CITIES = ("440100", "441900", "442000", "810000")
"""Guangzhou, Dongguan, Zhongshan, Hong Kong: enough to tell large from small and near from far."""

Columns = dict[str, np.ndarray[Any, Any]]
Change = tuple[str, str, float]


@lru_cache(maxsize=1)
def shipped() -> Catalogue:
    return load_catalogue()


def told(feed: str, *changes: Change, hour: int = 15, hours: float = 0.5, day: int = 5) -> Columns:
    """What the sources of a feed tell on a day in May. `changes`: quantity, operation and amount, all the time."""
    catalogue, begin = shipped(), f"2026-05-{day:02d}T{hour:02d}:00:00+08:00"
    start, length_ms = instant_ms(begin), round(hours * HOUR_MS)
    always = Envelope(hold=length_ms / 60_000)
    effects = tuple(
        Effect(feed=feed, field=name, op=op, amount=amount, elsewhere=1.0, envelope=always)
        for name, op, amount in changes
    )
    scenario = Scenario(
        id="ZZ", alias="test-run", name={"en": "a", "zh": "b"}, start=begin,
        length_s=round(hours * 3600), effect=effects,
    )  # fmt: skip
    plan = make_plan(catalogue, start_ms=start, duration_ms=length_ms, faults=False)
    simulation = Simulation(replace(plan, feeds=(feed,), cities=CITIES, scenarios=(ScenarioAt(scenario, start),)))
    fleet, parts = simulation.fleets[feed], dict[str, list[Any]]()
    for rows in simulation._runs[feed].readings.between(start, start + length_ms):
        home = np.array([city.id for city in fleet.cities])[fleet.city[rows.device]]
        for name, column in {"city": home, "ts": rows.ts_ms, **rows.values}.items():
            parts.setdefault(name, []).append(column.text() if isinstance(column, Coded) else column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}


# ---------------------------------------------------------------- every feed


@pytest.mark.parametrize("feed", FEEDS)
def test_each_city_has_one_source_and_only_what_is_declared_is_told(feed: str) -> None:
    declared = shipped().feeds[feed]
    assert declared.emits == "events"
    rows = told(feed, ("demand", "multiply", 50.0), hours=0.2) if feed == "innov.event" else told(feed, hours=0.1)
    assert set(rows) - {"city", "ts"} == set(declared.fields)
    assert set(rows["city"]) == set(CITIES)
    for name, spec in declared.fields.items():
        if spec.values:
            assert set(rows[name].tolist()) <= set(spec.values)
        elif spec.type != "bool":
            assert rows[name].min() >= (spec.min or 0)
            assert spec.max is None or rows[name].max() <= spec.max


@pytest.mark.parametrize(
    ("feed", "busy", "quiet"), [("gov.case", 10, 3), ("innov.event", 10, 3), ("platform.txn", 21, 4)]
)
def test_the_day_has_its_course(feed: str, busy: int, quiet: int) -> None:
    many = (("demand", "multiply", 200.0),) if feed == "innov.event" else ()
    by_day, by_night = (told(feed, *many, hour=hour, hours=0.2) for hour in (busy, quiet))
    assert len(by_day["ts"]) > 5 * len(by_night["ts"])


def test_offices_do_a_third_as_much_at_weekends() -> None:
    tuesday, saturday = (told("gov.case", hour=10, hours=0.5, day=day) for day in (5, 9))
    assert len(saturday["ts"]) / len(tuesday["ts"]) == pytest.approx(0.32, abs=0.1)


@pytest.mark.parametrize("feed", FEEDS)
def test_demand_moves_the_number_of_events(feed: str) -> None:
    many = 100.0 if feed == "innov.event" else 1.0
    plain, crowded = (told(feed, ("demand", "multiply", many * factor), hours=0.25) for factor in (1.0, 3.5))
    assert len(crowded["ts"]) / len(plain["ts"]) == pytest.approx(3.5, rel=0.15)


# ---------------------------------------------------------------- government cases


def test_calls_have_a_status_and_cases_have_an_end() -> None:
    rows = told("gov.case")
    call, ended = rows["stage"] == "call", np.isin(rows["stage"], ["done", "rejected"])
    assert set(rows["http_status"][call].tolist()) <= {200, 404, 503}
    assert not rows["http_status"][~call].any()
    assert not rows["api_ms"][~call].any()
    assert np.median(rows["api_ms"][call]) == pytest.approx(140, rel=0.2)
    assert (rows["done_ts"] > 0).tolist() == ended.tolist()
    assert (rows["done_ts"] >= rows["submit_ts"])[ended].all()
    rated = rows["rating"] > 0
    assert 0 < rated.sum() < (rows["stage"] == "done").sum()
    assert (rows["stage"][rated] == "done").all()


def test_hong_kong_takes_part_in_cases_across_the_border() -> None:
    rows = told("gov.case", hours=0.25)
    share = {city: float(rows["xborder"][rows["city"] == city].mean()) for city in CITIES}
    assert share["810000"] > 0.4 > share["440100"] > 0.05
    assert not (rows["xborder"] & rows["xprov"]).any()


def failing(rows: Columns) -> float:
    """The share of calls that end with a status of the five hundreds."""
    return float((rows["http_status"][rows["stage"] == "call"] >= 500).mean())


def test_a_scenario_lets_calls_fail_and_take_longer() -> None:
    plain, broken = told("gov.case"), told("gov.case", ("err_p", "set", 0.04), ("latency", "multiply", 5.0))
    assert failing(plain) == pytest.approx(0.002, abs=0.0015)
    assert failing(broken) == pytest.approx(0.04, rel=0.2)
    slow, quick = (np.median(rows["api_ms"][rows["stage"] == "call"]) for rows in (broken, plain))
    assert slow / quick == pytest.approx(5, rel=0.1)


@pytest.mark.parametrize(
    ("quantity", "amount", "share"),
    [
        ("late_p", 0.3, lambda rows: rows["done_ts"] - rows["submit_ts"] > 3600 * rows["promised_h"]),
        ("reject_p", 0.3, lambda rows: rows["stage"] == "rejected"),
        ("bad_p", 0.3, lambda rows: (rows["rating"] >= 1) & (rows["rating"] <= 2)),
        ("xborder_p", 0.3, lambda rows: rows["xborder"]),
    ],
)
def test_each_handle_of_a_case_moves_what_it_is_named_after(quantity: str, amount: float, share: Any) -> None:
    def of_the_ended(rows: Columns) -> float:
        return float(share(rows)[np.isin(rows["stage"], ["done", "rejected"])].mean())

    moved = told("gov.case", (quantity, "set", amount))
    weight = 0.96 * 0.95 if quantity == "bad_p" else 1.0  # not all that end are done, and not all rate
    assert of_the_ended(moved) == pytest.approx(amount * weight, abs=0.06)


# ---------------------------------------------------------------- platforms and registers


def test_few_platforms_have_most_of_the_trade_and_none_has_all() -> None:
    rows = told("platform.txn", hours=1)
    sales = np.bincount(rows["platform_id"], weights=rows["gmv_cny"])
    shares = sales / sales.sum()
    assert 0.1 < (shares**2).sum() < 0.18
    small = rows["gmv_cny"][rows["sme"]].sum() / rows["gmv_cny"].sum()
    assert 0.4 < small < 0.55
    assert ((rows["resolve_h"] > 0) <= rows["complaint"]).all()


def refunds(rows: Columns, abroad: bool) -> float:
    """The share of refunds among the orders that end, across the border or at home."""
    ended = (rows["status"] != "paid") & (rows["xborder"] == abroad)
    return float((rows["status"][ended] == "refunded").mean())


def test_a_broken_cable_turns_orders_across_the_border_into_refunds() -> None:
    broken = told("platform.txn", ("xborder_fail_p", "set", 0.09), hours=1)
    assert refunds(broken, abroad=True) == pytest.approx(0.09, abs=0.03)
    assert refunds(broken, abroad=False) == pytest.approx(0.02, abs=0.005)
    assert refunds(told("platform.txn", hours=1), abroad=True) < 0.02


def test_registers_hold_firms_patents_and_few_cases_of_breach() -> None:
    rows = told("innov.event", ("demand", "multiply", 100.0), hours=0.5)
    kinds, counts = np.unique(rows["kind"], return_counts=True)
    share = dict(zip(kinds.tolist(), (counts / counts.sum()).tolist(), strict=True))
    assert share["patent"] > share["firm"] > share["software"] > share["tapeout"]
    assert share["compliance_case"] < 0.02
    assert not rows["weight"][rows["kind"] == "compliance_case"].any()


# ---------------------------------------------------------------- indicators


@pytest.mark.parametrize(
    ("indicator", "least", "bad"),
    [
        ("I54a", 200, {"failed": 8}),
        ("I54b", 200, {"in_time": 180}),
        ("I54c", 10_000, {"bad": 10}),
        ("I52b", 2_500, {"complaints": 20}),
    ],
)
def test_a_share_of_few_events_says_nothing(indicator: str, least: int, bad: dict[str, int]) -> None:
    """One failure among thirty calls would be an alert by itself."""
    one = shipped().indicators[indicator]
    whole = next(name for name in one.measures if name not in bad)
    formula = Formula.parse(one.value, list(one.measures))
    (enough,) = formula.over({**bad, whole: least}, 1).tolist()
    assert one.alert is not None
    assert one.alert.thresholds[0].raise_.met(enough)
    assert np.isnan(formula.over({**bad, whole: least - 1}, 1)).all()


@pytest.mark.parametrize(("indicator", "least"), [("I61a", 60), ("I62b", 100)])
def test_a_share_of_few_cases_says_nothing(indicator: str, least: int) -> None:
    one = shipped().indicators[indicator]
    formula = Formula.parse(one.value, list(one.measures))
    assert formula.over({"completed": least - 6, "rejected": 6}, 1) == pytest.approx(100 * (1 - 6 / least))
    assert np.isnan(formula.over({"completed": least - 7, "rejected": 6}, 1)).all()
