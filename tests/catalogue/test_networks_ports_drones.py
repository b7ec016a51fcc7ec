"""Links, ports and drones: that they hold what the table of feeds asks for, and that an ordinary day stays ordinary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.catalogue.scenario import Effect, Envelope, Scenario
from pearlstream.catalogue.simulation import simulation_of
from producers.simulator.columns import Coded
from producers.simulator.plan import ScenarioAt, instant_ms, make_plan
from producers.simulator.run import Simulation

HOUR_MS = 3_600_000
TUESDAY, SATURDAY = "2026-05-05", "2026-05-09"
HONG_KONG, SHANTOU, SHENZHEN = "810000", "440500", "440300"
ENDED = ["LANDED", "RTB", "ABORT", "LOST"]


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue()


def simulated(catalogue: Catalogue, feed: str, start: str, hours: int, *changes: dict[str, Any]) -> pl.DataFrame:
    """What the devices of a feed report, with the constants of each. `changes`: effects in all cities, all the time."""
    start_ms = instant_ms(start)
    always = Envelope(hold=hours * 60)
    effects = tuple(Effect(feed=feed, elsewhere=1.0, envelope=always, **change) for change in changes)
    scenario = Scenario(
        id="ZZ", alias="test-run", name={"en": "a", "zh": "b"}, start=start,  # type: ignore[arg-type]
        length_s=hours * 3600, effect=effects,
    )  # fmt: skip
    plan = make_plan(catalogue, start_ms=start_ms, duration_ms=hours * HOUR_MS, faults=False)
    simulation = Simulation(replace(plan, feeds=(feed,), scenarios=(ScenarioAt(scenario, start_ms),)))
    fleet = simulation.fleets[feed]
    parts = []
    for rows in simulation._runs[feed].readings.between(start_ms, start_ms + hours * HOUR_MS):
        made = {"device": rows.device, "minute": (rows.ts_ms - start_ms) // 60_000, **rows.values}
        made |= {n: c[rows.device] for n, c in fleet.constants.items() if n not in made and isinstance(c, np.ndarray)}
        made |= {n: Coded(c.codes[rows.device], c.words) for n, c in fleet.constants.items() if isinstance(c, Coded)}
        parts.append(pl.DataFrame({n: c.text().tolist() if isinstance(c, Coded) else c for n, c in made.items()}))
    return pl.concat(parts)


FEEDS = {
    "F10": ("link.path", "samples", 10, {"oper_up": "", "cap_gbps": "Gbit/s", "used_gbps": "Gbit/s", "rtt_ms": "ms",
            "jitter_ms": "ms", "loss_pct": "%"}, {"kind", "to_city", "link_no", "rtt_base_ms"}),
    "F11": ("port.gate", "samples", 60, {"pax_in": "1/min", "pax_out": "1/min", "veh_in": "1/min", "veh_out": "1/min",
            "queue_pax": "pax", "queue_veh": "veh", "lanes_open": "lanes", "lanes_total": "lanes",
            "teu_moves": "TEU/min", "ships_wait": "ships"}, {"port_id", "kind"}),
    "F12": ("uav.track", "events", 5, {"state": "", "mission_id": "", "lon_deg": "deg", "lat_deg": "deg", "alt_m": "m",
            "gs_ms": "m/s", "batt_pct": "%", "dev_m": "m", "corridor_open": "", "corridor_sched": ""},
            {"role", "corridor_no"}),
}  # fmt: skip


@pytest.mark.parametrize("number", FEEDS)
def test_a_feed_holds_what_the_table_of_feeds_asks_for(shipped: Catalogue, number: str) -> None:
    name, emits, cadence_s, fields, static = FEEDS[number]
    feed = shipped.feeds[name]
    assert (feed.number, feed.emits, feed.cadence_s) == (number, emits, cadence_s)
    assert {field: spec.unit for field, spec in feed.fields.items()} == fields
    assert set(feed.static) == static


def test_the_links_and_checkpoints_are_named_one_by_one(shipped: Catalogue) -> None:
    links, ports = (simulation_of(shipped.feeds[name]) for name in ("link.path", "port.gate"))
    assert links is not None
    assert ports is not None
    kinds = [entry.values["kind"] for entry in links.roster]
    assert {kind: kinds.count(kind) for kind in kinds} == {"fibre": 30, "subsea": 6, "leo": 6, "geo": 2, "microwave": 2}
    assert sorted(e.city for e in links.roster if e.values["kind"] == "subsea") == [SHANTOU] * 2 + [HONG_KONG] * 4
    kinds = [entry.values["kind"] for entry in ports.roster]
    assert {kind: kinds.count(kind) for kind in kinds} == {"border": 8, "sea": 6}


# ---------------------------------------------------------------- links


def test_the_international_peak_loads_subsea_links_to_46_percent(shipped: Catalogue) -> None:
    links = simulated(shipped, "link.path", f"{TUESDAY}T21:00:00+08:00", 1).filter(pl.col("to_city") == "INTL")
    for _, city in links.group_by("city"):
        subsea = city.filter(pl.col("kind") == "subsea")
        assert subsea["used_gbps"].sum() / subsea["cap_gbps"].sum() == pytest.approx(0.46, abs=0.02)
        satellites = city.filter(pl.col("kind").is_in(["leo", "geo"]))["used_gbps"].sum()
        assert satellites / city["used_gbps"].sum() == pytest.approx(0.003, abs=0.0005)
        assert (subsea["rtt_ms"] / subsea["rtt_base_ms"]).median() == pytest.approx(1.01, abs=0.02)
    assert links["oper_up"].all()


def test_a_scenario_can_cut_single_links_and_pin_the_others(shipped: Catalogue) -> None:
    links = simulated(
        shipped, "link.path", f"{TUESDAY}T14:00:00+08:00", 1,
        {"field": "up", "op": "set", "amount": 0, "where": "kind = 'subsea' and link_no <= 2"},
        {"field": "load", "op": "set", "amount": 0.92, "where": "kind = 'subsea' and link_no > 2"},
        {"field": "rtt_factor", "op": "multiply", "amount": 1.8, "where": "kind = 'subsea'"},
        {"field": "load", "op": "multiply", "amount": 24, "where": "kind = 'leo' or kind = 'geo'"},
    ).filter((pl.col("city") == HONG_KONG) & (pl.col("to_city") == "INTL"))  # fmt: skip
    subsea = links.filter(pl.col("kind") == "subsea")
    cut = subsea.filter(pl.col("link_no") <= 2)
    assert not cut["oper_up"].any()
    assert cut["used_gbps"].sum() == 0
    left = subsea.filter(pl.col("oper_up"))
    assert left["used_gbps"].sum() / left["cap_gbps"].sum() == pytest.approx(0.92)
    assert (left["rtt_ms"] / left["rtt_base_ms"]).median() == pytest.approx(1.8, abs=0.03)
    satellites = links.filter(pl.col("kind").is_in(["leo", "geo"]))["used_gbps"].sum()
    assert satellites / links["used_gbps"].sum() > 0.05


# ---------------------------------------------------------------- ports


def waits(ports: pl.DataFrame) -> pl.Series:
    """Minutes that passengers wait, by city and five minutes."""
    border = ports.filter(pl.col("kind") == "border").with_columns(passed=pl.col("pax_in") + pl.col("pax_out"))
    sums = border.group_by("city", pl.col("minute") // 5).agg(pl.col("queue_pax", "passed").sum())
    return sums.select(pl.col("queue_pax") / pl.max_horizontal("passed", pl.lit(1))).to_series()


def test_a_large_crossing_serves_as_many_as_real_ones_do_and_nobody_waits_long_even_at_weekends(
    shipped: Catalogue,
) -> None:
    ports = simulated(shipped, "port.gate", f"{SATURDAY}T00:00:00+08:00", 24)
    assert waits(ports).max() < 6.0  # type: ignore[operator]
    bridge = ports.filter(pl.col("port_id") == "hzmb-zhuhai")
    weekend = (bridge["pax_in"] + bridge["pax_out"]).sum()
    assert 100_000 < weekend < 135_000, "1.3 times the 80 000 to 90 000 of a weekday"
    sea = ports.filter(pl.col("kind") == "sea")
    assert sea["queue_pax"].sum() == 0
    assert sea["teu_moves"].sum() > 0


def test_the_queue_takes_what_cannot_be_served(shipped: Catalogue) -> None:
    double = {"field": "demand", "op": "multiply", "amount": 2.0}
    ports = simulated(shipped, "port.gate", f"{TUESDAY}T09:00:00+08:00", 2, double)
    gate = ports.filter(pl.col("port_id") == "luohu")
    queue, served = gate["queue_pax"].to_numpy(), (gate["pax_in"] + gate["pax_out"]).to_numpy()
    assert served.max() == 173, "the capacity: 125 a minute over 0.72"
    arrivals = np.diff(queue) + served[1:]
    assert (arrivals >= 0).all()
    assert (served[1:][queue[1:] > 0] == 173).all()
    assert queue[-1] > 1_000


def test_a_closed_port_serves_nobody(shipped: Catalogue) -> None:
    closed = [{"field": name, "op": "multiply", "amount": 0.0} for name in ("demand", "service")]
    ports = simulated(shipped, "port.gate", f"{TUESDAY}T09:00:00+08:00", 1, *closed)
    assert ports.select(pl.col("pax_in", "pax_out", "queue_pax", "teu_moves", "lanes_open")).sum().row(0) == (0,) * 5


# ---------------------------------------------------------------- drones


@pytest.fixture(scope="module")
def noon(shipped: Catalogue) -> pl.DataFrame:
    """What drones and corridors report from 11 to 13 h."""
    return simulated(shipped, "uav.track", f"{TUESDAY}T11:00:00+08:00", 2)


def test_a_mission_ends_once_and_a_parked_drone_is_silent(noon: pl.DataFrame) -> None:
    drones = noon.filter(pl.col("role") == "drone")
    assert "PARKED" not in drones["state"].unique()
    ends = drones.filter(pl.col("state").is_in(ENDED))
    assert not ends.select("device", "mission_id").is_duplicated().any()
    assert (ends["state"] == "LANDED").mean() > 0.98  # type: ignore[operator]
    corridors = noon.filter(pl.col("role") == "corridor")
    assert set(corridors.group_by("device").len()["len"]) == {120}, "each minute"
    assert corridors["corridor_sched"].all()
    assert corridors["corridor_open"].mean() > 0.97


def test_shenzhen_flies_as_much_as_it_does_at_noon_and_at_most_150_are_in_the_air(noon: pl.DataFrame) -> None:
    tracks = noon.filter(pl.col("role") == "drone")
    missions = tracks.filter(pl.col("state").is_in(ENDED) & (pl.col("city") == SHENZHEN))
    assert 70 < len(missions) / 2 < 150, "a day of 1 470 has about 110 an hour at its peak"
    aloft = tracks.group_by("minute").agg(pl.col("device").n_unique())["device"]
    assert aloft.mean() > 40
    assert aloft.max() <= 150


def test_a_closure_sends_drones_home(shipped: Catalogue) -> None:
    tracks = simulated(
        shipped, "uav.track", f"{SATURDAY}T10:00:00+08:00", 1,
        {"field": "closed", "op": "set", "amount": 1, "where": "role = 'corridor'"},
        {"field": "rtb_p", "op": "set", "amount": 0.6},
        {"field": "abort_p", "op": "set", "amount": 0.1},
        {"field": "dev_scale", "op": "multiply", "amount": 2.5},
    )  # fmt: skip
    ends = tracks.filter(pl.col("state").is_in(ENDED))["state"]
    shares = {state: (ends == state).mean() for state in ENDED}
    assert shares["RTB"] == pytest.approx(0.62, abs=0.08)
    assert shares["ABORT"] == pytest.approx(0.1, abs=0.06)
    assert not tracks.filter(pl.col("role") == "corridor")["corridor_open"].any()
    drones = tracks.filter(pl.col("role") == "drone")
    assert drones["dev_m"].mean() == pytest.approx(2.5 * 4 * np.sqrt(np.pi / 2), rel=0.05)
