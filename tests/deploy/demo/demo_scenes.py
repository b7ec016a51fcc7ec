"""A small cluster of its own for the view's tests: it must not change whenever the shipped catalogue grows."""

from __future__ import annotations

from typing import Any

from deploy.demo.scene import Firing, Headline, Lag, Scene, Signal
from pearlstream.catalogue import Catalogue, City, Indicator, Scenario

CLOCK_MS = 1_780_354_830_000
WINDOW_MS = 1_780_354_800_000

_CITIES = (
    ("N1", "Northtown", "北城", 113.0, 24.5, 3_000_000),
    ("M1", "Middleton", "中城", 113.2, 23.1, 18_000_000),
    ("E1", "Eastport", "东港", 116.5, 23.4, 5_000_000),
    ("S1", "Southbay", "南湾", 114.1, 22.4, 17_000_000),
    ("W1", "Westmarch", "西镇", 110.4, 21.3, 7_000_000),
)


def _indicator(id_: str, en: str, zh: str, direction: str, sub_item: str, **more: Any) -> Indicator:
    measure = {"feed": "*"} if more.get("per") == "feed" else {"feed": "some.feed"}
    declared = {
        "id": id_,
        "name": {"en": en, "zh": zh},
        "direction": direction,
        "sub_item": sub_item,
        "window": {"length_s": 300},
        "measures": {"a": measure},
        "value": "a",
    }
    return Indicator.model_validate({**declared, **more})


def catalogue() -> Catalogue:
    """Five cities, three indicators, one scenario."""
    cities = [
        City.model_validate({"id": id_, "name": {"en": en, "zh": zh}, "lon": lon, "lat": lat, "population": population})
        for id_, en, zh, lon, lat, population in _CITIES
    ]
    indicators = [
        _indicator("A1", "Output ratio", "产出比", "up", "4.1", unit="ratio", decimals=3),
        _indicator("A2", "Travel-time index", "行程时间指数", "down", "4.3", unit="x"),
        _indicator("X1", "Completeness", "数据完整率", "up", "health", unit="%", per="feed"),
    ]
    scenario = Scenario.model_validate(
        {
            "id": "SC99",
            "alias": "storm",
            "name": {"en": "Storm from the west", "zh": "西来风暴"},
            "start": "2026-06-02T06:45:00+08:00",
            "length_s": 3600,
        }
    )
    return Catalogue(
        cities={city.id: city for city in cities},
        groups={},
        feeds={},
        indicators={one.id: one for one in indicators},
        scenarios={"SC99": scenario},
        tasks={},
        sub_items={},
        cards={},
        sha="0" * 64,
    )


def signal(
    value: float | None, state: str = "OK", *, before: float | None = None, maturity: str = "settled", dims: str = ""
) -> Signal:
    """A window that ended half a minute before the clock."""
    return Signal(value, state, maturity, WINDOW_MS, before, dims)


def scene(**changes: Any) -> Scene:
    """A moment in which every state occurs."""
    declared = catalogue()
    signals = {(one, city): signal(0.8, before=0.7) for one in declared.indicators for city in declared.cities}
    signals["A2", "M1"] = signal(2.31, "RAISED", before=1.9)
    signals["A2", "S1"] = signal(1.7, "WATCH", before=1.9)
    signals["A1", "E1"] = signal(None, "NODATA")
    signals["X1", "W1"] = signal(41.0, "RAISED", maturity="provisional")
    signals["X1", "N1"] = signal(12_345.678, before=12_345.678)
    values: dict[str, Any] = {
        "speed": 60.0,
        "elapsed_s": 57.3,
        "clock_ms": CLOCK_MS,
        "signals": signals,
        "headline": Headline(
            arrived=34_000,
            accepted=33_990,
            stored=33_500,
            arrived_per_s=1204.4,
            accepted_per_s=1203.0,
            stored_per_s=1198.0,
            freshness_p50_ms=870.0,
            freshness_p99_ms=1810.0,
            lags=(Lag("admit", 0), Lag("indicate", 12), Lag("sink", None)),
            quarantined={"range": 3},
            restarts={"sink": 0, "worker": 1},
            memory_mb=812.3,
        ),
        "alerts": (
            Firing("A2", "M1", "", "critical", WINDOW_MS),
            Firing("X1", "S1", "feed=some.feed", "warning", WINDOW_MS - 3_600_000, stale=True),
            Firing("A1", "E1", "", "info", WINDOW_MS - 86_400_000),
        ),
        "news": ("worker is back (restart 1)",),
        "hint": "Ctrl-C ends the run cleanly; logs: /var/pearl",
    }
    return Scene(declared, (declared.scenarios["SC99"],), **{**values, **changes})
