"""The machine of one rule over one series, against a specification that looks at whole histories at once."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pearlstream.catalogue import load_catalogue
from pearlstream.catalogue.indicator import Alert, Condition, Thresholds
from pearlstream.errors import CatalogueError
from pearlstream.rules import Rule, Rules, Series

HOP = 3_600_000
LETTERS = {"r": 10.0, "b": 5.0, "c": 0.0, "n": None}
"""A window that would raise, one between the thresholds, one that would clear, one without data."""


def rule(raise_count: int = 2, clear_count: int = 2, nodata_after: int = 2, hop_ms: int = HOP) -> Rule:
    condition = {
        "raise": Condition(op=">=", value=8, count=raise_count),
        "clear": Condition(op="<=", value=2, count=clear_count),
    }
    alert = Alert(thresholds=(Thresholds(**condition),), nodata_after=nodata_after)
    return Rule("I99z", "4.3", "x", alert, "city", False, frozenset({"traffic.flow"}), hop_ms, hop_ms)


def series(one: Rule) -> Series:
    return Series(one, one.alert.for_city("440300"))


def play(one: Rule, letters: str, hop_ms: int = HOP) -> list[tuple[int, str]]:
    """What is said, with the number of the window at which; a dot is a window that never comes."""
    machine = series(one)
    return [
        (number, said.transition)
        for number, letter in enumerate(letters)
        if letter != "."
        for said in machine.window(number * hop_ms, LETTERS[letter], None)
    ]


def specified(one: Rule, letters: str) -> list[tuple[int, str]]:
    """The same by brute force. Windows without data are taken out, for they freeze everything; what is left opens
    at the n-th raising window in a row and is resolved at the m-th clearing one. Staleness is runs of silence."""
    pair = one.alert.thresholds[0]
    valued = [number for number, letter in enumerate(letters) if letter in "rbc"]
    text = "".join(letters[number] for number in valued)
    said, at, spans = [], 0, []
    while opened := re.compile("r" * pair.raise_.count).search(text, at):
        start = opened.end() - 1
        said.append((valued[start], "opened"))
        closed = re.compile("c" * pair.clear.count).search(text, opened.end())
        end = closed.end() - 1 if closed else None
        if end is not None:
            said.append((valued[end], "resolved"))
        spans.append((valued[start], len(letters) if end is None else valued[end]))
        if end is None:
            break
        at = end + 1
    for start, end in spans:
        for silence in re.finditer("[n.]+", letters[start : end + 1]):
            told = [start + silence.start() + i for i, x in enumerate(silence[0]) if x == "n"]
            late = [number for number in told if number - start - silence.start() >= one.alert.nodata_after]
            if late:
                said.append((late[0], "stale"))
                if start + silence.end() < len(letters) and start + silence.end() <= end:
                    said.append((start + silence.end(), "fresh"))
    return sorted(said, key=lambda pair: (pair[0], pair[1] == "resolved"))


@given(
    st.text("rrrrccccbn.", max_size=60).filter(lambda text: not text.startswith(".")),
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 4),
)  # fmt: skip
def test_the_machine_says_what_the_specification_says(letters: str, up: int, down: int, silent: int) -> None:
    one = rule(up, down, silent)
    assert play(one, letters) == specified(one, letters)


def test_between_the_thresholds_a_pending_alert_falls_back_and_an_open_one_stays() -> None:
    assert play(rule(), "rbr") == []
    assert play(rule(), "rrcbcbc") == [(1, "opened")]
    assert play(rule(), "rrcbcc") == [(1, "opened"), (5, "resolved")]


def test_silence_freezes_the_counters_in_both_directions() -> None:
    assert play(rule(), "rnr") == [(2, "opened")]
    assert play(rule(), "r.r") == [(2, "opened")]
    assert play(rule(), "rrcnnc") == [(1, "opened"), (5, "resolved")]


def test_silence_beyond_the_limit_is_said_once_and_its_end_too() -> None:
    assert play(rule(), "rrnnnnnr") == [(1, "opened"), (4, "stale"), (7, "fresh")]


def test_a_correction_that_would_not_have_raised_annuls_once_and_changes_nothing_else() -> None:
    machine = series(rule())
    machine.window(0, 10.0, None)
    (opened,) = machine.window(HOP, 10.0, None)
    assert machine.correct(HOP, 9.0, None) == []
    (said,) = machine.correct(0, 5.0, None)
    assert (said.transition, said.number, said.alert) == ("annulled", 1, opened.alert)
    assert machine.correct(HOP, 0.0, None) == []
    assert [machine.window(n * HOP, 0.0, None) for n in (2,)] == [[]]
    (resolved,) = machine.window(3 * HOP, 0.0, None)
    assert resolved.transition == "resolved"


def test_a_resolved_alert_can_still_be_annulled_and_never_opens_again_for_it() -> None:
    machine = series(rule(1, 1))
    machine.window(0, 10.0, None)
    machine.window(HOP, 0.0, None)
    assert [said.transition for said in machine.correct(0, None, None)] == ["annulled"]
    assert machine.correct(HOP, 10.0, None) == []


def test_a_window_that_was_corrected_while_pending_annuls_as_soon_as_the_alert_opens() -> None:
    machine = series(rule())
    machine.window(0, 10.0, None)
    assert machine.correct(0, 0.0, None) == []
    assert [said.transition for said in machine.window(HOP, 10.0, None)] == ["opened", "annulled"]


def test_the_third_opening_within_an_hour_flaps_and_stays_open_until_it_is_quiet() -> None:
    minutes = 60_000 * 5
    said = play(rule(1, 1, hop_ms=minutes), "rcrcrc" + "c" * 8, minutes)
    assert said == [
        (0, "opened"), (1, "resolved"), (2, "opened"), (3, "resolved"), (4, "opened"), (4, "flapping"),
        (10, "resolved"),
    ]  # fmt: skip


def test_an_explained_alert_stays_pending_and_remembers_what_held_it_back() -> None:
    machine = series(rule())
    machine.window(0, 10.0, None)
    assert machine.window(HOP, 10.0, None, lambda: "X09 feed=traffic.flow") == []
    (opened,) = machine.window(2 * HOP, 10.0, None)
    assert opened.alert.held_back == (HOP, "X09 feed=traffic.flow")
    assert opened.alert.opened_ms == 2 * HOP


def test_a_rule_set_is_a_value() -> None:
    rules = Rules.of(load_catalogue())
    other = rules.replace("I43a", nodata_after=7)
    assert other.by_id["I43a"].alert.nodata_after == 7 != rules.by_id["I43a"].alert.nodata_after
    assert other.version != rules.version == load_catalogue().version
    assert "I43a" not in rules.without("I43a").by_id


def test_rules_that_suppress_each_other_are_refused() -> None:
    rules = Rules.of(load_catalogue()).replace("I43a", suppressed_by=("X09",))
    assert rules.rank["I43a"] > rules.rank["X09"]
    with pytest.raises(CatalogueError, match="in a circle"):
        rules.replace("X09", suppressed_by=("I43a",))


def test_a_threshold_relative_to_what_is_ordinary_is_not_met_while_that_is_unknown() -> None:
    pair = Thresholds(
        **{
            "raise": Condition(op=">=", value=2, count=1, times="base"),
            "clear": Condition(op="<=", value=1.5, count=1, times="base"),
        }
    )
    alert = Alert(thresholds=(pair,))
    machine = series(Rule("I99z", "4.3", "x", alert, "city", False, frozenset(), HOP, HOP))
    assert machine.window(0, 100.0, None) == []
    assert [said.transition for said in machine.window(HOP, 100.0, 50.0)] == ["opened"]
    assert machine.window(2 * HOP, 0.0, None) == []
    assert [said.transition for said in machine.window(3 * HOP, 60.0, 50.0)] == ["resolved"]
