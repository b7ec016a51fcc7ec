"""How states, values and numbers look. Colours are those of Okabe and Ito, which colour-blind people can tell
apart, and none of them is ever alone: each state has its sign as well.

All signs are one cell wide in every terminal, also in Chinese ones, where many arrows and dots are two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from deploy.demo.scene import OPEN, Signal
from pearlstream.catalogue import Indicator


class Look(NamedTuple):
    """Sign, word, colour of text, and style of a filled cell."""

    sign: str
    word: str
    text: str
    filled: str


LOOKS: Mapping[str, Look] = {
    "OK": Look("✓", "ok", "#009e73", "#e8fff7 on #00533d"),
    "WATCH": Look("!", "watch", "#e69f00", "#000000 on #e69f00"),
    "RAISED": Look("✗", "raised", "bold #d55e00", "bold #ffffff on #b34700"),
    OPEN: Look("~", "open window", "italic #56b4e9", "#d9f0ff on #12445f"),
    "NODATA": Look("?", "no data", "#8c8c8c", "#bcbcbc on #303030"),
}
"""By state. WATCH and RAISED are the value against the indicator's thresholds, not yet an alert."""

UP, DOWN, SAME = "▴", "▾", "="
"""Against the window before."""
LABEL = "#8c8c8c"
VALUE_CELLS = 8
"""Width of a value with its signs."""


def look(state: str) -> Look:
    """How a state looks; one that we don't know looks like no data."""
    return LOOKS.get(state, LOOKS["NODATA"])


def number(value: float | None, decimals: int) -> str:
    """A value with its decimals, fewer where it is large, or a dash."""
    if value is None:
        return "-"
    size = abs(value)
    digits = decimals if size < 100 else min(decimals, 1) if size < 10_000 else 0
    return f"{value:.{digits}f}"


def trend(signal: Signal, decimals: int) -> str:
    """Up, down or same against the window before, as far as the shown decimals tell; blank if there was none."""
    if signal.value is None or signal.before is None:
        return " "
    now, then = round(signal.value, decimals), round(signal.before, decimals)
    return SAME if now == then else UP if now > then else DOWN


def signal_text(signal: Signal | None, indicator: Indicator) -> Text:
    """A cell of the table: sign, value, trend; VALUE_CELLS wide."""
    if signal is None:
        return Text(" " * VALUE_CELLS)
    style = look(signal.shown)
    value = number(signal.value, indicator.decimals)
    return Text(f"{style.sign}{value:>6}{trend(signal, indicator.decimals)}", style.text, no_wrap=True)


def fit(text: str, cells: int) -> str:
    """The text cut or padded to exactly that many terminal cells (a Chinese character takes two)."""
    return set_cell_size(text, cells)


def folded(text: str, cells: int) -> list[str]:
    """The text in lines of at most that many cells, broken at blanks; a longer word is cut."""
    lines = [""]
    for word in text.split(" "):
        grown = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(grown) <= cells:
            lines[-1] = grown
        else:
            lines.append(word)
    return [line if cell_len(line) <= cells else fit(line, cells).rstrip() for line in lines if line]


def count(value: float) -> str:
    """A count or rate with thousands apart."""
    return f"{value:,.0f}"


def seconds(ms: float | None) -> str:
    """Milliseconds as seconds, one decimal."""
    return "-" if ms is None else f"{ms / 1000:.1f} s"


def span(total_s: float) -> str:
    """A length of time as hours, minutes and seconds."""
    hours, rest = divmod(int(total_s), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
