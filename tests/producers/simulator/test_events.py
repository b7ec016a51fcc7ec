"""Event sources, counters and named devices: feeds declared in an overlay, held to what they declare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulator_kit import MINUTE_MS, flat

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.catalogue.simulation_check import check_simulation
from pearlstream.errors import CatalogueError
from producers.simulator.fleet import Fleet
from producers.simulator.plan import Plan, instant_ms, make_plan
from producers.simulator.run import Simulation

ORDERS = """
[[feed]]
id = "shop.order"
name = { en = "Orders", zh = "订单" }
device = "till"
emits = "events"
cadence_s = 5
fleet = { counts = { 440100 = 3, 440300 = 2, 810000 = 1 } }

[feed.fields]
order = { type = "int", required = true }
target = { type = "text" }
kind = { type = "enum", values = ["food", "book", "rare"] }
paid = { type = "bool" }
price = { decimals = 2 }
stars = { type = "int" }
pace = { decimals = 3 }

[feed.simulate.device]
per_s = { kind = "populace", total = 40.0 }

[[feed.simulate.quantity]]
name = "pace"
kind = "level"
sigma = 0.2
phi = 0.9

[[feed.simulate.quantity]]
name = "sales"
kind = "events"
mean = "per_s * span_s * pace"

[[feed.simulate.quantity]]
name = "order"
kind = "serial"

[[feed.simulate.quantity]]
name = "local"
kind = "chance"
p = "0.25"

[[feed.simulate.quantity]]
name = "far"
kind = "pick"
of = "cities"
weights = { 440200 = "case when local then 0 else 1 end" }
own = 0.5
others = 0.5

[[feed.simulate.quantity]]
name = "target"
kind = "formula"
value = "case when local then city else far end"

[[feed.simulate.quantity]]
name = "kind"
kind = "pick"
weights = { food = 3, book = "case when local then 1 else 0 end" }

[[feed.simulate.quantity]]
name = "stars"
kind = "pick"
weights = { 1 = 1, 5 = 3 }

[[feed.simulate.quantity]]
name = "paid"
kind = "formula"
value = "kind = 'food' and target = city"

[[feed.simulate.quantity]]
name = "price"
kind = "draw"
dist = "lognormal"
scale = "20"
sigma = 0.5
"""

GATES = """
[[feed]]
id = "gate.lane"
name = { en = "Gate", zh = "闸机" }
device = "gate"
emits = "events"
cadence_s = 10
fleet = { poll_s = 1 }

[feed.fields]
state = { type = "enum", values = ["OPEN", "JAM", "SHUT"] }
queue = { type = "int" }
was = { type = "int" }
used = { decimals = 1 }
hour = { decimals = 3 }
turn_no = { type = "int" }

[feed.static]
lanes = { type = "int" }
border = { type = "bool" }

[[feed.simulate.roster]]
city = "440300"
count = 4
values = { lanes = 3, border = true }

[[feed.simulate.roster]]
city = "820000"
zone = "suburb"
values = { lanes = 2 }

[feed.simulate.device]
lanes = { kind = "given" }
border = { kind = "given" }

[[feed.simulate.quantity]]
name = "jams"
kind = "formula"
value = "case when border then 1 else 0 end"

[[feed.simulate.quantity]]
name = "state"
kind = "states"
stay.OPEN = { fixed_s = 60, next = { JAM = "case when border then 1 else 0 end", SHUT = "1 - jams" } }
stay.JAM = { fixed_s = 10, next = { OPEN = 1 } }
stay.SHUT = { fixed_s = 20, next = { OPEN = 1 } }

[[feed.simulate.quantity]]
name = "queue"
kind = "queue"
arrivals = "5"
capacity = "case when state = 'OPEN' then lanes * 2 else 0 end"

[[feed.simulate.quantity]]
name = "was"
kind = "formula"
value = "queue_before"

[[feed.simulate.quantity]]
name = "used"
kind = "accrue"
add = "span_s"
reset = "used_before >= 100"

[[feed.simulate.quantity]]
name = "hour"
kind = "formula"
value = "hour"

[[feed.simulate.quantity]]
name = "turn_no"
kind = "formula"
value = "turn"

[feed.simulate.faults]
"""

Columns = dict[str, "np.ndarray[Any, Any]"]
Load = Callable[[str], Catalogue]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The shipped catalogue with one feed more."""

    def make(text: str) -> Catalogue:
        (tmp_path / "feeds").mkdir(exist_ok=True)
        (tmp_path / "feeds" / "own.toml").write_text(text, "utf-8")
        return load_catalogue([tmp_path])

    return make


def one(catalogue: Catalogue, feed: str, minutes: int = 20, **changes: Any) -> Plan:
    """A plan of one feed, on a Tuesday morning, without faults."""
    start_ms = instant_ms("2026-06-02T10:00:00+08:00")
    plan = make_plan(catalogue, start_ms=start_ms, duration_ms=minutes * MINUTE_MS, faults=False)
    return replace(plan, feeds=(feed,), **changes)


def told(plan: Plan, step_ms: int = MINUTE_MS) -> Columns:
    """What the plan's only feed tells, in steps of that length."""
    simulation = Simulation(plan)
    return flat(simulation, plan.feeds[0], step_ms=step_ms)


def orders(catalogue: Catalogue, **changes: Any) -> Fleet:
    """The tills of a plan with these changes."""
    return Simulation(one(catalogue, "shop.order", **changes)).fleets["shop.order"]


def test_events_come_at_the_declared_rate_and_each_has_its_own_number(load: Load) -> None:
    plan = one(load(ORDERS), "shop.order")
    rows = told(plan)
    assert len(rows["ts"]) == pytest.approx(40 * 20 * 60, rel=0.08)
    assert len(np.unique(rows["order"])) == len(rows["order"])
    for device in range(6):
        own = rows["device"] == device
        assert (rows["seq"][own] == np.arange(own.sum())).all()
        assert (np.diff(rows["ts"][own]) >= 0).all()
    assert rows["ts"].min() >= plan.start_ms
    assert rows["ts"].max() < plan.end_ms


def test_counts_of_a_report_are_over_dispersed(load: Load) -> None:
    plan = one(load(ORDERS.replace("sigma = 0.2\nphi = 0.9", "")), "shop.order", minutes=120)
    rows, fleet = told(plan), Simulation(plan).fleets["shop.order"]
    # the reports of one device cut its time into cadences, each with a count of its own
    device = int(np.asarray(fleet.constants["per_s"]).argmax())
    own, phase = rows["ts"][rows["device"] == device], int(fleet.phase_ms[device])
    counts = np.bincount((own - phase) // 5_000 - (plan.start_ms - phase) // 5_000)[1:-1]
    mean = counts.mean()
    assert counts.var() == pytest.approx(mean + mean**2 / 15, rel=0.2)


def test_words_are_picked_by_their_weights(load: Load) -> None:
    rows = told(one(load(ORDERS), "shop.order"))
    fleet = orders(load(ORDERS))
    city = np.array([home.id for home in fleet.cities])[fleet.city][rows["device"]]
    assert (rows["target"] == "440200").mean() == pytest.approx(0.75 * 0.5, abs=0.02)
    at_home = rows["target"] == city
    assert at_home.mean() == pytest.approx(0.25 + 0.75 * (0.25 + 0.25 * 0.14), abs=0.02)
    assert set(rows["kind"]) == {"food", "book"}
    assert (rows["kind"] == "book").mean() == pytest.approx(0.25 * 0.25, abs=0.01)
    assert (rows["stars"] == 5).mean() == pytest.approx(0.75, abs=0.02)
    assert (rows["paid"] == ((rows["kind"] == "food") & at_home)).all()
    assert np.median(rows["price"]) == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize("rate", [None, 10.0, 400.0])
def test_a_total_is_shared_out_whatever_the_number_of_devices(load: Load, rate: float | None) -> None:
    fleet = orders(load(ORDERS), rate=rate)
    per_s = np.asarray(fleet.constants["per_s"])
    assert per_s.sum() == pytest.approx(rate or 40)
    by_city = np.bincount(fleet.city, per_s)
    people = np.array([city.population for city in fleet.cities])[: len(by_city)] ** 1.1
    some = by_city > 0
    assert by_city[some] / by_city.sum() == pytest.approx(people[some] / people[some].sum())


def test_a_city_alone_has_the_events_that_it_has_among_others(load: Load) -> None:
    every, alone = orders(load(ORDERS)), orders(load(ORDERS), cities=("440300",))
    home = [city.id for city in every.cities].index("440300")
    together = np.asarray(every.constants["per_s"])[every.city == home]
    assert np.asarray(alone.constants["per_s"]).sum() == pytest.approx(together.sum())


@pytest.mark.parametrize(("text", "feed"), [(ORDERS, "shop.order"), (GATES, "gate.lane")], ids=["events", "reports"])
def test_what_is_told_does_not_depend_on_the_length_of_steps(load: Load, text: str, feed: str) -> None:
    plan = one(load(text), feed, minutes=3)
    short, long = told(plan, 1_000), told(plan, MINUTE_MS)
    for name, column in long.items():
        assert (short[name] == column).all(), name


def test_a_stay_as_long_as_the_cadence_is_seen_once(load: Load) -> None:
    rows = told(one(load(GATES), "gate.lane", minutes=60))
    fleet = Simulation(one(load(GATES), "gate.lane")).fleets["gate.lane"]
    border = np.asarray(fleet.constants["border"])
    for device in range(len(fleet)):
        state = rows["state"][rows["device"] == device]
        short, seen = ("JAM", 1) if border[device] else ("SHUT", 2)
        assert set(state) == {"OPEN", short}
        runs = np.diff(np.flatnonzero(np.r_[True, state[1:] != state[:-1], True]))
        kinds = state[np.r_[0, np.cumsum(runs)[:-1]]]
        assert set(runs[1:-1][kinds[1:-1] == short]) == {seen}
        assert set(runs[1:-1][kinds[1:-1] == "OPEN"]) == {6}


def test_a_queue_follows_lindley_and_an_accrual_its_reset(load: Load) -> None:
    rows = told(one(load(GATES), "gate.lane", minutes=30))
    fleet = Simulation(one(load(GATES), "gate.lane")).fleets["gate.lane"]
    lanes = np.asarray(fleet.constants["lanes"])
    for device in range(len(fleet)):
        own = {name: column[rows["device"] == device] for name, column in rows.items()}
        capacity = np.where(own["state"] == "OPEN", 2 * lanes[device], 0)
        assert (own["queue"] == np.maximum(own["was"] + 5 - capacity, 0)).all()
        assert (own["was"][1:] == own["queue"][:-1]).all()
        assert (own["used"][:12] == [*range(10, 101, 10), 0, 10]).all()


def test_terms_know_the_hour_and_the_turn(load: Load) -> None:
    rows = told(one(load(GATES), "gate.lane", minutes=5))
    assert (rows["turn_no"] == rows["ts"] // 10_000).all()
    assert rows["hour"] == pytest.approx((rows["ts"] / 3_600_000 + 8) % 24, abs=1e-3)


def test_named_devices_are_never_scaled_and_have_the_values_that_are_given(load: Load) -> None:
    fleet = Simulation(one(load(GATES), "gate.lane", rate=900.0)).fleets["gate.lane"]
    city = np.array([fleet.cities[c].id for c in fleet.city])
    assert sorted(city) == ["440300"] * 4 + ["820000"]
    assert (np.asarray(fleet.constants["lanes"]) == np.where(city == "440300", 3, 2)).all()
    assert (np.asarray(fleet.constants["border"]) == (city == "440300")).all()
    assert set(fleet.constants["zone"].text()[city == "820000"]) == {"suburb"}


def test_the_devices_of_a_city_are_polled_together_and_in_order_of_phase(load: Load) -> None:
    polled = ORDERS.replace("fleet = { counts", "fleet = { poll_s = 0.5, counts")
    fleet = orders(load(polled), rate=200.0)
    assert (np.diff(fleet.phase_ms) >= 0).all()
    assert fleet.phase_ms[-1] < fleet.cadence_ms
    spans = [np.ptp(fleet.phase_ms[fleet.city == city]) for city in np.unique(fleet.city)]
    assert max(spans) <= 500
    assert np.ptp(fleet.phase_ms) > 500


def test_silent_reports_are_not_sent_and_use_no_number(load: Load) -> None:
    text = GATES.replace("[feed.simulate.faults]", "")
    quiet = text.replace(
        "[[feed.simulate.roster]]", "[feed.simulate]\nsilent = \"state = 'OPEN'\"\n\n[[feed.simulate.roster]]", 1
    )
    plan = one(load(quiet), "gate.lane", minutes=30)
    rows = told(plan)
    loud = told(one(load(text), "gate.lane", minutes=30))
    kept = loud["state"] != "OPEN"
    assert "OPEN" not in set(rows["state"])
    assert (rows["ts"] == loud["ts"][kept]).all()
    for device in np.unique(rows["device"]):
        seq = rows["seq"][rows["device"] == device]
        assert (seq == np.arange(len(seq))).all()


@pytest.mark.parametrize(
    ("text", "old", "new", "named"),
    [
        (ORDERS, 'emits = "events"\n', "", 'emits = "events"'),
        (ORDERS, 'name = "sales"', 'name = "price"', "price"),
        (ORDERS, "weights = { food = 3", "weights = { foot = 3", "food"),
        (ORDERS, '440200 = "case', '440209 = "case', "440200"),
        (ORDERS, 'p = "0.25"', 'p = "prise"', "prise"),
        (ORDERS, "else far end", "else 3 end", "every arm"),
        (ORDERS, 'dist = "lognormal"', 'dist = "cauchy"', "lognormal"),
        (ORDERS, 'kind = "serial"', 'kind = "pieces"\namount = "1"', "before `events`"),
        (ORDERS, 'kind = "serial"', 'kind = "events"\nmean = "1"', "events"),
        (ORDERS, 'name = "local"', 'name = "order"', "twice"),
        (ORDERS, 'target = { type = "text" }', 'target = { type = "text" }\nlocal = { type = "text" }', "local"),
        (GATES, "lanes = 3", "lans = 3", "lanes"),
        (GATES, 'city = "820000"', 'city = "820001"', "820000"),
        (GATES, 'zone = "suburb"', 'zone = "suburbs"', "suburb"),
        (GATES, 'reset = "used_before >= 100"', 'reset = "used_before"', "condition"),
        (GATES, 'JAM = "case when border', 'JAM = "case when boarder', "border"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would_have_been_right(
    load: Load, text: str, old: str, new: str, named: str
) -> None:
    assert old in text
    catalogue = load(text.replace(old, new, 1))
    feed = catalogue.feeds["shop.order" if text is ORDERS else "gate.lane"]
    with pytest.raises(CatalogueError) as error:
        check_simulation(feed, catalogue.cities)
    assert named in f"{error.value} {error.value.remedy}"
