"""Rows that are readings, and rows that are not: every reason once."""

from __future__ import annotations

import pytest
from importer_kit import Kit, kit_mapping, lines, minutes

from producers.importer import FileRefused
from producers.importer.problems import ROW_REASONS

FIELDS = {
    "temp_c": "temp",
    "press_hpa": "p",
    "count": "n",
    "on": "on",
    "state": {"column": "s", "words": {"1": "RUN"}},
    "remark": "r",
}
HEADER = "t,who,city,temp,p,n,on,s,r"
GOOD = "2016-01-01 00:00,d1,XX-A,20,1000,5,true,RUN,fine"

BAD = {
    "bad_id": "2016-01-01 00:01,d/1,XX-A,20,1000,5,true,RUN,",
    "future": "2101-01-01 00:01,d1,XX-A,20,1000,5,true,RUN,",
    "integer_range": "2016-01-01 00:01,d1,XX-A,20,1000,9223372036854775808,true,RUN,",
    "no_value": "2016-01-01 00:01,d1,XX-A,NA,-,,N/A,,",
    "not_finite": "2016-01-01 00:01,d1,XX-A,1e400,1000,5,true,RUN,",
    "not_in_values": "2016-01-01 00:01,d1,XX-A,20,1000,5,true,BROKEN,",
    "ragged": "2016-01-01 00:01,d1,XX-A,20,1000,5,true,RUN",
    "range_hard": "2016-01-01 00:01,d1,XX-A,20,2000,5,true,RUN,",
    "time_malformed": "01.02.2016,d1,XX-A,20,1000,5,true,RUN,",
    "time_unset": "1970-01-01 00:00,d1,XX-A,20,1000,5,true,RUN,",
    "too_large": f"2016-01-01 00:01,d1,XX-A,20,1000,5,true,RUN,{'x' * 300}",
    "unknown_city": "2016-01-01 00:01,d1,XX-Z,20,1000,5,true,RUN,",
    "wrong_type": "2016-01-01 00:01,d1,XX-A,warm,1000,5,true,RUN,",
}


def mapping() -> dict[str, object]:
    return kit_mapping(city="{city}", fields=FIELDS)


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_set_aside_by_its_reason_and_the_next_good_one_is_read(kit: Kit, reason: str):
    later = GOOD.replace("00:00", "00:02")
    outcome = kit.read(lines(GOOD, BAD[reason], later, header=HEADER), mapping())
    assert outcome.survey.readings == 2
    ((file, row, found, message),) = outcome.rejects
    assert (file, row, found) == ("a.csv", 3, reason)
    assert message.startswith("test.kit/")
    assert ";" in message, "the message ends with a remedy"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("nan,1000,5,true,RUN,", "not_finite"),
        ("-Infinity,1000,5,true,RUN,", "not_finite"),
        ("20,1000,5.5,true,RUN,", "wrong_type"),
        ("20,1000,x,true,RUN,", "wrong_type"),
        ("20,1000,5,perhaps,RUN,", "wrong_type"),
        ('"1,234.5",1000,5,true,RUN,', "wrong_type"),
        ("1_000,1000,5,true,RUN,", "wrong_type"),
        ("0x10,1000,5,true,RUN,", "wrong_type"),
        ("20 bananas,1000,5,true,RUN,", "wrong_type"),
        ("20,1000,5,true,run,", "not_in_values"),
    ],
)
def test_more_cells_that_are_no_values(kit: Kit, cells: str, reason: str):
    outcome = kit.read(lines(GOOD, f"2016-01-01 00:01,d1,XX-A,{cells}", header=HEADER), mapping())
    assert outcome.reasons == {3: reason}


def test_good_cells_of_every_kind(kit: Kit):
    row = "2016-01-01 00:01,d1,XX-B, +2.5e1 ,1000.25,7.0,Yes,1,\u202eto the left"
    outcome = kit.read(lines(GOOD, row, header=HEADER), mapping())
    assert outcome.rejects == []
    assert outcome.column("temp_c") == [20.0, 25.0]
    assert outcome.column("count") == [5, 7]
    assert outcome.column("on") == [True, True]
    assert outcome.column("state") == ["RUN", "RUN"]
    assert outcome.column("remark") == ["fine", "to the left"]
    assert outcome.column("city") == ["XX-A", "XX-B"]
    assert outcome.column("speed_kmh") == [None, None]


def test_a_long_integer_keeps_its_digits(kit: Kit):
    row = "2016-01-01 00:00,d1,XX-A,,,9007199254740993,,,"
    assert kit.read(lines(row, header=HEADER), mapping()).column("count") == [9007199254740993]


def test_a_value_outside_the_plausible_range_is_sent_and_noted(kit: Kit):
    outcome = kit.read(minutes(["20", "61", "-41", "60"]))
    assert outcome.survey.readings == 4
    assert outcome.notes == {"range": 2}
    assert outcome.survey.outside == {"temp_c": 2}


def test_a_required_field_that_is_missing_sets_the_row_aside(kit: Kit):
    needs = kit_mapping(feed="test.needs", fields={"x": "temp", "y": "y"})
    text = lines("2016-01-01 00:00,d1,1,2", "2016-01-01 00:01,d1,,2", header="t,who,temp,y")
    assert kit.read(text, needs).reasons == {3: "null_required"}


def test_missing_markers_are_those_of_the_mapping_and_of_the_field(kit: Kit):
    text = lines(
        "2016-01-01 00:00,d1,20,1", "2016-01-01 00:01,d1,-999,1", "2016-01-01 00:02,d1,?,1", header="t,who,temp,n"
    )
    fields = {"temp_c": {"column": "temp", "missing": ["-999"]}, "count": "n"}
    outcome = kit.read(text, kit_mapping(fields=fields, dialect={"missing": ["?"]}))
    assert outcome.rejects == []
    assert outcome.column("temp_c") == [20.0, None, None]


def test_rows_are_named_by_the_line_on_which_they_begin(kit: Kit):
    text = 't,who,temp\r\n\r\n2016-01-01 00:00,"d\r\n1",20\r\n2016-01-01 00:00,d1,20\r\nx,d1,1\r\n'
    assert kit.read(text).reasons == {3: "bad_id", 6: "time_malformed"}


def test_all_rows_refused_is_an_error_that_names_the_commonest_reason(kit: Kit):
    with pytest.raises(FileRefused, match="time_malformed") as error:
        kit.read(lines("x,d1,1", "y,d1,2"))
    assert error.value.reason == "no_readings"
    assert error.value.exit_code == 1


def test_every_reason_is_tested_here_or_said_to_be_elsewhere():
    elsewhere = {"duplicate", "time_nonexistent", "null_required"}
    assert set(BAD) | elsewhere == set(ROW_REASONS)


# ------------------------------------------------------------------ units


@pytest.mark.parametrize(
    ("field", "unit", "cell", "wanted"),
    [
        ("speed_kmh", "mph", "10", 16.09344),
        ("speed_kmh", "m/s", "10", 36.0),
        ("temp_c", "degF", "50", 10.0),
        ("temp_c", "K", "283.15", 10.0),
        ("share_pct", "ratio", "0.25", 25.0),
        ("press_hpa", "kPa", "100", 1000.0),
        ("temp_c", "", "21.5 °C", 21.5),
        ("temp_c", "", "50°F", 10.0),
        ("temp_c", "degF", "50 °F", 10.0),
        ("speed_kmh", "", "10mph", 16.09344),
    ],
)
def test_values_are_converted_to_the_unit_of_the_field(kit: Kit, field: str, unit: str, cell: str, wanted: float):
    outcome = kit.read(minutes([cell]), kit_mapping(fields={field: {"column": "temp", "unit": unit}}))
    assert outcome.column(field) == pytest.approx([wanted])


def test_a_factor_says_what_no_unit_can(kit: Kit):
    fields = {"temp_c": {"column": "temp", "factor": 2.0, "offset": -1.0}}
    assert kit.read(minutes(["3", "4"]), kit_mapping(fields=fields)).column("temp_c") == [5.0, 7.0]


def test_a_constant_stands_in_every_row_but_makes_no_reading_of_an_empty_one(kit: Kit):
    fields = {"temp_c": "temp", "state": {"constant": "IDLE"}}
    outcome = kit.read(minutes(["3", ""]), kit_mapping(fields=fields))
    assert outcome.column("state") == ["IDLE"]
    assert outcome.reasons == {3: "no_value"}


@pytest.mark.parametrize(
    ("cells", "unit"),
    [
        (["21 °C", "70 °F"], ""),
        (["21 °C"] * 120 + ["70 °F"], ""),
        (["70 °F", "21"], ""),
        (["21", "70 °F"], "degC"),
        (["70 °F", "71 °F"], "degC"),
    ],
)
def test_b36_mixed_units_in_a_column_refuse_the_file_and_nothing_is_sent(kit: Kit, cells: list[str], unit: str):
    fields = {"temp_c": {"column": "temp", "unit": unit}}
    with pytest.raises(FileRefused) as error:
        kit.read(minutes(cells), kit_mapping(fields=fields), chunk_rows=50)
    assert error.value.reason == "unit_mixed"
    assert "degF (" in error.value.message
    assert "a.csv:" in error.value.message
    assert "--unit temp_c=" in error.value.remedy


def test_b36_once_the_unit_of_bare_numbers_is_told_every_cell_counts_in_its_own(kit: Kit):
    outcome = kit.read(minutes(["21 °C", "50 °F", "59"]), told={"temp_c": "degF"})
    assert outcome.column("temp_c") == pytest.approx([21.0, 10.0, 15.0])


def test_cells_that_all_carry_the_unit_of_the_field_are_no_mixture(kit: Kit):
    assert kit.read(minutes(["21 °C", "22", "23 degC"])).column("temp_c") == [21.0, 22.0, 23.0]


# ------------------------------------------------------------------ repeats and joins


def test_the_same_device_and_time_again_is_a_duplicate(kit: Kit):
    outcome = kit.read(lines("2016-01-01 00:00,d1,20", "2016-01-01 00:00,d2,21", "2016-01-01 00:00,d1,22"))
    assert outcome.column("temp_c") == [20.0, 21.0]
    assert outcome.rejects[0][1:3] == (4, "duplicate")
    assert "a.csv:2" in outcome.rejects[0][3]


def test_rows_that_differ_in_field_need_join_to_be_one_reading(kit: Kit):
    texts = {"temp.csv": minutes(["20", "21"]), "speed.csv": minutes(["50", "51", "52"])}
    patterns = [
        {"match": "temp.csv", "fields": {"temp_c": "temp"}},
        {"match": "speed.csv", "fields": {"speed_kmh": "temp"}},
    ]
    apart = kit.read(texts, kit_mapping(fields={}, file=patterns))
    assert apart.survey.readings == 3
    assert [reason for _, _, reason, _ in apart.rejects] == ["duplicate"] * 2
    assert "join = true" in apart.rejects[0][3]
    joined = kit.read(texts, kit_mapping(fields={}, file=patterns, join=True))
    assert joined.rejects == []
    assert joined.column("temp_c") == [20.0, 21.0, None]
    assert joined.column("speed_kmh") == [50.0, 51.0, 52.0]


def test_in_a_join_a_row_that_gives_a_field_again_is_a_duplicate(kit: Kit):
    texts = {"t1.csv": minutes(["20", "21"]), "s.csv": minutes(["50"]), "t2.csv": minutes(["30"])}
    patterns = [
        {"match": "t.*", "fields": {"temp_c": "temp"}},
        {"match": "s.csv", "fields": {"speed_kmh": "temp"}},
    ]
    outcome = kit.read(texts, kit_mapping(fields={}, file=patterns, join=True))
    assert outcome.column("temp_c") == [20.0, 21.0]
    assert outcome.column("speed_kmh") == [50.0, None]
    assert [(file, row) for file, row, _, _ in outcome.rejects] == [("t2.csv", 2)]
