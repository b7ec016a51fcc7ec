"""Panels in their places: sections repeated as often as their variable has values, each panel with a key of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from dashboards.model import Board, Panel

_TEXT = re.compile(r"\$\{(\w+):text\}")
Chosen = Mapping[str, tuple[str, ...]]
Labels = Mapping[str, Mapping[str, str]]
"""By variable: how each of its values reads."""


class Placed(NamedTuple):
    """A panel, its titles read; `key` names it in this board; `chosen` is what its queries are given."""

    key: str
    panel: Panel
    chosen: Chosen


class Laid(NamedTuple):
    """A section."""

    title: str
    folded: bool
    panels: Sequence[Placed]


def laid_out(board: Board, chosen: Chosen, labels: Labels) -> list[Laid]:
    """The sections in their order."""
    laid = []
    first = 0
    for section in board.sections:
        for narrowed, suffix in _repeats(section.repeat, chosen):
            panels = [
                Placed(f"{first + place}{suffix}", _read(panel, narrowed, labels), narrowed)
                for place, panel in enumerate(section.panels)
            ]
            laid.append(Laid(read(section.title, narrowed, labels), section.folded, panels))
        first += len(section.panels)
    return laid


def _repeats(variable: str, chosen: Chosen) -> list[tuple[Chosen, str]]:
    if not variable:
        return [(chosen, "")]
    return [({**chosen, variable: (value,)}, f"@{value}") for value in chosen[variable]]


def _read(panel: Panel, chosen: Chosen, labels: Labels) -> Panel:
    return replace(panel, title=read(panel.title, chosen, labels)) if "${" in panel.title else panel


def read(title: str, chosen: Chosen, labels: Labels) -> str:
    """A title with what is chosen in it, in words."""

    def words(found: re.Match[str]) -> str:
        known = labels.get(found[1], {})
        return ", ".join(known.get(value, value) for value in chosen.get(found[1], ()))

    return _TEXT.sub(words, title)
