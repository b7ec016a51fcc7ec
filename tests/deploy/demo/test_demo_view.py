"""The live view as text, at several sizes. `PEARLSTREAM_SNAPSHOTS=write` writes the pictures anew."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

import pytest
from demo_scenes import catalogue, scene, signal
from rich.console import Console

from deploy.demo.paint import LOOKS, number, signal_text
from deploy.demo.plain import plain_line
from deploy.demo.scene import Scene
from deploy.demo.view import HONESTY, draw

PICTURES = Path(__file__).parent / "pictures"


def drawn(what: Scene, width: int, height: int, *, colour: bool = False) -> str:
    out = StringIO()
    system = "truecolor" if colour else None
    console = Console(file=out, width=width, height=height, force_terminal=colour, color_system=system)
    console.print(draw(what, width, height))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 40), (160, 45)])
def test_the_view_looks_as_it_did(width: int, height: int) -> None:
    picture = PICTURES / f"{width}x{height}.txt"
    found = drawn(scene(), width, height)
    if os.environ.get("PEARLSTREAM_SNAPSHOTS") == "write":
        picture.write_text(found, "utf-8")
    assert found == picture.read_text("utf-8")


@pytest.mark.parametrize(("width", "height"), [(40, 10), (60, 15), (80, 24), (100, 30), (135, 50), (250, 70)])
def test_no_line_is_wider_and_no_picture_higher_than_the_terminal(width: int, height: int) -> None:
    found = drawn(scene(), width, height).splitlines()
    assert max(Console(width=1000).measure(line).maximum for line in found if line) <= width
    assert len(found) <= max(height, 11), "below 11 lines something has to give"


def test_every_state_has_a_sign_and_a_word_of_its_own() -> None:
    assert len({look.sign for look in LOOKS.values()}) == len(LOOKS)
    assert len({look.word for look in LOOKS.values()}) == len(LOOKS)
    assert all(look.text != other.text for look in LOOKS.values() for other in LOOKS.values() if look is not other)


def test_without_colour_the_states_can_still_be_told() -> None:
    found = drawn(scene(), 160, 45)
    assert "✗  2.31▴" in found
    assert "!  1.70▾" in found
    assert "?     -" in found
    assert "\x1b[" not in found


def test_an_open_window_is_not_judged() -> None:
    """Half of a window may look like a catastrophe."""
    indicator = catalogue().indicators["X1"]
    assert signal_text(signal(41.0, "RAISED", maturity="provisional"), indicator).plain.startswith("~")
    assert signal_text(signal(41.0, "RAISED", maturity="corrected"), indicator).plain.startswith("✗")


def test_cities_in_need_come_first_and_the_rest_is_counted() -> None:
    found = drawn(scene(), 80, 12)
    listed = [line for line in found.splitlines() if ("城" in line and "city" not in line) or "湾" in line]
    assert listed[0].startswith("Middleton")
    assert "more cities" in found


def test_what_the_indicators_speak_for_and_the_honesty_line_are_always_there() -> None:
    for width, height in ((80, 24), (160, 45)):
        found = drawn(scene(), width, height)
        assert "sub-item 4.1: A1 Output ratio" in found
        assert HONESTY in found


def test_names_and_indicators_come_from_the_catalogue_in_its_order() -> None:
    found = drawn(scene(), 160, 45)
    head = next(line for line in found.splitlines() if "A1" in line and "A2" in line)
    assert head.index("A1") < head.index("A2") < head.index("X1")
    assert "Westmarch 西镇" in found


def test_an_empty_scene_says_that_it_waits() -> None:
    found = drawn(scene(clock_ms=None, signals={}, news=()), 80, 24)
    assert "waiting for the first reading" in found


def test_a_store_that_does_not_answer_is_said() -> None:
    assert "has not answered for 12 s" in drawn(scene(stale_s=12.0), 80, 24)
    assert "has not answered" not in drawn(scene(stale_s=1.0), 80, 24)


def test_event_time_is_shown_in_the_zone_of_the_cities() -> None:
    assert scene().local_time() == "Tue 2026-06-02 07:00:30 UTC+8"


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(None, 2, "-"), (1.005, 2, "1.00"), (99.994, 2, "99.99"), (123.456, 2, "123.5"), (45_678.9, 2, "45679")],
)
def test_large_values_lose_decimals_rather_than_room(value: float | None, decimals: int, text: str) -> None:
    assert number(value, decimals) == text


def test_a_plain_line_names_what_is_raised() -> None:
    line = plain_line(scene())
    assert "raised: Middleton A2 2.31" in line
    assert "watch: Southbay A2 1.70" in line
    assert "firing: Middleton A2 since 07:00, Southbay X1 since 06:00, Eastport A1 since 06-01 07:00" in line
    assert "behind 0/12/?" in line
    assert "Westmarch" not in line, "an open window is no news"


def test_the_newest_open_alerts_stand_above_the_map_as_far_as_there_is_room() -> None:
    found = drawn(scene(), 160, 45)
    assert "firing 3" in found
    newest, older, oldest = (
        found.index(text) for text in ("✗ 07:00  Middleton", "✗ 06:00  Southbay", "! 06-01 07:00  E")
    )
    assert newest < older < oldest
    assert "no data any more" in found
    assert "✗ 07:00  Middleton" not in drawn(scene(), 80, 14)
    assert "firing 3" in drawn(scene(), 80, 14)
