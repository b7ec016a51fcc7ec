"""The catalogue: what is shipped holds together, and a mistake is named by file, line, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from pearlstream.catalogue import Catalogue, load_catalogue
from pearlstream.errors import CatalogueError
from pearlstream.program import compile_catalogue


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue()


def test_the_cluster_has_23_cities_21_of_them_of_the_province(shipped: Catalogue) -> None:
    assert len(shipped.cities) == 23
    assert len(shipped.groups["province"].cities) == 21
    assert len(shipped.groups["gba"].cities) == 11
    assert set(shipped.groups["cluster"].cities) == set(shipped.cities)


def test_hong_kong_and_macao_are_in_no_total_of_the_province(shipped: Catalogue) -> None:
    outside = {city.id for city in shipped.cities.values() if city.name.en in ("Hong Kong", "Macao")}
    assert len(outside) == 2
    assert not outside & set(shipped.groups["province"].cities)


def test_the_population_of_the_province_is_the_published_total(shipped: Catalogue) -> None:
    assert sum(shipped.cities[code].population for code in shipped.groups["province"].cities) == 126_012_510


def test_every_indicator_compiles(shipped: Catalogue) -> None:
    program = compile_catalogue(shipped)
    assert {p.indicator.id for p in program.indicators} == set(shipped.indicators)
    sampled = [feed for feed in shipped.feeds.values() if feed.emits == "samples"]
    assert sum(p.indicator.id == "X09" for p in program.indicators) == len(sampled)


def test_only_reference_limits_of_a_norm_are_shown_as_such(shipped: Catalogue) -> None:
    for indicator in shipped.indicators.values():
        for reference in indicator.reference:
            assert "target" not in reference.label.lower()


def overlay(folder: Path, where: str, text: str) -> Path:
    (folder / where).parent.mkdir(parents=True, exist_ok=True)
    (folder / where).write_text(text)
    return folder


CITY = (
    '[[city]]\nid = "CN-BJ"\nname = { en = "Beijing", zh = "北京" }\nlon = 116.4\nlat = 39.9\npopulation = 21_893_095\n'
)
INDICATOR = """
# a comment
[[indicator]]
id = "Z1"
sub_item = "4.3"
name = { en = "Heavy share", zh = "重车占比" }
direction = "down"
window = { length_s = 300 }
value = "100 * heavy / flow"

[indicator.measures]
heavy = { feed = "traffic.flow", value = "flow_vpm * heavy_pct" }
flow = { feed = "traffic.flow", value = "flow_vpm" }
"""


def test_an_overlay_adds_entries_and_replaces_whole_ones(tmp_path: Path, shipped: Catalogue) -> None:
    other = CITY.replace("CN-BJ", "440300").replace("Beijing", "Elsewhere")
    laid = load_catalogue([overlay(tmp_path, "cities/more.toml", CITY + other)])
    assert set(laid.cities) - set(shipped.cities) == {"CN-BJ"}
    assert laid.cities["440300"].name.en == "Elsewhere"
    assert laid.cities["440300"].coast is False
    assert laid.sha != shipped.sha


def test_an_overlay_removes_entries(tmp_path: Path) -> None:
    assert "I42a" not in load_catalogue([overlay(tmp_path, "indicators/less.toml", 'remove = ["I42a"]\n')]).indicators


def test_the_hash_depends_on_what_is_declared_and_not_on_how_it_is_written(tmp_path: Path) -> None:
    one = load_catalogue([overlay(tmp_path / "a", "indicators/z.toml", INDICATOR)])
    two = load_catalogue([overlay(tmp_path / "b", "indicators/y.toml", INDICATOR.replace("# a comment", "\n\n"))])
    assert one.sha == two.sha


MISTAKES = {
    "misspelt key": (INDICATOR.replace("direction", "dirction"), "z.toml:7: indicator.dirction", "'direction'"),
    "wrong type": (INDICATOR.replace("300 }", '"soon" }'), "z.toml:8: indicator.window.length_s", ""),
    "unknown feed": (INDICATOR.replace('heavy = { feed = "traffic.flow"', 'heavy = { feed = "trafic.flow"'),
                     "z.toml:12: indicator.measures.heavy", "'traffic.flow'"),
    "not TOML": (INDICATOR.replace("[[indicator]]", "[[indicator]"), "z.toml", "line"),
    "wrong table": (INDICATOR.replace("[indicator", "[feed").replace("indicator]]", "feed]]"), "z.toml",
                    "[[indicator]]"),
    "twice": (INDICATOR + INDICATOR, "z.toml:17: indicator.id", "z.toml:3"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "where", "remedy"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_place_and_a_remedy(tmp_path: Path, text: str, where: str, remedy: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue([overlay(tmp_path, "indicators/z.toml", text)])
    assert where in str(caught.value)
    assert remedy in str(caught.value)


FORMULAS = {
    "unknown column": ("flow_vpm * heavy_pct", "flow_vpn * heavy_pct", "'flow_vpm'"),
    "unknown measure": ("100 * heavy / flow", "100 * heavi / flow", "heavy"),
    "a function outside the whitelist": ("flow_vpm * heavy_pct", "sleep(10)", "sleep"),
}


@pytest.mark.parametrize(("old", "new", "remedy"), FORMULAS.values(), ids=FORMULAS)
def test_a_wrong_formula_names_the_indicator_and_the_nearest_known_name(
    tmp_path: Path, old: str, new: str, remedy: str
) -> None:
    laid = load_catalogue([overlay(tmp_path, "indicators/z.toml", INDICATOR.replace(old, new))])
    with pytest.raises(CatalogueError) as caught:
        compile_catalogue(laid)
    assert "Z1" in str(caught.value)
    assert remedy in str(caught.value)


def test_an_unknown_scenario_is_answered_with_the_nearest(shipped: Catalogue) -> None:
    with pytest.raises(CatalogueError, match="rush"):
        shipped.scenario("rusch")


HARD = """
[[indicator]]
id = "Z2"
sub_item = "2.2"
name = { en = "Waiting p95", zh = "等待" }
direction = "down"
window = { length_s = 300 }
value = "quantile(wait, 0.95)"
[indicator.measures]
wait = { feed = "traffic.flow", kind = "map", value = "occ_pct", edges = [10, 20, 40, 80] }

[[indicator]]
id = "Z3"
sub_item = "1.2"
name = { en = "Breadth", zh = "广度" }
direction = "up"
window = { length_s = 86_400, every_s = 3600, cut = "city" }
value = "evenness(share, 4)"
bases.value = { value = "evenness(share, 4)", per = "one" }
[indicator.measures]
share = { feed = "traffic.flow", kind = "map", key = "road_class_code", value = "flow_vpm" }
[indicator.alert]
thresholds = [
  { raise = { op = "<", value = 0.6 }, clear = { op = ">=", value = 0.65 }, cities = ["440200"] },
  { raise = { op = "<", value = 0.7, times = "base" }, clear = { op = ">=", value = 0.85, times = "base" } },
]

[[indicator]]
id = "Z4"
sub_item = "safety"
name = { en = "Wet sites", zh = "内涝" }
direction = "down"
window = { length_s = 300 }
value = "100 * wet"
[indicator.measures]
level = { feed = "traffic.flow", kind = "max", value = "occ_pct / capacity_vpm", by = ["site"] }
[indicator.reduce]
wet = { value = "case when level >= 1 then 1 else 0 end", over = "share" }

[[indicator]]
id = "Z5"
sub_item = "health"
name = { en = "Lateness p95", zh = "迟到" }
direction = "down"
per = "feed"
window = { length_s = 300 }
value = "quantile(delay, 0.95) / 1000"
exclude = []
[indicator.measures]
delay = { feed = "*", kind = "map", value = "delay_ms", edges = [0, 1000, 10_000, 100_000], pane_of = "arrival" }

[[indicator]]
id = "Z6"
sub_item = "4.3"
name = { en = "Gap", zh = "差" }
direction = "down"
window = { length_s = 3600, every_s = 300 }
value = "quantile(core, 0.5) / quantile(rural, 0.5)"
[indicator.measures]
core = { feed = "traffic.flow", kind = "map", value = "speed_kmh", edges = [0, 30, 60, 120], where = "zone = 'core'" }
rural = { feed = "traffic.flow", kind = "map", value = "speed_kmh", edges = [0, 30, 60, 120], where = "zone = 'rural'" }
"""


def test_the_format_carries_the_hardest_indicators(tmp_path: Path) -> None:
    """Quantiles and shares as maps, distinct counts, site maxima, arrival panes, ratios to a base, city days."""
    program = compile_catalogue(load_catalogue([overlay(tmp_path, "indicators/hard.toml", HARD)]))
    assert {"Z2", "Z3", "Z4", "Z5", "Z6"} <= {p.indicator.id for p in program.indicators}


def test_a_smoothed_value_is_not_set_against_a_base(tmp_path: Path) -> None:
    rule = """
[indicator.alert]
thresholds = [{ raise = { op = ">=", value = 2, times = "base" }, clear = { op = "<=", value = 1, times = "base" } }]
"""
    text = INDICATOR.replace('direction = "down"', 'direction = "down"\nsmooth_s = 3600') + rule
    laid = load_catalogue([overlay(tmp_path, "indicators/z.toml", text)])
    with pytest.raises(CatalogueError, match="not smoothed"):
        compile_catalogue(laid)
