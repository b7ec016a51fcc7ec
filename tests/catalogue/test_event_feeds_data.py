"""Orders, data circulation and compute jobs: what their sources tell, what scenarios can do, what is made of it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.catalogue.bases import Bases, Ordinary
from pearlstream.catalogue.scenario import Effect, Envelope, Scenario
from pearlstream.program import compile_catalogue
from pearlstream.testing.world import T0, World, table
from producers.simulator.columns import Coded
from producers.simulator.plan import ScenarioAt, instant_ms, make_plan
from producers.simulator.run import Simulation

HOUR_MS = 3_600_000
GZ, SG, SZ, HK, MO = "440100", "440200", "440300", "810000", "820000"
RATES = {"supply.order": 3.0, "data.flow": 25.0, "compute.job": 30.0}
"""Events a second over the whole cluster, in the mean of an ordinary week."""
HOME = {"supply.order": "from_city", "data.flow": "seller_city", "compute.job": "origin_city"}

Columns = dict[str, np.ndarray[Any, Any]]
Change = tuple[str, str, float | str]


@lru_cache(maxsize=1)
def shipped() -> Catalogue:
    return load_catalogue()


def simulation(feed: str, *changes: Change, hour: int, hours: float, day: int) -> tuple[Simulation, int]:
    """A run of one feed on a day in May, and when it starts. `changes`: quantity, operation and amount, all the time
    and everywhere."""
    begin = f"2026-05-{day:02d}T{hour:02d}:00:00+08:00"
    start, length_ms = instant_ms(begin), round(hours * HOUR_MS)
    effects = tuple(
        Effect(feed=feed, field=name, op=op, amount=amount, elsewhere=1.0, envelope=Envelope(hold=hours * 60))  # type: ignore[arg-type]
        for name, op, amount in changes
    )
    scenario = Scenario(
        id="ZZ", alias="test-run", name={"en": "a", "zh": "b"}, start=begin,  # type: ignore[arg-type]
        length_s=round(hours * 3600), effect=effects,
    )  # fmt: skip
    plan = make_plan(shipped(), start_ms=start, duration_ms=length_ms, faults=False)
    return Simulation(replace(plan, feeds=(feed,), scenarios=(ScenarioAt(scenario, start),))), start


def told(feed: str, *changes: Change, hour: int = 15, hours: float = 0.1, day: int = 5) -> Columns:
    """What the sources of a feed tell, with the city of each."""
    run, start = simulation(feed, *changes, hour=hour, hours=hours, day=day)
    fleet, parts = run.fleets[feed], dict[str, list[Any]]()
    for rows in run._runs[feed].readings.between(start, start + round(hours * HOUR_MS)):
        home = np.array([city.id for city in fleet.cities])[fleet.city[rows.device]]
        for name, column in {"city": home, "ts": rows.ts_ms, **rows.values}.items():
            parts.setdefault(name, []).append(column.text() if isinstance(column, Coded) else column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}


# ---------------------------------------------------------------- every feed


@pytest.mark.parametrize("feed", RATES)
def test_events_are_told_with_all_fields_in_their_ranges_by_one_source_a_city(feed: str) -> None:
    declared, rows = shipped().feeds[feed], told(feed)
    assert (declared.emits, declared.cadence_s) == ("events", 10)
    assert set(rows) - {"city", "ts"} == set(declared.fields)
    assert len(set(rows["city"])) == 23
    assert (rows[HOME[feed]] == rows["city"]).all()
    for name, spec in declared.fields.items():
        if spec.values:
            assert set(rows[name].tolist()) <= set(spec.values)
        elif spec.type != "bool":
            assert spec.min is None or rows[name].min() >= spec.min
            assert spec.max is None or rows[name].max() <= spec.max


@pytest.mark.parametrize("feed", RATES)
def test_nominal_rates_add_up_and_grow_with_the_population(feed: str) -> None:
    run, _ = simulation(feed, hour=0, hours=0.1, day=5)
    fleet = run.fleets[feed]
    rated = np.asarray(fleet.constants["rated_per_s"])
    assert rated.sum() == pytest.approx(RATES[feed])
    millions = np.array([fleet.cities[city].population for city in fleet.city]) / 1e6
    assert np.ptp(rated / millions**1.1) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("feed", RATES)
def test_there_is_more_by_day_than_at_night_and_less_on_sundays(feed: str) -> None:
    night, day, sunday = (
        len(told(feed, hour=hour, day=date, hours=0.05)["ts"]) for hour, date in ((3, 5), (10, 5), (10, 10))
    )
    assert night < 0.5 * day
    assert sunday < 0.8 * day


@pytest.mark.parametrize("feed", RATES)
def test_demand_moves_the_number_of_events(feed: str) -> None:
    plain, busy = (len(told(feed, *more, hours=0.05)["ts"]) for more in ((), (("demand", "multiply", 4.0),)))
    assert busy / plain == pytest.approx(4, rel=0.15)


# ---------------------------------------------------------------- orders


def test_an_order_that_misses_is_overdue_when_its_promise_passes_and_delivered_after_it() -> None:
    rows = told("supply.order", ("late_p", "set", 0.5), hours=0.5)
    overdue, delivered = rows["stage"] == "overdue", rows["stage"] == "delivered"
    late = delivered & (rows["slack_h"] < 0)
    assert (rows["slack_h"][overdue] == 0).all()
    assert late.sum() / delivered.sum() == pytest.approx(0.5, abs=0.06)
    assert overdue.sum() / late.sum() == pytest.approx(1, abs=0.2)
    assert (rows["slack_h"][np.isin(rows["stage"], ["placed", "shipped"])] > 0).all()


def test_orders_to_some_cities_can_be_made_to_miss() -> None:
    missing = ("late_p", "at_least", f"case when to_city in ('{SZ}', '441300') then 0.3 else 0 end")
    rows = told("supply.order", missing, hours=1)
    there, delivered = np.isin(rows["to_city"], [SZ, "441300"]), rows["stage"] == "delivered"
    late = rows["slack_h"] < 0
    assert late[there & delivered].mean() == pytest.approx(0.3, abs=0.05)
    assert late[~there & delivered].mean() == pytest.approx(0.05, abs=0.02)


# ---------------------------------------------------------------- data circulation


def test_personal_data_leave_only_by_methods_that_keep_them() -> None:
    rows = told("data.flow")
    assert set(rows["method"][rows["class"] == "personal"]) == {"mpc", "fl", "tee"}
    assert "plain" in rows["method"]


def test_a_stage_tells_its_own_figures_and_no_others() -> None:
    rows = told("data.flow")
    for name, stages in {
        "gb": ["delivered"], "calls": ["call"], "price_cny": ["settled"], "age_s": ["refresh"], "sla_s": ["refresh"],
        "right_reg": ["list"], "review_ok": ["review"], "lat_ms": ["call", "delivered", "failed"],
    }.items():  # fmt: skip
        assert not rows[name][~np.isin(rows["stage"], stages)].any(), name
        assert rows[name][np.isin(rows["stage"], stages)].any(), name


def test_the_hundreds_of_a_product_are_its_sector() -> None:
    rows = told("data.flow")
    words = shipped().feeds["data.flow"].fields["sector"].values
    assert [words[product // 100] for product in rows["product_id"]] == rows["sector"].tolist()


def test_a_customs_border_lies_between_the_mainland_hong_kong_and_macao() -> None:
    rows = told("data.flow")
    lands = [np.array([{HK: 1, MO: 2}.get(code, 0) for code in rows[name]]) for name in ("seller_city", "buyer_city")]
    assert (rows["xborder"] == (lands[0] != lands[1])).all()


def failing(rows: Columns, *, xborder: bool) -> float:
    """The share of deliveries that fail, across a customs border or not."""
    here = rows["xborder"] == xborder
    failed, delivered = (int((here & (rows["stage"] == stage)).sum()) for stage in ("failed", "delivered"))
    return failed / (failed + delivered)


def test_deliveries_fail_at_the_borders_alone_or_everywhere() -> None:
    plain, borders, all_of_them = (
        told("data.flow", *change, hours=0.25)
        for change in ((), (("xborder_fail_p", "set", 0.09),), (("fail_p", "set", 0.05),))
    )
    assert failing(plain, xborder=False) == pytest.approx(0.008, abs=0.004)
    assert failing(borders, xborder=False) == pytest.approx(0.008, abs=0.004)
    assert failing(borders, xborder=True) == pytest.approx(0.09, abs=0.035)
    assert failing(all_of_them, xborder=False) == pytest.approx(0.05, abs=0.01)


def test_one_in_twenty_answers_takes_300_ms_and_five_times_that_when_it_is_slow() -> None:
    for change, p95 in (((), 300), ((("latency", "multiply", 5.0),), 1500)):
        rows = told("data.flow", *change)
        assert np.quantile(rows["lat_ms"][rows["stage"] == "call"], 0.95) == pytest.approx(p95, rel=0.15)


# ---------------------------------------------------------------- compute jobs


@pytest.mark.parametrize(("change", "share"), [((), 0.35), ((("sg_share", "set", 0.65),), 0.65)])
def test_the_hub_takes_its_share_of_the_jobs_of_other_cities(change: tuple[Change, ...], share: float) -> None:
    rows = told("compute.job", *change)
    stays = (rows["origin_city"] != SG) & (rows["exec_city"] != "OUT")
    assert (rows["exec_city"][stays] == SG).mean() == pytest.approx(share, abs=0.02)


def test_jobs_wait_longer_where_the_hub_is_full_wherever_they_come_from() -> None:
    rows = told("compute.job", ("sg_wait", "multiply", 15.0))
    hub = rows["exec_city"] == SG
    assert np.quantile(rows["wait_s"][hub], 0.95) == pytest.approx(900, rel=0.15)
    assert np.quantile(rows["wait_s"][~hub], 0.95) == pytest.approx(60, rel=0.15)


def test_provinces_follow_the_cities_and_jobs_outside_run_in_another_one() -> None:
    rows = told("compute.job")
    own = {HK: "CN-HK", MO: "CN-MO"}
    assert [own.get(code, "CN-GD") for code in rows["origin_city"]] == rows["origin_prov"].tolist()
    inside = rows["exec_city"] != "OUT"
    assert [own.get(code, "CN-GD") for code in rows["exec_city"][inside]] == rows["exec_prov"][inside].tolist()
    assert not np.isin(rows["exec_prov"][~inside], ["CN-GD", "CN-HK", "CN-MO"]).any()
    assert 0.02 < (~inside).mean() < 0.06


def test_only_inferences_call_models_and_have_a_latency() -> None:
    rows = told("compute.job")
    infer = rows["kind"] == "infer"
    assert (rows["model_id"][infer] > 0).all()
    assert not rows["model_id"][~infer].any()
    assert not rows["lat_ms"][~infer].any()
    assert (rows["energy_kwh"].sum() / rows["gpu_h"].sum()) == pytest.approx(0.9, rel=0.1)


# ---------------------------------------------------------------- indicators

THRESHOLDS = {
    "I11a": ("<", 80, ">=", 85), "I11b": ("<", 85, ">=", 90), "I12a": ("<", 90, ">=", 94),
    "I12b": ("<", 0.60, ">=", 0.65), "I13a": (">=", 2.5, "<=", 1.8), "I13b": ("<", 97, ">=", 98.5),
    "I21a": ("<", 70, ">=", 75), "I22c": (">=", 600, "<=", 300), "I32a": ("<=", 0.5, ">=", 0.7),
    "I33b": ("<=", 0.7, ">=", 0.85), "I34a": ("<", 99, ">=", 99.5), "I34b": (">=", 1500, "<=", 1000),
    "I36a": ("<", 85, ">=", 90), "I36b": ("<", 2, ">=", 3), "I61c": ("<=", 0.6, ">=", 0.8), "I63b": ("<", 95, ">=", 97),
}  # fmt: skip


@pytest.mark.parametrize("indicator", THRESHOLDS)
def test_an_alert_is_raised_and_cleared_by_three_windows(indicator: str) -> None:
    alert = shipped().indicators[indicator].alert
    assert alert is not None
    (pair,) = alert.thresholds
    assert (pair.raise_.op, pair.raise_.value, pair.clear.op, pair.clear.value) == THRESHOLDS[indicator]
    assert (pair.raise_.count, pair.clear.count) == (3, 3)
    assert pair.raise_.times == pair.clear.times == ("base" if indicator == "I33b" else "one")


@pytest.mark.parametrize("indicator", ["I13c", "I21b", "I22d", "I33c", "I34c", "I62a"])
def test_what_is_for_information_only_has_no_alert(indicator: str) -> None:
    assert shipped().indicators[indicator].alert is None


def test_a_base_grows_with_the_nominal_rate_or_is_of_a_ratio() -> None:
    programs = {one.indicator.id: one for one in compile_catalogue(shipped()).indicators}
    assert programs["I13a"].bases["calls"].units == "rated_per_s"
    assert programs["I32a"].bases["settled"].units == "rated_per_s"
    assert programs["I33b"].bases["value"].declared.per == "one"
    assert {base.declared.per for base in programs["I61c"].bases.values()} == {"one"}


def only(*indicators: str, bases: Bases | None = None) -> World:
    """A world of these indicators, with a source of each of the feeds in Guangzhou."""
    catalogue = shipped()
    chosen = {id_: catalogue.indicators[id_] for id_ in indicators}
    world = World(replace(catalogue, indicators=chosen, scenarios={}, bases=bases or Bases()))
    for feed in RATES:
        world.register(feed, GZ, 1)
    world.tick(0)
    return world


HOURLY = {"pax": 3_000.0, "compute": 0.1, "data": 0.4}
"""What an ordinary hour is in the test of the index, whatever the hour."""


def settled(world: World, end_ms: int, *, cluster: bool = False) -> dict[str, float | None]:
    """The settled value of each city in the window that ends so long after the start."""
    rows = table(world.cluster() if cluster else world.indicate())
    ended = rows.filter((pl.col("maturity") == "settled") & (pl.col("window_end_ms") == T0 + end_ms))
    return {row["city"]: row["value"] for row in ended.to_dicts()}


def frame(world: World, feed: str, n: int, **columns: list[Any] | Any) -> None:
    """A frame of `n` events of Guangzhou's source; a single value stands for all of them."""
    filled = {name: value if isinstance(value, list) else [value] * n for name, value in columns.items()}
    defaults = {name: spec.values[0] for name, spec in world.catalogue.feeds[feed].fields.items() if spec.required}
    missing = {name: [value] * n for name, value in defaults.items() if name not in filled}
    world.frame(feed, GZ, device=["d0"] * n, ts=[1000 + i for i in range(n)], seq=list(range(n)), **filled, **missing)


def test_an_order_counts_once_at_its_receiver_when_its_promise_is_kept_or_passes() -> None:
    world = only("I36a")
    kept, late, overdue = ("delivered", 2.0), ("delivered", -3.0), ("overdue", 0.0)
    orders = [kept] * 90 + [late] * 50 + [overdue] * 10 + [("placed", 40.0)] * 30
    stages, slacks = map(list, zip(*orders, strict=True))
    frame(world, "supply.order", len(orders), stage=stages, slack_h=slacks, to_city=SZ)
    world.tick(3_700_000)
    values = settled(world, 900_000, cluster=True)
    assert values[SZ] == 90
    assert values.get(GZ) is None


def test_pairs_of_cities_count_once_and_a_city_alone_is_no_pair() -> None:
    world = only("I21b")
    buyers = [GZ, SZ, SZ, HK]
    frame(world, "data.flow", 4, stage="delivered", seller_city=GZ, buyer_city=buyers)
    world.tick(400_000)
    assert settled(world, 300_000, cluster=True) == {"CLUSTER": pytest.approx(100 * 2 / 506)}


def test_waits_count_where_a_job_runs_and_nowhere_if_that_is_outside() -> None:
    world = only("I22c")
    frame(world, "compute.job", 80, exec_city=[SG] * 40 + ["OUT"] * 40, wait_s=[700.0] * 40 + [5.0] * 40)
    world.tick(400_000)
    values = settled(world, 300_000, cluster=True)
    assert values[SG] is not None
    assert 600 <= values[SG] <= 800
    assert {city for city, value in values.items() if value is not None} == {SG}


def test_few_events_are_no_evidence() -> None:
    world = only("I13b")
    frame(world, "data.flow", 99, stage=["failed"] * 50 + ["delivered"] * 49)
    world.tick(400_000)
    assert settled(world, 300_000) == {GZ: None}


def test_the_same_product_sold_to_three_cities_is_used_three_times() -> None:
    world = only("I13c")
    buyers = [GZ, SZ, HK, HK, GZ, GZ]
    frame(
        world, "data.flow", 6, stage="delivered", sector="finance", product_id=[101] * 4 + [102] * 2, buyer_city=buyers
    )
    world.tick(3_700_000)
    assert settled(world, 3_600_000) == {GZ: 4 / 2}


def test_what_a_day_settled_is_set_against_a_day_that_brought_news_each_hour() -> None:
    world = only("I32a")
    frame(world, "data.flow", 3, stage="settled", price_cny=100.0)
    world.tick(3_700_000)
    assert settled(world, 3_600_000) == {GZ: None}


def test_the_index_of_the_bay_area_is_the_mean_of_three_ratios_to_the_ordinary() -> None:
    entries = [
        Ordinary(indicator="I61c", name=name, city="GBA", values=(value,) * 168, weeks=4, samples=4)
        for name, value in HOURLY.items()
    ]
    catalogue = shipped()
    world = only("I61c", bases=Bases.of(entries, catalogue.cities, catalogue.groups))
    world.register("port.gate", GZ, 1, kind="border")
    world.tick(3_599_000)
    minutes = range(0, 3_600_000, 60_000)
    counts = {"device": ["d0"] * 60, "seq": list(range(60)), "pax_in": [60] * 60, "pax_out": [40] * 60}
    world.frame("port.gate", GZ, ts=list(minutes), **counts)  # 6 000 passengers, 3 000 are ordinary
    own, away = {"origin_city": [GZ], "exec_city": [GZ]}, {"origin_city": [GZ, GZ], "exec_city": [SG, "OUT"]}
    frame(world, "compute.job", 2, gpu_h=2.5, **away)  # 5 of a source of nominally 50: 0.1 is ordinary
    frame(world, "data.flow", 2, stage="delivered", seller_city=GZ, buyer_city=[SZ, GZ], gb=[10.0, 70.0])  # half
    world.frame("compute.job", GZ, device=["d0"], ts=[2_000], seq=[2], kind=["train"], gpu_h=[90.0], **own)
    world.tick(3_700_000)
    value = settled(world, 3_600_000, cluster=True)["GBA"]
    assert value == pytest.approx((2 * 1 * 0.5) ** (1 / 3))
