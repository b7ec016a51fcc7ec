"""Where a run is shown: full screen on a terminal, lines now and then elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

from rich.console import Console
from rich.live import Live
from rich.terminal_theme import MONOKAI

from deploy.demo.plain import plain_line
from deploy.demo.scene import Scene
from deploy.demo.view import draw

LINE_EACH_S = 5.0
"""Without a terminal: seconds between two lines."""
STILL_EACH_S = 30.0
"""... and while nothing changes."""


PICTURE = (160, 44)
"""Columns and lines of a picture in a file."""
_LEADING = re.compile(
    r'(<text [^>]*?x=")([0-9.]+)("[^>]*?textLength=")([0-9.]+)("[^>]*>)((?:&#160;)+)(?=[^<&]|&(?!#160;))'
)
_CELL = 12.2
"""Width of a cell in the pictures that rich writes."""


def picture(scene: Scene) -> str:
    """A scene as an SVG picture.

    Leading blanks become places: not every program that shows SVG keeps them.
    """
    width, height = PICTURE
    console = Console(
        record=True, width=width, height=height, force_terminal=True, color_system="truecolor", file=StringIO()
    )
    console.print(draw(scene, width, height))

    def moved(found: re.Match[str]) -> str:
        blanks = found[6].count("&#160;") * _CELL
        return f"{found[1]}{float(found[2]) + blanks:g}{found[3]}{float(found[4]) - blanks:g}{found[5]}"

    return _LEADING.sub(moved, console.export_svg(title="pearlstream demo", theme=MONOKAI))


class Screen:
    """Shows the start step by step, then scenes, then plain text again."""

    def __init__(self, console: Console, *, full: bool) -> None:
        """`full`: take over the whole terminal while scenes are shown."""
        self.console = console
        self.full = full
        self._live: Live | None = None
        self._told_at = 0.0
        self._told = ""

    @contextmanager
    def step(self, doing: str) -> Iterator[list[str]]:
        """One step of the start: what is being done, then that it is done and how long it took.

        What the caller puts into the list is said besides.
        """
        said: list[str] = []
        began = time.monotonic()
        if self.full:
            with self.console.status(f"{doing} ..."):
                yield said
        else:
            yield said
        took = time.monotonic() - began
        self.say(f"{f'{took:.1f} s':>7}  {doing}" + (f": {', '.join(said)}" if said else ""))

    def say(self, text: str) -> None:
        """A line of text, beside the picture if one is shown."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, scene: Scene) -> None:
        """Show a scene; call it as often as you like."""
        if not self.full:
            self._tell(scene)
            return
        if self._live is None:
            self._live = Live(console=self.console, screen=True, auto_refresh=False, redirect_stderr=False)
            self._live.start()
        width, height = self.console.size
        self._live.update(draw(scene, width, height), refresh=True)

    def _tell(self, scene: Scene) -> None:
        now, line = time.monotonic(), plain_line(scene)
        wait_s = LINE_EACH_S if line != self._told else STILL_EACH_S
        if now - self._told_at >= wait_s and scene.clock_ms is not None:
            self._told_at, self._told = now, line
            self.say(line)

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None
