"""The physical feeds: that they hold what the table of feeds asks for, and that their quantities hang together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.catalogue.scenario import Effect, Envelope, Scenario
from producers.simulator.columns import Coded
from producers.simulator.plan import ScenarioAt, instant_ms, make_plan
from producers.simulator.run import Simulation

HOUR_MS = 3_600_000
MAY = "2026-05-05T{hour:02d}:00:00+08:00"
HUB = "440200"

Columns = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue()


def simulated(
    catalogue: Catalogue, feed: str, *changes: tuple[str, str, float], hour: int = 0, hours: int = 1
) -> Columns:
    """What the devices of a feed report on a day in May, with the constants of each. `changes`: quantity, operation,
    amount, for the whole run."""
    start = instant_ms(MAY.format(hour=hour))
    plan = make_plan(catalogue, start_ms=start, duration_ms=hours * HOUR_MS, faults=False)
    always = Envelope(hold=hours * 60)
    effects = tuple(
        Effect(feed=feed, field=name, op=op, amount=amount, elsewhere=1.0, envelope=always)  # type: ignore[arg-type]
        for name, op, amount in changes
    )
    scenario = Scenario(
        id="ZZ", alias="test-run", name={"en": "a", "zh": "b"}, start=MAY.format(hour=hour),  # type: ignore[arg-type]
        length_s=hours * 3600, effect=effects,
    )  # fmt: skip
    simulation = Simulation(replace(plan, feeds=(feed,), scenarios=(ScenarioAt(scenario, start),)))
    fleet = simulation.fleets[feed]
    parts: dict[str, list[Any]] = {}
    for rows in simulation._runs[feed].readings.between(start, start + hours * HOUR_MS):
        for name, column in {"device": rows.device, "ts": rows.ts_ms, **rows.values}.items():
            parts.setdefault(name, []).append(column.text() if isinstance(column, Coded) else column)
    made = {name: np.concatenate(columns) for name, columns in parts.items()}
    for name, constant in fleet.constants.items():
        if name not in made:
            made[name] = (constant.text() if isinstance(constant, Coded) else np.asarray(constant))[made["device"]]
    made["hour"] = (made["ts"] + 8 * HOUR_MS) // HOUR_MS % 24
    return made


# ---------------------------------------------------------------- content

FEEDS = {
    "F03": ("weather.obs", 60, 10, {"wind_ms": "m/s", "gust_ms": "m/s", "wdir_deg": "deg", "rain_mm": "mm",
            "temp_c": "Cel", "rh_pct": "%", "pres_hpa": "hPa", "vis_m": "m", "soil_vwc_pct": "%"}, set()),
    "F04": ("water.net", 60, 40, {"flow_m3h": "m3/h", "press_mpa": "MPa", "turb_ntu": "NTU", "cl2_mgl": "mg/L",
            "ph": "", "drain_level_m": "m", "tide_resid_m": "m"}, {"crown_m"}),
    "F05": ("grid.node", 15, 10, {"load_mw": "MW", "freq_hz": "Hz", "volt_pu": "p.u.", "renew_mw": "MW",
            "bess_soc_pct": "%", "ev_mw": "MW", "cust_total": "customers", "cust_out": "customers"}, {"cap_mw"}),
    "F06": ("pole.node", 60, 40, {"laeq_db": "dB(A)", "lamp_on": "", "lamp_cmd": "", "lamp_w": "W",
            "bin_fill_pct": "%", "bin_temp_c": "Cel"}, {"noise_class"}),
    "F08": ("dc.hall", 30, 10, {"p_total_kw": "kW", "p_it_kw": "kW", "renew_kw": "kW", "water_l": "L",
            "rack_on": "racks", "rack_total": "racks", "gpu_alloc": "accelerators", "gpu_total": "accelerators",
            "pflops_avail": "PFLOPS", "pflops_inst": "PFLOPS", "inlet_c": "Cel", "temp_out_c": "Cel"}, set()),
    "F09": ("cell.site", 60, 10, {"cells_up": "cells", "batt_cells": "cells", "dl_mbps": "Mbit/s", "prb_pct": "%",
            "users": "", "drop_pct": "%", "lat_ms": "ms", "power_kw": "kW"}, {"cells_total", "gen"}),
}  # fmt: skip


@pytest.mark.parametrize("number", FEEDS)
def test_a_feed_has_the_fields_units_and_cadence_of_its_row(shipped: Catalogue, number: str) -> None:
    id_, cadence_s, hold_s, units, static = FEEDS[number]
    feed = shipped.feeds[id_]
    assert (feed.number, feed.cadence_s, feed.hold_s) == (number, cadence_s, hold_s)
    assert units.items() <= {name: spec.unit for name, spec in feed.fields.items()}.items()
    assert static <= set(feed.static)


@pytest.mark.parametrize("number", FEEDS)
def test_every_field_is_measured_and_stays_in_its_range(shipped: Catalogue, number: str) -> None:
    feed = shipped.feeds[FEEDS[number][0]]
    rows = simulated(shipped, feed.id, hour=17)
    for name, spec in feed.fields.items():
        values = rows[name].astype(float)
        assert np.isfinite(values).all()
        assert spec.min is None or values.min() >= spec.min
        assert spec.max is None or values.max() <= spec.max


# ---------------------------------------------------------------- couplings


def test_it_is_warmest_in_the_afternoon_and_dampest_before_dawn(shipped: Catalogue) -> None:
    rows = simulated(shipped, "weather.obs", hours=24)
    temp = np.array([rows["temp_c"][rows["hour"] == h].mean() for h in range(24)])
    damp = np.array([rows["rh_pct"][rows["hour"] == h].mean() for h in range(24)])
    assert temp.argmax() in (14, 15)
    assert 31 <= temp.max() <= 33
    assert damp.argmax() in (4, 5, 6)


def test_rain_of_an_ordinary_day_is_rare_and_below_12_mm_an_hour(shipped: Catalogue) -> None:
    rain = simulated(shipped, "weather.obs", hours=6)["rain_mm"]
    assert 0 < rain.max() <= 12 / 60
    assert 0.02 < (rain > 0).mean() < 0.2


def test_rain_takes_the_view_and_washes_particles_out(shipped: Catalogue) -> None:
    dry, wet = (simulated(shipped, "weather.obs", *rain) for rain in ((), (("rain_mmh", "add", 20.0),)))
    assert wet["vis_m"].mean() < 0.3 * dry["vis_m"].mean()
    dry, wet = (simulated(shipped, "air.quality", *rain) for rain in ((), (("rain_mmh", "add", 15.0),)))
    assert wet["pm25"].mean() == pytest.approx(dry["pm25"].mean() / 1.9, rel=0.1)


def test_a_calm_air_holds_particles_and_exhaust(shipped: Catalogue) -> None:
    fresh, still = (simulated(shipped, "air.quality", *calm) for calm in ((), (("calm", "multiply", 2.0),)))
    for name in ("pm25", "pm10", "no2"):
        assert still[name].mean() == pytest.approx(2 * fresh[name].mean(), rel=0.02)


def test_gusts_follow_the_wind(shipped: Catalogue) -> None:
    rows = simulated(shipped, "weather.obs", ("wind", "set", 20.0))
    assert rows["wind_ms"].min() == 20
    assert rows["gust_ms"].mean() == pytest.approx(1.45 * 20, rel=0.03)


def test_pressure_falls_with_the_square_of_the_flow(shipped: Catalogue) -> None:
    rows = simulated(shipped, "water.net", hour=2, hours=7)
    square = (rows["flow_m3h"] / rows["main_m3h"]) ** 2
    for device in range(5):
        own = rows["device"] == device
        slope = np.polyfit(square[own], rows["press_mpa"][own], 1)[0]
        assert slope == pytest.approx(-0.06, abs=0.01)


def test_a_leak_shows_at_night(shipped: Catalogue) -> None:
    tight, leaking = (simulated(shipped, "water.net", *leak, hour=2) for leak in ((), (("leak", "add", 0.3),)))
    assert leaking["flow_m3h"].mean() > 1.7 * tight["flow_m3h"].mean()


def test_the_drain_stands_at_its_crown_when_the_ratio_is_one(shipped: Catalogue) -> None:
    rows = simulated(shipped, "water.net", ("drain_ratio", "set", 1.0))
    assert rows["drain_level_m"] == pytest.approx(rows["crown_m"])


def test_the_load_rises_by_2_8_percent_for_each_degree_above_35(shipped: Catalogue) -> None:
    for hour, low, high in ((14, 1.10, 1.20), (4, 1.0, 1.0)):
        plain, hot = (simulated(shipped, "grid.node", *heat, hour=hour) for heat in ((), (("heat_c", "add", 8.0),)))
        assert low - 1e-6 <= hot["load_mw"].sum() / plain["load_mw"].sum() <= high + 1e-6


def test_frequency_wanders_by_0_02_hz_with_a_memory_of_a_minute(shipped: Catalogue) -> None:
    rows = simulated(shipped, "grid.node", hours=6)
    own = rows["freq_hz"][rows["device"] == 0] - 50
    assert own.std() == pytest.approx(0.02, rel=0.2)
    assert np.corrcoef(own[1:], own[:-1])[0, 1] == pytest.approx(np.exp(-15 / 60), abs=0.05)


def test_noise_is_below_the_limit_of_its_class_by_day_and_by_night(shipped: Catalogue) -> None:
    for hour, limits, distance in ((12, {"2": 60, "4a": 70}, 4), (2, {"2": 50, "4a": 55}, 3)):
        rows = simulated(shipped, "pole.node", hour=hour)
        for word, limit in limits.items():
            assert np.median(rows["laeq_db"][rows["noise_class"] == word]) == pytest.approx(limit - distance, abs=0.8)


def test_lamps_burn_at_night_as_they_are_told(shipped: Catalogue) -> None:
    assert simulated(shipped, "pole.node", hour=2)["lamp_cmd"].all()
    assert 0.97 < simulated(shipped, "pole.node", hour=2)["lamp_on"].mean() < 1
    assert not simulated(shipped, "pole.node", hour=12)["lamp_on"].any()


def test_pue_rises_with_the_heat_outside_above_30_degrees(shipped: Catalogue) -> None:
    plain, hot = (simulated(shipped, "dc.hall", *heat, hour=14) for heat in ((), (("heat_c", "add", 8.0),)))
    over = [np.maximum(0, rows["temp_out_c"] - 30) for rows in (plain, hot)]
    gain = hot["p_total_kw"] / hot["p_it_kw"] - plain["p_total_kw"] / plain["p_it_kw"]
    assert gain == pytest.approx(0.012 * (over[1] - over[0]), abs=0.002)


def test_the_hub_is_more_efficient_than_the_others(shipped: Catalogue) -> None:
    rows = simulated(shipped, "dc.hall", hour=6)
    hub = rows["city"] == HUB
    pue = [rows["p_total_kw"][part].sum() / rows["p_it_kw"][part].sum() for part in (hub, ~hub)]
    assert pue == pytest.approx([1.22, 1.38], abs=0.01)


def test_jobs_draw_power_and_leave_the_pue_no_worse(shipped: Catalogue) -> None:
    plain, busy = (simulated(shipped, "dc.hall", *jobs, hour=11) for jobs in ((), (("gpu_share", "set", 0.95),)))
    assert busy["p_it_kw"].sum() / plain["p_it_kw"].sum() == pytest.approx(1.35, abs=0.06)
    assert (busy["p_total_kw"] / busy["p_it_kw"] < plain["p_total_kw"] / plain["p_it_kw"]).all()


def test_cells_that_fail_crowd_the_others(shipped: Catalogue) -> None:
    plain, stormy = (simulated(shipped, "cell.site", *out, hour=20) for out in ((), (("out_share", "add", 0.3),)))
    assert stormy["cells_up"].sum() / plain["cells_up"].sum() == pytest.approx(0.7, abs=0.01)
    assert stormy["dl_mbps"].mean() < 0.8 * plain["dl_mbps"].mean()
    assert stormy["prb_pct"].mean() > plain["prb_pct"].mean()


def test_a_user_in_the_core_gets_twice_the_rate_of_one_in_the_country(shipped: Catalogue) -> None:
    rows = simulated(shipped, "cell.site", hour=12, hours=3)
    core, rural = (np.median(rows["dl_mbps"][rows["zone"] == zone]) for zone in ("core", "rural"))
    assert core / rural == pytest.approx(2.0, abs=0.15)


def test_speed_falls_by_the_bpr_curve(shipped: Catalogue) -> None:
    plain, full = (simulated(shipped, "traffic.flow", *jam, hour=3) for jam in ((), (("demand", "set", 1.5),)))
    assert plain["speed_kmh"] == pytest.approx(plain["freeflow_kmh"], rel=0.02)
    assert full["speed_kmh"] == pytest.approx(full["freeflow_kmh"] / (1 + 0.15 * 1.5**4), abs=0.06)
