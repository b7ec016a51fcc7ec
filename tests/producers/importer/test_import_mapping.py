"""Mappings that do not fit: the error names file, key and remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from importer_kit import Kit, kit_mapping, lines

from producers.importer import MappingError, load_mapping, parse_mapping, resolve
from producers.importer.mapping import DeviceEntry, Dialect, FieldSource, FilePattern, Mapping, TimeSpec

WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "no name": ({"name": None}, "name: this key is missing", "name ="),
    "bad name": ({"name": "My Data"}, "name:", "My Data"),
    "unknown key": ({"citi": "XX-A"}, "citi: there is no such key", "'city'"),
    "unknown key deep down": ({"time": {"column": "t", "zon": "UTC"}}, "time.zon: there is no such key", "'zone'"),
    "unknown key in a field": ({"fields": {"temp_c": {"colum": "x"}}}, "fields.temp_c.colum", "'column'"),
    "no time": ({"time": None}, "time: this key is missing", "time ="),
    "two ways of time": ({"time": {"column": "t", "columns": ["a", "b"]}}, "time: give exactly one", ""),
    "date without month": ({"time": {"parts": {"year": "y"}}}, "year, month and day", ""),
    "odd format": ({"time": {"column": "t", "format": "YYYY"}}, "`format` is iso", ""),
    "column and constant": (
        {"fields": {"temp_c": {"column": "a", "constant": 1}}},
        "either `column` or `constant`",
        "",
    ),
    "unit and factor": ({"fields": {"temp_c": {"column": "a", "unit": "K", "factor": 2}}}, "`unit` or `factor`", ""),
    "no field at all": ({"fields": {}}, "no field is mapped", ""),
    "broken pattern": ({"file": [{"match": "(", "fields": {"temp_c": "x"}}]}, "no regular expression", ""),
    "delimiter": ({"dialect": {"delimiter": "#"}}, "dialect.delimiter", "#"),
    "unknown feed": ({"feed": "test.kti"}, "feed: there is no feed 'test.kti'", "'test.kit'"),
    "feed with seq": ({"feed": "test.strict", "fields": {"x": "x"}}, "needs a sequence number", "optional"),
    "unknown city": ({"city": "XX-C"}, "city: there is no city 'XX-C'", "overlay"),
    "unknown zone": ({"time": {"column": "t", "zone": "Asia/Shanghia"}}, "time.zone: there is no time zone", "IANA"),
    "offset": ({"time": {"column": "t", "zone": "+25:00"}}, "time.zone", "+08:00"),
    "zone missing": ({"time": {"column": "t", "format": "%d.%m.%Y"}}, "time.zone: the format has no offset", "zone ="),
    "unknown field": ({"fields": {"temp": "x"}}, "fields.temp: the feed test.kit has no field 'temp'", "temp_c"),
    "static field": ({"fields": {"lanes": "x"}}, "fields.lanes: 'lanes' is a static field", "registry.attrs"),
    "unknown unit": ({"fields": {"temp_c": {"column": "x", "unit": "Fahr"}}}, "fields.temp_c.unit: 'Fahr'", "degF"),
    "unit of another kind": (
        {"fields": {"temp_c": {"column": "x", "unit": "mph"}}},
        "fields.temp_c.unit: 'mph' is not convertible to 'Cel'",
        "factor",
    ),
    "unit of a word": ({"fields": {"state": {"column": "x", "unit": "%"}}}, "fields.state.unit", "leave it out"),
    "words of a number": ({"fields": {"temp_c": {"column": "x", "words": {"a": "b"}}}}, "fields.temp_c.words", "enum"),
    "words that are none": (
        {"fields": {"state": {"column": "x", "words": {"a": "OFF"}}}},
        "fields.state.words.a",
        "RUN",
    ),
    "required field": ({"feed": "test.needs", "fields": {"y": "y"}}, "the feed requires 'x'", "constant"),
    "unknown attr": ({"registry": {"attrs": {"lane": 1}}}, "registry.attrs.lane: test.kit has no static", "lanes"),
    "attr of another type": ({"registry": {"attrs": {"lanes": "two"}}}, "registry.attrs.lanes: 'two'", "type int"),
    "attr outside its words": (
        {"registry": {"device": {"d1": {"attrs": {"kind": "camera"}}}}},
        "registry.device.d1.attrs.kind: 'camera'",
        "loop",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_mapping_names_the_file_the_key_and_the_remedy(kit: Kit, case: str):
    change, message, remedy = WRONG[case]

    def check() -> None:
        mapping = parse_mapping(kit_mapping(**change), "kit.toml")
        resolve(mapping, kit.program.catalogue, "kit.toml").use_of(Path("a.csv"))

    with pytest.raises(MappingError) as error:
        check()
    assert error.value.message.startswith("kit.toml: ")
    assert message in error.value.message
    assert remedy in error.value.remedy
    assert error.value.exit_code == 2


def test_a_file_that_is_no_toml_says_where(tmp_path: Path):
    path = tmp_path / "m.toml"
    path.write_text("name = \n")
    with pytest.raises(MappingError, match="line 1"):
        load_mapping(path)
    with pytest.raises(MappingError, match="No such file"):
        load_mapping(tmp_path / "absent.toml")


def test_overlays_are_found_beside_the_mapping(tmp_path: Path):
    path = tmp_path / "m.toml"
    path.write_text('name="m"\nfeed="a.b"\ncity="XX"\ndevice="d"\noverlay="lay"\n[time]\ncolumn="t"\n[fields]\nx="x"\n')
    assert load_mapping(path).overlay == ((tmp_path / "lay").resolve(),)


@pytest.mark.parametrize(
    ("told", "message"),
    [({"speed_kmh": "mph"}, "is not mapped"), ({"temp_c": "mph"}, "not convertible"), ({"temp_c": "x"}, "convertible")],
)
def test_a_unit_told_for_nothing_is_an_error(kit: Kit, told: dict[str, str], message: str):
    with pytest.raises(MappingError, match=message):
        resolve(parse_mapping(kit_mapping()), kit.program.catalogue, told=told)


# ------------------------------------------------------------------ texts, patterns and the registry


def test_device_and_city_come_from_columns_and_file_names(kit: Kit):
    patterns = [{"match": r"(?P<city>[A-Z-]+)_(?P<box>\d+)\.csv"}]
    mapping = kit_mapping(city="{city}", device="K-{box}.{who}", file=patterns)
    outcome = kit.read({"XX-B_7.csv": lines("2016-01-01 00:00, d1 ,20")}, mapping)
    assert outcome.column("city") == ["XX-B"]
    assert outcome.column("device") == ["K-7.d1"]


def test_a_file_that_no_pattern_or_two_patterns_match_is_refused(kit: Kit):
    patterns = [{"match": "a.*", "fields": {"temp_c": "temp"}}, {"match": ".*b", "fields": {"temp_c": "temp"}}]
    resolved = resolve(parse_mapping(kit_mapping(fields={}, file=patterns)), kit.program.catalogue)
    with pytest.raises(MappingError, match="matched by none"):
        resolved.use_of(Path("c.csv"))
    with pytest.raises(MappingError, match=r"matched by 'a\.\*' and '\.\*b'"):
        resolved.use_of(Path("ab"))


def test_the_registry_knows_what_the_mapping_and_the_columns_say(kit: Kit):
    registry = {
        "zone": "suburb",
        "site": "{site}",
        "lat": "{lat}",
        "attrs": {"limit_kmh": 80, "lanes": "{lanes}", "kind": "loop"},
        "device": {"d2": {"zone": "core", "cadence_s": 120, "attrs": {"kind": "radar"}}},
        "calibrated": "2016-01-01T00:00:00+08:00",
    }
    text = lines(
        "2016-01-01 00:01:30,d2,21,south,2.5,3",
        "2016-01-01 00:00:30,d1,20,north,1.5,2",
        "2016-01-01 00:02:30,d1,20,moved,9.5,9",
        header="t,who,temp,site,lat,lanes",
    )
    outcome = kit.read(text, kit_mapping(registry=registry, cadence_s=60))
    from pearlstream.registry import RegistryBook

    book = RegistryBook(kit.program.catalogue.feeds)
    book.add(outcome.records)
    devices = book.last.devices("test.kit", "XX-A")
    assert devices is not None
    first, second = devices.to_dicts()
    base = 1_451_606_400_000
    assert first == {
        "device": "d1", "zone": "suburb", "site": "north", "lon": 1.0, "lat": 1.5, "cadence_s": 60.0,
        "from_ms": base, "until_ms": base + 180_000, "calibrated_ms": base - 8 * 3_600_000, "origin": "csv",
        "limit_kmh": 80.0, "lanes": 2, "kind": "loop",
    }  # fmt: skip
    assert (second["zone"], second["site"], second["cadence_s"], second["kind"]) == ("core", "south", 120.0, "radar")
    assert second["from_ms"] == base


def test_a_static_value_from_a_column_must_fit(kit: Kit):
    text = lines("2016-01-01 00:00,d1,20,many", header="t,who,temp,lanes")
    with pytest.raises(MappingError, match="'many' is no int"):
        kit.read(text, kit_mapping(registry={"attrs": {"lanes": "{lanes}"}}))


def test_without_a_cadence_it_is_measured(kit: Kit):
    rows = [f"2016-01-01 00:{m:02d},d{d},20" for m in (0, 5, 10, 15, 17, 22) for d in (1, 2)]
    outcome = kit.read(lines(*rows))
    assert b'"cadence_s":300.0' in outcome.records[0]


def test_every_key_of_a_mapping_is_explained_in_the_examples():
    text = (Path(__file__).parents[3] / "examples" / "README.md").read_text("utf-8")
    table = "".join(line for line in text.splitlines(keepends=True) if line.startswith("|"))
    for model in (Mapping, Dialect, TimeSpec, FieldSource, FilePattern, DeviceEntry):
        for key in model.model_fields:
            assert re.search(rf"[`.]{key}[`.]", table), f"{model.__name__}.{key}"
