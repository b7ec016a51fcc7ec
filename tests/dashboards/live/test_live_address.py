"""Addresses: what is chosen and which time, and nothing that no link of ours says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from dashboards.live.address import ALL, GRAIN_MS, BadAddress, Span, chosen_of, span_of
from dashboards.model import Board, Variable

CITIES = {"city": [("440300", "Shenzhen"), ("440100", "Guangzhou"), ("MO", "Macao")]}
NOON = 1_780_000_000_000


def board(**variable: object) -> Board:
    return Board("b", "B", [], [Variable("city", "City", sql="SELECT 1", **variable)])  # type: ignore[arg-type]


def chosen(*values: str, **variable: object) -> tuple[str, ...]:
    return chosen_of(MultiDict(("var-city", value) for value in values), board(**variable), CITIES)["city"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ({}, Span(21_600_000)),
        ({"from": "now-15m", "to": "now"}, Span(900_000)),
        ({"from": str(NOON - 3_600_000), "to": str(NOON)}, Span(3_600_000, NOON)),
        ({"from": "now-1h", "to": str(NOON + 1)}, Span(3_600_000, NOON)),
    ],
)
def test_a_time_is_read_as_grafana_writes_it(address: dict[str, str], expected: Span) -> None:
    assert span_of(MultiDict(address), "now-6h") == expected


@pytest.mark.parametrize(
    "address",
    [
        {"from": "yesterday"},
        {"from": "now-1h; DROP TABLE indicators"},
        {"to": "1e12"},
        {"to": "99999999999999"},
        {"from": str(NOON), "to": str(NOON)},
        {"from": "now-9999d"},
    ],
)
def test_any_other_time_is_refused(address: dict[str, str]) -> None:
    with pytest.raises(BadAddress):
        span_of(MultiDict(address), "now-6h")


@given(st.text())
def test_no_text_becomes_a_time_that_is_none(text: str) -> None:
    try:
        span = span_of(MultiDict({"from": "now-1h", "to": text}), "now-6h")
    except BadAddress:
        return
    assert span.to_ms is None or (span.to_ms % GRAIN_MS == 0 and text.isdigit())


def test_nothing_chosen_is_all_or_the_first() -> None:
    assert chosen(many=True) == ("440300", "440100", "MO")
    assert chosen(many=True, first="440100") == ("440100",)
    assert chosen() == ("440300",)
    assert chosen(ALL, many=True) == ("440300", "440100", "MO")


def test_only_what_can_be_chosen_is() -> None:
    assert chosen("MO", "440300", "MO", many=True) == ("MO", "440300")
    assert chosen("MO", "440300") == ("MO",)
    with pytest.raises(BadAddress, match="there is no"):
        chosen("440300') OR 1=1 --", many=True)


@given(st.text(max_size=80))
def test_what_is_chosen_is_known_whatever_the_address_says(text: str) -> None:
    try:
        assert chosen(text, many=True) in [("440300",), ("440100",), ("MO",), ("440300", "440100", "MO")]
    except BadAddress:
        assert text not in dict(CITIES["city"])


def test_before_the_store_has_said_what_there_is_nothing_of_an_address_is_believed() -> None:
    assert chosen_of(MultiDict({"var-city": "x' OR 1"}), board(many=True), {})["city"] == ()


@pytest.mark.parametrize("text", ["F01-440300", "cam 7", ""])
def test_a_typed_text_is_taken(text: str) -> None:
    typed = Board("b", "B", [], [Variable("device", "Device", typed=True)])
    assert chosen_of(MultiDict({"var-device": text}), typed, {})["device"] == (text,)


@pytest.mark.parametrize("text", ["a' OR '1", "x" * 65, "back\\slash", "new\nline", "${city:raw}"])
def test_a_typed_text_with_signs_that_no_device_has_is_refused(text: str) -> None:
    typed = Board("b", "B", [], [Variable("device", "Device", typed=True)])
    with pytest.raises(BadAddress):
        chosen_of(MultiDict({"var-device": text}), typed, {})
