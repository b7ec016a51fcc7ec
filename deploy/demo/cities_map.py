"""The map: cities roughly where they lie, each cell in the colour and with the sign of its worst signal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from deploy.demo import paint
from deploy.demo.places import Spot, lay_out
from deploy.demo.scene import Scene
from pearlstream.catalogue import City

ROWS, COLUMNS = 7, 6
LARGEST_CELL = 14


def rows_of(cities: int) -> int:
    """Rows of the map: the usual number, more where a cluster is larger."""
    rows = ROWS
    while rows * COLUMNS < cities * 1.5:
        rows += 1
    return rows


def draw_map(scene: Scene, width: int, lines: int, *, gap: bool = False) -> RenderableType:
    """The map, at most `width` wide, each city `lines` (1 to 3) high; `gap`: an empty line between rows."""
    cities = scene.catalogue.cities
    rows = rows_of(len(cities))
    spots: dict[Spot, City] = {spot: cities[id_] for id_, spot in lay_out(cities.values(), rows, COLUMNS).items()}
    cells = max(6, min(LARGEST_CELL, (width + 1) // COLUMNS - 1))
    grid = Table.grid(padding=(0, 1, 0, 0))
    for _ in range(COLUMNS):
        grid.add_column(width=cells, no_wrap=True)
    for row in range(rows):
        if gap and row:
            grid.add_row()
        grid.add_row(*(_cell(scene, spots.get(Spot(row, column)), cells, lines) for column in range(COLUMNS)))
    return grid


def _cell(scene: Scene, city: City | None, cells: int, lines: int) -> Text:
    """Sign and name; Chinese name; and, where something is the matter, which signal says so."""
    if city is None:
        return Text("\n".join(" " * cells for _ in range(lines)))
    worst = scene.worst(city.id)
    look = paint.look(worst[1].shown if worst else "NODATA")
    matter = _matter(scene, city.id)
    said = [f"{look.sign} {city.name.en}", f"  {city.name.zh}", f"  {matter}"]
    if lines == 2 and matter:
        said[1] = said[2]
    return Text("\n".join(paint.fit(line, cells) for line in said[:lines]), style=look.filled, no_wrap=True)


def _matter(scene: Scene, city: str) -> str:
    """The signal that is not as it should be, of the city or else of its data; nothing if all is well."""
    for found in (scene.worst(city), scene.worst(city, health=True)):
        if found and found[1].shown in ("WATCH", "RAISED"):
            indicator = scene.catalogue.indicators[found[0]]
            return f"{indicator.id} {paint.number(found[1].value, indicator.decimals)}"
    return ""
