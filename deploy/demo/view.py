"""Draws a scene for a terminal of any size: title, numbers, alerts, map, table, legend.

Pure: a scene in, a picture out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deploy.demo import paint
from deploy.demo.cities_map import draw_map, rows_of
from deploy.demo.scene import Scene, told
from pearlstream.catalogue import City, Indicator

HONESTY = "Simulated data; live signals, not targets.  模拟数据 · 实时信号, 非目标"
CITY_CELLS = 15
COLUMN_CELLS = (paint.VALUE_CELLS, 16)
"""Least and greatest width of an indicator's column, without the gap that follows it."""
STALE_S = 5
"""A picture older than this says so."""
WIDE = 136
"""From this width on, map and table stand side by side."""
LOW = 32
"""Below this height, headings and legend are in one language."""
TINY = 20
"""Below this height, most of legend and numbers give way to the cities."""
CRAMPED = 15
"""Below this height, open alerts are only counted."""


def draw(scene: Scene, width: int, height: int) -> RenderableType:
    """The whole picture, never higher than `height` lines.

    What does not fit is left out in this order: second language of headings, the map, cities in no need; and it
    is said how many cities are left out.
    """
    low, tiny = height < LOW, height < TINY
    top = [_title(scene, width), *_strip(scene, width)[: 2 if tiny else None], *_news(scene, width)]
    top += _alerts(scene, width, 0 if height < CRAMPED else 1 if tiny else 2 if low else 4)
    legend = _honesty(scene, width) if tiny else _legend(scene, width, low)
    room = height - len(top) - len(legend) - 2
    return Group(*top, Text(), _body(scene, width, room, low), Text(), *legend)


def _title(scene: Scene, width: int) -> Text:
    chinese = " ".join(scenario.name.zh for scenario in scene.scenarios)
    speed = f"{scene.speed:g}x" if scene.speed else "full speed"
    line = Text("Pearlstream  ", "bold #56b4e9", no_wrap=True, overflow="ellipsis")
    line.append(told(scene.scenarios), "bold default")
    tail = f"  {scene.local_time()}  {speed}  {paint.span(scene.elapsed_s)}"
    if line.cell_len + len(tail) + 2 * len(chinese) < width:
        line.append(f" {chinese}", "bold default")
    line.truncate(max(width - len(tail), 12), overflow="ellipsis")
    return line.append(tail, "not bold default")


def _strip(scene: Scene, width: int) -> list[Text]:
    """Labelled numbers, wrapped between items and never inside one."""
    headline = scene.headline
    behind = ", ".join(
        f"{lag.stage} {'?' if lag.records is None else paint.count(lag.records)}" for lag in headline.lags
    )
    bad = ", ".join(f"{reason} {paint.count(n)}" for reason, n in sorted(headline.quarantined.items()) if n)
    again = ", ".join(f"{name} {n}" for name, n in headline.restarts.items() if n)
    items = [
        ("firing", paint.count(len(scene.alerts))),
        ("arrived", f"{paint.count(headline.arrived_per_s)}/s"),
        ("accepted", f"{paint.count(headline.accepted_per_s)}/s"),
        ("stored", f"{paint.count(headline.stored_per_s)}/s, {paint.count(headline.stored)} in all"),
        ("fresh", f"p50 {paint.seconds(headline.freshness_p50_ms)} p99 {paint.seconds(headline.freshness_p99_ms)}"),
        ("behind", behind or "-"),
        ("quarantine", bad or "0"),
        ("restarts", again or "0"),
        ("memory", f"{paint.count(headline.memory_mb)} MB"),
    ]
    lines = [Text(no_wrap=True, overflow="ellipsis")]
    for label, value in items:
        if lines[-1] and lines[-1].cell_len + len(label) + len(value) + 3 > width:
            lines.append(Text(no_wrap=True, overflow="ellipsis"))
        lines[-1].append("   " if lines[-1] else "").append(f"{label} ", paint.LABEL).append(value)
    return lines


def _news(scene: Scene, width: int) -> list[Text]:
    notice = paint.LOOKS["WATCH"].text
    lines = [Text(paint.fit(line, width).rstrip(), notice, no_wrap=True) for line in scene.news[-2:]]
    if scene.stale_s >= STALE_S:
        lines.append(Text(f"the store has not answered for {scene.stale_s:.0f} s; the picture is that old", notice))
    return lines


def _alerts(scene: Scene, width: int, room: int) -> list[Text]:
    """The newest open alerts, one in a line."""
    lines = []
    for alert in scene.alerts[:room]:
        known = scene.catalogue.indicators.get(alert.indicator)
        style = paint.LOOKS["RAISED" if alert.severity != "info" else "WATCH"]
        line = Text(f"{style.sign} {scene.since(alert.since_ms)}  {scene.place(alert.city)}  ", style.text)
        line.append(f"{alert.indicator} {known.name.en if known else ''}", "default")
        facts = [alert.severity, *filter(None, [alert.dims]), *(["no data any more"] if alert.stale else [])]
        line.append(f"  {', '.join(facts)}", f"not bold {paint.LABEL}").truncate(width, overflow="ellipsis")
        lines.append(line)
    return lines


# --- map and table ------------------------------------------------------------------------------------


def _body(scene: Scene, width: int, room: int, low: bool) -> RenderableType:
    cities, rows = len(scene.catalogue.cities), rows_of(len(scene.catalogue.cities))
    if width >= WIDE:
        columns, cells = _columns(scene, width // 2)
        left = width - CITY_CELLS - len(columns) * (cells + 1) - 2
        lines = 3 if room >= rows * 3 else 2 if room >= rows * 2 else 1
        both = Table.grid(padding=(0, 2, 0, 0))
        both.add_column(width=left)
        both.add_column()
        drawn = draw_map(scene, left, lines, gap=room >= rows * (lines + 1) - 1)
        both.add_row(drawn, _table(scene, columns, cells, room, low))
        return both
    columns, cells = _columns(scene, width)
    head = len(_heading(columns[0], cells, low).plain.split("\n"))
    for lines, needed in ((2, cities), (1, cities // 2)):
        left = room - rows * lines - 1
        if left >= head + needed:
            return Group(draw_map(scene, width, lines), Text(), _table(scene, columns, cells, left, low))
    return _table(scene, columns, cells, room, low)


def _columns(scene: Scene, width: int) -> tuple[list[Indicator], int]:
    """As many indicators as fit, in the order of the catalogue, and how wide each column is."""
    least, greatest = COLUMN_CELLS
    space = width - CITY_CELLS
    chosen = scene.to_show()[: max(1, space // (least + 1))]
    shown = [one for one in scene.catalogue.indicators.values() if one.id in chosen]
    return shown, max(least, min(greatest, space // len(shown) - 1)) if shown else least


def _table(scene: Scene, columns: Sequence[Indicator], cells: int, room: int, low: bool) -> RenderableType:
    """Cities by indicators; if not all cities fit, those in need come first and the rest is counted."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="", show_edge=False)
    headings = [_heading(indicator, cells, low) for indicator in columns]
    table.add_column(Text("city 城市", paint.LABEL), width=CITY_CELLS - 1, no_wrap=True)
    for heading in headings:
        table.add_column(heading, width=cells, no_wrap=True)
    everyone = list(scene.catalogue.cities)
    space = max(2, room - max(len(heading.plain.split("\n")) for heading in headings))
    shown = everyone if len(everyone) <= space else scene.by_need()[: space - 1]
    for id_ in shown:
        signals = [paint.signal_text(scene.signals.get((one.id, id_)), one) for one in columns]
        table.add_row(_city_name(scene.catalogue.cities[id_]), *signals)
    rest = [id_ for id_ in everyone if id_ not in shown]
    return Group(table, _rest(scene, rest)) if rest else table


def _rest(scene: Scene, cities: Sequence[str]) -> Text:
    """The cities that are left out, counted by their worst state."""
    worst = Counter(found[1].shown if (found := scene.worst(city)) else "NODATA" for city in cities)
    told = ", ".join(f"{worst[state]} {look.word}" for state, look in paint.LOOKS.items() if worst[state])
    return Text(f"and {len(cities)} more cities: {told}", paint.LABEL)


def _city_name(city: City) -> Text:
    zh = Text(city.name.zh, paint.LABEL)
    en = Text(city.name.en, no_wrap=True)
    en.truncate(CITY_CELLS - 2 - zh.cell_len, overflow="ellipsis", pad=False)
    return Text.assemble(en, " ", zh)


def _heading(indicator: Indicator, cells: int, low: bool) -> Text:
    """Id and unit, then what it is, in one language or two."""
    head = Text(f"{indicator.id} ", "bold", no_wrap=True, overflow="crop")
    head.append(indicator.unit, f"not bold {paint.LABEL}")
    en = indicator.name.en + (" worst feed" if indicator.per == "feed" else "")
    lines = paint.folded(en, cells)[: 1 if low else 2]
    if not low:
        lines += [""] * (2 - len(lines)) + [paint.fit(indicator.name.zh, cells).rstrip()]
    for line in lines:
        head.append("\n" + line, f"not bold {paint.LABEL}")
    return head


# --- legend -------------------------------------------------------------------------------------------


def _legend(scene: Scene, width: int, low: bool) -> list[Text]:
    signs = Text(no_wrap=True, overflow="ellipsis")
    for look in paint.LOOKS.values():
        signs.append(f"{look.sign} {look.word}  ", look.text)
    signs.append(f"{paint.UP}{paint.DOWN}{paint.SAME} since the one before", paint.LABEL)
    return [signs, *_sub_items(scene, width, low), *_honesty(scene, width, hint_below=not low)]


def _honesty(scene: Scene, width: int, *, hint_below: bool = False) -> list[Text]:
    """What the picture is and is not; and the hint, beside it or below it as there is room."""
    line = Text(HONESTY, "italic", no_wrap=True, overflow="ellipsis")
    if scene.hint and line.cell_len + len(scene.hint) + 3 <= width:
        return [line.append("   ").append(scene.hint, f"not italic {paint.LABEL}")]
    below = [Text(scene.hint, paint.LABEL, no_wrap=True, overflow="ellipsis")] if scene.hint and hint_below else []
    return [line, *below]


def _sub_items(scene: Scene, width: int, low: bool) -> list[Text]:
    """Which sub-item of the plan each shown indicator speaks for."""
    shown = sorted(_columns(scene, width)[0], key=lambda one: one.sub_item)
    parts: list[str] = []
    for sub_item, some in groupby(shown, key=lambda one: one.sub_item):
        named = ", ".join(f"{one.id} {one.name.en}" + ("" if low else f" {one.name.zh}") for one in some)
        parts.append(f"{f'sub-item {sub_item}' if sub_item[0].isdigit() else sub_item}: {named}.")
    folded = paint.folded(" ".join(parts), width)
    return [Text(line, paint.LABEL, no_wrap=True) for line in folded[: 2 if low else 4]]
