"""How files are written: what is usual, what is confirmed, what is told, and what cannot be read."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importer_kit import Kit, kit_mapping, lines, minutes

from producers.importer import FileRefused

COMMA = "t,who,temp\n2016-01-01 00:00,d1,20.5\n"
SEMICOLON = "t;who;temp\n2016-01-01 00:00;d1;20,5\n2016-01-01 00:01;d1;21,25\n"


def yes(question: str) -> bool:
    del question
    return True


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_b38_utf_8_needs_no_question_and_its_byte_order_mark_is_stripped(kit: Kit, encoding: str):
    assert kit.read(COMMA.encode(encoding)).column("temp_c") == [20.5]


UNUSUAL = {
    "utf-16": (COMMA.encode("utf-16"), {"encoding": "utf-16"}),
    "utf-16 big-endian without mark": (COMMA.encode("utf-16-be"), {"encoding": "utf-16-be"}),
    "semicolon": (COMMA.replace(",", ";").encode(), {"delimiter": ";"}),
    "tab": (COMMA.replace(",", "\t").encode(), {"delimiter": "\t"}),
    "bar": (COMMA.replace(",", "|").encode(), {"delimiter": "|"}),
    "semicolon and decimal comma": (SEMICOLON.encode(), {"delimiter": ";", "decimal": ","}),
    "all at once": (SEMICOLON.encode("utf-16"), {"encoding": "utf-16", "delimiter": ";", "decimal": ","}),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_b38_what_is_unusual_is_refused_where_nobody_can_be_asked_with_the_exact_flags(kit: Kit, case: str):
    data, told = UNUSUAL[case]
    with pytest.raises(FileRefused) as error:
        kit.read(data)
    assert error.value.reason == "csv_dialect"
    assert error.value.exit_code == 2
    for name, value in told.items():
        shown = "\\t" if value == "\t" else value
        assert f"--{name} " in error.value.remedy
        assert shown in error.value.remedy


@pytest.mark.parametrize("case", UNUSUAL)
def test_b38_what_is_unusual_is_read_once_confirmed(kit: Kit, case: str):
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return True

    outcome = kit.read(UNUSUAL[case][0], confirm=confirm)
    assert outcome.column("temp_c")[0] == 20.5
    assert len(asked) == 1
    assert "a.csv" in asked[0]


@pytest.mark.parametrize("case", UNUSUAL)
def test_b38_what_is_unusual_is_read_once_told(kit: Kit, case: str):
    data, told = UNUSUAL[case]
    assert kit.read(data, kit_mapping(dialect=told)).column("temp_c")[0] == 20.5


def test_b38_a_finding_that_is_denied_is_refused(kit: Kit):
    with pytest.raises(FileRefused, match="looks like delimiter"):
        kit.read(SEMICOLON, confirm=lambda question: False)


def test_with_a_decimal_comma_a_point_makes_no_number(kit: Kit):
    text = "t;who;temp\n2016-01-01 00:00;d1;1.234,5\n2016-01-01 00:01;d1;1,5\n2016-01-01 00:02;d1;1.5\n"
    outcome = kit.read(text, kit_mapping(dialect={"delimiter": ";", "decimal": ","}))
    assert outcome.column("temp_c") == [1.5]
    assert outcome.reasons == {2: "wrong_type", 4: "wrong_type"}


def test_a_delimiter_inside_quotes_is_none(kit: Kit):
    outcome = kit.read(lines('2016-01-01 00:00,d1,"20","a ""b"", c"', header="t,who,temp,x"))
    assert outcome.column("temp_c") == [20.0]


def test_chinese_text_in_its_own_encoding_must_be_told(kit: Kit):
    text = "时间,站,温度\n2016-01-01 00:00,d1,20\n"
    mapping = kit_mapping(time={"column": "时间", "zone": "UTC"}, device="{站}", fields={"temp_c": "温度"})
    with pytest.raises(FileRefused) as error:
        kit.read(text.encode("gb18030"), mapping)
    assert error.value.reason == "csv_encoding"
    assert "--encoding gb18030" in error.value.remedy
    assert kit.read(text.encode("gb18030"), mapping | {"dialect": {"encoding": "gb18030"}}).column("temp_c") == [20.0]


def test_a_byte_that_is_no_text_far_down_the_file_refuses_it_whole(kit: Kit):
    data = minutes(["20"] * 5000).encode() + b"2016-02-01 00:00,d1,\xff\n"
    with pytest.raises(FileRefused) as error:
        kit.read(data)
    assert error.value.reason == "csv_encoding"


@pytest.mark.parametrize(
    ("text", "reason", "word"),
    [
        ("", "csv_empty", "empty"),
        ("  \n \n", "csv_empty", "empty"),
        ("when,who,temp\n1,2,3\n", "csv_header", "'t'"),
        ("t,who,temp,temp\n1,2,3,4\n", "csv_header", "two columns 'temp'"),
        ('t,who,temp\n2016-01-01 00:00,d1,20\n2016-01-01 00:01,"d1,20\n', "csv_quote", "a.csv:3"),
        ('t,who,temp\n2016-01-01 00:01,"d"1,20\n', "csv_quote", "a.csv:2"),
    ],
)
def test_files_that_cannot_be_read_say_why(kit: Kit, text: str, reason: str, word: str):
    with pytest.raises(FileRefused) as error:
        kit.read(text)
    assert error.value.reason == reason
    assert error.value.exit_code == 2
    assert word in error.value.message
    assert error.value.remedy


def test_quotes_may_be_plain_characters(kit: Kit):
    text = lines('2016-01-01 00:00,d1,20,5"', header="t,who,temp,size")
    assert kit.read(text, kit_mapping(dialect={"quote": ""})).column("temp_c") == [20.0]


def test_files_without_a_header_need_the_names_of_their_columns(kit: Kit):
    outcome = kit.read("2016-01-01 00:00,d1,20\n", kit_mapping(dialect={"names": ["t", "who", "temp"]}))
    assert outcome.column("temp_c") == [20.0]
    assert outcome.column("line") == [1]


def test_a_header_with_blanks_and_a_missing_last_line_end(kit: Kit):
    assert kit.read(" t , who,temp \n2016-01-01 00:00,d1,20").column("temp_c") == [20.0]


@pytest.mark.parametrize("told", ["utf-8", "UTF_8", "utf-16", "utf-16-le"])
def test_a_byte_order_mark_is_stripped_whatever_was_told(kit: Kit, told: str):
    data = COMMA.encode("utf-8-sig" if told.lower().endswith("8") else "utf-16")
    assert kit.read(data, kit_mapping(dialect={"encoding": told})).column("temp_c") == [20.5]


def test_a_compressed_file_is_to_be_unpacked(kit: Kit):
    with pytest.raises(FileRefused, match=r"compressed \(gzip\)"):
        kit.read(gzip.compress(COMMA.encode()))


def test_a_file_given_twice_is_refused_and_files_of_one_name_are_told_apart(kit: Kit):
    (kit.folder / "sub").mkdir()
    outcome = kit.read({"a.csv": COMMA, "sub/a.csv": COMMA})
    assert outcome.rejects[0][0].endswith("sub/a.csv")
    with pytest.raises(FileRefused, match="given twice"):
        kit.read({"a.csv": COMMA, "./a.csv": COMMA})


def test_a_rejects_file_overwrites_nothing_but_a_rejects_file(kit: Kit):
    bad = minutes(["20", "x"])
    assert len(kit.read(bad).rejects) == 1
    assert len(kit.read(bad).rejects) == 1
    assert kit.read(COMMA).rejects == [], "the rejects of an earlier import are gone"
    with pytest.raises(FileRefused, match="is no rejects file"):
        kit.read({"rejects.csv": COMMA})


BYTES = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
    st.lists(st.text('01-:;,."°CF\n\r\t Txd', max_size=30), max_size=12).map(lambda rows: lines(*rows).encode()),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=BYTES, confirmed=st.booleans())
def test_whatever_the_bytes_a_file_is_read_or_refused_with_a_remedy(kit: Kit, data: bytes, confirmed: bool):
    remedy, outcome = "", None
    try:
        outcome = kit.read(data, confirm=yes if confirmed else None)
    except FileRefused as error:
        remedy = error.remedy
    assert remedy or (outcome and outcome.survey.rows == outcome.survey.readings + len(outcome.rejects))
